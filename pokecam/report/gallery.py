"""The data of the gallery, for the page's script (viewer.js).

The page has a list of all test images, and a bundle for the images of some rows. A bundle is up to
`BUNDLE` consecutive test images of one class, in two files that the script loads when the images
come into view: a JPEG that has all images, and a script with their maps.

Maps are stored as int16 and a scale. In 8 bits, little evidence for a class would be lost beside
much evidence against it.
"""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed.images import Packed
from pokecam.report.inputs import Inputs, label_probabilities
from pokecam.report.overlay import AGAINST, COLOURS
from pokecam.report.slugs import slugs

BUNDLE = 48  # images, at most
COLUMNS = 8  # of the JPEG of a bundle, at most
TILE_PX = 224  # side of an image in the JPEG of its bundle, at most
MASK_PX = 64  # side of the object's mask
JPEG_QUALITY = 80
MOST_SIDE = 56  # of a stored map; larger maps (Guided Grad-CAM) are averaged down to this
MOST_VALUES = 4096  # of all stored maps of an image by one method
STEPS = 32767  # of a stored value, on either side of zero
FEWEST, MOST = 2, 11  # classes whose maps are stored for each image

Int16s = NDArray[np.int16]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TestImage:
    """One test image, as the page's script reads it.

    Attributes:
        file: as in the manifest.
        label: the index of its class.
        predicted: the index of the predicted class.
        probability: of the predicted class.
        own: the probability of its label.
        bundle: the name of its bundle.
        at: its position in the bundle.
        scores: measure → a score for each method, None where the method has none. None if the
            image was not measured.
    """

    file: str
    label: int
    predicted: int
    probability: float
    own: float
    bundle: str
    at: int
    scores: dict[str, list[float | None]] | None


@dataclass(frozen=True)
class Bundle:
    """Images of one class that are loaded together.

    Attributes:
        name: of its two files, without the suffix.
        rows: of its images in the test set.
        columns: of its JPEG, which is filled line by line.
    """

    name: str
    rows: list[int]
    columns: int

    @property
    def lines(self) -> int:
        """The number of lines of its JPEG."""
        return -(-len(self.rows) // self.columns)


@dataclass(frozen=True)
class Gallery:
    """The test images, in the order of the predictions, and their bundles."""

    images: list[TestImage]
    bundles: list[Bundle]
    pairs: list[tuple[int, int]]  # of look-alikes, by class index
    tile_px: int


def build_gallery(inputs: Inputs) -> Gallery:
    """Divide the test images into bundles, and collect what the page says of each image."""
    classes = inputs.packed.classes
    class_index = {name: i for i, name in enumerate(classes)}
    predictions = inputs.predictions
    probabilities = label_probabilities(predictions)
    scores = _scores(inputs)
    images: dict[int, TestImage] = {}
    bundles = []
    for label, slug in zip(classes, slugs(classes), strict=True):
        class_rows = np.flatnonzero(predictions["label"] == label).tolist()
        for start in range(0, len(class_rows), BUNDLE):
            rows = class_rows[start : start + BUNDLE]
            name = slug if len(class_rows) <= BUNDLE else f"{slug}.{start // BUNDLE + 1}"
            bundles.append(Bundle(name, rows, min(len(rows), COLUMNS)))
            for position, row in enumerate(rows):
                prediction = predictions.iloc[row]
                images[row] = TestImage(
                    file=prediction["file"],
                    label=class_index[label],
                    predicted=class_index[prediction["predicted"]],
                    probability=_four_digits(prediction["probability"]),
                    own=_four_digits(probabilities[row]),
                    bundle=name,
                    at=position,
                    scores=scores.get(prediction["file"]),
                )
    return Gallery(
        images=[images[row] for row in sorted(images)],
        bundles=bundles,
        pairs=list(
            dict.fromkeys(
                (class_index[a], class_index[b])
                for group in inputs.lookalikes
                for a, b in combinations(sorted(group, key=classes.index), 2)
            )
        ),
        tile_px=min(inputs.packed.pixels.shape[1], TILE_PX),
    )


def page_data(gallery: Gallery, inputs: Inputs) -> dict[str, Any]:
    """Return the data that lie in the page itself, to be written by `as_json`."""
    classes = inputs.packed.classes
    return {
        "classes": classes,
        "methods": [
            {"key": key, "title": title, "size": _stored_size(inputs.maps[key].size)}
            for key, title in inputs.titles.items()
        ],
        "measures": [
            {"key": key, "title": entry["title"], "better": entry["better"]}
            for key, entry in inputs.judgement.about["measures"].items()
            if key in inputs.judgement.scores and inputs.judgement.scores[key].notna().any()
        ],
        "one_for_all": [key for key, maps in inputs.maps.items() if maps.shared],
        "pairs": [{"key": f"{classes[a]} | {classes[b]}", "of": [a, b]} for a, b in gallery.pairs],
        "tile_px": gallery.tile_px,
        "mask_px": MASK_PX,
        "colours": {name: _base64(table) for name, table in COLOURS.items()},
        "against": _base64(AGAINST),
        "bundles": {
            bundle.name: {"columns": bundle.columns, "rows": bundle.lines}
            for bundle in gallery.bundles
        },
        "images": [asdict(entry) for entry in gallery.images],
    }


def write_bundles(gallery: Gallery, inputs: Inputs, folder: Path) -> None:
    """Write the JPEG and the script of every bundle into `folder`."""
    # Where images do not end at the blocks of JPEG, colours must not be shared across their edges.
    options = {} if gallery.tile_px % 16 == 0 else {"subsampling": 0}
    for bundle in gallery.bundles:
        mosaic = bundle_image(bundle, inputs, gallery.tile_px)
        path = folder / f"{bundle.name}.jpg"
        mosaic.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, **options)
        arguments = f"{json.dumps(bundle.name)}, {as_json(bundle_data(bundle, inputs))}"
        script = f"pokecam.put({arguments});\n"
        (folder / f"{bundle.name}.js").write_text(script, encoding="utf-8", newline="\n")


