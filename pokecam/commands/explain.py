"""What the trained network sees in images that it has never seen: its answer, and its maps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from pokecam.cam.capture import capture
from pokecam.cam.display import display, is_constant
from pokecam.cam.folding import folded
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS, check
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.errors import InputError, did_you_mean
from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.packing.decode import UnusableError, decode
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, prepare
from pokecam.networks.device import inference_precision
from pokecam.report.overlay import overlay
from pokecam.report.sheets import FAINT, INK, PAPER, fitting, font

MARGIN_PX = 16
CAPTION_PX = 30
LIKELY = (
    2  # classes that are mapped where none are asked for: what it says, and what it nearly said
)


@dataclass(frozen=True)
class Explanation:
    """What there is to say of one image.

    pixels: (S, S, 3) uint8, what the network saw.
    probabilities: class → probability, the most probable first.
    shown: (class, method) → the map as it is shown, (S, S) in [0, 1].
    silent: the (class, method) whose maps point nowhere.
    """

    file: Path
    pixels: np.ndarray
    probabilities: dict[str, float]
    shown: dict[tuple[str, str], np.ndarray]
    silent: set[tuple[str, str]]


def explain(
    files: Iterable[Path],
    classifier: Classifier,
    *,
    classes: Sequence[str] = (),
    methods: Sequence[str],
    layer: str | None = None,
) -> Iterator[Explanation | tuple[Path, str]]:
    """Explain one file after another: yield what the network makes of it, or the file and the
    reason why it cannot be used.

    classes: those to map; none: the `LIKELY` most probable of each image.
    methods, layer: as in `cam.store.write_maps`; a Finer-CAM compares with the most probable
        others.

    Raises `InputError` for classes that the classifier does not know, and for methods or a layer
    that do not fit it.
    """
    for name in classes:
        if name not in classifier.classes:
            known = ", ".join(classifier.classes)
            raise InputError(
                f"--classes: the classifier knows no {name}."
                f"{did_you_mean(name, classifier.classes)} It knows: {known}"
            )
    network = layers.at(classifier, layer)
    check(methods, network)
    network = folded(network)
    device = next(classifier.parameters()).device
    for file in files:
        try:
            image, width, height = decode(file.read_bytes(), classifier.image_size)
        except UnusableError as error:
            yield file, str(error)
            continue
        _, pixels = letterbox(image, fit(width, height, classifier.image_size))
        x = prepare(torch.from_numpy(pixels)[None].to(device))
        captured = capture(network, x, inference_precision(device))
        likely = captured.logits[0].detach().softmax(0).cpu()
        order = likely.argsort(descending=True).tolist()
        probabilities = {classifier.classes[c]: float(likely[c]) for c in order}
        chosen = classes or list(probabilities)[:LIKELY]
        shown, silent = {}, set()
        for method in methods:
            raw = StoredMaps(compute_maps(captured, method).cpu().numpy())
            for name in chosen:
                one = raw.of(0, classifier.classes.index(name))
                shown[name, method] = display(one, classifier.image_size)
                if is_constant(one):
                    silent.add((name, method))
        yield Explanation(file, pixels, probabilities, shown, silent)


def draw(explanation: Explanation) -> Image.Image:
    """The image as the network saw it, beside it a row of maps for every class."""
    side = len(explanation.pixels)
    classes = list(dict.fromkeys(name for name, _ in explanation.shown))
    methods = list(dict.fromkeys(method for _, method in explanation.shown))
    across, down = side + MARGIN_PX, side + CAPTION_PX + MARGIN_PX
    size = (MARGIN_PX + across * (1 + len(methods)), CAPTION_PX + down * len(classes))
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    for column, title in enumerate(["image", *map(_title, methods)]):
        pen.text((MARGIN_PX + column * across, 10), fitting(title, font(14), side), FAINT, font(14))
    image.paste(Image.fromarray(explanation.pixels), (MARGIN_PX, CAPTION_PX + CAPTION_PX))
    for row, name in enumerate(classes):
        top = CAPTION_PX + row * down
        sure = f" {percent(explanation.probabilities[name])}"
        room = across * len(methods) - MARGIN_PX - font(16).getlength(sure)
        caption = fitting(name, font(16), room) + sure
        pen.text((MARGIN_PX + across, top + 6), caption, INK, font(16))
        for column, method in enumerate(methods, start=1):
            painted = overlay(explanation.pixels, explanation.shown[name, method])
            place = (MARGIN_PX + column * across, top + CAPTION_PX)
            image.paste(Image.fromarray(painted), place)
            if (name, method) in explanation.silent:
                pen.text((place[0] + 8, place[1] + 8), "points nowhere", PAPER, font(14))
    return image


def _title(method: str) -> str:
    asked = METHODS[method]
    return f"{asked.title} − others" if asked.finer else asked.title


def find(given: Iterable[Path]) -> list[Path]:
    """The files that are given, and all files below the folders that are, sorted within each.

    Raises `InputError` for a path that does not exist, and if there is no file at all.
    """
    files = []
    for path in given:
        if not path.exists():
            raise InputError(f"{path} does not exist: give images, or folders of images")
        below = sorted(file for file in path.rglob("*") if file.is_file())
        files += below if path.is_dir() else [path]
    if not files:
        raise InputError(f"{', '.join(map(str, given))}: no files there")
    return files


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for the drawing of each file: its stem, numbered where several have the same."""
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name)
        names.append(f"{name}.png")
    return names


def percent(probability: float) -> str:
    """A probability in words that never claims certainty: 0.999 is "> 99 %"."""
    if probability > 0.995:
        return "> 99 %"
    return "< 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"
