"""The files of the report: complete, safe, and the same bytes every time."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, quote

import pandas as pd
import pytest

from pokecam.common.files import write_csv
from pokecam.judging.tables import empty_tables
from pokecam.report.inputs import read_inputs
from pokecam.report.jinja import environment
from pokecam.report.write import write_report
from tests.conftest import PROJECT
from tests.report.conftest import CLASSES, HARMFUL


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def out(inputs, tmp_path_factory):
    """A report that the tests only read."""
    folder = tmp_path_factory.mktemp("out") / "reports"
    write_report(inputs, folder)
    return folder


@pytest.fixture(scope="module")
def html(out):
    return Elements((out / "index.html").read_text(encoding="utf-8"))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_bytes_in_another_process_without_torch(out, run_folder, tmp_path):
    command = (
        "import sys; from pathlib import Path; from stages import report;"
        "report.main(out=Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", command, tmp_path / "again"],
        cwd=run_folder,
        env={"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7", "HOME": str(tmp_path)},
        check=True,
    )
    assert contents(tmp_path / "again") == contents(out)


def test_other_files_stay_and_old_images_are_removed(inputs, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a-class-of-yesterday.jpg").write_text("old")
    (tmp_path / "notes.md").write_text("mine")
    write_report(inputs, tmp_path)
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        f"{slug}.{kind}"
        for slug in ("img-src-x-onerror-alert-1", "mr-mime-2", "mr-mime", "x-uni")
        for kind in ("jpg", "js")
    ]


def test_names_from_outside_are_only_text(html):
    assert HARMFUL in html.text
    assert not any(attributes.get("src") == "x" for _, attributes in html.elements)
    assert not any(name.startswith("on") for _, attributes in html.elements for name in attributes)
    assert {tag for tag, _ in html.elements}.isdisjoint({"iframe", "object", "svg"})
    assert [tag for tag, _ in html.elements].count("script") == 2  # the data and the viewer


def test_nothing_is_fetched_from_elsewhere(out, html):
    page = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|src=.?//", page)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    for source in html.values("src"):
        assert (out / source).is_file()


def test_every_link_leads_somewhere(out, html):
    identifiers = html.values("id")
    assert len(set(identifiers)) == len(identifiers)
    links = [link for link in html.values("href") if not link.startswith("data:,")]
    for link in links:
        if "=" not in link:
            assert link.removeprefix("#") in identifiers
            continue
        query = parse_qs(link.removeprefix("#"))
        assert query.keys() <= {"label", "predicted", "pair"}
        assert {*query.get("label", []), *query.get("predicted", [])} <= set(CLASSES)
        assert query.get("pair", ["Mr. Mime | mr-mime"]) == ["Mr. Mime | mr-mime"]
    mistake = f"#label={quote(HARMFUL)}&predicted=Mr.%20Mime"
    assert mistake in links  # from the confusion matrix


def test_nothing_about_this_machine(out, run_folder):
    for path, content in contents(out).items():
        assert b"/home/me" not in content, path
        assert str(run_folder).encode() not in content, path


def test_images_have_alternatives(html):
    images = [attributes for tag, attributes in html.elements if tag == "img"]
    assert all(attributes["alt"] for attributes in images)
    # The look-alikes, the contact sheet for pages without a script, and the curves.
    assert len(images) == 3


def test_tables_for_dvc(out):
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["accuracy"] == 0.875
    predictions = pd.read_csv(out / "predictions.csv")
    assert list(predictions) == ["file", "label", "predicted", "probability"]
    assert len(predictions) == 8
    assert list(pd.read_csv(out / "per_class.csv")["label"]) == CLASSES


def test_summary_shows_names_as_they_are_on_git_hosts(out):
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "resnet18 with average pooling" in text
    assert "(images)" in text
    figures = re.findall(r"!\[.+\]\((.+)\)", text)
    assert len(figures) == 5
    assert all((out / figure).is_file() for figure in figures)


def test_markdown_and_html_in_a_name_are_only_text():
    plain = environment().filters["plain"]
    assert plain("<b>*|[x](y)") == r"&#60;b&#62;\*\|\[x\](y)"
    hard = 'Ash\'s "x" & <y> #1'
    assert re.sub(r"\\(\W)", r"\1", unescape(plain(hard))) == hard


def test_file_names_have_only_safe_characters(out):
    names = {path.name for path in Path(out).rglob("*")} - {"README.md"}
    assert all(re.fullmatch(r"[a-z0-9_.-]+", name) for name in names)


@pytest.mark.parametrize("with_columns", [["deletion"], []])
def test_where_nothing_was_judged_the_report_says_so(run_folder, tmp_path, with_columns):
    """The tables of a judgement without rows, as `judge` writes them."""
    data = tmp_path / "data"
    shutil.copytree(run_folder / "data", data)
    about = (data / "judgement" / "about.json").read_bytes()
    shutil.rmtree(data / "judgement")
    for name, table in empty_tables().items():
        columns = [*table.columns, *(with_columns if name == "scores" else [])]
        write_csv(data / "judgement" / f"{name}.csv", pd.DataFrame(columns=columns))
    (data / "judgement" / "about.json").write_bytes(about)
    inputs = read_inputs(
        images_folder=data / "images",
        split=data / "split.csv",
        lookalikes=data / "lookalikes.json",
        history=run_folder / "models" / "history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        judgement=data / "judgement",
        settings=run_folder / "params.yaml",
    )
    write_report(inputs, tmp_path / "reports")
    page = Elements((tmp_path / "reports" / "index.html").read_text(encoding="utf-8"))
    assert "Nothing was judged" in page.text
    summary = (tmp_path / "reports" / "README.md").read_text(encoding="utf-8")
    assert "measures.svg" not in summary
    metrics = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    assert [name for name in metrics if name.startswith("map_")] == []
    assert metrics["accuracy"] == 0.875
