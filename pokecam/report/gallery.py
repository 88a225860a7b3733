"""What the page's script (viewer.js) is given: data of all test pictures, and bundles of those that
it loads when they come into view.

A bundle is some consecutive test pictures of one class: one JPEG that has them all, and one script
with their maps. Maps are kept as signed bytes and a scale.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pokecam.images import Packed
from pokecam.report.inputs import Inputs
from pokecam.report.names import slugs
from pokecam.report.overlay import AGAINST, COLOURS

BUNDLE = 48  # pictures, at most
COLUMNS = 8  # of its image, at most
TILE_PX = 224  # side of a picture in its bundle, at most
MASK_PX = 64  # side of the object's mask
JPEG_QUALITY = 80
MOST_SIDE = 56  # of a map; larger ones (Guided Grad-CAM's) are averaged down to this
MOST_VALUES = 4096  # of all maps of a picture by one method
FEWEST, MOST = 2, 11  # classes whose maps are kept

Bytes = NDArray[np.int8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """One test picture. label, predicted: indices of classes. probability, own: of the predicted
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
    """Where its pictures are: rows of the test part; and how they lie in its image, row by row."""

    name: str
    rows: list[int]
    columns: int

    @property
    def lines(self) -> int:
        return -(-len(self.rows) // self.columns)


@dataclass(frozen=True)
class Gallery:
    """The test pictures, in the order of the predictions, and how they are divided."""

    pictures: list[Picture]
    bundles: list[Bundle]
    pairs: list[tuple[int, int]]  # of look-alikes
    map_size: tuple[int, int]
    tile_px: int


def build(inputs: Inputs) -> Gallery:
    """Divide the test pictures into bundles and collect what is known of each."""
    classes = inputs.packed.classes
    index_of = {name: i for i, name in enumerate(classes)}
    said = inputs.predictions
    scores = _scores(inputs)
    pictures: dict[int, Picture] = {}
    bundles = []
    for label, slug in zip(classes, slugs(classes), strict=True):
        own = np.flatnonzero(said["label"] == label).tolist()
        for start in range(0, len(own), BUNDLE):
            rows = own[start : start + BUNDLE]
            name = slug if len(own) <= BUNDLE else f"{slug}.{start // BUNDLE + 1}"
            bundles.append(Bundle(name, rows, min(len(rows), COLUMNS)))
            for at, row in enumerate(rows):
                one = said.iloc[row]
                pictures[row] = Picture(
                    file=one["file"],
                    label=index_of[label],
                    predicted=index_of[one["predicted"]],
                    probability=_digits(one["probability"]),
                    own=_digits(one[f"p:{label}"]),
                    bundle=name,
                    at=at,
                    scores=scores.get(one["file"]),
                )
    return Gallery(
        pictures=[pictures[row] for row in sorted(pictures)],
        bundles=bundles,
        pairs=[
            (index_of[a], index_of[b])
            for group in inputs.packed.lookalikes
            for a, b in combinations(group, 2)
        ],
        map_size=_side(inputs.first_maps.shape[2:]),
        tile_px=min(inputs.packed.pixels.shape[1], TILE_PX),
    )


def data(gallery: Gallery, inputs: Inputs) -> dict[str, Any]:
    """What the script is told at once, to be written by `as_json`."""
    classes = inputs.packed.classes
    return {
        "classes": classes,
        "methods": [{"key": key, "title": title} for key, title in inputs.titles.items()],
        "measures": [
            {"key": key, "title": entry["title"], "better": entry["better"]}
            for key, entry in inputs.judgement.about["measures"].items()
            if key in inputs.judgement.scores
        ],
        "pairs": [{"key": f"{classes[a]} | {classes[b]}", "of": [a, b]} for a, b in gallery.pairs],
        "map_size": gallery.map_size,
        "tile_px": gallery.tile_px,
        "mask_px": MASK_PX,
        "colours": {name: _base64(table) for name, table in COLOURS.items()},
        "against": _base64(AGAINST),
        "bundles": {
            bundle.name: {"columns": bundle.columns, "rows": bundle.lines}
            for bundle in gallery.bundles
        },
        "pictures": [asdict(picture) for picture in gallery.pictures],
    }


def write(gallery: Gallery, inputs: Inputs, folder: Path) -> None:
    """Write every bundle's image and script into `folder`."""
    for bundle in gallery.bundles:
        image(bundle, inputs, gallery.tile_px).save(
            folder / f"{bundle.name}.jpg", "JPEG", quality=JPEG_QUALITY, optimize=True
        )
        told = f"pokecam.put({json.dumps(bundle.name)}, {as_json(contents(bundle, inputs))});\n"
        (folder / f"{bundle.name}.js").write_text(told, encoding="utf-8", newline="\n")


def image(bundle: Bundle, inputs: Inputs, tile_px: int) -> Image.Image:
    """The bundle's pictures as the network saw them, row by row."""
    whole = Image.new("RGB", (bundle.columns * tile_px, bundle.lines * tile_px))
    rows = inputs.test_rows
    for at, row in enumerate(bundle.rows):
        tile = Image.fromarray(inputs.packed.pixels[rows[row]])
        if tile.width > tile_px:
            tile = tile.resize((tile_px, tile_px), Image.Resampling.BOX)
        whole.paste(tile, (at % bundle.columns * tile_px, at // bundle.columns * tile_px))
    return whole


def contents(bundle: Bundle, inputs: Inputs) -> dict[str, Any]:
    """What the bundle's script hands over, lists with one entry for each of its n pictures.

    probabilities: of all C classes, in ten thousandths.
    classes: of which k the maps are kept: the most probable, and the picture's own.
    maps: method → scale, (n, k); values, base64 of int8 (n, k, h, w).
    masks: base64 of a bit for each pixel of (n, MASK_PX, MASK_PX); None if there are none.
    boxes: fractions of the picture's side, left, top, right, bottom; None if there are none.
    parts: of each part what it is worth, and its share of every method's map; None if not known.
    """
    classes = inputs.packed.classes
    said = inputs.predictions.iloc[bundle.rows]
    probabilities = said[[f"p:{name}" for name in classes]].to_numpy(float)
    own = np.array([classes.index(label) for label in said["label"]])
    kept = _kept(probabilities, own, _n_kept(len(classes), _side(inputs.first_maps.shape[2:])))
    rows = np.array(bundle.rows)
    files = said["file"].to_list()
    maps: dict[str, dict[str, Any]] = {}
    for method, values in inputs.maps.items():
        small, scale = quantised(reduced(values[rows[:, None], kept]))
        maps[method] = {"scale": [[_digits(s) for s in row] for row in scale.tolist()]}
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
    """Maps (..., h, w) no larger than MOST_SIDE: block means, where h and w allow."""
    *others, h, w = maps.shape
    height, width = _side((h, w))
    blocks = maps.reshape(*others, height, h // height, width, w // width)
    return blocks.mean(axis=(-3, -1), dtype=np.float32)


def quantised(maps: Floats) -> tuple[Bytes, Floats]:
    """Raw maps (..., h, w) as int8 and a scale (...): value = int8 · scale, the largest ±127."""
    scale = np.abs(maps).max(axis=(-2, -1)) / 127
    divisor = np.where(scale > 0, scale, 1)[..., None, None]
    return np.round(maps / divisor).astype(np.int8), scale.astype(np.float32)


def _side(size: Sequence[int]) -> tuple[int, int]:
    """The largest divisors of a map's height and width that are at most MOST_SIDE."""
    height, width = (
        next(small for small in range(min(side, MOST_SIDE), 0, -1) if side % small == 0)
        for side in size
    )
    return height, width


def _n_kept(n_classes: int, size: tuple[int, int]) -> int:
    return min(n_classes, max(FEWEST, min(MOST, MOST_VALUES // (size[0] * size[1]))))


def _kept(probabilities: NDArray[np.float64], own: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """The n most probable classes of each picture (N, n); the last gives way to its own."""
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
    """Of each picture its parts, those that are worth most first."""
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
