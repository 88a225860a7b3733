"""The tables of what reruns, in README and for code in docs/extending.md, row by row, against the
graph in `dvc.yaml`.

`test_pipeline` checks some of its rows with the real `dvc`; here all of them are read.
"""

from collections.abc import Set

import pytest
import yaml

from tests.conftest import PROJECT
from tests.project.test_docs import names_in, rows

PIPELINE = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMETERS = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
TABLE = rows("README.md", "What reruns when")
FILES = {
    "the template or the style of the report": [
        "pokecam/report/templates/template.html",
        "pokecam/report/templates/style.css",
    ],
}
# `check` runs after every change of a parameter and always writes the same, so it stands in no row.
# tests/project/test_parameters.py proves that with the real `dvc`.
CHECK = "check"
# Of a stage with several outputs: the outputs that a parameter changes, if not all of them.
WRITES = {"lookalikes": {"data/lookalikes.json"}}
EARLIER = "back to any earlier value"
TABLE_OF_CODE = rows("docs/extending.md", "What reruns when the code changes")
OF_PARAMETERS = {
    "the file or folder that `source` names": "${source}",
    "the file that `split_file` names": "${split_file}",
}
OTHER_FILES = "all other files of "


def names(entries: list) -> list[str]:
    """The names of dependencies, outputs or parameters, which may carry options: {name: …}."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def downstream(
    stages: set[str], pipeline: dict = PIPELINE, writes: Set[str] = frozenset()
) -> set[str]:
    """Some stages but `CHECK`, and all that read what they write, and so on.

    Of the first stages only the outputs in `writes` count, if it is not empty.
    """
    first = stages - {CHECK}
    reached = set(first)
    while True:
        outputs = {
            out
            for stage in reached
            for out in names(pipeline[stage]["outs"])
            if stage not in first or not writes or out in writes
        }
        readers = {
            stage
            for stage, spec in pipeline.items()
            if any(touches(dep, out) for dep in names(spec["deps"]) for out in outputs)
        }
        if readers <= reached:
            return reached
        reached |= readers


def touches(a: str, b: str) -> bool:
    """Whether two paths are equal or one lies in the other."""
    return a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")


def stages_of_parameter(parameter: str, pipeline: dict = PIPELINE) -> set[str]:
    """The stages that run when a parameter changes."""
    declaring = {
        stage
        for stage, spec in pipeline.items()
        if {parameter, "params.yaml"} & set(names(spec.get("params", [])))
    }
    return downstream(declaring, pipeline, WRITES.get(parameter, frozenset()))


def stages_of_file(path: str, pipeline: dict = PIPELINE) -> set[str]:
    """The stages that run when a file of the tree changes."""
    reading = {
        stage
        for stage, spec in pipeline.items()
        if any(touches(dep, path) for dep in names(spec["deps"]))
    }
    return downstream(reading, pipeline)


def stages_never_restored(pipeline: dict = PIPELINE) -> set[str]:
    """The stages with an output that DVC does not cache: they run whenever their inputs change."""
    return {
        stage
        for stage, spec in pipeline.items()
        for out in spec["outs"]
        if isinstance(out, dict) and next(iter(out.values())).get("cache") is False
    }


@pytest.mark.parametrize(("changed", "runs", "cached"), TABLE, ids=[row[0] for row in TABLE])
def test_a_row_is_that_of_the_graph(changed, runs, cached):
    if changed == EARLIER:
        expected = [stages_never_restored()]
    elif changed in FILES:
        assert all((PROJECT / path).is_file() for path in FILES[changed])
        expected = [stages_of_file(path) for path in FILES[changed]]
    else:
        parameters = names_in([changed])
        assert changed == ", ".join(f"`{parameter}`" for parameter in parameters)
        expected = [stages_of_parameter(parameter) for parameter in parameters]
    for stages in expected:
        assert runs.split() == [stage for stage in PIPELINE if stage in stages]
    others = [stage for stage in PIPELINE if stage not in [CHECK, *runs.split()]]
    assert cached == "all others" or cached.split() == others


def paths_of(changed: str) -> list[str]:
    """The files that a row about code is about; of a folder, all that are not in another row."""
    if changed in OF_PARAMETERS:
        return [OF_PARAMETERS[changed]]
    rows_of_files = names_in([row[0] for row in TABLE_OF_CODE])
    paths = []
    for name in names_in([changed]):
        path = PROJECT / name
        if path.is_file():
            paths.append(name)
            continue
        files = [file.relative_to(PROJECT).as_posix() for file in path.rglob("*.py")]
        paths += [file for file in files if file not in rows_of_files] + [f"{name}/new.py"]
        assert changed.startswith(OTHER_FILES) == any(file in rows_of_files for file in files)
    return paths


@pytest.mark.parametrize(("changed", "runs"), TABLE_OF_CODE, ids=[row[0] for row in TABLE_OF_CODE])
def test_a_row_about_code_is_that_of_the_graph(changed, runs):
    expected = [] if runs == "nothing" else runs.split()
    paths = paths_of(changed)
    assert paths
    for path in paths:
        assert expected == [stage for stage in PIPELINE if stage in stages_of_file(path)], path


def test_every_dependency_but_scripts_and_weights_stands_in_a_row_about_code():
    dependencies = {dep for spec in PIPELINE.values() for dep in names(spec["deps"])}
    outputs = {out for spec in PIPELINE.values() for out in names(spec["outs"])}
    listed = [*OF_PARAMETERS.values(), *names_in([row[0] for row in TABLE_OF_CODE])]
    missing = {
        dep
        for dep in dependencies - outputs
        if not any(dep == name or dep.startswith(f"{name}/") for name in listed)
    }
    weights = {dep for dep in PIPELINE["weights"]["deps"] if dep.startswith("pretrained/")}
    assert missing == weights | {f"stages/{stage}.py" for stage in PIPELINE}


def test_every_parameter_stands_in_exactly_one_row():
    assert sorted(names_in([row[0] for row in TABLE])) == sorted(PARAMETERS)


def test_the_rows_about_files_are_there():
    assert {*FILES, EARLIER} <= {row[0] for row in TABLE}


def test_a_graph_of_four_stages():
    """read(x) → fit(y) → draw, and other(y), which nothing reads."""
    pipeline = {
        "read": {"deps": ["source"], "params": ["x"], "outs": ["data/a"]},
        "fit": {"deps": ["data/a/table.csv"], "params": ["y"], "outs": ["model"]},
        "other": {"deps": ["code"], "params": ["y"], "outs": ["data/b"]},
        "draw": {"deps": ["model", "code/page.py"], "outs": [{"page": {"cache": False}}]},
        CHECK: {"deps": ["code"], "params": ["x"], "outs": ["data/b"]},
    }
    assert stages_of_parameter("x", pipeline) == {"read", "fit", "draw"}
    assert stages_of_parameter("y", pipeline) == {"fit", "other", "draw"}
    assert stages_of_file("code/page.py", pipeline) == {"other", "draw"}
    assert stages_never_restored(pipeline) == {"draw"}
