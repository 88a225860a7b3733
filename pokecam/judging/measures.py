"""The table of measures: the numbers that say how good a map is."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from pokecam.common.params import Settings, no_duplicates, one_of

ALWAYS = "always"
GROUPS = (
    *("faithfulness", "localization", "parts", "lookalikes", "background", "sanity"),
    "shuffled_labels",
)


@dataclass(frozen=True)
class Measure:
    """The meaning of one column of the scores.

    Attributes:
        title: the name in the papers.
        group: one of `GROUPS`, or `ALWAYS`.
        better: 1 if more is better, −1 if less.
        meaning: what the number is, in a phrase for the report.
        is_recommended: whether the report shows it first (docs/judging.md, "Which measures deserve
            belief?").
    """

    title: str
    group: str
    better: int
    meaning: str
    is_recommended: bool = False


MEASURES = {
    "road": Measure(
        "ROAD",
        "faithfulness",
        1,
        "half the difference between the probability of the class without the least relevant "
        "pixels and without the most relevant pixels",
        is_recommended=True,
    ),
    "insertion": Measure(
        "Insertion",
        "faithfulness",
        1,
        "mean probability of the class while the most salient pixels are added to a blurred image",
        is_recommended=True,
    ),
    "deletion": Measure(
        "Deletion",
        "faithfulness",
        -1,
        "mean probability of the class while the most salient pixels are removed",
        is_recommended=True,
    ),
    "flip": Measure(
        "Flip",
        "faithfulness",
        -1,
        "share of the most relevant pixels to remove before another class is predicted",
    ),
    "drop": Measure(
        "Average drop",
        "faithfulness",
        -1,
        "share of the probability that is lost when the image is multiplied by the map",
    ),
    "increase": Measure(
        "Increase",
        "faithfulness",
        1,
        "share of images whose class becomes more probable when they are multiplied by the map",
    ),
    "pointing": Measure(
        "Pointing game", "localization", 1, "share of maps whose highest pixel is on the object"
    ),
    "energy": Measure(
        "Energy inside",
        "localization",
        1,
        "share of the map that is on the object",
        is_recommended=True,
    ),
    "box_15": Measure(
        "Box at 15 %",
        "localization",
        1,
        "overlap (IoU) of the true box with the box of the map at 15 % of its maximum",
    ),
    "box_20": Measure(
        "Box at 20 %",
        "localization",
        1,
        "overlap (IoU) of the true box with the box of the map at 20 % of its maximum",
    ),
    "constant": Measure(
        "Empty maps",
        ALWAYS,
        -1,
        "share of empty maps; pixels of equal value are taken in reading order",
    ),
    "parts": Measure(
        "Important parts",
        "parts",
        1,
        "rank correlation of the sum of the map over each part with the importance of the part, "
        "given the area of the part",
        is_recommended=True,
    ),
    "decisive_part": Measure(
        "Decisive part",
        "parts",
        1,
        "share of images in which the part with most of the map is the decisive one, the most "
        "important of all",
        is_recommended=True,
    ),
    "single_deletion": Measure(
        "Single deletion",
        "parts",
        1,
        "(1 + ρ) / 2, where ρ is the rank correlation of the sum of the map over each part with "
        "the importance of the part, whatever its area",
    ),
}
# Measures of all images together, which a single image does not have.
OF_ALL = {
    "max_box_acc_v2": Measure(
        "MaxBoxAccV2", "localization", 1, "share of correct boxes at the best threshold"
    ),
    "px_ap": Measure(
        "PxAP", "localization", 1, "how well the map separates the object from the background"
    ),
}


class JudgeSettings(Settings):
    """Which groups of measures are taken, and on how many images those that take time."""

    judge_measures: Annotated[list[Annotated[str, one_of(GROUPS)]], AfterValidator(no_duplicates)]
    judge_images: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
