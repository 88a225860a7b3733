"""What the page's script (viewer.js) is given: data of all test images, and bundles of those that
it loads when they come into view.

A bundle is some consecutive test images of one class: one JPEG that has them all, and one script
with their maps. Maps are kept as int16 and a scale: in bytes, little evidence for a class would be
lost beside much against it.
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
from pokecam.report.inputs import Inputs, own_probabilities
from pokecam.report.overlay import AGAINST, COLOURS
from pokecam.report.slugs import slugs

BUNDLE = 48  # images, at most
COLUMNS = 8  # of its image, at most
TILE_PX = 224  # side of an image in its bundle, at most
MASK_PX = 64  # side of the object's mask
JPEG_QUALITY = 80
MOST_SIDE = 56  # of a map; larger ones (Guided Grad-CAM's) are averaged down to this
MOST_VALUES = 4096  # of all maps of an image by one method
STEPS = 32767  # of a value, on either side of zero
FEWEST, MOST = 2, 11  # classes whose maps are kept

Shorts = NDArray[np.int16]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TestImage:
    """One test image. label, predicted: indices of classes. probability, own: of the predicted
    class and of its own. bundle, at: where it is. scores: measure → one for every method, None
    where it has none; None if nothing was measured of it."""

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
    """Where its images are: rows of the test part; and how they lie in its image, row by row."""

    name: str
    rows: list[int]
    columns: int

    @property
    def lines(self) -> int:
        return -(-len(self.rows) // self.columns)


@dataclass(frozen=True)
class Gallery:
    """The test images, in the order of the predictions, and how they are divided."""

    images: list[TestImage]
    bundles: list[Bundle]
    pairs: list[tuple[int, int]]  # of look-alikes
    tile_px: int


def build_gallery(inputs: Inputs) -> Gallery:
    """Divide the test images into bundles and collect what is known of each."""
    classes = inputs.packed.classes
    index_of = {name: i for i, name in enumerate(classes)}
    said = inputs.predictions
    probability = own_probabilities(said)
    scores = _scores(inputs)
    images: dict[int, TestImage] = {}
    bundles = []
    for label, slug in zip(classes, slugs(classes), strict=True):
        own = np.flatnonzero(said["label"] == label).tolist()
        for start in range(0, len(own), BUNDLE):
            rows = own[start : start + BUNDLE]
            name = slug if len(own) <= BUNDLE else f"{slug}.{start // BUNDLE + 1}"
            bundles.append(Bundle(name, rows, min(len(rows), COLUMNS)))
            for at, row in enumerate(rows):
                one = said.iloc[row]
                images[row] = TestImage(
                    file=one["file"],
                    label=index_of[label],
                    predicted=index_of[one["predicted"]],
                    probability=_digits(one["probability"]),
                    own=_digits(probability[row]),
                    bundle=name,
                    at=at,
                    scores=scores.get(one["file"]),
                )
    return Gallery(
        images=[images[row] for row in sorted(images)],
        bundles=bundles,
        pairs=list(
            dict.fromkeys(
                (index_of[a], index_of[b])
                for group in inputs.packed.lookalikes
                for a, b in combinations(sorted(group, key=classes.index), 2)
            )
        ),
        tile_px=min(inputs.packed.pixels.shape[1], TILE_PX),
    )


def data(gallery: Gallery, inputs: Inputs) -> dict[str, Any]:
    """What the script is told at once, to be written by `as_json`."""
    classes = inputs.packed.classes
    return {
        "classes": classes,
        "methods": [
            {"key": key, "title": title, "size": _side(inputs.maps[key].size)}
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
    """Write every bundle's image and script into `folder`."""
    # Where images do not end with the blocks of JPEG, colours must not be shared across them.
    shared = {} if gallery.tile_px % 16 == 0 else {"subsampling": 0}
    for bundle in gallery.bundles:
        whole = image(bundle, inputs, gallery.tile_px)
        path = folder / f"{bundle.name}.jpg"
        whole.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, **shared)
        told = f"pokecam.put({json.dumps(bundle.name)}, {as_json(contents(bundle, inputs))});\n"
        (folder / f"{bundle.name}.js").write_text(told, encoding="utf-8", newline="\n")


