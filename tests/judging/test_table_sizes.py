"""Judgements with 0, 1 and more boxes, images, methods and look-alikes, read by the report."""

from dataclasses import replace

import numpy as np
import pytest

from pokecam.common.files import write_csv, write_json
from pokecam.judging import tables
from pokecam.report.inputs import read_judgement
from pokecam.report.trust import build_trust, headline_measures
from tests.judging.halves import CLASSES, build_case, settings

MEASURES = ["faithfulness", "localization", "lookalikes", "background", "parts"]


def judged(case, folder, measures=MEASURES):
    """Judge a case, write the tables as the stage does, and read them as the report does."""
    changes = settings(judge_measures=measures, judge_images=2)
    for name, table in tables.judgement_tables(case, changes, None, lambda: None).items():
        write_csv(folder / f"{name}.csv", table)
    write_json(folder / "about.json", tables.about(case))
    return read_judgement(folder)


def n_of(trust, title):
    """The number of images behind a measure; 0 if the page does not have it."""
    return sum(row.n for row in trust.rows if row.title == title)


@pytest.mark.parametrize("n_boxes", [0, 1, 3])
def test_any_number_of_test_images_may_have_a_box(tmp_path, n_boxes):
    """The first two boxes are of training images."""
    case = build_case()
    case = build_case(boxes=case.packed.boxes.head(2 + n_boxes))
    judgement = judged(case, tmp_path)
    trust = build_trust(judgement)
    assert n_of(trust, "Pointing game") == n_boxes
    conditions = {row.name: row.n for row in trust.conditions}
    assert conditions.get("the image as it is", n_boxes) == n_boxes
    assert bool(conditions) == (n_boxes > 0)
    assert ("map_pointing" in headline_measures(judgement)) == (n_boxes > 0)


@pytest.mark.parametrize("lookalikes", [[], [[0, 1]]])
def test_with_and_without_lookalikes(tmp_path, lookalikes):
    trust = build_trust(judged(build_case(lookalikes=lookalikes), tmp_path))
    assert [(pair.label, pair.n) for pair in trust.pairs] == (
        [("", 2), ("left", 1), ("right", 1)] if lookalikes else []
    )


@pytest.mark.parametrize("n_images", [1, 2])
def test_one_test_image_in_all_or_one_of_each_class(tmp_path, n_images):
    case = build_case(lookalikes=[[0, 1]])
    maps = {name: type(maps)(maps.values[:n_images]) for name, maps in case.maps.items()}
    case = replace(case, rows=case.rows[:n_images], predicted=case.predicted[:n_images], maps=maps)
    judgement = judged(case, tmp_path)
    trust = build_trust(judgement)
    assert n_of(trust, "Pointing game") == n_images
    assert {row.label for row in judgement.scores.itertuples()} == set(CLASSES[:n_images])
    assert np.isfinite(judgement.tests.p_holm).all()


def test_without_maps_of_the_network_only_the_baselines_are_judged(tmp_path):
    """As with `cam_methods: [counterfactual]`, whose maps are not judged."""
    case = replace(build_case(lookalikes=[[0, 1]]), maps={})
    trust = build_trust(judged(case, tmp_path))
    assert [column.is_baseline for column in trust.columns] == [True] * 3
    assert n_of(trust, "Pointing game") == 6


def test_without_measures_there_is_nothing_to_read(tmp_path):
    """Parts of images that are not drawn cannot be measured."""
    trust = build_trust(judged(build_case(), tmp_path, measures=["parts"]))
    assert not any(row.is_tested for row in trust.rows)
    assert not trust.pairs
    assert not trust.conditions
