"""Judging: which images are asked, what lands in which table."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed.images import Packed
from pokecam.judging import localization, sanity, tables
from pokecam.judging.background import ELSEWHERE, FILLED_IN, LURED, classify_conditions
from pokecam.judging.case import BASELINES, Case, select_images, with_positive_evidence
from pokecam.judging.ground_truth import ground_truth
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.lookalikes import compare_lookalikes
from pokecam.judging.measures import MEASURES, JudgeSettings
from pokecam.judging.scores import distinct, score
from pokecam.networks.classifier import Classifier, GlobalAverage

SIZE_PX = 32
CLASSES = ["left", "right"]
N = 6


class Halves(nn.Module):
    """A body whose two channels are the red of the image's left and of its right half, at a
    resolution of 8 × 8."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        red = nn.functional.avg_pool2d(x[:, :1], SIZE_PX // 8).relu()  # (N, 1, 8, 8)
        sides = torch.zeros(2, 8, 8)
        sides[0, :, :4] = sides[1, :, 4:] = 1
        return red * sides * self.weight


def network():
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(2, 2)
    head.linear.weight.data, head.linear.bias.data = 20 * torch.eye(2), torch.zeros(2)
    return Classifier(
        Halves(), head, backbone="resnet18", head_kind="gap", classes=CLASSES, image_size=SIZE_PX
    ).eval()


def case(**changed):
    """Images with a red square in one half, which is the object; maps that know it, and maps
    that point at the other half."""
    pixels = np.zeros((N + 2, SIZE_PX, SIZE_PX, 3), np.uint8)
    labels = np.arange(N + 2) % 2
    boxes = []
    for i, label in enumerate(labels):
        left, top = 4 + 16 * label, 4 + 2 * i
        pixels[i, top : top + 8, left : left + 8, 0] = 255
        boxes.append((f"{i}.png", CLASSES[label], left, top, left + 8, top + 8))
    manifest = pd.DataFrame(
        {"file": [f"{i}.png" for i in range(N + 2)], "label": [CLASSES[i] for i in labels]}
    )
    edges = ["image", "label", "xmin", "ymin", "xmax", "ymax"]
    packed = Packed(
        **{"pixels": pixels, "manifest": manifest, "classes": CLASSES, "lookalikes": []},
        **{"masks": None, "parts": None, "scenes": None},
        boxes=pd.DataFrame(boxes, columns=edges),
    )
    rows = np.arange(2, N + 2)
    good = pixels[rows, ..., 0].reshape(N, 1, 8, 4, 8, 4).mean(axis=(3, 5)).astype(np.float32)
    good = np.concatenate([good * (labels[rows] == c)[:, None, None, None] for c in (0, 1)], 1)
    maps = {"cam": StoredMaps(good), "grad_cam": StoredMaps(good[..., ::-1].copy())}
    return Case(network(), None, packed, rows, labels[rows], maps, **changed)


def settings(**changed):
    values = {"judge_measures": ["faithfulness", "localization"], "judge_images": 4, "seed": 1}
    return JudgeSettings(**values | changed)


@pytest.fixture(scope="module")
def judged():
    one = case()
    return one, score(one, settings())


def test_classes_take_turns_in_being_asked():
    labels = ["a", "a", "a", "b", "c", "c"]
    assert select_images(labels, 3).tolist() == [0, 3, 4]
    assert select_images(labels, 4).tolist() == [0, 1, 3, 4]
    assert select_images(labels, 5).tolist() == [0, 1, 3, 4, 5]
    assert select_images(labels, 99).tolist() == [0, 1, 2, 3, 4, 5]


def test_maps_that_are_the_same_are_measured_once():
    a, b = np.random.default_rng(0).random((2, 3, 4, 4))
    shown = np.stack([a, b, a + 1e-7, b, a / 2], axis=1)
    assert distinct(shown) == ([0, 1, 4], [0, 1, 0, 1, 2])


