"""One page: the same test images in rows, a column for each experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pokecam.cam.display import display
from pokecam.commands.compare import numbers
from pokecam.commands.compare.experiments import Experiment
from pokecam.common.files import whole_file, whole_folder
from pokecam.data.packed.images import Packed
from pokecam.report import sheets
from pokecam.report.examples import MOST_CLASSES, typical
from pokecam.report.jinja import environment
from pokecam.report.overlay import COLOURS, css_gradient, overlay
from pokecam.report.sheets import PANEL_PX, Entry, Line, Pixels


@dataclass(frozen=True)
class Answer:
    """What one experiment said of an image."""

    predicted: str
    probability: float
    right: bool


@dataclass(frozen=True)
class ComparedImage:
    """A row of the page; image: its file, with the image and every experiment's map. own: the
    probability of its true class by the first experiment."""

    file: str
    label: str
    image: str
    own: float
    answers: list[Answer]

    @property
    def agreed(self) -> bool:
        return len({answer.predicted for answer in self.answers}) == 1


def write_comparison(
    experiments: Sequence[Experiment], packed: Mapping[str, Packed], out: Path
) -> None:
    """Write index.html, the images of its rows, and figure.jpg, a typical image of each class,
    into `out`; anything else there is left alone.

    packed: `Experiment.packed` → these images.
    """
    files = numbers.common(experiments)
    images = [
        _image(experiments, file, f"rows/{number:05d}.jpg") for number, file in enumerate(files)
    ]
    draw = _Panels(experiments, packed)
    with whole_folder(out / "rows") as folder:
        for image in images:
            row = Image.fromarray(np.concatenate(draw.row(image), axis=1))
            row.save(folder / Path(image.image).name, "JPEG", quality=85, optimize=True)
    with whole_file(out / "figure.jpg") as path:
        sheets.save(_figure(experiments, images, draw), path)
    with whole_file(out / "index.html") as path:
        path.write_text(_render(experiments, files, images), encoding="utf-8", newline="\n")


def _image(experiments: Sequence[Experiment], file: str, image: str) -> ComparedImage:
    said = [one.predictions.iloc[one.row_of[file]] for one in experiments]
    label = str(said[0]["label"])
    answers = [
        Answer(str(one["predicted"]), float(one["probability"]), one["predicted"] == label)
        for one in said
    ]
    own = float(said[0][f"p:{label}"])
    return ComparedImage(file, label, image, own, answers)


class _Panels:
    """Draws an image, and each experiment's map of its true class on what that experiment saw."""

    def __init__(self, experiments: Sequence[Experiment], packed: Mapping[str, Packed]) -> None:
        self.experiments = experiments
        self.pixels = {key: one.pixels for key, one in packed.items()}
        self.rows = {
            key: {file: row for row, file in enumerate(one.manifest["file"])}
            for key, one in packed.items()
        }

    def row(self, image: ComparedImage) -> list[Pixels]:
        small = [self._small(one.packed, image.file) for one in self.experiments]
        maps = [one.map_of(image.file, image.label) for one in self.experiments]
        painted = [
            overlay(pixels, display(raw, PANEL_PX)) for pixels, raw in zip(small, maps, strict=True)
        ]
        return [small[0], *painted]

    def _small(self, packed: str, file: str) -> Pixels:
        return sheets.small(self.pixels[packed][self.rows[packed][file]])


def _figure(
    experiments: Sequence[Experiment], images: Sequence[ComparedImage], draw: _Panels
) -> Image.Image:
    rows = []
    for label in list(dict.fromkeys(image.label for image in images))[:MOST_CLASSES]:
        own = {i: one.own for i, one in enumerate(images) if one.label == label}
        panels = draw.row(images[typical(list(own), own)])
        rows.append([Entry([Line(label, list(panels))])])
    heads = ["image", *(_head(one) for one in experiments)]
    return sheets.draw("Maps of the true class", heads, rows)


def _head(one: Experiment) -> str:
    return f"{one.name.partition(':')[0]}, {one.title}"


def _render(
    experiments: Sequence[Experiment], files: Sequence[str], images: Sequence[ComparedImage]
) -> str:
    told: dict[str, Any] = {
        "experiments": experiments,
        "heads": [_head(one) for one in experiments],
        "parameters": numbers.differing(experiments),
        "rows": numbers.table(experiments, files),
        "images": sorted(images, key=lambda image: image.agreed),
        "n_differing": sum(not image.agreed for image in images),
        "panel_px": PANEL_PX,
        "gradient": css_gradient(COLOURS["inferno"]),
    }
    return environment(Path(__file__).parent).get_template("compare.html").render(told)
