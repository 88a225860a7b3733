"""One page: the same test pictures in rows, a column for each experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pokecam.cam.display import display
from pokecam.compare import numbers
from pokecam.compare.experiments import Experiment
from pokecam.files import whole_folder
from pokecam.images import Packed
from pokecam.report import sheets
from pokecam.report.html import environment
from pokecam.report.overlay import COLOURS, css_gradient, overlay
from pokecam.report.sheets import PANEL_PX, Entry, Line, Pixels

MOST_CLASSES = 30  # of the figure


@dataclass(frozen=True)
class Answer:
    """What one experiment said of a picture."""

    predicted: str
    probability: float
    right: bool


@dataclass(frozen=True)
class Picture:
    """A row of the page; image: its file, with the picture and every experiment's map."""

    file: str
    label: str
    image: str
    answers: list[Answer]

    @property
    def agreed(self) -> bool:
        return len({answer.predicted for answer in self.answers}) == 1


def write(experiments: Sequence[Experiment], packed: Packed, out: Path) -> None:
    """Write index.html, the images of its rows and figure.jpg, a typical picture of each class,
    into `out`, which is replaced.

    packed: the pictures of the first experiment.
    """
    files = numbers.common(experiments)
    row_of = {file: row for row, file in enumerate(packed.manifest["file"])}
    with whole_folder(out) as folder:
        pictures = []
        panels: dict[str, list[Pixels]] = {}
        (folder / "rows").mkdir()
        for number, file in enumerate(files):
            picture = _picture(experiments, file, f"rows/{number:05d}.jpg")
            panels[file] = _panels(experiments, packed.pixels[row_of[file]], picture)
            row = Image.fromarray(np.concatenate(panels[file], axis=1))
            row.save(folder / picture.image, "JPEG", quality=85, optimize=True)
            pictures.append(picture)
        sheets.save(_figure(experiments, pictures, panels), folder / "figure.jpg")
        told = _render(experiments, files, pictures)
        (folder / "index.html").write_text(told, encoding="utf-8", newline="\n")


def _picture(experiments: Sequence[Experiment], file: str, image: str) -> Picture:
    said = [one.predictions.set_index("file").loc[file] for one in experiments]
    label = str(said[0]["label"])
    answers = [
        Answer(str(one["predicted"]), float(one["probability"]), one["predicted"] == label)
        for one in said
    ]
    return Picture(file, label, image, answers)


def _panels(experiments: Sequence[Experiment], pixels: Pixels, picture: Picture) -> list[Pixels]:
    """The picture, and each experiment's map of its true class on it."""
    small = sheets.small(pixels)
    maps = [one.map_of(picture.file, picture.label) for one in experiments]
    return [small, *(overlay(small, display(raw, PANEL_PX)) for raw in maps)]


def _figure(
    experiments: Sequence[Experiment], pictures: Sequence[Picture], panels: dict[str, list[Pixels]]
) -> Image.Image:
    first = experiments[0].predictions.set_index("file")
    rows = []
    for label in list(dict.fromkeys(picture.label for picture in pictures))[:MOST_CLASSES]:
        own = [picture.file for picture in pictures if picture.label == label]
        own.sort(key=lambda file: first.at[file, f"p:{first.at[file, 'label']}"])
        rows.append([Entry([Line(label, list(panels[own[len(own) // 2]]))])])
    heads = ["picture", *(_head(one) for one in experiments)]
    return sheets.draw("Maps of the true class", heads, rows)


def _head(one: Experiment) -> str:
    return f"{one.params.get('backbone', one.name)}, {one.title}"


def _render(
    experiments: Sequence[Experiment], files: Sequence[str], pictures: Sequence[Picture]
) -> str:
    told: dict[str, Any] = {
        "experiments": experiments,
        "heads": [_head(one) for one in experiments],
        "parameters": numbers.differing(experiments),
        "rows": numbers.table(experiments, files),
        "pictures": sorted(pictures, key=lambda picture: picture.agreed),
        "n_differing": sum(not picture.agreed for picture in pictures),
        "panel_px": PANEL_PX,
        "gradient": css_gradient(COLOURS["inferno"]),
    }
    return environment(Path(__file__).parent).get_template("compare.html").render(told)
