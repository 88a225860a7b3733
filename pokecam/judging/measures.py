"""The table of measures: every number that says how good a map is."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pokecam.common.params import Settings, one_of

ALWAYS = "always"
GROUPS = (
    *("faithfulness", "localization", "parts", "lookalikes", "background", "sanity"),
    "shuffled_labels",
)


@dataclass(frozen=True)
class Measure:
    """What one column of the scores means.

    Attributes:
        title: the name in the papers.
        group: one of `GROUPS`, or `ALWAYS`.
        better: 1 if more is better, −1 if less.
        meaning: half a sentence for the report.
    """

    title: str
    group: str
    better: int
    meaning: str


MEASURES = {
    "deletion": Measure(
        "Deletion", "faithfulness", -1, "probability left while the most salient pixels go"
    ),
    "insertion": Measure(
        "Insertion",
        "faithfulness",
        1,
        "probability while the most salient pixels come back over a blurred image",
    ),
    "road": Measure(
        "ROAD",
        "faithfulness",
        1,
        "how much more probable the class stays without the least relevant pixels than without "
        "the most relevant ones, halved",
    ),
    "flip": Measure(
        "Flip",
        "faithfulness",
        -1,
        "share of the most relevant pixels that has to go before another class is predicted",
    ),
    "drop": Measure(
        "Average drop", "faithfulness", -1, "share of the probability lost where the map is dark"
    ),
    "increase": Measure(
        "Increase",
        "faithfulness",
        1,
        "share of images that become more probable where the map is dark",
    ),
    "pointing": Measure(
        "Pointing game", "localization", 1, "share of maps whose highest point is on the object"
    ),
    "energy": Measure("Energy inside", "localization", 1, "share of the map that is on the object"),
    "box_15": Measure(
        "Box at 15 %", "localization", 1, "overlap (IoU) of the box around the map and the true one"
    ),
    "box_20": Measure("Box at 20 %", "localization", 1, "the same at a higher threshold"),
    "constant": Measure(
        "Constant maps",
        ALWAYS,
        -1,
        "share of maps that point nowhere; pixels of equal value go in reading order",
    ),
    "parts": Measure(
        "Part ranks",
        "parts",
        1,
        "rank correlation of what parts are worth in the map and to the network",
    ),
}
# Measures of all images together; there is no such number for one image.
OF_ALL = {
    "max_box_acc_v2": Measure(
        "MaxBoxAccV2", "localization", 1, "share of right boxes at the best threshold"
    ),
    "px_ap": Measure(
        "PxAP", "localization", 1, "how well the map tells pixels of the object from others"
    ),
}


class JudgeSettings(Settings):
    """Which groups of measures are taken, and of how many images those that take time."""

    judge_measures: Annotated[list[Annotated[str, one_of(GROUPS)]], Field(min_length=1)]
    judge_images: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