def bundle_image(bundle: Bundle, inputs: Inputs, tile_px: int) -> Image.Image:
    """Return the packed images of a bundle in one image, line by line, `tile_px` a side."""
    mosaic = Image.new("RGB", (bundle.columns * tile_px, bundle.lines * tile_px))
    packed_rows = inputs.test_rows
    for position, row in enumerate(bundle.rows):
        tile = Image.fromarray(inputs.packed.pixels[packed_rows[row]])
        if tile.width > tile_px:
            tile = tile.resize((tile_px, tile_px), Image.Resampling.BOX)
        line, column = divmod(position, bundle.columns)
        mosaic.paste(tile, (column * tile_px, line * tile_px))
    return mosaic


def bundle_data(bundle: Bundle, inputs: Inputs) -> dict[str, Any]:
    """Return the data in the script of a bundle, of n images.

    Returns:
        probabilities: (n, C), in ten thousandths.
        classes: (n, k), the classes whose maps are stored: the most probable ones, and the label.
        maps: method → scale, (n, k); values, base64 of int16 (n, k, h, w), little-endian.
        masks: base64 of a bit for each pixel of (n, MASK_PX, MASK_PX); None without masks.
        boxes: n lists of boxes: left, top, right, bottom, as fractions of the side of the image;
            None without boxes.
        parts: n lists of parts: the importance of the part, and its share of the map of each
            method; None for an image whose parts were not measured.
    """
    classes = inputs.packed.classes
    predictions = inputs.predictions.iloc[bundle.rows]
    probabilities = predictions[[f"p:{name}" for name in classes]].to_numpy(float)
    labels = np.array([classes.index(label) for label in predictions["label"]])
    n_stored = _n_stored(len(classes), inputs.maps.values())
    selected = _select_classes(probabilities, labels, n_stored)
    rows = np.array(bundle.rows)
    files = predictions["file"].to_list()
    maps: dict[str, dict[str, Any]] = {}
    for method, stored in inputs.maps.items():
        # One image after another: full-size maps of all images would not fit into memory.
        small_maps = [
            downsample(stored.of(row, indices)) for row, indices in zip(rows, selected, strict=True)
        ]
        values, scale = quantise(np.stack(small_maps))
        maps[method] = {"scale": [[float(f"{s:.6g}") for s in row] for row in scale.tolist()]}
        maps[method]["values"] = _base64(values)
    return {
        "probabilities": np.round(10000 * probabilities).astype(int).tolist(),
        "classes": selected.tolist(),
        "maps": maps,
        "masks": _masks(inputs.packed, inputs.test_rows[rows]),
        "boxes": _boxes(inputs.packed, files),
        "parts": _parts(inputs, files),
    }


def downsample(maps: Floats) -> Floats:
    """Reduce maps to at most `MOST_SIDE` on a side, by means over the areas of larger pixels.

    Args:
        maps: (..., h, w).

    Returns:
        (..., min(h, MOST_SIDE), min(w, MOST_SIDE)).
    """
    *_, h, w = maps.shape
    height, width = _stored_size((h, w))
    if (height, width) == (h, w):
        return np.asarray(maps)
    return np.asarray(
        _averaging_matrix(h, height) @ maps @ _averaging_matrix(w, width).T, dtype=np.float32
    )


