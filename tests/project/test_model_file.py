"""What docs/model-file.md says: the model as an artifact of DVC, and as a file that is enough."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from tests.support.repository import PROJECT, Repository

MODEL = "models/classifier.safetensors"
NAME = "classifier.safetensors"


@pytest.fixture
def elsewhere(tmp_path) -> Repository:
    """A folder that is no repository and holds nothing."""
    (tmp_path / "elsewhere").mkdir()
    return Repository(tmp_path / "elsewhere")


def test_dvc_get_fetches_the_model_from_a_clone(finished, elsewhere):
    elsewhere.run("dvc", "get", str(finished.path), MODEL)
    assert (elsewhere.path / NAME).read_bytes() == (finished.path / MODEL).read_bytes()


def test_versions_and_stages_of_the_model_are_had_by_name(repository, elsewhere):
    told = elsewhere.run("dvc", "artifacts", "get", str(repository.path), "classifier", ok=False)
    assert "Unable to find artifact 'classifier'" in told
    versions = {"v1.0.0": (repository.path / MODEL).read_bytes()}
    repository.run("gto", "register", "classifier", "HEAD", "--version", "v1.0.0")
    repository.run("gto", "assign", "classifier", "--version", "v1.0.0", "--stage", "prod")
    versions["v1.1.0"] = versions["v1.0.0"][::-1]  # in the place of another training
    (repository.path / MODEL).unlink()
    (repository.path / MODEL).write_bytes(versions["v1.1.0"])
    repository.run("dvc", "commit", "--force", "train")
    repository.commit("another network")
    repository.run("git", "tag", "-a", "classifier@v1.1.0", "-m", "another network")
    for options, version in (
        ([], "v1.1.0"),
        (["--rev", "v1.0.0"], "v1.0.0"),
        (["--stage", "prod"], "v1.0.0"),
    ):
        (elsewhere.path / NAME).unlink(missing_ok=True)  # as the docs say: never --force
        elsewhere.run("dvc", "artifacts", "get", str(repository.path), "classifier", *options)
        assert (elsewhere.path / NAME).read_bytes() == versions[version]
    assert (repository.path / MODEL).read_bytes() == versions["v1.1.0"]


def test_the_scripts_in_the_docs_need_nothing_but_the_file_and_agree(finished, elsewhere):
    """The second has never heard of this project."""
    text = (PROJECT / "docs" / "model-file.md").read_text(encoding="utf-8")
    ours, onnx = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert sum("import" not in line for line in ours.split("\n") if line) <= 10
    (elsewhere.path / NAME).write_bytes((finished.path / MODEL).read_bytes())
    Image.open(finished.path.parent / "images" / "Bee" / "00.png").resize((90, 60)).save(
        elsewhere.path / "image.jpg"
    )
    command = (sys.executable, "-m", "pokecam", "export", "model.onnx", "--model", NAME)
    assert "logits and cams" in script(elsewhere, *command, PYTHONPATH=str(PROJECT))
    answers = [
        script(elsewhere, sys.executable, "-c", ours, PYTHONPATH=str(PROJECT)),
        script(elsewhere, sys.executable, "-c", onnx),
    ]
    (name, probability, shape), second = (answer.split(maxsplit=2) for answer in answers)
    assert name in ("Ant", "Bee", "Cat")
    assert (second[0], second[2]) == (name, shape) == (name, "(3, 3)\n")
    assert float(second[1]) == pytest.approx(float(probability), abs=1e-3)


def script(where: Repository, *command: str, **environment: str) -> str:
    """What a command says that knows of the project only what the environment says."""
    return subprocess.run(
        command, cwd=where.path, env=environment, check=True, capture_output=True, text=True
    ).stdout
