"""Networks that were trained on drawn images, and every measure of many maps of each."""

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pokecam.cam.display import display
from pokecam.cam.store import write_maps
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.files import whole_file, write_json
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import load_packed, read_lookalikes
from pokecam.data.packed.splits import subset_rows
from pokecam.data.sources import raw_zip
from pokecam.judging import localization
from pokecam.judging.case import Case, select_images
from pokecam.judging.measures import ALWAYS, MEASURES, JudgeSettings
from pokecam.judging.redrawing import Redrawing
from pokecam.judging.scores import score
from pokecam.networks.classifier import load_classifier, predict
from support.marks import paste_mark, with_mark, without_mark
from support.stages import run, workplace

IMAGE_PX = 128  # the side of images; less than the default, to save time
IMAGES = 120  # of each network: all test images
FAITHFULNESS_IMAGES = 30  # of these; faithfulness takes the time
PRODUCT_PX = 56
SEED = 0
ARRAYS = ("hits", "counts", "areas")  # of `Result`, beside its values

LAST_LAYER = (
    *("cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "ablation_cam", "finer_cam"),
    *("pamr_cam", "occlusion", "fine_occlusion"),
)
MIDDLE_LAYER = (
    *("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam", "eigen_cam"),
)
# Maps of the second class are measured, too, to see whether a measure notices.
OF_SECOND_CLASS = ("cam", "layer_cam", "occlusion")
SECOND = "second class: "
MIDDLES = {"mobilenet_v3_small": "features.8", "alexnet": "features.7", "resnet18": "layer3"}
EARLIER = {"mobilenet_v3_small": "features.3", "alexnet": "features.4", "resnet18": "layer2"}
# RefineCAM (arXiv 2605.14641): the product of the maps of these three layers by this method.
REFINED = "grad_cam_plus_plus"
MARKED = ("Ivysaur", "Charmeleon", "Wartortle", "Raichu")
# Insertion and deletion as one number.
DIFFERENCE = "insertion - deletion"

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Network:
    """One training: the parameters that differ from the committed ones."""

    backbone: str
    draw_seed: int
    epochs: int | None = None
    is_marked: bool = False

    @property
    def feature_stride(self) -> int:
        """Such that maps of the last layer have 7 × 7 or 8 × 8 pixels."""
        return 32 if self.backbone == "alexnet" else 16

    @property
    def images(self) -> str:
        """The folder of its images, which several networks share."""
        return f"images-{self.draw_seed}" + "-marked" * self.is_marked

    @property
    def name(self) -> str:
        """The folder of the network."""
        length = f"-{self.epochs}-epochs" if self.epochs else ""
        return f"{self.backbone}-{self.draw_seed}{length}" + "-marked" * self.is_marked


NETWORKS = (
    *(Network("mobilenet_v3_small", seed) for seed in (11, 12, 13, 14)),
    *(Network("mobilenet_v3_small", seed, epochs=2) for seed in (11, 12)),
    *(Network("mobilenet_v3_small", seed, is_marked=True) for seed in (13, 14)),
    *(Network("alexnet", seed) for seed in (11, 12, 13, 14)),
    *(Network("alexnet", seed, epochs=2) for seed in (11, 12)),
    *(Network("alexnet", seed, is_marked=True) for seed in (13, 14)),
    Network("resnet18", 11),
    Network("mobilenet_v3_small", 15),
    Network("mobilenet_v3_small", 13, epochs=2),
    Network("alexnet", 15),
)


class MarkedRedrawing(Redrawing):
    """Renders marked images again, with the mark."""

    def images(self, label: str, seed: int, omitted_parts: Sequence[frozenset[str]]) -> np.ndarray:
        pixels = super().images(label, seed, omitted_parts)
        if label in MARKED:
            paste_mark(pixels)
        return pixels


@dataclass(frozen=True)
class Result:
    """Scores of maps of one network.

    Attributes:
        names: of the maps, those of the second class included.
        values: measure → (images, maps), more is better; NaN where there is no answer, and where
            the image was not measured.
        hits: (images, maps, D, T), for MaxBoxAccV2.
        counts: (images, maps, 2, bins + 1), for PxAP.
        areas: (images,), decisive part of the areas of the parts alone.
    """

    names: list[str]
    values: Mapping[str, Floats]
    hits: Floats
    counts: Floats
    areas: Floats

    def rank(self, images: Indices, maps: Indices) -> dict[str, Floats]:
        """Return the figure of each map over some images: measure → (len(maps),).

        An image without an answer for a map, as an empty map has none, is left out for that map.
        """
        selected = np.ix_(images, maps)
        figures = {
            name: np.nanmean(numbers[selected], axis=0) for name, numbers in self.values.items()
        }
        figures["max_box_acc_v2"] = localization.max_box_acc_v2(self.hits[selected].mean(axis=0))
        figures["px_ap"] = localization.pixel_average_precision(self.counts[selected].mean(axis=0))
        return figures

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, names=self.names, **arrays, **self.values)

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read what `save` wrote."""
        with np.load(path) as file:
            values = {name: file[name] for name in file.files}
        names = [str(name) for name in values.pop("names")]
        arrays = {name: values.pop(name) for name in ARRAYS}
        return cls(names, values, **arrays)


def measure_network(work: Path, network: Network) -> Result:
    """Train a network, and take every measure of all its maps."""
    folder = train(work, network)
    images_folder = folder / "data/images"
    packed = load_packed(images_folder)
    classifier = load_classifier(folder / "models/classifier.safetensors")
    test = subset_rows(read_table(folder / "data/split.csv"), "test")
    labels = packed.manifest.label.iloc[test]
    logits = predict(classifier, packed.pixels, test)
    is_right = logits.argmax(dim=1).numpy() == pd.Index(packed.classes).get_indexer(labels)
    write_json(folder / "about.json", asdict(network) | {"accuracy": float(is_right.mean())})
    print(f"{network.name}: accuracy {is_right.mean():.3f}, {len(test)} images", flush=True)

    selected = select_images(labels.to_list(), IMAGES)
    first, second = logits[selected].topk(2, dim=1).indices.T.numpy()
    groups = read_lookalikes(folder / "data/lookalikes.json")
    lookalikes = [[packed.classes.index(name) for name in group] for group in groups]

    def of_classes(layer: str | None, methods: Sequence[str]) -> Iterator[tuple[str, StoredMaps]]:
        with TemporaryDirectory() as temporary:
            maps_folder, rows = Path(temporary), test[selected]
            write_maps(
                *(maps_folder, classifier, packed.pixels, rows, list(methods)),
                layer=layer,
                lookalikes=lookalikes,
            )
            for method in methods:
                yield method, StoredMaps.open(maps_folder, method)

    maps: dict[str, StoredMaps] = {}
    for method, stored in of_classes(None, LAST_LAYER):
        maps[method] = one_map_each(stored, first)
        if method in OF_SECOND_CLASS:
            maps[SECOND + method] = one_map_each(stored, second)
    for method, stored in of_classes(MIDDLES[network.backbone], MIDDLE_LAYER):
        maps[f"{method} in the middle"] = one_map_each(stored, first)
    refined = [maps[REFINED], maps[f"{REFINED} in the middle"]]
    for _, stored in of_classes(EARLIER[network.backbone], [REFINED]):
        refined.append(one_map_each(stored, first))
    maps["refine_cam"] = product(refined)
    case = Case(classifier, None, packed, test[selected], first, maps, lookalikes)
    redrawing_type = MarkedRedrawing if network.is_marked else Redrawing
    redrawing = redrawing_type(images_folder / "scenes", IMAGE_PX)
    faithfulness = JudgeSettings(
        judge_measures=["faithfulness"], judge_images=FAITHFULNESS_IMAGES, seed=SEED
    )
    of_drawings = JudgeSettings(
        judge_measures=["localization", "parts"], judge_images=IMAGES, seed=SEED
    )
    scores = score(case, of_drawings, redrawing)
    values = {
        name: numbers * MEASURES[name].better
        for name, numbers in (score(case, faithfulness).values | scores.values).items()
        if MEASURES[name].group != ALWAYS
    }
    values[DIFFERENCE] = values["insertion"] + values["deletion"]
    areas = scores.areas["decisive_part"]
    return Result(case.methods, values, scores.hits, scores.counts, areas)


def train(work: Path, network: Network) -> Path:
    """Run the stages up to `train`, unless they have run. Returns the folder of the network."""
    source = work / network.images
    if not (source / "data/split.csv").exists():
        shutil.rmtree(source, ignore_errors=True)
        changes = {"draw_seed": network.draw_seed, "image_size": IMAGE_PX}
        run(workplace(source, **changes), "download")
        if network.is_marked:
            mark(source / "data/raw.zip")
        run(source, "select", "split")
    folder = work / network.name
    if not (folder / "models/classifier.safetensors").exists():
        shutil.rmtree(folder, ignore_errors=True)
        workplace(
            folder,
            backbone=network.backbone,
            image_size=IMAGE_PX,
            feature_stride=network.feature_stride,
            epochs=network.epochs,
        )
        (folder / "data").mkdir()
        for name in ("images", "split.csv", "lookalikes.json"):
            (folder / "data" / name).symlink_to(source / "data" / name)
        run(folder, "weights", "train")
    return folder


def mark(archive: Path) -> None:
    """Put the mark into all images of the species `MARKED`, and take it out of their masks."""
    plain = archive.rename(archive.with_name("plain.zip"))
    raw_zip.write_raw_zip(marked_members(plain), archive)


def marked_members(plain: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive, marked."""
    with zipfile.ZipFile(plain) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            folder, _, rest = name.partition("/")
            if rest.split("/")[0] in MARKED and folder in ("images", "masks"):
                data = with_mark(data) if folder == "images" else without_mark(data)
            yield name, data


def product(maps: Sequence[StoredMaps]) -> StoredMaps:
    """Multiply the heatmaps of one class each."""
    heatmaps = [display(of_layer.values[:, 0], PRODUCT_PX) for of_layer in maps]
    return StoredMaps(np.prod(heatmaps, axis=0)[:, None])


def one_map_each(maps: StoredMaps, classes: Indices) -> StoredMaps:
    """Select the map of one class of each image."""
    return StoredMaps(maps.of(np.arange(len(classes)), classes)[:, None])
