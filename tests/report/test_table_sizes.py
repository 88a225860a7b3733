"""The report with tables of 0, 1 and more rows, and with names that look like numbers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pokecam.data.packed.csv_tables import read_table
from pokecam.judging.predictions import evaluate
from pokecam.report import gallery
from pokecam.report.inputs import Inputs, read_inputs
from pokecam.report.page import build_page
from pokecam.report.write import render_page, write_report
from tests.report.conftest import CLASSES

# Every table that the report reads and that can have any number of rows.
TABLES = [
    "images/boxes",
    "images/quarantine",
    "images/duplicates",
    "judgement/background",
    "judgement/importance",
    "judgement/lookalikes",
    "judgement/measures",
    "judgement/parts",
    "judgement/sanity",
    "judgement/scores",
    "judgement/tests",
]
# Tables that have a row for each method, or for each method and measure, or none: how many.
BLOCKS = {"judgement/lookalikes": 12, "judgement/measures": 20}


@pytest.fixture
def copied(run_folder, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def read(folder) -> Inputs:
    data = folder / "data"
    return read_inputs(
        images_folder=data / "images",
        split=data / "split.csv",
        lookalikes=data / "lookalikes.json",
        history=folder / "models" / "history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        judgement=data / "judgement",
        settings=folder / "params.yaml",
    )


def keep_rows(path, n_rows):
    """Shorten a csv to its header and `n_rows` lines."""
    table = read_table(path)
    table.head(n_rows).to_csv(path, index=False)


def evaluate_again(folder, labels, predicted, classes, files):
    """Write the evaluation of a network that is certain of `predicted`, and maps for it."""
    probabilities = np.full((len(labels), len(classes)), 0.1 / (len(classes) - 1))
    probabilities[np.arange(len(labels)), predicted] = 0.9
    result = evaluate(files, np.array(labels), probabilities, classes)
    evaluation = folder / "data" / "evaluation"
    for name in ("predictions", "per_class", "confusion"):
        getattr(result, name).to_csv(evaluation / f"{name}.csv", index=False)
    (evaluation / "metrics.json").write_text(json.dumps(result.metrics | {"weights": "none"}))
    for method in ("cam", "grad_cam"):
        maps = np.random.default_rng(0).normal(size=(len(labels), len(classes), 3, 3))
        np.save(folder / "data" / "cams" / f"{method}.npy", maps.astype(np.float32))


@pytest.mark.parametrize("n_rows", [0, 1, 2])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_may_have_any_number_of_rows(copied, table, n_rows):
    keep_rows(copied / "data" / f"{table}.csv", n_rows * BLOCKS.get(table, 1))
    inputs = read(copied)
    built = gallery.build_gallery(inputs)
    html = render_page(build_page(inputs), gallery.page_data(built, inputs))
    assert html.rstrip().endswith("</html>")
    for bundle in built.bundles:
        gallery.as_json(gallery.bundle_data(bundle, inputs))


@pytest.mark.parametrize("n_rows", [0, 1])
def test_all_tables_may_have_no_or_one_row(copied, tmp_path, n_rows):
    for table in TABLES:
        keep_rows(copied / "data" / f"{table}.csv", n_rows * BLOCKS.get(table, 1))
    write_report(read(copied), tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["quarantined"] == metrics["near_duplicates"] == n_rows
    assert metrics.get("map_deletion") == (0.1 if n_rows else None)


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_the_gallery_has_every_box(inputs, n_rows):
    """The test image has both boxes of the run, in fractions of 48 px."""
    few = replace(inputs, packed=replace(inputs.packed, boxes=inputs.packed.boxes.head(n_rows)))
    bundle = gallery.build_gallery(few).bundles[0]
    expected = [[0.125, 0.25, 0.625, 0.75], [0, 0.5, 0.25, 1]][:n_rows]
    assert gallery.bundle_data(bundle, few)["boxes"] == [expected, []]


@pytest.mark.parametrize("n_masks", [0, 1, 2])
def test_any_number_of_images_may_have_a_mask(inputs, n_masks):
    masks = np.zeros_like(inputs.packed.masks)
    masks[inputs.test_rows[:n_masks], :24] = 1
    few = replace(inputs, packed=replace(inputs.packed, masks=masks))
    bundle = gallery.build_gallery(few).bundles[0]
    assert (gallery.bundle_data(bundle, few)["masks"] is None) == (n_masks == 0)


@pytest.mark.parametrize("n_wrong", [0, 1])
def test_no_or_one_misclassified_image(copied, tmp_path, n_wrong):
    files = read_table(copied / "data" / "evaluation" / "predictions.csv").file.tolist()
    labels = np.repeat(range(len(CLASSES)), 2)
    predicted = labels.copy()
    predicted[:n_wrong] = 3
    evaluate_again(copied, labels, predicted, CLASSES, files)
    write_report(read(copied), tmp_path / "out")
    confusion = build_page(read(copied)).confusion
    assert np.trace(confusion) == len(labels) - n_wrong


def test_one_test_image_per_class(copied, tmp_path):
    path = copied / "data" / "split.csv"
    split = read_table(path)
    is_second = (split.subset == "test") & split.label.duplicated() & (split.index % 4 == 3)
    split.loc[is_second, "subset"] = "train"
    split.to_csv(path, index=False)
    files = split.file[split.subset == "test"].tolist()
    evaluate_again(copied, range(4), [0, 1, 2, 3], CLASSES, files)
    write_report(read(copied), tmp_path / "out")
    page = build_page(read(copied))
    assert page.confusion == np.eye(4).tolist()
    assert [result.support for result in page.classes] == [1] * 4


def test_classes_and_files_may_be_named_by_numbers(copied, tmp_path):
    """Names are text in all tables: 007 is not 7, and NaN is a name."""
    names = dict(zip(CLASSES, ["007", "7", "NaN", "1e3"], strict=True))

    def renamed(value):
        for before, after in names.items():
            if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
                return after + value.removeprefix(before)
        return value

    for path in (copied / "data").rglob("*.csv"):
        read_table(path).map(renamed).to_csv(path, index=False)
    path = copied / "data" / "evaluation" / "predictions.csv"
    text = path.read_text()
    header = ",".join(["file,label,predicted,probability", *(f"p:{n}" for n in names.values())])
    path.write_text("\n".join([header, *text.splitlines()[-8:]]) + "\n")
    classes = {"classes": list(names.values())}
    (copied / "data" / "images" / "classes.json").write_text(json.dumps(classes))
    groups = {"groups": [["7", "NaN"]]}
    (copied / "data" / "lookalikes.json").write_text(json.dumps(groups))
    inputs = read(copied)
    write_report(inputs, tmp_path / "out")
    page = build_page(inputs)
    assert [result.name for result in page.classes] == ["007", "7", "NaN", "1e3"]
    assert {part.label for part in page.trust.important_parts} == {"7", "007"}
    assert [pair.label for pair in page.trust.pairs] == ["", "7"]
    assert pd.read_csv(tmp_path / "out" / "per_class.csv", dtype=str, keep_default_na=False)[
        "label"
    ].tolist() == list(names.values())
