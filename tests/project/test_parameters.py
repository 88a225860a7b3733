"""Every parameter of params.yaml with the real `dvc`: the stages that run when it changes are those
of README's table, and no others, because only their bytes change."""

import pandas as pd
import pytest
import torch
import torchvision
import yaml

from tests.project.test_docs import names_in
from tests.project.test_rerun_table import PARAMETERS, PIPELINE, TABLE
from tests.support.repository import Repository, copy_repository, draw_images

# Parameter → (other parameters that it needs, its new value). `str` stands for a path that the test
# makes. The tiny clone reads a folder, in which the first three change nothing.
DRAWN = {
    "source": "datasets/drawn.yaml",
    "classes": ["Bulbasaur", "Ivysaur", "Pikachu"],
    "lookalikes": [["Bulbasaur", "Ivysaur"]],
    "images_per_class": 5,
}
CHANGES = {
    "source": ({}, str),
    "images_per_class": (DRAWN, 6),
    "draw_seed": (DRAWN, 2),
    "classes": ({}, ["Ant", "Bee", "Dog"]),
    "lookalikes": ({}, [["Ant", "Cat"]]),
    "image_size": ({}, 96),
    "split_file": ({}, str),
    "val_fraction": ({}, 0.3),
    "test_fraction": ({}, 0.3),
    "split_seed": ({}, 7),
    "backbone": ({}, "shufflenet_v2_x0_5"),
    "weights": ({}, str),
    "head": ({"cam_methods": ["grad_cam"]}, "native"),
    "feature_stride": ({}, 16),
    "freeze": ({}, "body"),
    "epochs": ({}, 2),
    "batch_size": ({}, 8),
    "learning_rate": ({}, 1e-3),
    "weight_decay": ({}, 0.5),
    "label_smoothing": ({}, 0.3),
    "zoom_out": ({}, 1),
    "seed": ({}, 7),
    "device": ({}, "auto"),
    "cam_methods": ({}, ["grad_cam"]),
    "cam_layer": ({"cam_methods": ["grad_cam"]}, "features.7"),
    "judge_measures": ({}, ["faithfulness", "sanity"]),
    "judge_images": ({}, 2),
}
# Stages that cannot know beforehand that they write the same bytes: `auto` is the same device here,
# and the split is the same where the files keep their names and no image becomes a near-duplicate.
SAME_BYTES = {
    "device": {"train", "evaluate", "cam", "judge"},
    "draw_seed": {"split"},
    "image_size": {"split"},
}


def expected_stages(parameter: str) -> list[str]:
    """Return the stages of README's table, and `check`, which stands in no row."""
    (runs,) = [runs for changed, runs, _ in TABLE if parameter in names_in([changed])]
    return ["check", *runs.split()]


def output_hashes(clone: Repository) -> dict[str, dict[str, str]]:
    """Return stage → output → the hash of its bytes."""
    stages = yaml.safe_load((clone.path / "dvc.lock").read_text())["stages"]
    return {
        stage: {out["path"]: out["md5"] for out in spec["outs"]} for stage, spec in stages.items()
    }


@pytest.fixture(scope="module")
def clone(finished, tmp_path_factory):
    return copy_repository(finished, tmp_path_factory.mktemp("parameters") / "repository")


@pytest.fixture(scope="module")
def paths(finished, tmp_path_factory):
    """Parameter → the path that it changes to: other images of the same classes, a csv that puts
    an image of the training set into the test set, and weights."""
    folder = tmp_path_factory.mktemp("sources")
    colours = {"Ant": (90, 60, 200), "Bee": (60, 90, 30), "Cat": (30, 200, 90)}
    draw_images(folder / "images", colours, 11)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, folder / "weights.pth")
    split = pd.read_csv(finished.path / "data" / "split.csv")
    first = split.index[split["subset"] == "train"][:1]
    split.loc[first].assign(subset="test").to_csv(folder / "split.csv", index=False)
    return {
        "source": str(folder / "images"),
        "weights": str(folder / "weights.pth"),
        "split_file": str(folder / "split.csv"),
    }


def test_every_parameter_has_a_change():
    assert list(CHANGES) == list(PARAMETERS)


@pytest.mark.slow
@pytest.mark.parametrize("parameter", CHANGES)
def test_a_changed_parameter_runs_the_stages_whose_bytes_it_changes(
    finished, clone, paths, parameter
):
    needed, value = CHANGES[parameter]
    (clone.path / "params.yaml").write_bytes((finished.path / "params.yaml").read_bytes())
    clone.set(**needed)
    clone.repro()
    before = output_hashes(clone)
    clone.set(**{parameter: paths[parameter] if value is str else value})
    stages = clone.repro()
    after = output_hashes(clone)
    assert sorted(stages) == sorted(expected_stages(parameter))
    changed = {stage for stage in PIPELINE if before[stage] != after[stage]}
    assert changed == set(stages) - {"check"} - SAME_BYTES.get(parameter, set())