def image(bundle: Bundle, inputs: Inputs, tile_px: int) -> Image.Image:
    """The bundle's images as the network saw them, row by row."""
    whole = Image.new("RGB", (bundle.columns * tile_px, bundle.lines * tile_px))
    rows = inputs.test_rows
    for at, row in enumerate(bundle.rows):
        tile = Image.fromarray(inputs.packed.pixels[rows[row]])
        if tile.width > tile_px:
            tile = tile.resize((tile_px, tile_px), Image.Resampling.BOX)
        whole.paste(tile, (at % bundle.columns * tile_px, at // bundle.columns * tile_px))
    return whole


def contents(bundle: Bundle, inputs: Inputs) -> dict[str, Any]:
    """What the bundle's script hands over, lists with one entry for each of its n images.

    probabilities: of all C classes, in ten thousandths.
    classes: of which k the maps are kept: the most probable, and the image's own.
    maps: method → scale, (n, k); values, base64 of int16 (n, k, h, w), little-endian.
    masks: base64 of a bit for each pixel of (n, MASK_PX, MASK_PX); None if there are none.
    boxes: fractions of the image's side, left, top, right, bottom; None if there are none.
    parts: of each part what it is worth, and its share of every method's map; None if not known.
    """
    classes = inputs.packed.classes
    said = inputs.predictions.iloc[bundle.rows]
    probabilities = said[[f"p:{name}" for name in classes]].to_numpy(float)
    own = np.array([classes.index(label) for label in said["label"]])
    kept = _kept(probabilities, own, _n_kept(len(classes), inputs.maps.values()))
    rows = np.array(bundle.rows)
    files = said["file"].to_list()
    maps: dict[str, dict[str, Any]] = {}
    for method, values in inputs.maps.items():
        # One image after another: full-size maps of all would not fit into memory.
        reduced_ones = [reduced(values.of(row, some)) for row, some in zip(rows, kept, strict=True)]
        small, scale = quantised(np.stack(reduced_ones))
        maps[method] = {"scale": [[float(f"{s:.6g}") for s in row] for row in scale.tolist()]}
        maps[method]["values"] = _base64(small)
    return {
        "probabilities": np.round(10000 * probabilities).astype(int).tolist(),
        "classes": kept.tolist(),
        "maps": maps,
        "masks": _masks(inputs.packed, inputs.test_rows[rows]),
        "boxes": _boxes(inputs.packed, files),
        "parts": _parts(inputs, files),
    }


def reduced(maps: Floats) -> Floats:
    """Maps (..., h, w) with at most MOST_SIDE on a side: means over the areas of larger pixels."""
    *_, h, w = maps.shape
    height, width = _side((h, w))
    if (height, width) == (h, w):
        return np.asarray(maps)
    return np.asarray(_averaging(h, height) @ maps @ _averaging(w, width).T, dtype=np.float32)


def quantised(maps: Floats) -> tuple[Shorts, Floats]:
    """Raw maps (..., h, w) as int16 and a scale (...): value = int16 · scale, at most ±STEPS."""
    scale = np.abs(maps).max(axis=(-2, -1)).astype(np.float64) / STEPS
    divisor = np.where(scale > 0, scale, 1)[..., None, None]
    return np.round(maps / divisor).astype("<i2"), scale


def _averaging(large: int, small: int) -> Floats:
    """The matrix (small, large) of means over `small` equal parts of a row of `large` pixels."""
    edges = np.arange(small + 1) * large / small
    low = np.maximum(edges[:-1, None], np.arange(large))
    high = np.minimum(edges[1:, None], np.arange(large) + 1)
    return np.maximum(high - low, 0) * small / large


def _side(size: Sequence[int]) -> tuple[int, int]:
    """Height and width at which maps of some size are kept."""
    height, width = (min(side, MOST_SIDE) for side in size)
    return height, width


def _n_kept(n_classes: int, maps: Iterable[StoredMaps]) -> int:
    """Of how many classes maps are kept: the same of all methods."""
    largest = max(math.prod(_side(values.size)) for values in maps)
    return min(n_classes, max(FEWEST, min(MOST, MOST_VALUES // largest)))


def _kept(probabilities: NDArray[np.float64], own: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """The n most probable classes of each image (N, n); the last gives way to its own."""
    kept = np.argsort(-probabilities, axis=1, kind="stable")[:, :n]
    missing = ~(kept == own[:, None]).any(axis=1)
    kept[missing, -1] = own[missing]
    return kept


def _masks(packed: Packed, rows: NDArray[np.intp]) -> str | None:
    if packed.masks is None:
        return None
    centres = (2 * np.arange(MASK_PX) + 1) * packed.masks.shape[1] // (2 * MASK_PX)
    small = packed.masks[rows][:, centres[:, None], centres] > 0
    return _base64(np.packbits(small)) if small.any() else None


def _boxes(packed: Packed, files: list[str]) -> list[list[list[float]]] | None:
    if packed.boxes is None:
        return None
    edges = packed.boxes[["xmin", "ymin", "xmax", "ymax"]] / packed.pixels.shape[1]
    of_file = edges.groupby(packed.boxes["image"])
    known = set(of_file.groups)
    return [
        [[_digits(edge) for edge in row] for row in of_file.get_group(file).to_numpy().tolist()]
        if file in known
        else []
        for file in files
    ]


def _scores(inputs: Inputs) -> dict[str, dict[str, list[float | None]]]:
    """file → measure → the score of every method's map."""
    table = inputs.judgement.scores
    if table.empty:
        return {}
    measures = [name for name in inputs.judgement.about["measures"] if name in table]
    found: dict[str, dict[str, list[float | None]]] = {}
    for file, some in table.groupby("file", sort=False):
        of_method = some.set_index("method").reindex(list(inputs.titles))
        scores = {name: [_known(value) for value in of_method[name]] for name in measures}
        found[str(file)] = {
            name: values for name, values in scores.items() if any(v is not None for v in values)
        }
    return found


def _parts(inputs: Inputs, files: list[str]) -> list[list[dict[str, Any]] | None]:
    """Of each image its parts, those that are worth most first."""
    table = inputs.judgement.parts
    if table is None:
        return [None] * len(files)
    methods = list(inputs.titles)
    of_file = dict(iter(table.groupby("file", sort=False)))
    return [_of_parts(of_file[file], methods) if file in of_file else None for file in files]


def _of_parts(table: pd.DataFrame, methods: list[str]) -> list[dict[str, Any]]:
    table = table.sort_values("drop", ascending=False, kind="stable")
    mass = table.reindex(columns=methods)
    shares = mass / mass.sum().where(lambda total: total > 0)
    return [
        {"part": part, "drop": _known(drop), "mass": [_known(share) for share in row]}
        for part, drop, row in zip(
            table["part"], table["drop"], shares.to_numpy().tolist(), strict=True
        )
    ]


def _known(value: float) -> float | None:
    return None if pd.isna(value) else _digits(value)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def as_json(told: Any) -> str:
    """JSON that can stand in an HTML script element: without `<`; NaN is refused."""
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
