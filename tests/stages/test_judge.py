"""The judge stage on images of one colour each, without ground truth."""

import json

import pandas as pd
import pytest

from tests.stages.workplace import CLASSES, Workplace


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    workplace = Workplace(tmp_path_factory.mktemp("judge"))
    for stage in ("train", "evaluate", "cam", "judge"):
        workplace.run(stage)
    return workplace


def judgement_folder(workplace):
    return workplace.path / "data" / "judgement"


def test_without_ground_truth_only_the_other_measures_are_computed(workplace):
    table = pd.read_csv(judgement_folder(workplace) / "measures.csv", keep_default_na=False)
    over_classes = table[table.label == ""].set_index(["measure", "method"])
    faithful = {"deletion", "insertion", "road", "flip", "drop", "increase", "constant"}
    assert set(table.measure) == faithful
    assert set(table.method) == {"cam", "grad_cam", "random", "centre", "edges"}
    assert set(table.label) == {"", *CLASSES}
    assert (table[(table.label == "") & (table.measure != "constant")].n == 4).all()
    # With this head the two methods give the same maps.
    for measure in set(table.measure):
        cam, grad_cam = (float(over_classes.value[measure, name]) for name in ("cam", "grad_cam"))
        assert cam == pytest.approx(grad_cam, abs=1e-4)


def test_only_tables_with_content_are_written(workplace):
    names = {path.name for path in judgement_folder(workplace).iterdir()}
    tables = {"background", "lookalikes", "measures", "sanity", "scores", "tests"}
    assert names == {"about.json", *(f"{name}.csv" for name in tables)}
    about = json.loads((judgement_folder(workplace) / "about.json").read_text())
    assert list(about["methods"]) == ["cam", "grad_cam", "random", "centre", "edges"]


def test_re_initialised_weights_change_the_maps(workplace):
    table = pd.read_csv(judgement_folder(workplace) / "sanity.csv")
    assert set(table.method) == {"cam", "grad_cam"}
    assert table.block.iloc[0] == "head"
    assert len(table) == 2 * 5
    assert not table.unchanged.any()


def test_a_second_run_writes_the_same_bytes(workplace):
    before = {path.name: path.read_bytes() for path in judgement_folder(workplace).iterdir()}
    workplace.run("judge")
    assert {
        path.name: path.read_bytes() for path in judgement_folder(workplace).iterdir()
    } == before


def test_only_the_selected_measures_are_computed(workplace):
    workplace.set(**workplace.parameters | {"judge_measures": ["localization"]})
    workplace.run("judge")
    table = pd.read_csv(judgement_folder(workplace) / "measures.csv")
    assert set(table.measure) == {"constant"}
    assert (judgement_folder(workplace) / "tests.csv").read_text().count("\n") == 1  # the header
    assert not (judgement_folder(workplace) / "sanity.csv").exists()


def test_nothing_is_judged_where_no_measure_is_selected(workplace):
    workplace.set(**workplace.parameters | {"judge_measures": []})
    workplace.run("judge")
    names = {path.name for path in judgement_folder(workplace).iterdir()}
    assert names == {"about.json", "measures.csv", "scores.csv", "tests.csv"}
    for name in ("measures", "scores", "tests"):
        assert pd.read_csv(judgement_folder(workplace) / f"{name}.csv").empty


def test_a_network_trained_on_shuffled_labels_is_compared_if_selected(workplace):
    workplace.set(**workplace.parameters | {"judge_measures": ["shuffled_labels"]})
    workplace.run("judge")
    first = (judgement_folder(workplace) / "sanity.csv").read_bytes()
    table = pd.read_csv(judgement_folder(workplace) / "sanity.csv")
    assert list(zip(table.method, table.block, strict=True)) == [
        ("cam", "shuffled labels"),
        ("grad_cam", "shuffled labels"),
    ]
    assert (table.rank_correlation < 1).all()
    assert (table.n + table.constant == 4).all()
    workplace.run("judge")
    assert (judgement_folder(workplace) / "sanity.csv").read_bytes() == first