def test_twins_have_the_same_figures(monkeypatch):
    one = case()
    maps = {"cam": one.maps["cam"], "grad_cam": StoredMaps(3 * one.maps["cam"].values)}
    twice = Case(one.classifier, None, one.packed, one.rows, one.predicted, maps)
    scores = score(twice, settings(judge_measures=["faithfulness"]))
    monkeypatch.setattr("pokecam.judging.scores.SAME_MAP", -1.0)
    each = score(twice, settings(judge_measures=["faithfulness"]))
    for name, found in scores.values.items():
        np.testing.assert_array_equal(found[:, 0], found[:, 1])
        np.testing.assert_allclose(found, each.values[name], atol=1e-6)


def test_baselines_are_judged_too_but_not_twice():
    one = case()
    assert one.methods == ["cam", "grad_cam", *BASELINES]
    maps = {"random": one.maps["cam"], "cam": one.maps["cam"]}
    again = Case(one.classifier, None, one.packed, one.rows, one.predicted, maps)
    assert again.methods == ["cam", "random", "centre", "edges"]


def test_baselines_come_last_and_what_speaks_against_a_class_is_not_judged():
    one = case()
    maps = {"edges": one.maps["cam"], "counterfactual": one.maps["cam"], "cam": one.maps["cam"]}
    again = Case(
        one.classifier, None, one.packed, one.rows, one.predicted, with_positive_evidence(maps)
    )
    assert again.methods == ["cam", "random", "centre", "edges"]


def test_a_map_of_the_object_beats_one_of_the_other_half(judged):
    scores = judged[1]
    for name, found in scores.values.items():
        known = ~np.isnan(found[:, 0])
        better = MEASURES[name].better * (found[known, 0] - found[known, 1])
        # This network names the left where it sees nothing, and so never flips away from it; nor
        # does it say much whether an image seen through its map is more probable.
        assert name in ("flip", "increase", "constant") or (better > 0).all(), name
        assert (better >= 0).all(), name
        expensive = MEASURES[name].group == "faithfulness"
        assert known.sum() == (4 if expensive else N)


def test_pointing_and_energy_by_hand(judged):
    scores = judged[1]
    assert scores.values["pointing"][:, :2].tolist() == [[1, 0]] * N
    assert (scores.values["energy"][:, 0] > 0.4).all()
    assert (scores.values["energy"][:, 1] == 0).all()


