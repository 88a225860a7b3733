"""The predictions and maps of the trained network for new images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from pokecam.cam.capture import capture
from pokecam.cam.display import display, is_constant
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS, check_methods
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.errors import InputError, did_you_mean
from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.packing.decode import UnusableError, decode
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, prepare
from pokecam.networks.device import inference_precision
from pokecam.report.overlay import overlay
from pokecam.report.sheets import FAINT, INK, PAPER, font, shorten

MARGIN_PX = 16
CAPTION_PX = 30
# Classes that get a map unless the user names classes: the prediction, and the next in probability.
N_CLASSES = 2


@dataclass(frozen=True)
class Explanation:
    """The prediction and the heatmaps of one image.

    Attributes:
        file: the image file.
        pixels: (S, S, 3) uint8, the input of the network.
        probabilities: class → probability, the most probable class first.
        heatmaps: (class, method) → heatmap (S, S), from 0 to 1.
        empty: the (class, method) whose maps are empty.
    """

    file: Path
    pixels: np.ndarray
    probabilities: dict[str, float]
    heatmaps: dict[tuple[str, str], np.ndarray]
    empty: set[tuple[str, str]]


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
            most probable classes.
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
    check_methods(methods, network)
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
        captured = capture(network, x, inference_precision(device))
        softmax = captured.logits[0].detach().softmax(0).cpu()  # (C,)
        order = softmax.argsort(descending=True).tolist()
        probabilities = {classifier.classes[c]: float(softmax[c]) for c in order}
        targets = classes or list(probabilities)[:N_CLASSES]
        heatmaps, empty = {}, set()
        for method in methods:
            maps = StoredMaps(compute_maps(captured, method, classes=targets).cpu().numpy())
            for index, name in enumerate(targets):
                raw = maps.of(0, index)
                heatmaps[name, method] = display(raw, classifier.image_size)
                if is_constant(raw):
                    empty.add((name, method))
        yield Explanation(file, pixels, probabilities, heatmaps, empty)


def _read(entry: Path | tuple[Path, Image.Image], size_px: int) -> tuple[Image.Image, int, int]:
    """Return an RGB image, and the width and height of the original, as `decode` does."""
    if isinstance(entry, tuple):
        return entry[1], *entry[1].size
    return decode(entry.read_bytes(), size_px)


def draw(explanation: Explanation) -> Image.Image:
    """Draw the input of the network, and beside it a row of heatmaps for every class."""
    side = len(explanation.pixels)
    classes = list(dict.fromkeys(name for name, _ in explanation.heatmaps))
    methods = list(dict.fromkeys(method for _, method in explanation.heatmaps))
    across, down = side + MARGIN_PX, side + CAPTION_PX + MARGIN_PX
    size = (MARGIN_PX + across * (1 + len(methods)), CAPTION_PX + down * len(classes))
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    for column, title in enumerate(["image", *map(_title, methods)]):
        pen.text((MARGIN_PX + column * across, 10), shorten(title, font(14), side), FAINT, font(14))
    image.paste(Image.fromarray(explanation.pixels), (MARGIN_PX, CAPTION_PX + CAPTION_PX))
    for row, name in enumerate(classes):
        top = CAPTION_PX + row * down
        probability = f" {percent(explanation.probabilities[name])}"
        width = across * len(methods) - MARGIN_PX - font(16).getlength(probability)
        caption = shorten(name, font(16), width) + probability
        pen.text((MARGIN_PX + across, top + 6), caption, INK, font(16))
        for column, method in enumerate(methods, start=1):
            x, y = MARGIN_PX + column * across, top + CAPTION_PX
            painted = overlay(explanation.pixels, explanation.heatmaps[name, method])
            image.paste(Image.fromarray(painted), (x, y))
            if (name, method) in explanation.empty:
                pen.text((x + 8, y + 8), "empty map", PAPER, font(14))
    return image


def _title(method: str) -> str:
    entry = METHODS[method]
    return f"{entry.title} − others" if entry.finer else entry.title


def list_files(paths: Iterable[Path]) -> list[Path]:
    """List the files among some paths, and all files below the folders among them.

    Returns:
        The files in the order of `paths`, sorted within each folder.

    Raises:
        InputError: a path does not exist, or there is no file at all.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist: give images, or folders of images")
        below = sorted(file for file in path.rglob("*") if file.is_file())
        files += below if path.is_dir() else [path]
    if not files:
        raise InputError(
            f"{', '.join(map(str, paths))}: no files there: give images, or folders of images"
        )
    return files


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a name for the drawing of each file: its stem, numbered where stems are equal."""
    names: list[str] = []
    stems: set[str] = set()
    for file in files:
        stem, number = file.stem, 1
        while stem in stems:
            number += 1
            stem = f"{file.stem}-{number}"
        stems.add(stem)
        names.append(f"{stem}.png")
    return names


def percent(probability: float) -> str:
    """Write a probability in percent without a claim of certainty: 0.999 is "> 99 %"."""
    if probability > 0.995:
        return "> 99 %"
    return "< 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"
