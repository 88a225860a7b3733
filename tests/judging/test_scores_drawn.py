"""Judging images of a drawn source: the importance of parts, and where look-alikes differ."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed import images
from pokecam.data.packing.pack import pack
from pokecam.data.sources import drawn, raw_zip
from pokecam.judging import tables
from pokecam.judging.case import BASELINES, Case
from pokecam.judging.ground_truth import find_ground_truth
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.lookalikes import compare_lookalikes
from pokecam.judging.measures import JudgeSettings
from pokecam.judging.parts import AREAS, partial_rank_correlation, score_parts, visible
from pokecam.judging.redrawing import Redrawing
from pokecam.judging.scores import score
from pokecam.judging.significance import holm
from pokecam.networks import classifier
from pokecam.networks.classifier import predict
from tests.conftest import PROJECT

SIZE_PX = 96
CLASSES = ["Squirtle", "Wartortle"]
ROWS = np.array([1, 3, 5, 7])  # of ten images, five a class


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def case(folder):
    members = drawn.members(
        PROJECT / "datasets" / "drawn.yaml", images_per_class=5, draw_seed=3, workers=1
    )
    raw_zip.write_raw_zip(members, folder / "raw.zip")
    pack(
        folder / "raw.zip",
        folder / "images",
        classes=CLASSES,
        image_size=SIZE_PX,
        unfinished=folder / "unfinished",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, SIZE_PX).eval()
    maps = {
        "cam": StoredMaps(np.random.default_rng(0).random((len(ROWS), 2, 6, 6), dtype=np.float32))
    }
    packed = images.load_packed(folder / "images")
    return Case(network, None, packed, ROWS, np.array([0, 1, 0, 1]), maps, [[0, 1]])


@pytest.fixture(scope="module")
def redrawing(case, folder):
    return Redrawing(folder / "images" / "scenes", SIZE_PX)


def settings():
    measures = ["localization", "parts", "lookalikes", "background"]
    return JudgeSettings(judge_measures=measures, judge_images=3, seed=1)


def test_the_importance_of_a_part_is_the_fall_of_the_logit_of_the_predicted_class(case, redrawing):
    scores = score(case, settings(), redrawing)
    table = scores.drops
    files = [case.files[i] for i in (0, 1, 2)]  # three of 2 + 2 images, classes taking turns
    assert list(table.file.unique()) == files
    for i, file in enumerate(files):
        number, label = ROWS[i], case.labels[i]
        for row in table[table.file == file].itertuples():
            (image,) = redrawing.images(label, int(case.scene_seeds[file]), [frozenset({row.part})])
            pixels = np.stack([case.packed.pixels[number], image])
            logits = predict(case.network, pixels, np.arange(2))[:, case.predicted[i]]
            assert row.drop == pytest.approx((logits[0] - logits[1]).item(), abs=1e-4)
            index = redrawing.parts(label).index(row.part) + 1
            assert row.area_px == (case.packed.masks[number] == index).sum()
    for name in ("parts", "decisive_part", "single_deletion"):
        is_measured = ~np.isnan(scores.values[name][:, 0])
        assert is_measured.tolist() == [True, True, True, False]


def test_parts_are_scored_by_their_rows(case, redrawing):
    """The scores again: from the table that is written, and over dilated regions."""
    scores = score(case, settings(), redrawing)
    for i, file in enumerate(case.files[:3]):
        rows = scores.drops[scores.drops.file == file]
        drops, areas = rows["drop"].to_numpy(), rows.area_px.to_numpy(float)
        x = classifier.prepare(torch.from_numpy(case.packed.pixels[ROWS[[i]]]))
        heatmaps = heatmaps_of_predicted(case, np.array([i]), x)[0]
        regions = visible(case.packed.masks[ROWS[i]], redrawing.parts(case.labels[i]))
        wide = {  # two pixels more on every side, as far as the image reaches
            name: np.lib.stride_tricks.sliding_window_view(np.pad(region, 2), (5, 5)).any((2, 3))
            for name, region in regions.items()
        }
        for m, method in enumerate(case.methods):
            mass = rows[method].to_numpy()
            wide_mass = [heatmaps[m][region].sum() for region in wide.values()]
            expected = {
                "parts": partial_rank_correlation(drops, mass, areas),
                "decisive_part": float(mass.argmax() == drops.argmax()),
                "single_deletion": (1 + stats.spearmanr(drops, wide_mass).statistic) / 2,
            }
            for name, number in expected.items():
                assert scores.values[name][i, m] == pytest.approx(number)
        wide_areas = [region.sum() for region in wide.values()]
        of_areas = (1 + stats.spearmanr(drops, wide_areas).statistic) / 2
        assert scores.areas["single_deletion"][i] == pytest.approx(of_areas)
        assert scores.areas["decisive_part"][i] == (areas.argmax() == drops.argmax())
    assert np.isnan(scores.areas["parts"]).all()
    assert np.isnan(scores.areas["single_deletion"][3])


def test_a_map_of_the_importances_is_perfect(case, redrawing):
    """The importance of each part, evenly on its pixels, is what the measures look for."""
    drops = score(case, settings(), redrawing).drops
    for i, file in enumerate(case.files[:3]):
        rows = drops[drops.file == file]
        regions = visible(case.packed.masks[ROWS[i]], redrawing.parts(case.labels[i]))
        importances = rows["drop"].to_numpy() - rows["drop"].min() + 0.1
        heatmap = sum(
            importance / region.sum() * region
            for importance, region in zip(importances, regions.values(), strict=True)
        )
        heatmaps = np.repeat(heatmap[None], len(case.methods), axis=0)
        perfect = score_parts(case, redrawing, i, heatmaps).of_maps
        assert perfect["parts"] == pytest.approx(1)
        assert perfect["decisive_part"] == pytest.approx(1)


def test_areas_alone_are_one_more_baseline_of_parts(case, redrawing):
    scores = score(case, settings(), redrawing)
    summary = tables.summary(case, scores, seed=0)
    of_areas = summary[(summary.method == AREAS) & (summary.label == "")].set_index("measure")
    assert list(of_areas.index) == ["decisive_part", "single_deletion"]
    expected = np.nanmean(scores.areas["single_deletion"])
    assert of_areas.value["single_deletion"] == pytest.approx(expected)
    assert of_areas.n["single_deletion"] == 3
    tests = tables.paired_tests(case, scores, seed=0)
    against = tests[tests.other == AREAS]
    pairs = set(zip(against.measure, against.method, strict=True))
    methods = [name for name in case.methods if name not in BASELINES]
    assert pairs == set(product(["decisive_part", "single_deletion"], methods))
    is_baseline = tests.other.isin([*BASELINES, AREAS])
    for family in (tests[is_baseline], tests[~is_baseline]):
        assert family.p_holm.to_numpy() == pytest.approx(holm(family.p.to_numpy()))


def test_ground_truth_is_the_mask_and_the_box_of_the_source(case):
    ground_truth = find_ground_truth(case.packed, ROWS)
    assert np.array_equal(ground_truth.masks, case.packed.masks[ROWS] > 0)
    boxes = case.packed.boxes.set_index("image")
    for file, (box,) in zip(case.files, ground_truth.boxes, strict=True):
        assert box.tolist() == boxes.loc[file, ["xmin", "ymin", "xmax", "ymax"]].tolist()


def test_look_alikes_are_compared_by_their_drawings(case, redrawing):
    table = compare_lookalikes(case, np.array([0, 3]), seed=1, redrawing=redrawing)
    assert set(zip(table.file, table.label, table.against, strict=True)) == {
        (case.files[0], "Squirtle", "Wartortle"),
        (case.files[3], "Wartortle", "Squirtle"),
    }
    assert table.differing.between(-1, 1).all()
    x = classifier.prepare(torch.from_numpy(case.packed.pixels[ROWS[3:4]]))
    with torch.inference_mode():
        logits = case.network(x)[0]
    margin = table[table.file == case.files[3]].margin
    assert margin.to_numpy() == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)


def refuse_to_train():
    raise AssertionError("the settings do not name shuffled_labels")


def test_the_tables_are_those_of_the_settings(case, redrawing):
    judgement = tables.judgement_tables(case, settings(), redrawing, refuse_to_train)
    assert set(judgement) == {
        *("scores", "measures", "tests", "parts", "importance", "lookalikes", "background"),
    }
    assert all(len(table) for table in judgement.values())
