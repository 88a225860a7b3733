"""Which measures of maps deserve belief?

    python benchmarks/measures.py WORK                         # all networks, hours on two cores
    python benchmarks/measures.py WORK --networks 0 2 4        # some of them; the others later

Trains networks of several backbones on drawn images, with other drawing seeds than the project's
runs; some for two epochs only, and some with a cheat: a mark in the corner of one species of each
pair of look-alikes. Then computes maps of many methods, at the last layer and at one in the middle,
and takes every measure of every map. Important parts, which need no map to know the answer, are
the truth (`pokecam/judging/parts.py`). Prints for every measure, as means over networks with 95 %
intervals over networks:

    all        how alike the measure and important parts rank all maps: Kendall's τ
    clear      the same for pairs of maps of which the truth is clear, (agreeing − other) / pairs:
               the mean difference over images is more than three standard errors
    class maps as "all", without baselines and occlusion, which asks the network as the truth does
    clear class maps  clear pairs of these
    decisive   τ of the measure and decisive part, all maps
    retest     τ of the rankings of all maps by random halves of 30 images
    class      share of images for which the map of the predicted class scores better than the same
               method's map of the second class; 0.5 if the measure does not see the class

Whatever is finished in the folder WORK is not done again.
"""

import argparse
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from support.figures import with_interval
from support.marks import paste_mark, with_mark, without_mark
from support.stages import run, workplace
from torch import Tensor

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.maps import compute_maps
from pokecam.cam.stored_maps import StoredMaps
from pokecam.commands.compare.trainings import spread
from pokecam.common.files import write_json
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import load_packed, read_lookalikes
from pokecam.data.packed.splits import subset_rows
from pokecam.data.sources import raw_zip
from pokecam.judging import localization
from pokecam.judging.case import BASELINES, Case, select_images
from pokecam.judging.measures import ALWAYS, MEASURES, OF_ALL, JudgeSettings
from pokecam.judging.redrawing import Redrawing
from pokecam.judging.scores import score
from pokecam.judging.significance import holm
from pokecam.networks.classifier import Classifier, in_batches, load_classifier, predict
from pokecam.networks.layers import cut_at

IMAGE_PX = 128  # the side of images; less than the default, to save time
IMAGES = 120  # of each network: all test images
FAITHFULNESS_IMAGES = 30  # of these; faithfulness takes the time
N_HALVES = 100
PRODUCT_PX = 56
SEED = 0
CLEAR = 3  # standard errors

LAST_LAYER = (
    *("cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "ablation_cam", "finer_cam"),
    *("pamr_cam", "occlusion", "fine_occlusion"),
)
MIDDLE_LAYER = (
    *("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam", "eigen_cam"),
)
PROBING = ("occlusion", "fine_occlusion")
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
BESIDE = ("deletion", "insertion", "road", "energy")  # beside the truth in the table of maps

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
    Network("alexnet", 13, is_marked=True),
    *(Network("resnet18", seed) for seed in (11, 12)),
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
        """Return the figure of each map over some images: measure → (len(maps),)."""
        chosen = np.ix_(images, maps)
        figures = {
            name: np.nanmean(numbers[chosen], axis=0) for name, numbers in self.values.items()
        }
        figures["max_box_acc_v2"] = localization.max_box_acc_v2(self.hits[chosen].mean(axis=0))
        figures["px_ap"] = localization.pixel_average_precision(self.counts[chosen].mean(axis=0))
        return figures

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self, name) for name in ("hits", "counts", "areas")}
        np.savez(path, allow_pickle=False, names=self.names, **arrays, **self.values)

    @classmethod
    def load(cls, path: Path) -> "Result":
        with np.load(path) as arrays:
            values = {name: arrays[name] for name in arrays.files}
        names = [str(name) for name in values.pop("names")]
        other = {name: values.pop(name) for name in ("hits", "counts", "areas")}
        return cls(names, values, **other)


