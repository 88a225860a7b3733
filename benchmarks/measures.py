"""Which measures of maps deserve belief?

    python benchmarks/measures.py WORK                         # all networks, hours on two cores
    python benchmarks/measures.py WORK --networks 0 2 4        # some of them; the rest later

Trains networks of several backbones on drawn images, with other drawing seeds than the project's
runs; some for two epochs only, and some with a cheat: a mark in the corner of one species of each
pair of look-alikes. Then computes maps of many methods, at the last layer and at one in the middle,
and takes every measure of every map on 30 images. The reference is *important parts* on the 90
other images: how well a map agrees with the importance of the parts, which is measured without a
map (`pokecam/judging/parts.py`). Prints for every measure, as means over networks with 95 %
intervals over networks:

    clear       pairs of maps of which the reference clearly prefers one, (ordered alike − ordered
                differently) / pairs: the mean difference over images is more than three standard
                errors
    of methods  the same, without baselines and without occlusion, which asks the network as the
                reference does
    all         how alike the measure and the reference rank all maps: Kendall's τ
    halves      τ of the rankings of all maps by two random sets of 15 of the images
    class       how often the map of the predicted class scores better than the same method's map
                of the second class, of the images in which they differ; 0.5 if by chance

The row of important parts is the reference itself, on as few images as the measures have.

Whatever is finished in the folder WORK is not done again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from support.figures import with_interval
from support.measured_maps import (
    DIFFERENCE,
    NETWORKS,
    OF_SECOND_CLASS,
    SECOND,
    SEED,
    Result,
    measure_network,
)

from pokecam.commands.compare.trainings import spread
from pokecam.judging.case import BASELINES
from pokecam.judging.measures import MEASURES, OF_ALL
from pokecam.judging.significance import holm

N_HALVES = 100
CLEAR = 3  # standard errors
OCCLUSIONS = ("occlusion", "fine_occlusion")
# What the table of maps has beside the reference.
FURTHER = ("road", "insertion", "deletion", "energy", "max_box_acc_v2")
ENTRIES = MEASURES | OF_ALL

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def main() -> None:
    """Read the command line, measure what is missing, and print the tables."""
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
    print(f"{len(results)} networks, {len(predicted_maps(results[0]))} maps")
    for title, methods_only in (("clear pairs", False), ("of methods", True)):
        pairs = [clear_pairs(result, methods_only=methods_only) for result in results]
        n_clear = np.array([np.abs(of_network).sum() / 2 for of_network in pairs])
        n_maps = len(pairs[0])
        print(f"{title}: mean {n_clear.mean():.0f} of {n_maps * (n_maps - 1) // 2}")
    print(table_of_measures(results).to_markdown(index=False))
    print(table_of_maps(results).to_markdown(index=False))


def predicted_maps(result: Result, *, methods_only: bool = False) -> Indices:
    """Return the maps of the predicted class.

    Args:
        result: of a network.
        methods_only: leave out baselines and occlusion.
    """
    omitted = (*BASELINES, *OCCLUSIONS) if methods_only else ()
    return np.flatnonzero(
        [not name.startswith(SECOND) and name not in omitted for name in result.names]
    )


def is_measured(result: Result) -> NDArray[np.bool_]:
    """Return which images have every measure, not only those of parts and places."""
    return np.asarray(~np.isnan(result.values["insertion"]).all(axis=1))


def table_of_measures(results: Sequence[Result]) -> pd.DataFrame:
    """Compute the columns of the module's docstring for each measure; the best one comes first."""
    rows = [judge_measures(result) for result in results]
    titles = {name: entry.title for name, entry in ENTRIES.items()}
    titles[DIFFERENCE] = "Insertion − deletion"
    names = sorted(
        rows[0]["clear"], key=lambda name: -np.mean([row["clear"][name] for row in rows])
    )
    table = pd.DataFrame({"measure": [titles[name] for name in names]})
    for column in rows[0]:
        table[column] = [
            over_networks(np.array([row[column][name] for row in rows])) for name in names
        ]
    return table


def judge_measures(result: Result) -> dict[str, dict[str, float]]:
    """Judge the measures on one network: column → measure → figure."""
    images = np.flatnonzero(is_measured(result))
    all_maps, methods = predicted_maps(result), predicted_maps(result, methods_only=True)
    figures, of_methods = result.rank(images, all_maps), result.rank(images, methods)
    reference = result.rank(np.flatnonzero(~is_measured(result)), all_maps)["parts"]
    clear, clear_of_methods = clear_pairs(result), clear_pairs(result, methods_only=True)
    return {
        "clear": {name: agreement(numbers, clear) for name, numbers in figures.items()},
        "of methods": {
            name: agreement(numbers, clear_of_methods) for name, numbers in of_methods.items()
        },
        "all": {name: tau(numbers, reference) for name, numbers in figures.items()},
        "halves": agreement_of_halves(result, images, all_maps),
        "class": class_sensitivity(result, images) | dict.fromkeys(OF_ALL, float("nan")),
    }


