"""README and the guides in docs/: commands and examples run, links and names of files exist, and
tables and figures agree with the code and the committed report."""

import dataclasses
import functools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from dvc.cli.parser import DvcParserError, get_main_parser
from dvc.exceptions import DvcException
from dvc.utils import hydra
from PIL import Image
from pydantic import ValidationError
from torchvision.models import _api

from pokecam.__main__ import _parser
from pokecam.cam.fitting import check_methods
from pokecam.cam.methods import METHODS, Method
from pokecam.commands import schema
from pokecam.common import params
from pokecam.common.errors import InputError
from pokecam.data.sources.class_folders import Entry
from pokecam.data.sources.registry import SOURCES, Source
from pokecam.judging.measures import MEASURES, OF_ALL
from pokecam.networks import backbones
from pokecam.networks.classifier import build_classifier, save_classifier
from pokecam.networks.dry_run import run_without_content
from pokecam.networks.families import BACKBONES, Family
from pokecam.report.trust import IN_METRICS
from tests.conftest import PROJECT
from tests.support.networks import CHOSEN

DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [PROJECT / "README.md", *DOCS]
OTHERS = [PROJECT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "pretrained/README.md")]
PIPELINE = PROJECT / "dvc.yaml"
KEYS = {key for settings in schema.SETTINGS for key in settings.model_fields}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n)+)")
INLINE = re.compile(r"`([^`\n]+)`")
SETTING = re.compile(r"""(?:-S )?["']?([a-z_]+)(?:=|: )([^…]+?)["']?""")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMAND = re.compile(r"\s*([A-Z_]+=|for |git |touch |env |dvc |python -m (pokecam|stages\.))")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
SOURCE_ENDINGS = (".py", ".yaml", ".toml", ".js", ".css", ".md", ".html")
PYTHON_BEGINS = ("from ", "import ", "def ", "class ", "@", "with ", "assert ")


def of_each_page(pages=PAGES):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


def python_examples(text: str) -> list[str]:
    indented = [re.sub("^ {4}", "", block, flags=re.MULTILINE) for block in INDENTED.findall(text)]
    return [body for language, body in FENCED.findall(text) if language == "python"] + [
        block for block in indented if block.startswith(PYTHON_BEGINS)
    ]


def commands(lines: list[str]) -> Iterator[list[str]]:
    """The words of every command of dvc and pokecam in some lines."""
    for line in filter(COMMAND.match, lines):
        yield from split_at_operators(shlex.split(re.sub(" -S( …)?$", "", line), comments=True))


def in_blocks(text: str) -> list[str]:
    return [line for block in INDENTED.findall(text) for line in block.splitlines()]


def in_words(text: str) -> list[str]:
    """Commands in running text, completed: `dvc import-url --to-remote` leaves its address out."""
    return [shlex.join(fitting(words)) for words in commands(INLINE.findall(text))]


def fitting(words: list[str]) -> list[str]:
    """A mention of a command with as many arguments more as make it one, if any do."""
    longer = ([*words, *["x"] * count] for count in range(3))
    return next((one for one in longer if parsed(one)), words)


def split_at_operators(words: list[str]) -> Iterator[list[str]]:
    """`A=1 do dvc x; done && python -m pokecam y` → dvc x, python -m pokecam y."""
    command: list[str] = []
    for word in [*words, ";"]:
        command.append(word.rstrip(";"))
        if word.endswith(";") or word in ("&&", "|"):
            while command and (command[0] in ("do", "env") or re.match("[A-Z_]+=", command[0])):
                command.pop(0)
            command = [one for one in command if one not in ("", "&&", "|")]
            if command[:1] == ["dvc"] or command[:2] == ["python", "-m"]:
                yield command
            command = []


def parsed(command: list[str]):
    """What the program's own parser makes of a command; None if it refuses it."""
    program, *words = command
    dvc = program == "dvc"
    try:
        return (get_main_parser() if dvc else _parser()).parse_args(words if dvc else words[2:])
    except SystemExit as end:
        return end if end.code == 0 else None
    except DvcParserError:
        return None


def is_group(command: list[str]) -> bool:
    """Whether words are a mention of several commands: `dvc plots`."""
    options = [word for word in command if word.startswith("-")]
    return not options and bool(parsed([*command, "--help"]))