def main() -> None:
    """Read the command line, measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="a folder for everything that is made")
    parser.add_argument("--networks", nargs="*", type=int, default=range(len(NETWORKS)))
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(exist_ok=True)
    for number in options.networks:
        network = NETWORKS[number]
        path = work / f"{network.name}.npz"
        if not path.exists():
            measure_network(work, network).save(path)
            print("finished:", network.name, flush=True)
    paths = [work / f"{network.name}.npz" for network in NETWORKS]
    results = [Result.load(path) for path in paths if path.exists()]
    n_maps = len(own_maps(results[0]))
    print(f"{len(results)} networks, {n_maps} maps, {IMAGES} images of each network")
    print(f"({FAITHFULNESS_IMAGES} of them for faithfulness and retest)")
    halves = np.array([retest(r, own_maps(r), np.arange(IMAGES))["parts"] for r in results])
    print(f"τ of important parts, by halves of all images: {over_networks(halves)}")
    clear = np.array([np.abs(clear_truth(r)).sum() / 2 for r in results])
    print(f"clear pairs, of {n_maps * (n_maps - 1) // 2}: {over_networks(clear)}")
    print(table_of(results).to_markdown(index=False))
    print(maps_table(results).to_markdown(index=False))


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

    def raw_maps(layer: str | None, method: str) -> StoredMaps:
        at_layer = fold_batchnorm(cut_at(classifier, layer))
        return all_maps(at_layer, packed.pixels, test[selected], method, lookalikes)

    maps: dict[str, StoredMaps] = {}
    for method in LAST_LAYER:
        of_classes = raw_maps(None, method)
        maps[method] = one_map_each(of_classes, first)
        if method in OF_SECOND_CLASS:
            maps[SECOND + method] = one_map_each(of_classes, second)
    for method in MIDDLE_LAYER:
        of_classes = raw_maps(MIDDLES[network.backbone], method)
        maps[f"{method} in the middle"] = one_map_each(of_classes, first)
    earlier = one_map_each(raw_maps(EARLIER[network.backbone], REFINED), first)
    maps["refine_cam"] = product([maps[REFINED], maps[f"{REFINED} in the middle"], earlier])
    case = Case(classifier, None, packed, test[selected], first, maps, lookalikes)
    redrawing_type = MarkedRedrawing if network.is_marked else Redrawing
    redrawing = redrawing_type(images_folder / "scenes", IMAGE_PX)
    faithfulness = JudgeSettings(
        judge_measures=["faithfulness"], judge_images=FAITHFULNESS_IMAGES, seed=SEED
    )
    others = JudgeSettings(judge_measures=["localization", "parts"], judge_images=IMAGES, seed=SEED)
    scores = score(case, others, redrawing)
    values = {
        name: numbers * MEASURES[name].better
        for name, numbers in (score(case, faithfulness).values | scores.values).items()
        if MEASURES[name].group != ALWAYS
    }
    values[DIFFERENCE] = values["insertion"] + values["deletion"]
    areas = scores.areas["decisive_part"]
    return Result(case.methods, values, scores.hits, scores.counts, areas)


def train(work: Path, network: Network) -> Path:
    """Run the stages up to `train`. Returns the folder of the network."""
    source = work / network.images
    if not (source / "data/split.csv").exists():
        changes = {"draw_seed": network.draw_seed, "image_size": IMAGE_PX}
        run(workplace(source, **changes), "download")
        if network.is_marked:
            mark(source / "data/raw.zip")
        run(source, "select", "split")
    folder = work / network.name
    if not folder.exists():
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
    if not (folder / "models/classifier.safetensors").exists():
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


def all_maps(
    network: Classifier, pixels: np.ndarray, rows: Indices, method: str, lookalikes: list[list[int]]
) -> StoredMaps:
    """Compute the raw maps of images by one method for all classes."""

    def map_batch(x: Tensor, _: slice) -> np.ndarray:
        return compute_maps(capture(network, x), method, lookalikes).numpy()

    batches = in_batches(network, pixels, rows, map_batch)
    return StoredMaps(np.concatenate([maps for _, maps in batches]))


def product(maps: Sequence[StoredMaps]) -> StoredMaps:
    """Multiply the heatmaps of one class each."""
    heatmaps = [display(of_layer.values[:, 0], PRODUCT_PX) for of_layer in maps]
    return StoredMaps(np.prod(heatmaps, axis=0)[:, None])


def one_map_each(maps: StoredMaps, classes: Indices) -> StoredMaps:
    """Select the map of one class of each image."""
    return StoredMaps(maps.of(np.arange(len(classes)), classes)[:, None])


def own_maps(result: Result) -> Indices:
    """Return the maps that are not of the second class."""
    return np.flatnonzero([not name.startswith(SECOND) for name in result.names])


def table_of(results: list[Result]) -> pd.DataFrame:
    """Compute the columns of the module's docstring for each measure; the best τ comes first."""
    rows = [judge_measures(result) for result in results]
    titles = {name: entry.title for name, entry in (MEASURES | OF_ALL).items()}
    titles[DIFFERENCE] = "Insertion − deletion"
    names = sorted(rows[0]["all"], key=lambda name: -np.mean([row["all"][name] for row in rows]))
    table = pd.DataFrame({"measure": [titles[name] for name in names]})
    for column in rows[0]:
        table[column] = [
            over_networks(np.array([row[column][name] for row in rows])) for name in names
        ]
    return table


