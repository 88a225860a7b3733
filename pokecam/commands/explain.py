"""The predictions and maps of the trained network for new images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from pokecam.cam.capture import capture
from pokecam.cam.display import display, display_difference, is_constant
from pokecam.cam.fitting import check_methods
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.files import portable_name
from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.packing.decode import UnusableError, decode, quiet_pillow
from pokecam.data.sources.names import is_leftover
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, prepare
from pokecam.networks.dry_run import evaluating
from pokecam.report.overlay import difference, overlay
from pokecam.report.sheets import FAINT, INK, PAPER, font, shorten

MARGIN_PX = 16
CAPTION_PX = 30
# Classes that get a map unless the user names classes: the prediction, and the next in probability.
N_CLASSES = 2
# An image that is farther from the classes than this fraction of the validation images is said to
# be unlike all classes: so is one in twenty images that does show a class.
UNLIKE = 0.95


@dataclass(frozen=True)
class Explanation:
    """The prediction and the heatmaps of one image.

    Attributes:
        file: the image file.
        pixels: (S, S, 3) uint8, the input of the network.
        probabilities: class → probability, the most probable class first.
        heatmaps: (class, method) → heatmap (S, S), from 0 to 1.
        empty: the (class, method) whose maps are empty.
        differences: (class, other class, method) → the evidence for the class against the other
            (S, S), from −1 to 1, as `cam.display.display_difference` gives it. Of the first of the
            classes that the user named against each of the others, for methods that have a
            difference.
        n_nearer: the number of validation images that are nearer to the classes than this image
            (`networks.class_distances`); None if the model file does not say.
        n_validation: the number of validation images; None likewise.
    """

    file: Path
    pixels: np.ndarray
    probabilities: dict[str, float]
    heatmaps: dict[tuple[str, str], np.ndarray]
    empty: set[tuple[str, str]]
    differences: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    n_nearer: int | None = None
    n_validation: int | None = None

    @property
    def is_unlike(self) -> bool:
        """Whether the image is farther from the classes than nearly all validation images
        (`UNLIKE`). It is a rank, not the probability that the image shows none of the classes."""
        if self.n_nearer is None or self.n_validation is None:
            return False
        return self.n_nearer >= UNLIKE * self.n_validation


def explain(
    files: Iterable[Path | tuple[Path, Image.Image]],
    classifier: Classifier,
    *,
    classes: Sequence[str] = (),
    methods: Sequence[str],
    layer: str | None = None,
) -> Iterator[Explanation | tuple[Path, str]]:
    """Explain one file after another.

    Args:
        files: the image files; of an image in memory its name, and the upright RGB image.
        classifier: the trained network.
        classes: the target classes. If there are none, each image gets maps of its `N_CLASSES`
            most probable classes. Of two or more, the first is also compared with each other.
        methods: names in `methods.METHODS`. A Finer-CAM compares with the most probable other
            classes.
        layer: the layer that maps are made of, as in `layers.cut_at`.

    Yields:
        The explanation of a file, or the file and the reason why it cannot be used.

    Raises:
        InputError: the classifier has no such class, or a method or the layer does not fit it.
    """
    for name in classes:
        if name not in classifier.classes:
            raise InputError(
                f"--classes: the classifier knows no {name}."
                f"{did_you_mean(name, classifier.classes)} "
                f"It knows: {', '.join(classifier.classes)}"
            )
    network = layers.cut_at(classifier, layer)
    check_methods(methods, network, parameter="methods")
    network = fold_batchnorm(network)
    device = next(classifier.parameters()).device
    for entry in files:
        file = entry[0] if isinstance(entry, tuple) else entry
        try:
            image, width, height = _read(entry, classifier.image_size)
        except UnusableError as error:
            yield file, str(error)
            continue
        _, pixels = letterbox(image, fit(width, height, classifier.image_size))
        x = prepare(torch.from_numpy(pixels)[None].to(device))
        captured = capture(network, x)
        softmax = captured.logits[0].detach().softmax(0).cpu()  # (C,)
        order = softmax.argsort(descending=True).tolist()
        probabilities = {classifier.classes[c]: float(softmax[c]) for c in order}
        targets = classes or list(probabilities)[:N_CLASSES]
        heatmaps, empty, differences = {}, set(), {}
        for method in methods:
            maps = StoredMaps(compute_maps(captured, method, classes=targets).cpu().numpy())
            raw_maps = {name: maps.of(0, index) for index, name in enumerate(targets)}
            for name, raw in raw_maps.items():
                heatmaps[name, method] = display(raw, classifier.image_size)
                if is_constant(raw):
                    empty.add((name, method))
            if METHODS[method].has_difference:
                first, *other_classes = dict.fromkeys(classes or targets[:1])
                for other in other_classes:
                    differences[first, other, method] = display_difference(
                        raw_maps[first], raw_maps[other], classifier.image_size
                    )
        rank = _rank(classifier, x)
        yield Explanation(file, pixels, probabilities, heatmaps, empty, differences, *rank)


@torch.no_grad()
def _rank(classifier: Classifier, x: torch.Tensor) -> tuple[int | None, int | None]:
    """Return `n_nearer` and `n_validation` of an image (1, 3, S, S)."""
    if classifier.distances is None:
        return None, None
    with evaluating(classifier):
        (n_nearer,) = classifier.distances.n_nearer(classifier.last_inputs(x))
    return n_nearer, len(classifier.distances.validation)


def distance_text(explanation: Explanation) -> str:
    """Say how far the image is from the classes; "" if the model file does not say."""
    nearer, n = explanation.n_nearer, explanation.n_validation
    if nearer is None or n is None:
        return ""
    count = f"all {n}" if nearer == n else f"{nearer} of {n}"
    share = "" if nearer in (0, n) else f" ({percent(nearer / n)})"
    text = f"farther from the classes than {count} validation images{share}"
    return f"{text}: may be none of them" if explanation.is_unlike else text


def limits_text(classifier: Classifier) -> str:
    """Say in one line which names the classifier can give, and what its distances mean."""
    text = (
        f"only the {len(classifier.classes)} classes of this network can be named: an image of "
        "anything else gets one of their names, too"
    )
    if classifier.distances is None:
        return (
            f"{text}; how unlike them an image is cannot be said, because the model file is of an "
            "older version: train again to see it"
        )
    return (
        f"{text}; a distance beyond nearly all validation images is a sign of that, a small one is "
        "no proof of the opposite"
    )


def _read(entry: Path | tuple[Path, Image.Image], size_px: int) -> tuple[Image.Image, int, int]:
    """Return an RGB image, and the width and height of the original, as `decode` does."""
    if isinstance(entry, tuple):
        return entry[1], *entry[1].size
    with quiet_pillow():
        return decode(entry.read_bytes(), size_px)


def draw(explanation: Explanation) -> Image.Image:
    """Draw the input of the network, and beside it a row of heatmaps for every class, and for
    every pair of classes that are compared."""
    side = len(explanation.pixels)
    methods = list(dict.fromkeys(method for _, method in explanation.heatmaps))
    rows = _rows(explanation)
    across, down = side + MARGIN_PX, side + CAPTION_PX + MARGIN_PX
    size = (MARGIN_PX + across * (1 + len(methods)), CAPTION_PX + down * len(rows))
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    for column, title in enumerate(["image", *map(_title, methods)]):
        pen.text((MARGIN_PX + column * across, 10), shorten(title, font(14), side), FAINT, font(14))
    image.paste(Image.fromarray(explanation.pixels), (MARGIN_PX, CAPTION_PX + CAPTION_PX))
    if explanation.n_nearer is not None and explanation.n_validation:
        share = percent(explanation.n_nearer / explanation.n_validation)
        text = shorten(f"farther than {share} of validation", font(12), side)
        pen.text((MARGIN_PX, CAPTION_PX + 8), text, FAINT, font(12))
    for position, row in enumerate(rows):
        top = CAPTION_PX + position * down
        width = across * len(methods) - MARGIN_PX - font(16).getlength(row.end)
        caption = shorten(row.name, font(16), width) + row.end
        pen.text((MARGIN_PX + across, top + 6), caption, INK, font(16))
        for line, text in enumerate(row.legend):
            place = (MARGIN_PX, top + CAPTION_PX + 20 * line)
            pen.text(place, shorten(text, font(12), side), FAINT, font(12))
        for column, method in enumerate(methods, start=1):
            if method not in row.panels:
                continue
            x, y = MARGIN_PX + column * across, top + CAPTION_PX
            image.paste(Image.fromarray(row.panels[method]), (x, y))
            if (row.name, method) in explanation.empty:
                pen.text((x + 8, y + 8), "empty map", PAPER, font(14))
    return image


@dataclass(frozen=True)
class _Row:
    """A row of the drawing: its caption, of which `end` is never cut, method → the painted image,
    and lines in the column of the image."""

    name: str
    end: str
    panels: dict[str, np.ndarray]
    legend: tuple[str, ...] = ()


def _rows(explanation: Explanation) -> list[_Row]:
    """Return a row for every class, then for every pair of classes that are compared."""
    pixels = explanation.pixels
    classes: dict[str, dict[str, np.ndarray]] = {}
    for (name, method), heatmap in explanation.heatmaps.items():
        classes.setdefault(name, {})[method] = overlay(pixels, heatmap)
    pairs: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for (name, other, method), values in explanation.differences.items():
        pairs.setdefault((name, other), {})[method] = difference(pixels, values)
    return [
        *(
            _Row(name, f" {percent(explanation.probabilities[name])}", panels)
            for name, panels in classes.items()
        ),
        *(
            _Row(
                f"{name}, not {other}", "", panels, (f"orange: for {name}", f"purple: for {other}")
            )
            for (name, other), panels in pairs.items()
        ),
    ]


def _title(method: str) -> str:
    entry = METHODS[method]
    return f"{entry.title} − others" if entry.finer else entry.title


def list_files(paths: Iterable[Path]) -> list[Path]:
    """List the files among some paths, and all files below the folders among them.

    Hidden files below a folder, and what systems leave behind, are left out.

    Returns:
        The files in the order of `paths`, sorted within each folder.

    Raises:
        InputError: a path does not exist, or there is no file at all.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist: give images, or folders of images")
        below = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not any(map(is_leftover, file.relative_to(path).parts))
        )
        files += below if path.is_dir() else [path]
    if not files:
        raise InputError(
            f"{', '.join(map(str, paths))}: no files there: give images, or folders of images"
        )
    return files


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a name for the drawing of each file: its stem, numbered where stems are equal.

    They exist on every system, and differ in more than capital letters.
    """
    names: list[str] = []
    stems: set[str] = set()
    for file in files:
        portable = portable_name(file.stem)
        stem, number = portable, 1
        while stem.casefold() in stems:
            number += 1
            stem = f"{portable}-{number}"
        stems.add(stem.casefold())
        names.append(f"{stem}.png")
    return names


def percent(probability: float) -> str:
    """Write a probability in percent without a claim of certainty: 0.999 is "> 99 %"."""
    if probability > 0.995:
        return "> 99 %"
    return "< 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"
