"""The chain of artifacts, with the real `dvc`, on a tiny folder of generated images."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.support.repository import ALL, COLOURS, Repository, draw_images, executed_stages


def test_nothing_changed_nothing_runs(repository):
    assert repository.repro() == []
    assert repository.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"backbone": "alexnet"}, "weights train evaluate cam judge report"),
        ({"cam_methods": ["grad_cam"]}, "cam judge report"),
        ({"judge_images": 2}, "judge report"),
        ({"lookalikes": [["Ant", "Cat"]]}, "split cam judge report"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (
                    {"classes": ["Ant", "Bee", "Dog"]},
                    "select split train evaluate cam judge report",
                ),
                ({"split_seed": 7}, "split train evaluate cam judge report"),
                ({"seed": 7}, "train evaluate cam judge report"),
            )
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_parameter_reruns_what_depends_on_it_and_back_only_the_report(
    repository, change, expected
):
    """A → B → A, as one edits params.yaml."""
    before = {
        key: yaml.safe_load((repository.path / "params.yaml").read_text())[key] for key in change
    }
    lock = repository.lock()
    repository.set(**change)
    assert sorted(repository.repro()) == sorted(["check", *expected.split()])
    assert repository.lock() != lock
    repository.set(**before)
    assert repository.repro() == ["report"]
    assert repository.lock() == lock
    assert repository.run("git", "status", "--porcelain", "reports", "dvc.lock") == ""


@pytest.mark.slow
def test_experiments_there_and_back_run_only_the_report(repository):
    """A → B → A, as one types `dvc exp run -S`."""
    expected = {"check", "train", "evaluate", "cam", "judge", "report"}
    assert set(repository.experiment("seed=7")) == expected
    assert repository.experiment("seed=1") == ["report"]
    assert repository.run("git", "status", "--porcelain", "reports", "dvc.lock") == ""


@pytest.mark.parametrize("name", ["template.html", "style.css"])
def test_template_and_style_rerun_only_the_report(repository, name):
    path = repository.path / "pokecam" / "report" / "templates" / name
    path.write_text(path.read_text() + "\n")
    assert repository.repro() == ["report"]


@pytest.mark.parametrize(
    "name",
    [".methods.py.swp", "methods.py~", ".DS_Store", "#methods.py#", ".ipynb_checkpoints/a.py"],
)
def test_what_editors_leave_in_a_package_reruns_nothing(repository, name):
    path = repository.path / "pokecam" / "cam" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("left over")
    assert "up to date" in repository.run("dvc", "status")


NEW_METHOD = """

