"""Tables of what the measures say: by picture, over pictures with intervals, in paired tests."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from itertools import combinations, product

import numpy as np
import pandas as pd

from pokecam.cam.methods import METHODS
from pokecam.judging import localization, parts, sanity
from pokecam.judging.background import BETTER, named
from pokecam.judging.case import BASELINES, Case, Numbers, chosen
from pokecam.judging.lookalikes import look_alikes
from pokecam.judging.scores import ALWAYS, MEASURES, OF_ALL, JudgeSettings, Scores, score
from pokecam.judging.significance import holm, interval, p_paired
from pokecam.networks.classifier import Classifier


def tables(
    case: Case,
    settings: JudgeSettings,
    redrawing: parts.Redrawing | None,
    shuffled: Callable[[], Classifier],
) -> dict[str, pd.DataFrame]:
    """Everything that was asked for, by name; each table is what a function here or in the module
    that computes it says.

    redrawing: of a drawn source. shuffled: gives a network that was trained on shuffled labels.
    """
    wanted, seed = settings.judge_measures, settings.seed
    scores = score(case, settings, redrawing)
    made = {
        "scores": per_picture(case, scores),
        "measures": summary(case, scores, seed),
        "tests": paired(case, scores, seed),
    }
    if "parts" in wanted and redrawing is not None:
        made["parts"] = scores.drops
        made["worth"] = worth_of_parts(scores.drops, case.methods, seed)
    if "lookalikes" in wanted:
        asked = np.flatnonzero(chosen(case.labels, settings.judge_pictures))
        made["lookalikes"] = over_pairs(look_alikes(case, asked, seed, redrawing), seed)
    if "background" in wanted:
        made["background"] = by_condition(named(case, seed), seed)
    few = np.flatnonzero(chosen(case.labels, min(settings.judge_pictures, sanity.PICTURES)))
    compared = []
    if "sanity" in wanted:
        compared.append(sanity.after_randomisation(case, few, seed))
    if "shuffled_labels" in wanted:
        compared.append(sanity.after_shuffled_labels(case, few, shuffled()))
    if compared:
        made["sanity"] = pd.concat(compared)
    return made


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


def paired(case: Case, scores: Scores, seed: int) -> pd.DataFrame:
    """measure, method, other, difference, low, high, n, p, p_holm: every method paired with every
    baseline, and with the methods after it, on the same pictures.

    A positive difference is in the method's favour. p_holm is corrected for the number of rows of
    its kind: those against baselines are one family, those between methods another.
    """
    rows = []
    for name, found in scores.values.items():
        if np.isnan(found).all() or MEASURES[name].group == ALWAYS:
            continue
        for (m, method), (o, other) in combinations(enumerate(case.methods), 2):
            if method in BASELINES:  # they come last
                continue
            differences = MEASURES[name].better * (found[:, m] - found[:, o])
            estimate = astuple(interval(differences, seed))
            rows.append((name, method, other, *estimate, p_paired(differences)))
    names = ["measure", "method", "other", "difference", "low", "high", "n", "p"]
    table = pd.DataFrame(rows, columns=names)
    family = table.other.isin(BASELINES)
    return table.assign(p_holm=table.groupby(family).p.transform(lambda p: holm(p.to_numpy(float))))


def worth_of_parts(drops: pd.DataFrame, methods: Sequence[str], seed: int) -> pd.DataFrame:
    """label, part, drop, low, high, n, and each method's share: how far the logit of the predicted
    class falls without a part, the mean over the pictures that show it, and the mean share of a
    map's mass on parts that lies on this one. Of each class the part that is worth most first.

    drops: as `Scores.drops`.
    """
    mass = drops[list(methods)]
    shares = mass / mass.groupby(drops.file).transform("sum")  # NaN where a map has no mass there
    rows: list[tuple] = []
    for label, of_class in drops.groupby("label", sort=False):
        found = [
            (
                label,
                part,
                *astuple(interval(some["drop"].to_numpy(float), seed)),
                *shares.loc[some.index].mean(),
            )
            for part, some in of_class.groupby("part", sort=False)
        ]
        rows += sorted(found, key=lambda row: -row[2])
    return pd.DataFrame(rows, columns=["label", "part", "drop", "low", "high", "n", *methods])


def over_pairs(pictures: pd.DataFrame, seed: int) -> pd.DataFrame:
    """measure, label, against, method, value, low, high, n: means of `contrast.look_alikes` for
    every ordered pair of look-alikes, and for all together ("" twice), where a picture counts once
    however many look-alikes its class has."""
    rows: list[tuple] = []
    figures = ["margin", "drop", "differing"]
    of_pairs = list(pictures.groupby(["label", "against"], sort=False))
    once = pictures.groupby(["file", "method"], sort=False)[figures].mean().reset_index()
    for (label, against), some in [(("", ""), once), *of_pairs]:
        for method, found in some.groupby("method", sort=False):
            rows += [
                (name, label, against, method, *astuple(interval(found[name].to_numpy(), seed)))
                for name in figures
            ]
    columns = ["measure", "label", "against", "method", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def by_condition(pictures: pd.DataFrame, seed: int) -> pd.DataFrame:
    """label ("" for all classes), condition, value, low, high, n: shares of
    `background.named`."""
    rows = [
        (label, condition, *astuple(interval(found.named.to_numpy(float), seed)))
        for label, some in [("", pictures), *pictures.groupby("label", sort=False)]
        for condition, found in some.groupby("condition", sort=False)
    ]
    return pd.DataFrame(rows, columns=["label", "condition", "value", "low", "high", "n"])


def about(case: Case) -> dict[str, dict | list]:
    """What the names in the tables mean: measure → its `Measure`; method → title; baselines;
    condition → 1 if more is better, −1 if less."""
    return {
        "measures": {name: asdict(entry) for name, entry in (MEASURES | OF_ALL).items()},
        "methods": {name: METHODS[name].title for name in case.methods},
        "baselines": list(BASELINES),
        "conditions": BETTER,
    }