def maps_table(results: list[Result]) -> pd.DataFrame:
    """Compute what the maps reach in the truth itself, and whether it is more than the areas do.

    Returns:
        map, important parts, decisive part, and its difference to decisive part of the areas alone,
        over networks; p of the t-test of this difference, with Holm's correction over maps; and the
        means of the measures `BESIDE`.
    """
    maps = own_maps(results[0])
    figures = [result.rank(np.arange(len(result.hits)), maps) for result in results]
    parts, decisive = (
        np.array([figure[name] for figure in figures]) for name in ("parts", "decisive_part")
    )
    areas = np.array([np.nanmean(result.areas) for result in results])
    differences = decisive - areas[:, None]
    p = holm(stats.ttest_1samp(differences, 0).pvalue)
    table = pd.DataFrame(
        {
            "map": np.array(results[0].names)[maps],
            "important parts": [over_networks(column) for column in parts.T],
            "decisive part": [over_networks(column) for column in decisive.T],
            "above the areas": [over_networks(column) for column in differences.T],
            "p": [f"{value:.1g}" for value in p],
        }
    )
    for name in BESIDE:
        means = np.mean([figure[name] for figure in figures], axis=0) * MEASURES[name].better
        table[MEASURES[name].title] = [f"{mean:.2f}" for mean in means]
    return table.iloc[np.argsort(-parts.mean(axis=0), kind="stable")]


def over_networks(figures: Floats) -> str:
    """Write the mean over networks with its interval."""
    of = spread(figures)
    return with_interval(pd.Series({"value": of.mean, "low": of.low, "high": of.high}), digits=2)


def judge_measures(result: Result) -> dict[str, dict[str, float]]:
    """Judge the measures on one network: column → measure → figure."""
    images = np.arange(len(result.hits))
    has_all_measures = ~np.isnan(result.values["insertion"]).all(axis=1)
    maps = own_maps(result)
    names = np.array(result.names)[maps]
    is_class_map = ~np.isin(names, [*BASELINES, *PROBING])
    figures = result.rank(images, maps)
    parts, decisive = figures["parts"], figures["decisive_part"]
    truth = clear_truth(result)
    truth_of_class_maps = truth[np.ix_(is_class_map, is_class_map)]
    return {
        "all": {name: tau(numbers, parts) for name, numbers in figures.items()},
        "clear": {name: agreement(numbers, truth) for name, numbers in figures.items()},
        "class maps": {
            name: tau(numbers[is_class_map], parts[is_class_map])
            for name, numbers in figures.items()
        },
        "clear class maps": {
            name: agreement(numbers[is_class_map], truth_of_class_maps)
            for name, numbers in figures.items()
        },
        "decisive": {name: tau(numbers, decisive) for name, numbers in figures.items()},
        "retest": retest(result, maps, np.flatnonzero(has_all_measures)),
        "class": class_sensitivity(result) | dict.fromkeys(OF_ALL, float("nan")),
    }


def clear_truth(result: Result) -> Floats:
    """Return for which pairs of maps the truth is clear.

    Returns:
        (maps, maps), of `own_maps`: 1 where the first map is better, −1 where the second one is, 0
        where the mean difference over images is at most `CLEAR` standard errors.
    """
    parts = result.values["parts"][:, own_maps(result)]
    differences = parts[:, :, None] - parts[:, None]
    n_images = (~np.isnan(differences)).sum(axis=0)
    errors = np.nanstd(differences, axis=0, ddof=1) / np.sqrt(n_images)
    means = np.nanmean(differences, axis=0)
    return np.where(np.abs(means) > CLEAR * errors, np.sign(means), 0)


def agreement(figures: Floats, truth: Floats) -> float:
    """Return how often figures order the clear pairs as the truth does, less how often not."""
    order = np.sign(figures[:, None] - figures)
    return float((order * truth).sum() / np.abs(truth).sum())


def tau(a: Floats, b: Floats) -> float:
    """Return Kendall's τ-b of two rankings of maps."""
    return float(stats.kendalltau(a, b).statistic)


def retest(result: Result, maps: Indices, images: Indices) -> dict[str, float]:
    """Return measure → the mean τ of the rankings by two random halves of some images."""
    rng = np.random.default_rng(SEED)
    pairs = []
    for _ in range(N_HALVES):
        first, second = np.array_split(rng.permutation(images), 2)
        pairs.append((result.rank(first, maps), result.rank(second, maps)))
    return {
        name: float(np.nanmean([tau(first[name], second[name]) for first, second in pairs]))
        for name in pairs[0][0]
    }


def class_sensitivity(result: Result) -> dict[str, float]:
    """Return measure → how often the map of the predicted class is better; a tie counts half."""
    own = [result.names.index(name) for name in OF_SECOND_CLASS]
    other = [result.names.index(SECOND + name) for name in OF_SECOND_CLASS]
    shares = {}
    for name, numbers in result.values.items():
        differences = numbers[:, own] - numbers[:, other]
        differences = differences[~np.isnan(differences)]
        shares[name] = float(((np.sign(differences) + 1) / 2).mean())
    return shares


if __name__ == "__main__":
    main()
