"""Tables of the scores: for each image, over images with intervals, in paired tests."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from itertools import combinations, product

import numpy as np
import pandas as pd

from pokecam.cam.methods import METHODS
from pokecam.judging import localization, sanity
from pokecam.judging.background import BETTER, classify_conditions
from pokecam.judging.case import BASELINES, Case, select_images
from pokecam.judging.lookalikes import compare_lookalikes
from pokecam.judging.measures import ALWAYS, MEASURES, OF_ALL, JudgeSettings
from pokecam.judging.parts import AREAS
from pokecam.judging.redrawing import Redrawing
from pokecam.judging.scores import Numbers, Scores, score
from pokecam.judging.significance import holm, interval, p_paired
from pokecam.networks.classifier import Classifier

MEASURE_COLUMNS = ["measure", "method", "label", "value", "low", "high", "n"]
TEST_COLUMNS = ["measure", "method", "other", "difference", "low", "high", "n", "p"]


def judgement_tables(
    case: Case,
    settings: JudgeSettings,
    redrawing: Redrawing | None,
    train_on_shuffled_labels: Callable[[], Classifier],
) -> dict[str, pd.DataFrame]:
    """Compute all tables that the settings ask for.

    Args:
        case: what is judged.
        settings: which measures; without any, nothing is judged.
        redrawing: of a drawn source.
        train_on_shuffled_labels: gives the network for the measure `shuffled_labels`.

    Returns:
        Name → table. The columns are those of the function that computes it, here or in the
        module of the measure.
    """
    groups, seed = settings.judge_measures, settings.seed
    if not groups:
        return empty_tables()
    scores = score(case, settings, redrawing)
    tables = {
        "scores": score_table(case, scores),
        "measures": summary(case, scores, seed),
        "tests": paired_tests(case, scores, seed),
    }
    if "parts" in groups and redrawing is not None:
        tables["parts"] = scores.drops
        tables["importance"] = importance_of_parts(scores.drops, case.methods, seed)
    if "lookalikes" in groups:
        selected = select_images(case.labels, settings.judge_images)
        comparisons = compare_lookalikes(case, selected, seed, redrawing)
        tables["lookalikes"] = lookalike_summary(comparisons, seed)
    if "background" in groups:
        tables["background"] = condition_summary(classify_conditions(case, seed), seed)
    n_sanity_images = min(settings.judge_images, sanity.IMAGES)
    sanity_images = select_images(case.labels, n_sanity_images)
    sanity_tables = []
    if "sanity" in groups:
        sanity_tables.append(sanity.compare_randomised(case, sanity_images, seed))
    if "shuffled_labels" in groups:
        network = train_on_shuffled_labels()
        sanity_tables.append(sanity.compare_shuffled_labels(case, sanity_images, network))
    if sanity_tables:
        tables["sanity"] = pd.concat(sanity_tables)
    return tables


def empty_tables() -> dict[str, pd.DataFrame]:
    """Return the tables that every judgement has, without rows."""
    columns = {
        "scores": ["file", "label", "method"],
        "measures": MEASURE_COLUMNS,
        "tests": [*TEST_COLUMNS, "p_holm"],
    }
    return {name: pd.DataFrame(columns=names) for name, names in columns.items()}


def score_table(case: Case, scores: Scores) -> pd.DataFrame:
    """Return file, label, method and every measure, a row for every image and method."""
    pairs = list(product(range(len(case.rows)), case.methods))
    return pd.DataFrame(
        {
            "file": [case.files[i] for i, _ in pairs],
            "label": [case.labels[i] for i, _ in pairs],
            "method": [method for _, method in pairs],
        }
        | {name: numbers.ravel() for name, numbers in scores.values.items()}
    )


def summary(case: Case, scores: Scores, seed: int) -> pd.DataFrame:
    """Average the scores over images.

    Returns:
        measure, method, label ("" for all classes), value, low, high, n: means over images, and
        the measures of `OF_ALL`, with bootstrap intervals over images. A measure without a number
        for any image is left out. The measures of parts have `AREAS` among their methods, where
        the areas alone have a number.
    """
    labels = np.array(case.labels)
    subsets = {"": np.full(len(labels), True)} | {c: labels == c for c in case.packed.classes}
    statistics: dict[str, tuple[Numbers, Callable[[Numbers], Numbers]]] = {
        name: (numbers, lambda mean: mean) for name, numbers in scores.values.items()
    }
    statistics["max_box_acc_v2"] = scores.hits, localization.max_box_acc_v2
    statistics["px_ap"] = scores.counts, localization.pixel_average_precision
    of_methods = [
        (name, method, numbers[:, m], statistic)
        for name, (numbers, statistic) in statistics.items()
        if not np.isnan(numbers).all()
        for m, method in enumerate(case.methods)
    ]
    of_areas = [
        (name, AREAS, numbers, lambda mean: mean)
        for name, numbers in scores.areas.items()
        if not np.isnan(numbers).all()
    ]
    rows = [
        {"measure": name, "method": method, "label": label}
        | asdict(interval(numbers[is_member], seed, statistic))
        for name, method, numbers, statistic in [*of_methods, *of_areas]
        for label, is_member in subsets.items()
    ]
    return pd.DataFrame(rows, columns=MEASURE_COLUMNS)


def paired_tests(case: Case, scores: Scores, seed: int) -> pd.DataFrame:
    """Compare every method with every baseline, and with the methods after it, on the same images.

    Returns:
        measure, method, other, difference, low, high, n, p, p_holm. A positive difference is in
        favour of the method. p_holm is corrected for the number of rows of its family:
        comparisons with baselines are one family, those between methods another. `AREAS` is a
        baseline of the measures of parts, where the areas alone have a number.
    """
    rows = []
    for name, numbers in scores.values.items():
        if np.isnan(numbers).all() or MEASURES[name].group == ALWAYS:
            continue
        columns = dict(zip(case.methods, numbers.T, strict=True))
        areas = scores.areas.get(name)
        if areas is not None and not np.isnan(areas).all():
            columns[AREAS] = areas
        for (method, values), (other, other_values) in combinations(columns.items(), 2):
            if method in BASELINES:  # they come last
                continue
            differences = MEASURES[name].better * (values - other_values)
            estimate = astuple(interval(differences, seed))
            rows.append((name, method, other, *estimate, p_paired(differences)))
    table = pd.DataFrame(rows, columns=TEST_COLUMNS)
    family = table.other.isin([*BASELINES, AREAS])
    return table.assign(p_holm=table.groupby(family).p.transform(lambda p: holm(p.to_numpy(float))))


def importance_of_parts(drops: pd.DataFrame, methods: Sequence[str], seed: int) -> pd.DataFrame:
    """Average the importance of each part over the images that show it.

    Args:
        drops: as `Scores.drops`.
        methods: the columns of `drops` that hold masses.
        seed: of the bootstrap.

    Returns:
        label, part, drop, low, high, n, and a column for each method: how far the logit of the
        predicted class falls without the part, and the mean share of the map's mass on parts that
        lies on this one. The most important part of each class comes first.
    """
    masses = drops[list(methods)]
    shares = masses / masses.groupby(drops.file).transform("sum")  # NaN where a map has no mass
    rows: list[tuple] = []
    for label, class_drops in drops.groupby("label", sort=False):
        class_rows = [
            (
                label,
                part,
                *astuple(interval(part_drops["drop"].to_numpy(float), seed)),
                *shares.loc[part_drops.index].mean(),
            )
            for part, part_drops in class_drops.groupby("part", sort=False)
        ]
        rows += sorted(class_rows, key=lambda row: -row[2])
    return pd.DataFrame(rows, columns=["label", "part", "drop", "low", "high", "n", *methods])


def lookalike_summary(comparisons: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Average the comparisons of look-alikes.

    Args:
        comparisons: as `lookalikes.compare_lookalikes` gives them.
        seed: of the bootstrap.

    Returns:
        measure, label, against, method, value, low, high, n, for every ordered pair of
        look-alikes and for all of them together ("" twice). In the latter an image counts once,
        however many look-alikes its class has.
    """
    rows: list[tuple] = []
    measures = ["margin", "drop", "differing"]
    pairs = list(comparisons.groupby(["label", "against"], sort=False))
    per_file = comparisons.groupby(["file", "method"], sort=False)[measures].mean().reset_index()
    for (label, against), pair_rows in [(("", ""), per_file), *pairs]:
        for method, method_rows in pair_rows.groupby("method", sort=False):
            rows += [
                (
                    name,
                    label,
                    against,
                    method,
                    *astuple(interval(method_rows[name].to_numpy(), seed)),
                )
                for name in measures
            ]
    columns = ["measure", "label", "against", "method", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def condition_summary(classified: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Average the predictions under each condition.

    Args:
        classified: as `background.classify_conditions` gives it.
        seed: of the bootstrap.

    Returns:
        label ("" for all classes), condition, value, low, high, n.
    """
    rows = [
        (label, condition, *astuple(interval(images.is_predicted.to_numpy(float), seed)))
        for label, class_images in [("", classified), *classified.groupby("label", sort=False)]
        for condition, images in class_images.groupby("condition", sort=False)
    ]
    return pd.DataFrame(rows, columns=["label", "condition", "value", "low", "high", "n"])


def about(case: Case) -> dict[str, dict | list]:
    """Explain the names in the tables.

    Returns:
        measures: measure → the fields of its `Measure`. methods: method → title. baselines: their
        names. part_baselines: name → title of what only the measures of parts have. conditions:
        condition → 1 if more is better, −1 if less is better.
    """
    return {
        "measures": {name: asdict(entry) for name, entry in (MEASURES | OF_ALL).items()},
        "methods": {name: METHODS[name].title for name in case.methods},
        "baselines": list(BASELINES),
        "part_baselines": {AREAS: "Areas alone"},
        "conditions": BETTER,
    }