def check_overrides(overrides: list[str], folder: Path) -> None:
    """Apply what `-S` was given to the parameters, as DVC does, and read them as stages do."""
    path = folder / "params.yaml"
    given = [one for one in overrides if "$" not in one]
    for some in hydra.get_hydra_sweeps({path.name: given}) if given else []:
        path.write_text((PROJECT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        hydra.apply_overrides(path, some[path.name])
        values = params.read_all_params(path, PIPELINE)
        for settings in schema.SETTINGS:
            settings.model_validate(values)


@of_each_page()
def test_every_command_is_one_that_the_program_takes(page, tmp_path, capsys):
    text = page.read_text(encoding="utf-8")
    for command in commands(in_blocks(text) + in_words(text)):
        if command[2:] and command[2].startswith("stages."):
            assert (PROJECT / f"{command[2].replace('.', '/')}.py").is_file(), command
            continue
        found = parsed(command)
        assert found or is_group(command), command
        if page.name != "extending.md":  # which adds values
            check_overrides(getattr(found, "set_param", None) or [], tmp_path)
        assert getattr(found, "backbone", "resnet18") in BACKBONES, command
        assert set(getattr(found, "methods", None) or []) <= set(METHODS), command


@pytest.mark.parametrize(
    "line",
    [
        "dvc exp rum -S seed=1",
        "dvc exp run --cue",
        "python -m pokecam explain",
        "FLAG=1 python -m pokecam compare a --inn b",
        "git pull && dvc pul",
    ],
)
def test_a_command_that_is_none_would_be_noticed(line, capsys):
    (command,) = commands(in_blocks(f"\n\n    {line}\n"))
    assert not parsed(command)
    assert not is_group(command)


@pytest.mark.parametrize("override", ["backbne=resnet18", "backbone=resnet18,resnet19", "seed=x"])
def test_a_setting_that_is_none_would_be_noticed(override, tmp_path):
    with pytest.raises((ValidationError, DvcException)):
        check_overrides([override], tmp_path)


@of_each_page([page for page in PAGES if page.name != "extending.md"])  # which adds values
def test_every_setting_in_running_text_is_one_that_stages_take(page):
    """`weights=imagenet`, `-S classes=all`, `head: gap`."""
    values = params.read_all_params(PROJECT / "params.yaml", PIPELINE)
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for key, value in filter(None, map(setting, INLINE.findall(text))):
        for settings in schema.SETTINGS:
            if key in settings.model_fields:
                settings.model_validate(values | {key: params.load_yaml(value)})


def setting(name: str) -> tuple[str, str] | None:
    found = SETTING.fullmatch(name)
    return (found[1], found[2]) if found and found[1] in KEYS else None


def test_a_setting_in_running_text_is_found_in_each_of_its_forms():
    found = [*map(setting, ["head: gap", "head=gap", "-S head=gap", "-S 'head=gap'", "alike=1"])]
    assert found == [("head", "gap")] * 4 + [None]


# tests/project/test_model_file.py runs those of docs/model-file.md, which want files of their own.
@of_each_page([page for page in DOCS if page.name != "model-file.md"])
def test_every_python_example_runs(page, tmp_path, monkeypatch):
    """All examples of a page one after another, as a reader would; tables are put back."""
    (tmp_path / "models").mkdir()
    trained = build_classifier("squeezenet1_1", "gap", ["Ant", "Bee"], 64)
    save_classifier(trained, tmp_path / "models/classifier.safetensors", weights="none")
    Image.new("RGB", (80, 60), "red").save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    tables = (BACKBONES, METHODS, SOURCES, _api.BUILTIN_MODELS)
    copies = [dict(table) for table in tables]
    names: dict = {"__name__": page.stem}
    try:
        for example in python_examples(page.read_text(encoding="utf-8")):
            exec(compile(example, str(page), "exec"), names)
        if page.name == "extending.md":
            check_csv_source(names["csv_members"], tmp_path)
    finally:
        for table, copy in zip(tables, copies, strict=True):
            for name in table.keys() - copy.keys():
                del table[name]


def check_csv_source(csv_members, folder: Path) -> None:
    """The source of the guide yields the images that its csv names, and says what is wrong."""
    (folder / "a.png").write_bytes(b"one")
    table = folder / "labels.csv"
    table.write_text(f"file,label\n{folder}/a.png,Ant\n", encoding="utf-8")
    assert SOURCES["csv"].fits(table)
    assert list(csv_members(table)) == [("images/Ant/a.png", b"one")]
    table.write_text("file,label\n/no/such/file.png,Ant\n", encoding="utf-8")
    with pytest.raises(InputError, match="does not exist"):
        list(csv_members(table))
    table.write_text("image\na.png\n", encoding="utf-8")
    with pytest.raises(InputError, match="columns file and label"):
        list(csv_members(table))


def test_every_guide_to_an_addition_ends_with_files_command_stages_and_tests():
    text = (PROJECT / "docs/extending.md").read_text(encoding="utf-8")
    headings = [name for name in HEADING.findall(FENCED.sub("", text)) if name.startswith("A ")]
    assert len(headings) == 6
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    for heading in headings:
        section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
        lines = re.findall(
            r"^\| (files|try it|runs again|tests) \| (.+) \|$", section, re.MULTILINE
        )
        assert [name for name, _ in lines] == ["files", "try it", "runs again", "tests"], heading
        if heading != "A parameter":
            assert set(lines[2][1].split()) <= set(stages), heading


@pytest.mark.parametrize(
    ("entry", "heading"),
    [(Method, "A CAM method"), (Family, "A backbone"), (Entry, "A source"), (Source, "A source")],
)
def test_the_fields_of_an_entry_are_listed(entry, heading):
    text = (PROJECT / "docs/extending.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    fields = getattr(entry, "_fields", None) or [field.name for field in dataclasses.fields(entry)]
    told = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    in_words = {"title", "path"}  # of Method, which the example shows
    assert set(fields) - told <= in_words


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as git hosts make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {one.strip().replace(" ", "-") for one in plain}


@of_each_page([*PAGES, *OTHERS])
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("name", ["Makefile", "params.yaml"])
def test_every_section_that_a_file_names_is_there(name):
    """`README, "CAM methods"`, as the comments write it."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    named = re.findall(r'(README|docs/[\w-]+\.md), \\?"([^"\\]+)\\?"', text)
    assert named
    for page, heading in named:
        path = PROJECT / (page if page.endswith(".md") else f"{page}.md")
        assert heading in HEADING.findall(path.read_text(encoding="utf-8")), (page, heading)


def is_there(name: str) -> bool:
    """Whether a name that looks like a path is one of the tree, of what stages write, or of what
    commands write beside the tree (`.gitignore`)."""
    written = outputs()
    ignored = (PROJECT / ".gitignore").read_text(encoding="utf-8").split()
    of_dvc = (PROJECT / ".dvc/.gitignore").read_text(encoding="utf-8").split()
    return (
        (PROJECT / name).exists()
        or any((PROJECT / folder / name).exists() for folder in ("pokecam", "pokecam/cam"))
        or any(name == out or name.startswith(f"{out}/") for out in written)
        or any(out.startswith(name) for out in written)
        or f"/{name.split('/')[0]}/" in ignored
        or any(name.startswith(f".dvc{one}") for one in of_dvc)
    )


@functools.cache
def outputs() -> list[str]:
    """What stages write."""
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"].values()
    written = [out for stage in stages for out in stage["outs"]]
    return [one if isinstance(one, str) else next(iter(one)) for one in written]


def looks_like_a_path(name: str) -> bool:
    if not PATH.fullmatch(name) or name.startswith((".pth", ".html", ".yaml")):
        return False
    tops = {path.name for path in PROJECT.iterdir()} | {"data", "models", "checkpoints"}
    return name.split("/")[0] in tops if "/" in name else name.endswith(SOURCE_ENDINGS)


@of_each_page([*PAGES, *OTHERS])
def test_every_file_that_is_named_is_there(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    missing = [n for n in INLINE.findall(text) if looks_like_a_path(n) and not is_there(n)]
    assert missing == []


def test_a_file_that_is_not_there_would_be_noticed():
    for name in ("pokecam/cam/gone.py", "reports/metrics.yaml", "gone.py", "data/gone.csv"):
        assert looks_like_a_path(name)
        assert not is_there(name)
    for name in ("pokecam/cam/maps.py", "anywhere.py", "data/judgement/tests.csv"):
        assert looks_like_a_path(name)
        assert is_there(name)


def test_every_figure_of_metrics_is_explained():
    told = (PROJECT / "docs/reading-the-maps.md").read_text(encoding="utf-8")
    metrics = json.loads((PROJECT / "reports/metrics.json").read_text(encoding="utf-8"))
    assert [name for name in metrics if f"`{name}`" not in told] == []


@pytest.mark.parametrize("name", ["look-alikes.md", "reading-the-maps.md", "judging.md"])
def test_figures_with_intervals_are_those_of_the_committed_report(name):
    told = (PROJECT / "docs" / name).read_text(encoding="utf-8").replace("*", "")
    report = (PROJECT / "reports/index.html").read_text(encoding="utf-8")
    quoted = re.findall(r"(−?\d\.\d\d) \((−?[\d.]+ to −?[\d.]+)", told)
    assert len(quoted) >= 2
    for value, ends in quoted:
        cell = f'>{value}(</span>)?<span class="interval">{ends}<'
        assert re.search(cell, report), (value, ends)


def test_accuracies_in_the_guide_to_backbones_are_those_measured():
    guide = (PROJECT / "docs/backbones-and-heads.md").read_text(encoding="utf-8")
    names = ("measurements", "training", "drawn-pokedex", "shipped-weights")
    pages = [PROJECT / "docs" / f"{name}.md" for name in names]
    measured = "".join(page.read_text(encoding="utf-8") for page in pages)
    for figure in re.findall(r"\b0\.\d{3}\b", guide):
        assert figure in measured or f"{100 * float(figure):.1f} %" in measured, figure


def test_figures_of_readme_stand_in_the_pages_that_it_links():
    """Accuracies and shares, in README and in the pages that summarise: 0.964, 2 of 36."""
    summaries = [PROJECT / name for name in ("README.md", "docs/judging.md", "docs/training.md")]
    sources = [PROJECT / "docs/measurements.md", PROJECT / "docs/reading-the-maps.md"]
    report = (PROJECT / "reports/index.html").read_text(encoding="utf-8")
    measured = report + "".join(page.read_text(encoding="utf-8") for page in sources)
    # docs/comparison.md has the ratios of time; the other two are the setting of ROAD.
    exempt = {"0.38", "0.05", "0.02", "0.3"}
    metrics = json.loads((PROJECT / "reports/metrics.json").read_text(encoding="utf-8"))
    numbers = [value for value in metrics.values() if not isinstance(value, str)]
    rounded = {f"{value:.5f}" for value in numbers}
    for page in summaries:
        text = re.sub(r"(?m)^ {4}.*", "", page.read_text(encoding="utf-8"))
        figures = set(re.findall(r"(?<![\w.])[01]\.\d+(?![\w.]*\d)", text)) - exempt - rounded
        assert [figure for figure in sorted(figures) if figure not in measured] == [], page.name


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = (PROJECT / page).read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names_in(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_readme_is_short_enough_to_read():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_readme_explains_every_stage_in_one_sentence():
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    table = rows("README.md", "How it works")
    assert names_in([row[0] for row in table]) == list(stages)


def test_readme_lists_every_method_and_what_it_needs():
    table = rows("README.md", "CAM methods")
    assert sorted(names_in([row[0] for row in table])) == sorted(METHODS)
    for methods, _, needs in table:
        names = names_in([methods])
        if needs.startswith("as "):  # "as `cam`, `grad_cam`", one for each
            for name, other in zip(names, names_in([needs]), strict=True):
                assert METHODS[name].linear_head == METHODS[other].linear_head, name
            continue
        for name in names:
            assert METHODS[name].linear_head == ("`head: gap`" in needs), name
            assert METHODS[name].relu_only == ("ReLU" in needs), name


def test_the_guide_to_maps_defines_every_measure_of_maps():
    table = rows("docs/reading-the-maps.md", "Each measure of maps")
    entries = MEASURES | OF_ALL
    assert sorted(names_in([row[2] for row in table])) == sorted(entries)
    for title, metric, measures, *_ in table:
        for name in names_in([measures]):
            arrow = "↑" if entries[name].better > 0 else "↓"
            assert title.endswith(arrow), name
            assert entries[name].title.split(" at")[0] in title, name
            assert names_in([metric]) == ([f"map_{name}"] if name in IN_METRICS else []), name


def test_recommended_measures_are_bold_and_first_in_the_guides():
    recommended = {entry.title for entry in MEASURES.values() if entry.is_recommended}
    titles = [row[0] for row in rows("docs/reading-the-maps.md", "Each measure of maps")]
    is_bold = [title.startswith("**") for title in titles]
    assert {title.strip("*↑↓ ") for title, bold in zip(titles, is_bold, strict=True) if bold} == (
        recommended
    )
    assert is_bold == sorted(is_bold, reverse=True)
    believed = [row[0] for row in rows("docs/judging.md", "Which measures deserve belief?")]
    bold = {title.strip("*") for title in believed if title.startswith("**")}
    assert bold == recommended - {"Important parts", "Decisive part"}  # what all are compared with


def test_the_guide_to_judging_lists_every_measure():
    listed = json.loads((PROJECT / "params.schema.json").read_text(encoding="utf-8"))
    names = listed["properties"]["judge_measures"]["items"]["enum"]
    assert sorted(names_in([row[0] for row in rows("docs/judging.md", "The measures")])) == (
        sorted(names)
    )


def test_the_layout_in_readme_is_that_of_the_tree():
    text = (PROJECT / "README.md").read_text(encoding="utf-8").split("## Project layout\n")[1]
    folder = ""
    written = ("data/", "models/", "reports/")
    for line in INDENTED.search("\n" + text)[0].splitlines():
        first = line.strip().split("  ")[0]
        inner = line.startswith(" " * 6)
        folder = folder if inner else ""
        names = re.split(r",? ", first)
        for name in names:
            assert (PROJECT / folder / name).exists() or name in written, name
        if first == "pokecam/":
            folder = first
    packages = {path.name for path in (PROJECT / "pokecam").iterdir() if path.is_dir()}
    missing = [name for name in packages - {"__pycache__"} if f"      {name}/" not in text]
    assert missing == []


def test_every_page_is_linked_from_readme_and_stands_in_the_navigation_of_the_site():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    linked = {target.partition("#")[0] for target in LINK.findall(text)}
    navigation = (PROJECT / "docs/conf.py").read_text(encoding="utf-8")
    for page in DOCS:
        assert f"docs/{page.name}" in linked, page.name
        assert f'"{page.stem}"' in navigation, page.name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="`make docs` installs it")
    options = ("--builder", "html", "--fail-on-warning", "--keep-going", "--quiet")
    command = [sys.executable, "-m", "sphinx", *options, "-c", "docs", "-d", tmp_path / "doctrees"]
    done = subprocess.run(
        [*command, ".", tmp_path / "site"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
    assert "https://" not in "".join(
        re.findall(
            r'(?:src|href)="([^"]+\.(?:js|css))', (tmp_path / "site/README.html").read_text()
        )
    )


def table_of_backbones() -> dict[str, tuple[str, str, str, str]]:
    """What the guide says of every family: name, or its beginning and … → map, finer map, native
    CAM, Guided Grad-CAM."""
    told = (PROJECT / "docs/backbones-and-heads.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in told.splitlines() if " × " in line]
    return {
        name: (row[1], row[2], row[3], row[4])
        for row in rows
        if len(row) == 5
        for name in re.findall(r"`([^`]+)`", row[0].split("(")[0])
    }


def said_of(backbone: str) -> tuple[str, str, str, str]:
    table = table_of_backbones()
    fitting = [n for n in table if n == backbone or (n[-1] == "…" and backbone.startswith(n[:-1]))]
    (name,) = [backbone] if backbone in fitting else fitting
    return table[name]


ONE_OF_EACH_ROW = (
    *("resnet18", "mobilenet_v3_small", "efficientnet_b0", "vgg11", "squeezenet1_1"),
    *("inception_v3", "convnext_tiny", "swin_t", "vit_b_32"),
)


@pytest.mark.parametrize(
    "backbone",
    [
        name if name in ONE_OF_EACH_ROW else pytest.param(name, marks=pytest.mark.slow)
        for name in CHOSEN
    ],
)
def test_what_the_guide_says_of_a_backbone_is_so(backbone):
    map_, finer, native_cam, guided = said_of(backbone)
    place = "cpu" if BACKBONES[backbone].computes_when_built else "meta"

    def built(head: str, stride: int = 32):
        with torch.device(place):
            return build_classifier(backbone, head, ["Ant", "Bee"], 224, stride)

    def side(stride: int) -> str:
        body = built("gap", stride).body
        grid = backbones.grid(backbone, run_without_content(body, 224))
        return f"{grid.shape[-2]} × {grid.shape[-1]}"

    assert side(32) == map_
    if finer == "not possible":
        with pytest.raises(InputError, match="feature_stride"):
            built("gap", 16)
    else:
        assert side(16) == (map_ if finer == "the same" else finer)
    network = built("native")
    assert (network.linear is not None) == (native_cam == "yes")
    with nullcontext() if guided == "yes" else pytest.raises(InputError, match="all ReLU or ReLU6"):
        check_methods(["guided_grad_cam"], network, parameter="cam_methods")


def test_what_is_not_used_is_told_with_the_limits_that_hold():
    from pokecam.data.packing import limits

    text = (PROJECT / "docs/your-own-images.md").read_text(encoding="utf-8")
    of = limits._MEGAPIXELS_OF
    wanted = f"above {limits.MAX_MEGAPIXELS} megapixels (JPEG), {of['AVIF']} (AVIF, TIFF, WebP), "
    assert {of["AVIF"], of["TIFF"], of["WEBP"]} == {of["AVIF"]}
    assert of["ICO"] == of["ICNS"]
    assert f"{wanted}{of['ICO']} (ICO, ICNS) or {limits._MEGAPIXELS} (others)" in text
    assert f"a side is below {limits.MIN_SIDE_PX} px" in text
