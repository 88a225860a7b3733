"""The page of a comparison: figures, and test images in rows with a column for each experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pokecam.cam.display import display
from pokecam.commands.compare import numbers, trainings
from pokecam.commands.compare.experiments import Experiment
from pokecam.commands.compare.groups import SEEDS, Group
from pokecam.common.files import whole_file, whole_folder
from pokecam.data.packed.images import Packed
from pokecam.report import sheets
from pokecam.report.examples import MOST_CLASSES, typical_row
from pokecam.report.jinja import environment
from pokecam.report.overlay import COLOURS, css_gradient, overlay
from pokecam.report.sheets import PANEL_PX, Entry, Line, Pixels

MOST_TRAININGS = 4  # of a group that have a column beside the images


@dataclass(frozen=True)
class Answer:
    """The prediction of one experiment for an image."""

    predicted: str
    probability: float
    is_correct: bool


@dataclass(frozen=True)
class ComparedImage:
    """A row of the page.

    Attributes:
        file: of the test image.
        label: its class.
        image: the JPEG of the row: the test image, and the map of every experiment.
        true_probability: the probability of its class by the first experiment.
        answers: one for each experiment.
    """

    file: str
    label: str
    image: str
    true_probability: float
    answers: list[Answer]

    @property
    def all_agree(self) -> bool:
        """Whether all experiments predict the same class."""
        return len({answer.predicted for answer in self.answers}) == 1


def drawn_experiments(groups: Sequence[Group]) -> list[Experiment]:
    """Return the experiments that have a column beside the images."""
    return [e for group in groups for e in group.experiments[:MOST_TRAININGS]]


def write_comparison(groups: Sequence[Group], packed: Mapping[str, Packed], out: Path) -> None:
    """Write index.html, the images of its rows, and figure.jpg, a typical image of each class.

    Groups of one training each are compared image by image, others by their trainings. The images
    are those that all experiments have; without any there are neither rows nor figure. Other files
    in `out` stay.

    Args:
        groups: what is compared.
        packed: `Experiment.packed` → these packed images, of `drawn_experiments`.
        out: the folder to write to.

    Raises:
        InputError: groups of one training each have no common test image.
    """
    experiments = drawn_experiments(groups)
    files = numbers.common_files([e for group in groups for e in group.experiments])
    is_by_training = any(len(group.experiments) > 1 for group in groups)
    if not is_by_training:
        numbers.check_common_files(experiments, files)
    images = [
        _compare_image(experiments, file, f"rows/{number:05d}.jpg")
        for number, file in enumerate(files)
    ]
    panels = _Panels(experiments, packed)
    with whole_folder(out / "rows") as folder:
        for image in images:
            row = Image.fromarray(np.concatenate(panels.draw_row(image), axis=1))
            row.save(folder / Path(image.image).name, "JPEG", quality=85, optimize=True)
    if images:
        with whole_file(out / "figure.jpg") as path:
            sheets.save(_class_sheet(experiments, images, panels), path)
    else:
        (out / "figure.jpg").unlink(missing_ok=True)  # of an earlier comparison
    if is_by_training:
        differences = _training_differences(groups)
    else:
        differences = _image_differences(experiments, files)
    with whole_file(out / "index.html") as path:
        html = _render_page(groups, experiments, images, differences)
        path.write_text(html, encoding="utf-8", newline="\n")


def _compare_image(experiments: Sequence[Experiment], file: str, image: str) -> ComparedImage:
    predictions = [
        experiment.predictions.iloc[experiment.row_of[file]] for experiment in experiments
    ]
    label = str(predictions[0]["label"])
    answers = [
        Answer(str(row["predicted"]), float(row["probability"]), row["predicted"] == label)
        for row in predictions
    ]
    true_probability = float(predictions[0][f"p:{label}"])
    return ComparedImage(file, label, image, true_probability, answers)


class _Panels:
    """Draws an image, and over it each experiment's map of the true class.

    A map lies on the packed image of its own experiment, which may have another size.
    """

    def __init__(self, experiments: Sequence[Experiment], packed: Mapping[str, Packed]) -> None:
        self.experiments = experiments
        self.pixels = {key: images.pixels for key, images in packed.items()}
        self.rows = {
            key: {file: row for row, file in enumerate(images.manifest["file"])}
            for key, images in packed.items()
        }

    def draw_row(self, image: ComparedImage) -> list[Pixels]:
        small = [self._small(experiment.packed, image.file) for experiment in self.experiments]
        maps = [experiment.map_of(image.file) for experiment in self.experiments]
        overlays = [
            overlay(pixels, display(raw, PANEL_PX)) for pixels, raw in zip(small, maps, strict=True)
        ]
        return [small[0], *overlays]

    def _small(self, packed: str, file: str) -> Pixels:
        return sheets.panel_pixels(self.pixels[packed][self.rows[packed][file]])


def _class_sheet(
    experiments: Sequence[Experiment], images: Sequence[ComparedImage], panels: _Panels
) -> Image.Image:
    rows = []
    for label in list(dict.fromkeys(image.label for image in images))[:MOST_CLASSES]:
        probabilities = {
            i: image.true_probability for i, image in enumerate(images) if image.label == label
        }
        row = panels.draw_row(images[typical_row(list(probabilities), probabilities)])
        rows.append([Entry([Line(label, list(row))])])
    heads = ["image", *map(_column_head, experiments)]
    return sheets.draw("Maps of the true class", heads, rows)


def _column_head(experiment: Experiment) -> str:
    return f"{experiment.name.partition(':')[0]}, {experiment.title}"


def _image_differences(experiments: Sequence[Experiment], files: Sequence[str]) -> dict[str, Any]:
    """Return what the template needs for the differences, image by image."""
    return {
        "parameters": numbers.differing_parameters(experiments),
        "rows": numbers.comparison_rows(experiments, files),
    }


def _training_differences(groups: Sequence[Group]) -> dict[str, Any]:
    """Return what the template needs for the differences over trainings."""
    return {
        "parameters": numbers.differing_parameters([group.experiments[0] for group in groups]),
        "seeds": SEEDS,
        "has_other_splits": len({tuple(group.values("split_seed")) for group in groups}) > 1,
        "most_trainings": MOST_TRAININGS,
        "training_rows": trainings.training_rows(groups),
        "agreements": [trainings.agreement(group) for group in groups],
        "findings": trainings.findings(groups),
    }


def _render_page(
    groups: Sequence[Group],
    experiments: Sequence[Experiment],
    images: Sequence[ComparedImage],
    differences: dict[str, Any],
) -> str:
    contents: dict[str, Any] = differences | {
        "groups": groups,
        "experiments": experiments,
        "heads": list(map(_column_head, experiments)),
        "images": sorted(images, key=lambda image: image.all_agree),
        "n_differing": sum(not image.all_agree for image in images),
        "panel_px": PANEL_PX,
        "gradient": css_gradient(COLOURS["inferno"]),
    }
    return environment(Path(__file__).parent).get_template("compare.html").render(contents)
