"""Tables of what the measures say: by picture, over pictures with intervals, in paired tests."""

from collections.abc import Callable
from dataclasses import asdict, astuple
from itertools import product

import numpy as np
import pandas as pd

from pokecam import localization
from pokecam.cam.methods import METHODS
from pokecam.judging import BASELINES, MEASURES, OF_ALL, Case, Numbers, Scores
from pokecam.significance import holm, interval, p_paired


def per_picture(case: Case, scores: Scores) -> pd.DataFrame:
    """A row for every picture and method: file, label, method, and every measure."""
    pairs = list(product(range(len(case.rows)), case.methods))
    files = case.packed.manifest.file.iloc[case.rows].to_list()
    return pd.DataFrame(
        {
            "file": [files[i] for i, _ in pairs],
            "label": [case.labels[i] for i, _ in pairs],
            "method": [method for _, method in pairs],
        }
        | {name: found.ravel() for name, found in scores.values.items()}
    )


def summary(case: Case, scores: Scores, seed: int) -> pd.DataFrame:
    """measure, method, label ("" for all classes), value, low, high, n: means over pictures, and
    `OF_ALL`, with bootstrap intervals over pictures. Measures that no picture answers are left
    out."""
    labels = np.array(case.labels)
    subsets = {"": np.full(len(labels), True)} | {c: labels == c for c in case.packed.classes}
    of_all: dict[str, tuple[Numbers, Callable[[Numbers], Numbers]]] = {
        "max_box_acc_v2": (scores.hits, localization.max_box_acc_v2),
        "px_ap": (scores.counts, localization.pixel_average_precision),
    }
    of_each = {name: (found, lambda mean: mean) for name, found in scores.values.items()}
    rows = [
        {"measure": name, "method": method, "label": label}
        | asdict(interval(found[subset, m], seed, statistic))
        for name, (found, statistic) in (of_each | of_all).items()
        if not np.isnan(found).all()
        for m, method in enumerate(case.methods)
        for label, subset in subsets.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "method", "label", "value", "low", "high", "n"])


def against_baselines(case: Case, scores: Scores, seed: int) -> pd.DataFrame:
    """measure, method, baseline, difference, low, high, n, p, p_holm: every method paired with
    every baseline on the same pictures. A positive difference is in the method's favour; p_holm is
    corrected for the number of rows."""
    rows = []
    for name, found in scores.values.items():
        if np.isnan(found).all():
            continue
        for (m, method), (b, baseline) in product(enumerate(case.methods), repeat=2):
            if method in BASELINES or baseline not in BASELINES:
                continue
            differences = MEASURES[name].better * (found[:, m] - found[:, b])
            estimate = astuple(interval(differences, seed))
            rows.append((name, method, baseline, *estimate, p_paired(differences)))
    names = ["measure", "method", "baseline", "difference", "low", "high", "n", "p"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(p_holm=holm(table.p.to_numpy(float)))


def over_pairs(pictures: pd.DataFrame, seed: int) -> pd.DataFrame:
    """measure, label, against, method, value, low, high, n: means of `judging.look_alikes` for
    every ordered pair of look-alikes, and for all together ("" twice)."""
    rows: list[tuple] = []
    of_pairs = list(pictures.groupby(["label", "against"], sort=False))
    for (label, against), some in [(("", ""), pictures), *of_pairs]:
        for method, found in some.groupby("method", sort=False):
            rows += [
                (name, label, against, method, *astuple(interval(found[name].to_numpy(), seed)))
                for name in ("margin", "drop", "differing")
            ]
    columns = ["measure", "label", "against", "method", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def by_condition(pictures: pd.DataFrame, seed: int) -> pd.DataFrame:
    """label ("" for all classes), condition, value, low, high, n: accuracy as of
    `judging.backgrounds`."""
    rows = [
        (label, condition, *astuple(interval(found.right.to_numpy(), seed)))
        for label, some in [("", pictures), *pictures.groupby("label", sort=False)]
        for condition, found in some.groupby("condition", sort=False)
    ]
    return pd.DataFrame(rows, columns=["label", "condition", "value", "low", "high", "n"])


def about(case: Case) -> dict[str, dict | list]:
    """What the names in the tables mean: measure → its `Measure`; method → title; baselines."""
    return {
        "measures": {name: asdict(entry) for name, entry in (MEASURES | OF_ALL).items()},
        "methods": {name: METHODS[name].title for name in case.methods},
        "baselines": list(BASELINES),
    }
