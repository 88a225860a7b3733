"""Tables of the scores."""

import numpy as np
import pandas as pd
import pytest
import torch

from pokecam.judging import localization, tables
from pokecam.judging.case import BASELINES
from pokecam.judging.ground_truth import find_ground_truth
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.scores import score
from tests.judging.halves import CLASSES, SIZE_PX, N, build_case, settings


def test_the_summary_has_every_method_and_class_with_n(scored):
    case, scores = scored
    table = tables.summary(case, scores, seed=0)
    of_all = table[table.label == ""].set_index(["measure", "method"])
    pointing = of_all.loc[("pointing", "cam")]
    assert pointing[["value", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert pointing.n == N
    assert of_all.loc[("deletion", "cam"), "n"] == 4
    assert set(table.label) == {"", *CLASSES}
    assert set(table.method) == set(case.methods)
    assert "parts" not in set(table.measure)
    x = torch.zeros(N, 3, SIZE_PX, SIZE_PX)
    heatmaps = heatmaps_of_predicted(case, np.arange(N), x)[:, 0]
    ious = localization.best_ious(heatmaps, find_ground_truth(case.packed, case.rows).boxes)
    expected = localization.max_box_acc_v2(localization.box_hits(ious).mean(axis=0))
    assert of_all.loc[("max_box_acc_v2", "cam"), "value"] == pytest.approx(expected)
    assert (of_all.low <= of_all.value).all()
    assert (of_all.value <= of_all.high).all()


def test_methods_are_paired_with_baselines_and_with_each_other(scored):
    case, scores = scored
    table = tables.paired_tests(case, scores, seed=0)
    n_measures = len(scores.values) - 1  # constant maps are not tested
    with_baselines = table[table.other.isin(BASELINES)]
    between_methods = table[~table.other.isin(BASELINES)]
    assert len(with_baselines) == n_measures * 2 * len(BASELINES)
    assert set(with_baselines.other) == set(BASELINES)
    row = with_baselines.set_index(["measure", "method", "other"]).loc["energy", "cam", "random"]
    assert row.difference > 0
    assert row.p == pytest.approx(2 / 2**N)  # all six differences are positive
    assert row.p_holm == pytest.approx(min(1, row.p * len(with_baselines)))
    assert (table.p_holm >= table.p).all()
    assert len(between_methods) == n_measures
    assert set(between_methods.method) == {"cam"}
    assert set(between_methods.other) == {"grad_cam"}
    row = between_methods.set_index("measure").loc["energy"]
    assert row.difference > 0  # the other map points at the other half
    assert row.p_holm == pytest.approx(min(1, row.p * len(between_methods)))


def test_every_image_and_method_has_its_row(scored):
    case, scores = scored
    table = tables.score_table(case, scores)
    assert len(table) == N * len(case.methods)
    row = table[(table.file == "4.png") & (table.method == "grad_cam")].iloc[0]
    assert (row.label, row.pointing) == ("left", 0)
    assert table.deletion.notna().sum() == 4 * len(case.methods)


def test_without_ground_truth_there_is_nothing_to_summarise_or_to_test():
    case = build_case(boxes=None)
    scores = score(case, settings(judge_measures=["localization"]))
    assert set(tables.summary(case, scores, seed=0).measure) == {"constant"}
    assert tables.paired_tests(case, scores, seed=0).empty


def test_the_most_important_part_of_each_class_comes_first():
    drops = pd.DataFrame(
        [
            ("1.png", "b", "ear", 20, 1.0, 1.0, 0.0),
            ("1.png", "b", "tail", 20, 2.0, 3.0, 0.0),
            ("2.png", "b", "tail", 20, 4.0, 0.5, 1.0),
            ("2.png", "b", "ear", 20, 0.0, 0.5, 3.0),
            ("3.png", "a", "ear", 20, 9.0, 5.0, 5.0),
        ],
        columns=["file", "label", "part", "area_px", "drop", "cam", "random"],
    )
    table = tables.importance_of_parts(drops, ["cam", "random"], seed=0)
    assert [tuple(row) for row in table[["label", "part", "drop", "n"]].to_numpy()] == [
        ("b", "tail", 3.0, 2),
        ("b", "ear", 0.5, 2),
        ("a", "ear", 9.0, 1),
    ]
    # Shares of the mass of a map: 3/4 and 1/2; the second method has no mass on the first image.
    assert table.cam.tolist() == [0.625, 0.375, 1.0]
    assert table.random.tolist() == [0.25, 0.75, 1.0]
    assert (table.low[0], table.high[0]) == (2.0, 4.0)


def test_in_a_group_of_three_an_image_counts_once_for_all_pairs():
    rows = [
        ("1.png", "a", other, "cam", 1.0, drop, np.nan) for other, drop in (("b", 1.0), ("c", 3.0))
    ]
    rows.append(("2.png", "b", "a", "cam", 1.0, 4.0, np.nan))
    columns = ["file", "label", "against", "method", "margin", "drop", "differing"]
    table = tables.lookalike_summary(pd.DataFrame(rows, columns=columns), seed=0)
    row = table[(table.label == "") & (table.measure == "drop")].iloc[0]
    assert (row.value, row.n) == (3.0, 2)