def quantise(maps: Floats) -> tuple[Int16s, Floats]:
    """Turn raw maps into int16 and a scale, value = int16 · scale.

    Args:
        maps: (..., h, w).

    Returns:
        The integers (..., h, w), at most ±STEPS, and the scales (...).
    """
    scale = np.abs(maps).max(axis=(-2, -1)).astype(np.float64) / STEPS
    divisor = np.where(scale > 0, scale, 1)[..., None, None]
    return np.round(maps / divisor).astype("<i2"), scale


def as_json(data: Any) -> str:
    """Return JSON that can stand in an HTML script element: it has no `<`.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _averaging_matrix(large: int, small: int) -> Floats:
    """Return the matrix (small, large) of means over `small` equal segments of `large` pixels."""
    edges = np.arange(small + 1) * large / small
    low = np.maximum(edges[:-1, None], np.arange(large))
    high = np.minimum(edges[1:, None], np.arange(large) + 1)
    return np.maximum(high - low, 0) * small / large


def _stored_size(size: Sequence[int]) -> tuple[int, int]:
    """Return the height and width at which maps of a size are stored."""
    height, width = (min(side, MOST_SIDE) for side in size)
    return height, width


def _n_stored(n_classes: int, maps: Iterable[StoredMaps]) -> int:
    """Return the number of classes whose maps are stored, the same for all methods."""
    largest = max(math.prod(_stored_size(stored.size)) for stored in maps)
    return min(n_classes, max(FEWEST, min(MOST, MOST_VALUES // largest)))


def _select_classes(
    probabilities: NDArray[np.float64], labels: NDArray[np.intp], n: int
) -> NDArray[np.intp]:
    """Return the n most probable classes of each image (N, n); the label replaces the last one
    where it is not among them."""
    selected = np.argsort(-probabilities, axis=1, kind="stable")[:, :n]
    missing = ~(selected == labels[:, None]).any(axis=1)
    selected[missing, -1] = labels[missing]
    return selected


def _masks(packed: Packed, rows: NDArray[np.intp]) -> str | None:
    if packed.masks is None:
        return None
    centres = (2 * np.arange(MASK_PX) + 1) * packed.masks.shape[1] // (2 * MASK_PX)
    small = packed.masks[rows][:, centres[:, None], centres] > 0
    return _base64(np.packbits(small)) if small.any() else None


def _boxes(packed: Packed, files: list[str]) -> list[list[list[float]]] | None:
    if packed.boxes is None:
        return None
    side = packed.pixels.shape[1]
    return [
        [[_four_digits(edge) for edge in box] for box in (boxes / side).tolist()]
        for boxes in packed.boxes_of(files)
    ]


def _scores(inputs: Inputs) -> dict[str, dict[str, list[float | None]]]:
    """Return file → measure → the score of the map of each method."""
    table = inputs.judgement.scores
    if table.empty:
        return {}
    measures = [name for name in inputs.judgement.about["measures"] if name in table]
    scores: dict[str, dict[str, list[float | None]]] = {}
    for file, rows in table.groupby("file", sort=False):
        by_method = rows.set_index("method").reindex(list(inputs.titles))
        columns = {name: [_number(value) for value in by_method[name]] for name in measures}
        scores[str(file)] = {
            name: values for name, values in columns.items() if any(v is not None for v in values)
        }
    return scores


def _parts(inputs: Inputs, files: list[str]) -> list[list[dict[str, Any]] | None]:
    """Return the parts of each image, the most important first."""
    table = inputs.judgement.parts
    if table is None:
        return [None] * len(files)
    methods = list(inputs.titles)
    by_file = dict(iter(table.groupby("file", sort=False)))
    return [_image_parts(by_file[file], methods) if file in by_file else None for file in files]


def _image_parts(table: pd.DataFrame, methods: list[str]) -> list[dict[str, Any]]:
    table = table.sort_values("drop", ascending=False, kind="stable")
    masses = table.reindex(columns=methods)
    shares = masses / masses.sum().where(lambda total: total > 0)
    return [
        {"part": part, "drop": _number(drop), "mass": [_number(share) for share in row]}
        for part, drop, row in zip(
            table["part"], table["drop"], shares.to_numpy().tolist(), strict=True
        )
    ]


def _number(value: float) -> float | None:
    """Return a number of four digits, None for NaN."""
    return None if pd.isna(value) else _four_digits(value)


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