def abs_grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    return weighted_sum(captured, gradients(captured, targets).mean(dim=(3, 4)).abs())
"""


def test_a_new_method_reruns_the_maps_and_what_follows_but_not_the_training(repository):
    """As docs/extending.md has it: a function in a module of methods, and an entry in the table."""
    cam = repository.path / "pokecam" / "cam"
    with (cam / "gradient.py").open("a", encoding="utf-8") as file:
        file.write(NEW_METHOD)
    table = (cam / "methods.py").read_text(encoding="utf-8")
    entry = 'METHODS = {\n    "abs_grad_cam": Method("|Grad-CAM|", "gradient.abs_grad_cam"),'
    (cam / "methods.py").write_text(table.replace("METHODS = {", entry), encoding="utf-8")
    repository.set(cam_methods=["cam", "abs_grad_cam"])
    assert repository.repro() == ["check", "cam", "judge", "report"]
    assert (repository.path / "data" / "cams" / "abs_grad_cam.npy").is_file()


@pytest.mark.slow
def test_a_new_torch_reruns_the_stages_whose_numbers_it_decides(repository):
    path = repository.path / "requirements.txt"
    text, count = re.subn(r"^torch==\S+", "torch==99.0.0", path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)
    # torch itself is the old one, so the numbers come out the same and the report stays as it is.
    assert repository.repro() == ["weights", "train", "evaluate", "cam", "judge"]


def test_an_image_added_to_the_folder_is_noticed(repository, tmp_path):
    images = tmp_path / "own"
    draw_images(images, COLOURS, 10)
    repository.set(source=str(images))
    # The same bytes from another place: the archive is equal, so nothing after it runs.
    assert repository.repro() == ["check", "download", "report"]
    draw_images(images, {"Ant": COLOURS["Ant"]}, 11)
    assert set(repository.repro()) == set(ALL) - {"check", "weights"}
    (images / "Ant" / "10.png").unlink()
    assert repository.repro() == ["report"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("classes=[Ant,Bea]", "Did you mean Bee?"),
        # The file keeps its length, and fails within the second in which DVC wrote it.
        ("backbone=squeezenet1_9", "Did you mean squeezenet1_"),
    ],
)
def test_a_failed_change_loses_nothing(repository, change, expected):
    kept = [*sorted(repository.path.glob("models/*.safetensors")), repository.path / "params.yaml"]
    before = {path: path.read_bytes() for path in kept}
    assert expected in repository.run("dvc", "exp", "run", "-S", change, ok=False)
    repository.pokecam("restore")
    assert {path: path.read_bytes() for path in before} == before
    assert repository.repro() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backbone": "squeezenet"}, "Did you mean squeezenet1_1?"),
        ({"epochs": 0}, "epochs: 0 was given"),
        ({"epocs": 5}, "epocs is not a parameter. Did you mean epochs?"),
        ({"source": "nowhere"}, "source nowhere does not exist"),
        ({"classes": ["Ant"]}, "two"),
        ({"cam_methods": ["grad_cam", "gradcam"]}, "Did you mean grad_cam?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_parameters_are_told_in_one_line(repository, changes, expected):
    repository.set(**changes)
    output = repository.run("dvc", "repro", ok=False)
    told = [line for line in output.splitlines() if expected in line]
    assert len(told) == 1
    assert "Traceback" not in output


@pytest.mark.slow
def test_metrics_and_plots_compare_in_a_clone_without_a_cache(repository, tmp_path):
    repository.experiment("seed=7")
    repository.commit("second run")
    clone = Repository(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", repository.path, clone.path], check=True)
    assert not (clone.path / ".dvc" / "cache").exists()
    metrics = clone.run("dvc", "metrics", "diff", "HEAD~1", "--all")
    assert "log_loss" in metrics
    clone.run("dvc", "plots", "diff", "HEAD~1")
    page = (clone.path / "dvc_plots" / "index.html").read_text()
    assert not re.search("src=.?http", page)  # Vega comes with .dvc/plots.html
    for shown in ("HEAD~1", "workspace", "Loss", "val_accuracy", "Confusion", "sheets"):
        assert shown in page


def test_experiments_are_compared_from_the_cache(repository):
    repository.run("dvc", "exp", "run", "-n", "other", "-S", "seed=7")
    told = repository.pokecam("compare", "HEAD", "other:cam", "workspace")
    assert told.splitlines()[-1] == "compared/index.html"
    page = (repository.path / "compared" / "index.html").read_text()
    assert "other:cam" in page
    assert repository.run("git", "status", "--porcelain", "compared") == ""
    repository.pokecam("compare", "oth*,HEAD")
    page = (repository.path / "compared" / "index.html").read_text()
    assert "Over trainings" in page
    for given, expected in (
        (["HEAD"], "HEAD alone: at least two experiments are needed to compare"),
        (["HEAD", "nowhere"], "nowhere: unknown Git revision"),
        (["HEAD", "other:camm"], "among the maps of other, camm is not known. Did you mean cam?"),
        (["oth*,workspace"], "have the same parameters and seeds"),
        (["none-*"], "none-*: such an experiment is not known."),
    ):
        answer = repository.pokecam("compare", *given, ok=False)
        assert [line for line in answer.splitlines() if expected in line]
        assert "Traceback" not in answer
    shutil.rmtree(repository.path / ".dvc" / "cache" / "files")
    answer = repository.pokecam("compare", "HEAD", "other", ok=False)
    (line,) = [line for line in answer.splitlines() if line.startswith("error: HEAD: ")]
    assert "its run cannot be read here. Commit a run of yours" in line
    assert "Traceback" not in answer


def test_two_clones_write_the_same_lock(finished, tmp_path):
    """From nothing: no cache, other folder, same bytes."""
    clone = Repository(tmp_path / "elsewhere")
    subprocess.run(["git", "clone", "-q", finished.path, clone.path], check=True)
    shutil.rmtree(clone.path / "reports")
    lock = clone.lock()
    (clone.path / "dvc.lock").unlink()
    assert clone.repro() == ALL
    assert clone.lock() == lock
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_copy_of_the_repository_runs_experiments_elsewhere(repository):
    """`--temp` runs in a copy without untracked files: everything needed must be in git."""
    assert set(executed_stages(repository.run("dvc", "exp", "run", "--temp", "-S", "seed=3"))) == {
        "check",
        "train",
        "evaluate",
        "cam",
        "judge",
        "report",
    }
