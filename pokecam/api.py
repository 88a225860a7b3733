"""The public functions, as `import pokecam` offers them."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pokecam.cam.anywhere import CutClassifier, cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.maps import Classes, class_indices, compute_maps
from pokecam.cam.methods import METHODS
from pokecam.commands import explain as explaining
from pokecam.commands.explain import draw
from pokecam.common.errors import InputError, unknown_name
from pokecam.data.packing.decode import UnusableError, quiet_pillow, upright_rgb
from pokecam.networks.classifier import Classifier, load_classifier, prepare
from pokecam.networks.layers import cut_at
from pokecam.notebook import Explanation, Explanations
from pokecam.report.overlay import overlay

__all__ = [
    "METHODS",
    "InputError",
    "capture",
    "compute_maps",
    "cut",
    "draw",
    "explain",
    "heatmaps",
    "load_classifier",
    "overlay",
    "prepare",
]

DEFAULT_MODEL = Path("models/classifier.safetensors")
_EXPECTED = "give paths, PIL images or arrays (H, W, 3) of uint8, or of floats from 0 to 1"


def explain(
    images: Any,
    model: str | Path | Classifier | None = None,
    classes: Classes = (),
    methods: str | Sequence[str] = (),
    layer: str | None = None,
) -> Explanations:
    """Classify images, and compute what the network looks at.

    Example::

        pokecam.explain("image.jpg")  # as the last line of a cell: a notebook shows it

        for explanation in pokecam.explain(["a.jpg", "b.jpg"], "classifier.safetensors"):
            print(explanation.probabilities)
            pokecam.draw(explanation).save(f"{explanation.file.stem}.png")

    Args:
        images: one image or several: paths, folders with images, PIL images, or arrays (H, W, 3),
            (H, W, 4) or (H, W) of uint8, or of floats from 0 to 1; (N, H, W, 3) are N images. They
            are letterboxed and normalised here.
        model: a classifier that the pipeline has trained, or the path of its file; None for
            `DEFAULT_MODEL` in the working folder. It runs on the device that it is on, and one
            that is read from a file on the CPU.
        classes: the target classes, by name or index, one or several. If there are none, each
            image gets maps of its two most probable classes. Of two or more, the first is also
            compared with each other.
        methods: keys of `METHODS`, one or several. If there are none, `cam`, or `grad_cam` where
            more than average pooling and one linear layer follows the layer.
        layer: the layer that maps are made of, by torchvision's name; None for the last.

    Returns:
        A sequence with one explanation for each image: `pixels` (S, S, 3) uint8, what the network
        saw; `probabilities`, class → probability, the most probable first; `heatmaps`,
        (class, method) → (S, S) in [0, 1]; `empty`, the (class, method) whose maps are empty;
        `differences`, (class, other class, method) → (S, S) in [-1, 1], the evidence for the one
        against the other; `n_nearer` of `n_validation` validation images are nearer to the classes
        than this image, and `is_unlike` says whether that is at least 95 %; `file`, or "image 2"
        for the second image if it has no file.

    Warns:
        UserWarning: a file in a folder cannot be used as an image, and is left out.

    Raises:
        InputError: an image, the model, a class, a method or the layer cannot be used.
    """
    classifier = cut_at(_read_model(model), layer)
    methods = [methods] if isinstance(methods, str) else list(methods)
    for method in methods:
        if method not in METHODS:
            raise InputError(f"methods: {method} {unknown_name(method, METHODS)}")
    names: list[str] = []
    if not isinstance(classes, tuple | list) or classes:
        names = [classifier.classes[c] for c in class_indices(classes, classifier.classes)]
    files_of_folders: set[Path] = set()
    results = explaining.explain(
        _entries(images, classifier.image_size, files_of_folders),
        classifier,
        classes=names,
        methods=methods or ["cam" if classifier.linear else "grad_cam"],
    )
    explanations = []
    for result in results:
        if isinstance(result, explaining.Explanation):
            explanations.append(Explanation(**vars(result)))
            continue
        file, reason = result
        if file not in files_of_folders:
            raise InputError(f"{file} cannot be used: {reason}; give another image")
        warnings.warn(f"{file}: not used, {reason}", stacklevel=2)
    if not explanations:
        raise InputError("images: none given, or no image that can be used; give other images")
    return Explanations(explanations)


def _read_model(model: Any) -> Classifier:
    """Return the classifier that `explain` was given, or reads from a file."""
    if isinstance(model, str | Path):
        return load_classifier(Path(model))
    if model is None:
        if not DEFAULT_MODEL.exists():
            raise InputError(
                f"{DEFAULT_MODEL} does not exist in {Path.cwd()}: give `model`, the path of a "
                "model file, or run `dvc repro` in the clone and work there"
            )
        return load_classifier(DEFAULT_MODEL)
    if isinstance(model, Classifier) and not isinstance(model, CutClassifier):
        return model
    raise InputError(
        f"model: {_a(model)} given; give the path of a model file, or what `load_classifier` "
        "returns. For any other network use `heatmaps(network, x)`, with images prepared as that "
        "network expects them"
    )


def _entries(
    images: Any, size_px: int, files_of_folders: set[Path]
) -> Iterator[Path | tuple[Path, Image.Image]]:
    """Yield what `commands.explain.explain` takes, for each image.

    Args:
        images: as in `explain`.
        size_px: the side of the square that they will be letterboxed to.
        files_of_folders: gets the files that were found in a folder.
    """
    several = images if _holds_images(images) else [images]
    for number, image in enumerate(several, start=1):
        if isinstance(image, str | Path):
            path = Path(image)
            files = explaining.list_files([path])
            if path.is_dir():
                files_of_folders.update(files)
            yield from files
            continue
        if isinstance(image, np.ndarray):
            image = _from_array(image)
        if not isinstance(image, Image.Image):
            raise InputError(f"images: {_a(image)} given; {_EXPECTED}")
        file = Path(getattr(image, "filename", "") or f"image {number}")
        try:
            with quiet_pillow():
                upright = upright_rgb(image, size_px)
        except UnusableError as error:
            raise InputError(f"{file} cannot be used: {error}; give another image") from None
        yield file, upright


def _holds_images(images: Any) -> bool:
    """Return whether it is several images, not one."""
    if isinstance(images, np.ndarray):
        return images.ndim == 4
    return (
        isinstance(images, Iterable)
        and not hasattr(images, "shape")
        and not isinstance(images, str | Path | Image.Image)
    )


def _from_array(pixels: np.ndarray) -> Image.Image:
    """Convert (H, W, 3), (H, W, 4) or (H, W) of uint8, or of floats from 0 to 1, to an image."""
    is_float = np.issubdtype(pixels.dtype, np.floating)
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not is_image or not (is_float or pixels.dtype == np.uint8):
        raise InputError(f"images: an array {pixels.shape} of {pixels.dtype} given; {_EXPECTED}")
    if is_float:
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        if not (low >= 0 and high <= 1):
            raise InputError(f"images: floats from {low:g} to {high:g} given; {_EXPECTED}")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _a(value: Any) -> str:
    """Return what a value is, for a message: "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