def clear_pairs(result: Result, *, methods_only: bool = False) -> Floats:
    """Return of which pairs of maps the reference clearly prefers one.

    Returns:
        (maps, maps), of `predicted_maps`: 1 where the first map is better, −1 where the second one
        is, 0 where the mean difference over images is at most `CLEAR` standard errors.
    """
    parts = result.values["parts"][~is_measured(result)]
    parts = parts[:, predicted_maps(result, methods_only=methods_only)]
    differences = parts[:, :, None] - parts[:, None]
    n_images = (~np.isnan(differences)).sum(axis=0)
    errors = np.nanstd(differences, axis=0, ddof=1) / np.sqrt(n_images)
    means = np.nanmean(differences, axis=0)
    return np.where(np.abs(means) > CLEAR * errors, np.sign(means), 0)


def agreement(figures: Floats, clear: Floats) -> float:
    """Return how often figures order the clear pairs as the reference does, less how often not; NaN
    without a clear pair."""
    n_clear = np.abs(clear).sum()
    if not n_clear:
        return float("nan")
    return float((np.sign(figures[:, None] - figures) * clear).sum() / n_clear)


def tau(a: Floats, b: Floats) -> float:
    """Return Kendall's τ-b of two rankings of maps."""
    return float(stats.kendalltau(a, b).statistic)


def agreement_of_halves(result: Result, images: Indices, maps: Indices) -> dict[str, float]:
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


def class_sensitivity(result: Result, images: Indices) -> dict[str, float]:
    """Return measure → how often the map of the predicted class is better, of the images in which
    it is better or worse."""
    first = [result.names.index(name) for name in OF_SECOND_CLASS]
    second = [result.names.index(SECOND + name) for name in OF_SECOND_CLASS]
    shares = {}
    for name, numbers in result.values.items():
        differences = (numbers[:, first] - numbers[:, second])[images]
        shares[name] = float((differences > 0).sum() / (np.abs(differences) > 0).sum())
    return shares


def table_of_maps(results: Sequence[Result]) -> pd.DataFrame:
    """Compute what the maps reach in the reference itself, over all images.

    Returns:
        map, important parts, decisive part, and the difference of the latter to the baseline with
        the best decisive part (the areas of the parts alone are one), over networks; p of the
        t-test of this difference, with Holm's correction over the maps that are no baselines; and
        the means of the measures `FURTHER`.
    """
    maps = predicted_maps(results[0])
    names = np.array(results[0].names)[maps]
    is_baseline = np.isin(names, BASELINES)
    figures = [result.rank(np.arange(len(result.hits)), maps) for result in results]
    parts, decisive = (
        np.array([figure[name] for figure in figures]) for name in ("parts", "decisive_part")
    )
    baselines = dict(zip(names[is_baseline], decisive.T[is_baseline], strict=True))
    baselines["areas"] = np.array([np.nanmean(result.areas) for result in results])
    best = max(baselines, key=lambda name: baselines[name].mean())
    print("decisive part of areas:", over_networks(baselines["areas"]))
    differences = decisive - baselines[best][:, None]
    p = np.full(len(maps), np.nan)
    p[~is_baseline] = holm(stats.ttest_1samp(differences[:, ~is_baseline], 0).pvalue)
    table = pd.DataFrame(
        {
            "map": names,
            "important parts": [over_networks(column) for column in parts.T],
            "decisive part": [over_networks(column) for column in decisive.T],
            f"above {best}": [over_networks(column) for column in differences.T],
            "p": [f"{value:.1g}" for value in p],
        }
    )
    for name in FURTHER:
        sign = ENTRIES[name].better if name in MEASURES else 1
        means = sign * np.mean([figure[name] for figure in figures], axis=0)
        table[ENTRIES[name].title] = [f"{mean:.2f}" for mean in means]
    return table.iloc[np.argsort(-parts.mean(axis=0), kind="stable")]


def over_networks(figures: Floats) -> str:
    """Write the mean over networks with its interval."""
    summary = spread(figures)
    numbers = {"value": summary.mean, "low": summary.low, "high": summary.high}
    return with_interval(pd.Series(numbers), digits=2)


if __name__ == "__main__":
    main()
