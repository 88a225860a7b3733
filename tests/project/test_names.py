"""Classes of any name go through the whole pipeline as they are written.

All in one archive, which can hold names that no folder can, and in one run of the real `dvc`.
"""

import csv
import json
import shutil
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import load_packed, read_lookalikes
from tests.support.images import image_bytes
from tests.support.repository import clone_project

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

# As an archive has them, and as they are known from then on if that is another name.
LONG, TURNED, ACCENTS = "L" * 300, "\u202elive", "Flabe\u0301be\u0301"
KNOWN_AS = {
    " leading": "leading",
    "trailing ": "trailing",
    TURNED: f"{TURNED}\u202c",
    ACCENTS: "Flabébé",
}
NAMES = [
    *("Nidoran♀", "Farfetch'd", "Mr. Mime", "Type: Null", "No", "1", "1e3", "null", "NaN", "~"),
    *("עברית", "العربية", TURNED, "👩\u200d🔬 lab", " leading", "trailing ", LONG, ACCENTS),
    *("=1+1", "<b>", '"quoted"', "a,b", "a;b", "$x$", "%s", "${source}", "{{7*7}}", "a|b", "ant.."),
    *("Ant", "CON", "aux"),
]
CLASSES = [KNOWN_AS.get(name, name) for name in NAMES]
LOOKALIKES = [["Ant", "CON"], ["1", "1e3", "No"], ["$x$", "%s"], [TURNED, LONG]]
EACH = 3  # images: one to train, one to validate, one to test


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = tmp_path_factory.mktemp("names")
    with zipfile.ZipFile(base / "images.zip", "w") as out:
        for i, name in enumerate(NAMES):
            for j in range(EACH):
                out.writestr(f"{name}/{j}.png", image_bytes(EACH * i + j))
        # Boxes that nobody gave a line.
        out.writestr("boxes.csv", "image;label;xmin;ymin;xmax;ymax\r\n")
    repository = clone_project(base / "repository", base / "images.zip")
    repository.set(
        classes=NAMES, lookalikes=LOOKALIKES, judge_measures=["faithfulness", "lookalikes"]
    )
    told = repository.run("dvc", "repro")
    assert "Traceback" not in told
    assert "UserWarning" not in told
    repository.commit("first run")
    return repository


def column(path, name: str) -> list[str]:
    """A column of a csv as another program than ours reads it."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_data_have_the_names_as_they_are(finished):
    data = finished.path / "data"
    packed = load_packed(data / "images")
    assert packed.classes == CLASSES
    groups = read_lookalikes(data / "lookalikes.json")
    assert groups == [[KNOWN_AS.get(name, name) for name in of] for of in LOOKALIKES]
    assert packed.boxes is not None
    assert packed.boxes.empty
    files = [f"{label}/{number}.png" for label in sorted(CLASSES) for number in range(EACH)]
    for table in (data / "images" / "manifest.csv", data / "split.csv"):
        assert column(table, "file") == files
        assert column(table, "label") == [file.rpartition("/")[0] for file in files]
    assert sorted(column(data / "split.csv", "subset")) == sorted(
        ["train", "val", "test"] * len(CLASSES)
    )


def test_predictions_and_reports_have_the_names_as_they_are(finished):
    reports = finished.path / "reports"
    predictions = read_table(finished.path / "data" / "evaluation" / "predictions.csv")
    assert set(predictions.label) == set(CLASSES)
    assert set(predictions.predicted) <= set(CLASSES)
    shares = predictions[[f"p:{name}" for name in CLASSES]].to_numpy(float)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert sorted(column(reports / "predictions.csv", "label")) == sorted(CLASSES)
    assert column(reports / "per_class.csv", "label") == CLASSES
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics["n_train"] == metrics["n_val"] == len(CLASSES)


def test_files_of_the_report_have_names_for_any_disk(finished):
    names = [path.name for path in (finished.path / "reports").rglob("*") if path.is_file()]
    assert all(name.isascii() and len(name) < 100 for name in names)
    assert len({path.lower() for path in names}) == len(names)


def test_figures_can_be_read(finished):
    """No image is squeezed to nothing by a long name, and all of them are drawings."""
    figures = finished.path / "reports" / "figures"
    for name in ("confusion", "curves", "measures"):
        root = ElementTree.parse(figures / f"{name}.svg").getroot()
        width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
        assert (100 if name == "measures" else 200) < height < 1200  # four measures are one line
        assert 200 < width < 1200
    for sheet in ("contact", "lookalikes"):
        Image.open(finished.path / "reports" / "sheets" / f"{sheet}.jpg").verify()


@pytest.mark.skipif(not CHROMIUM, reason="needs a chromium or google-chrome to drive")
def test_the_page_shows_the_names_as_text(finished):
    wrong = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto((finished.path / "reports" / "index.html").as_uri())
        texts = "found => found.map(one => one.textContent)"
        assert page.locator(".confusion thead th").evaluate_all(texts) == CLASSES
        values = "found => found.map(one => one.value)"
        assert page.locator("#label option").evaluate_all(values)[1:] == CLASSES
        files = "found => found.map(one => one.dataset.file.split('/')[0])"
        assert page.locator("#gallery .card").evaluate_all(files) == CLASSES
        for name in CLASSES:
            page.select_option("#label", name)
            assert page.locator("#count").inner_text() == f"1 of {len(CLASSES)} images"
        assert page.locator("main b").count() == 0
        # What is beside a name from right to left stays beside it.
        page.select_option("#label", "עברית")
        assert (
            page.locator("#gallery h3").inner_text()
            == "\u2068עברית\u2069 0 of 1 correctly classified"
        )
        page.locator("#gallery .card").scroll_into_view_if_needed()  # which fills it
        assert page.locator("#gallery .file").inner_text().startswith("\u2068עברית\u2069/")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        browser.close()
    assert wrong == []


def test_new_images_are_explained_by_class(finished, tmp_path):
    (tmp_path / "new.png").write_bytes(image_bytes(999))
    asked = [LONG, "$x$", "=1+1", "👩\u200d🔬 lab", "1e3"]
    words = ("explain", str(tmp_path / "new.png"), "--out", str(tmp_path), "--classes")
    told = finished.pokecam(*words, *asked)
    assert "Traceback" not in told
    assert Image.open(tmp_path / "new.png").size[1] > 5 * 64
    told = finished.pokecam(*words, "1e4", ok=False)
    assert "the classifier knows no 1e4. Did you mean 1e3?" in told


@pytest.mark.slow
def test_an_experiment_takes_names_in_quotes(finished):
    names = ["No", "1", "1e3", "null", "Farfetch'd", "Type: Null", "leading", "a,b", "CON", "Ant"]
    told = finished.run("dvc", "exp", "run", "-S", f"classes={json.dumps(names)}", "split")
    assert "Running stage 'split'" in told
    assert load_packed(finished.path / "data" / "images").classes == names
    for given, expected in (
        ('["a/b", "ant"]', "a/b holds a slash: a class is the name of the one folder"),
        ("[1, ant]", "put quotes around a name"),
    ):
        told = finished.run("dvc", "exp", "run", "-S", f"classes={given}", "select", ok=False)
        assert len([line for line in told.splitlines() if expected in line]) == 1
        assert "Traceback" not in told