def test_the_summary_has_every_method_and_class_with_n(judged):
    one, scores = judged
    table = tables.summary(one, scores, seed=0)
    whole = table[table.label == ""].set_index(["measure", "method"])
    pointing = whole.loc[("pointing", "cam")]
    assert pointing[["value", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert pointing.n == N
    assert whole.loc[("deletion", "cam"), "n"] == 4
    assert set(table.label) == {"", *CLASSES}
    assert set(table.method) == set(one.methods)
    assert "parts" not in set(table.measure)
    x = torch.zeros(N, 3, SIZE_PX, SIZE_PX)
    shown = heatmaps_of_predicted(one, np.arange(N), x)[:, 0]
    ious = localization.best_ious(shown, ground_truth(one.packed, one.rows).boxes)
    expected = localization.max_box_acc_v2(localization.box_hits(ious).mean(axis=0))
    assert whole.loc[("max_box_acc_v2", "cam"), "value"] == pytest.approx(expected)
    assert (whole.low <= whole.value).all()
    assert (whole.value <= whole.high).all()


def test_methods_are_paired_with_baselines_in_their_favour(judged):
    one, scores = judged
    table = tables.paired(one, scores, seed=0)
    measures = len(scores.values) - 1  # not of constant maps
    between = table[~table.other.isin(BASELINES)]
    against = table[table.other.isin(BASELINES)]
    assert len(against) == measures * 2 * len(BASELINES)
    assert set(against.other) == set(BASELINES)
    found = against.set_index(["measure", "method", "other"]).loc[("energy", "cam", "random")]
    assert found.difference > 0
    assert found.p == pytest.approx(2 / 2**N)  # all six differences are positive
    assert found.p_holm == pytest.approx(min(1, found.p * len(against)))
    assert (table.p_holm >= table.p).all()
    assert (len(between), set(between.method), set(between.other)) == (
        measures,
        {"cam"},
        {"grad_cam"},
    )
    found = between.set_index("measure").loc["energy"]
    assert found.difference > 0  # its map points at the other half
    assert found.p_holm == pytest.approx(min(1, found.p * len(between)))


def test_parts_are_told_by_class_the_dearest_first():
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
    # shares of a map's mass: 3/4 and 1/2; the second method has no mass on the first image
    assert table.cam.tolist() == [0.625, 0.375, 1.0]
    assert table.random.tolist() == [0.25, 0.75, 1.0]
    assert (table.low[0], table.high[0]) == (2.0, 4.0)


def test_every_image_and_method_has_its_row(judged):
    one, scores = judged
    table = tables.per_image(one, scores)
    assert len(table) == N * len(one.methods)
    row = table[(table.file == "4.png") & (table.method == "grad_cam")].iloc[0]
    assert (row.label, row.pointing) == ("left", 0)
    assert table.deletion.notna().sum() == 4 * len(one.methods)


def test_the_seed_decides_and_nothing_is_drawn_in_between():
    first = score(case(), settings())
    torch.rand(3)
    second = score(case(), settings())
    other = score(case(), settings(seed=2))
    for name, found in first.values.items():
        np.testing.assert_array_equal(found, second.values[name])
    assert not np.array_equal(first.values["road"], other.values["road"], equal_nan=True)


def test_a_source_that_says_nothing_of_the_object_is_not_asked():
    one = case()
    bare = Packed(**vars(one.packed) | {"boxes": None})
    again = Case(one.classifier, None, bare, one.rows, one.predicted, one.maps)
    scores = score(again, settings(judge_measures=["localization"]))
    assert all(np.isnan(found).all() for name, found in scores.values.items() if name != "constant")
    assert set(tables.summary(again, scores, seed=0).measure) == {"constant"}
    assert tables.paired(again, scores, seed=0).empty


def test_look_alikes_are_compared_on_the_difference_of_their_maps():
    """Without the square, which the difference points at, nothing tells the sides apart; the other
    half of the image is nothing to the margin."""
    one = case()
    alike = Packed(**vars(one.packed) | {"lookalikes": [CLASSES]})
    pair = Case(one.classifier, None, alike, one.rows, one.predicted, one.maps)
    table = compare_lookalikes(pair, np.arange(4), seed=1)
    assert len(table) == 4 * len(pair.methods)
    assert set(zip(table.label, table.against, strict=True)) == {
        ("left", "right"),
        ("right", "left"),
    }
    of = dict(list(table.groupby("method")))
    assert (of["cam"]["drop"] > 0.5 * of["cam"].margin).all()
    assert of["grad_cam"]["drop"].abs().max() < 0.1
    assert table.differing.isna().all()
    over = tables.over_pairs(table, seed=0).set_index(["measure", "label", "method"])
    assert over.loc[("drop", "", "cam"), "n"] == 4
    assert over.loc[("drop", "left", "cam"), "value"] == pytest.approx(
        of["cam"][of["cam"].label == "left"]["drop"].mean()
    )


def test_without_look_alikes_there_is_nothing_to_compare():
    table = compare_lookalikes(case(), np.arange(4), seed=1)
    assert table.empty
    assert tables.over_pairs(table, seed=0).empty


def test_this_network_goes_by_the_object_and_not_by_the_background():
    table = classify_conditions(case(), seed=1)
    share = table.groupby("condition").named.mean()
    assert share["as it is"] == share[ELSEWHERE] == 1
    assert share[LURED] == 0
    assert share[FILLED_IN] < 1
    assert len(table) == 4 * N
    lured = table[table.condition == LURED].set_index("file").label
    own = table[table.condition == ELSEWHERE].set_index("file").label
    assert (lured != own).all()  # the class of the background
    summary = tables.by_condition(table, seed=0).set_index(["label", "condition"])
    assert summary.loc[("", "as it is"), "n"] == N
    assert summary.loc[("left", ELSEWHERE), "value"] == 1


def test_where_no_object_is_known_there_are_no_conditions():
    one = case()
    bare = Packed(**vars(one.packed) | {"boxes": None})
    table = classify_conditions(
        Case(one.classifier, None, bare, one.rows, one.predicted, one.maps), seed=1
    )
    assert table.empty
    assert tables.by_condition(table, seed=0).empty


def test_where_objects_of_one_class_are_known_no_background_is_changed():
    one = case()
    boxes = one.packed.boxes[one.packed.boxes.label == "left"]
    some = Packed(**vars(one.packed) | {"boxes": boxes})
    table = classify_conditions(
        Case(one.classifier, None, some, one.rows, one.predicted, one.maps), seed=1
    )
    assert set(table.condition) == {"as it is", FILLED_IN}


def test_boxes_of_some_images_only_and_several_of_one():
    one = case()
    first, second = one.packed.boxes.image.iloc[2:4]
    table = one.packed.boxes[one.packed.boxes.image.isin([first, second])]
    more = table.iloc[:1].assign(xmin=0, ymin=0, xmax=2, ymax=2)
    some = Packed(**vars(one.packed) | {"boxes": pd.concat([table, more])})
    again = Case(one.classifier, None, some, one.rows, one.predicted, one.maps)
    truth = ground_truth(some, one.rows)
    assert [len(boxes) for boxes in truth.boxes] == [2, 1, 0, 0, 0, 0]
    assert truth.masks.any(axis=(1, 2)).tolist() == [True, True] + [False] * 4
    scores = score(again, settings(judge_measures=["localization"]))
    assert (~np.isnan(scores.values["pointing"][:, 0])).tolist() == [True, True] + [False] * 4
    assert set(classify_conditions(again, seed=1).file) == {first, second}


def test_where_there_is_no_mask_the_box_says_where_the_object_is():
    """And the other way round; a mask and a box of one image both stand."""
    one = case()
    masks = np.zeros(one.packed.pixels.shape[:3], np.uint8)
    first, second = one.rows[:2]
    masks[first, 1:3, 2:5] = 3
    masks[second, :, 0] = 1
    boxes = one.packed.boxes[one.packed.boxes.image.isin([one.files[1], one.files[2]])]
    some = Packed(**vars(one.packed) | {"masks": masks, "boxes": boxes})
    truth = ground_truth(some, one.rows[:4])
    np.testing.assert_array_equal(truth.masks[:2], masks[[first, second]] > 0)
    assert truth.boxes[0].tolist() == [[2, 1, 5, 3]]
    given = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
    np.testing.assert_array_equal(np.concatenate(truth.boxes[1:3]), given)
    xmin, ymin, xmax, ymax = given[1].astype(int)
    assert truth.masks[2, ymin:ymax, xmin:xmax].all()
    assert truth.masks[2].sum() == (xmax - xmin) * (ymax - ymin)
    assert not truth.masks[3].any()
    assert len(truth.boxes[3]) == 0


def test_a_map_that_points_nowhere_is_counted():
    one = case()
    values = one.maps["cam"].values.copy()
    values[1] = -1.0
    maps = {"cam": StoredMaps(values)}
    again = Case(one.classifier, None, one.packed, one.rows, one.predicted, maps)
    scores = score(again, settings(judge_measures=["localization"]))
    assert scores.values["constant"].tolist() == [[float(i == 1), 0, 0, 0] for i in range(N)]
    assert scores.values["pointing"][1, 0] == 0
    assert np.isnan(scores.values["energy"][1, 0])


def test_in_a_group_of_three_an_image_counts_once_for_all_pairs():
    rows = [
        ("1.png", "a", other, "cam", 1.0, drop, np.nan) for other, drop in (("b", 1.0), ("c", 3.0))
    ]
    rows.append(("2.png", "b", "a", "cam", 1.0, 4.0, np.nan))
    columns = ["file", "label", "against", "method", "margin", "drop", "differing"]
    over = tables.over_pairs(pd.DataFrame(rows, columns=columns), seed=0)
    whole = over[(over.label == "") & (over.measure == "drop")].iloc[0]
    assert (whole.value, whole.n) == (3.0, 2)


def test_methods_that_run_the_network_for_every_channel_are_compared_on_fewer_images():
    one = case()
    maps = {"cam": one.maps["cam"], "score_cam": one.maps["cam"]}
    slow = Case(one.classifier, None, one.packed, one.rows, one.predicted, maps)
    table = sanity.after_shuffled_labels(slow, np.arange(N), network()).set_index("method")
    assert list(table.index) == ["cam", "score_cam"]
    assert (table.n + table.constant).tolist() == [N, N / 2]
    assert table.rank_correlation["cam"] > 0.5  # the same network, the square in the same place
