"""All stages on a folder of images of which exactly one has a box."""

import json
import shutil

import pytest
import yaml

from pokecam.data.packed.csv_tables import read_table
from pokecam.networks.classifier import load_classifier
from pokecam.networks.safetensors_file import read_metadata
from stages import cam, download, evaluate, judge, report, select, split, train, weights
from tests.conftest import PROJECT
from tests.stages import test_data_stages, workplace
from tests.support.images import image_bytes, write_tree

CHANGES = {"classes": "all", "epochs": 1, "cam_methods": ["cam"], "judge_images": 2}
MEASURES = {"judge_measures": ["localization", "lookalikes", "background"]}
N_PER_CLASS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which all stages have run. The first image of the test set has the only box."""
    folder = tmp_path_factory.mktemp("one-box")
    files = {
        f"{label}/{i}.png": image_bytes(100 * number + i)
        for number, label in enumerate(["Ant", "Bee"])
        for i in range(N_PER_CLASS)
    }
    write_tree(folder / "images", files)
    parameters = workplace.PARAMETERS | test_data_stages.PARAMETERS | CHANGES | MEASURES
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    (folder / "pretrained").symlink_to(PROJECT / "pretrained")
    shutil.copy(PROJECT / "datasets" / "split.csv", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (download, select, split):
            stage.main()
        rows = read_table(folder / "data" / "split.csv")
        file = rows.file[rows.subset == "test"].iloc[0]
        box = f"{file},{file.split('/')[0]},1,1,9,9"
        (folder / "images" / "boxes.csv").write_text(f"image,label,xmin,ymin,xmax,ymax\n{box}\n")
        for stage in (download, select, split, weights, train, evaluate, cam, judge, report):
            stage.main()
    return folder


def test_the_report_measures_the_only_image_with_a_box(folder):
    assert len(read_table(folder / "data" / "images" / "boxes.csv")) == 1
    measures = read_table(folder / "data" / "judgement" / "measures.csv")
    pointing = measures[(measures.measure == "pointing") & (measures.label == "")]
    assert pointing.n.tolist() == [1] * 4  # CAM and three baselines
    assert "map_pointing" in json.loads((folder / "reports" / "metrics.json").read_text())
    scripts = [path.read_text() for path in (folder / "reports" / "images").glob("*.js")]
    assert sum('"boxes":[[[' in text for text in scripts) == 1


def test_what_auto_stood_for_is_said(folder):
    """The parameter is `weights: auto`."""
    metrics = json.loads((folder / "reports" / "metrics.json").read_text())
    model = read_metadata(folder / "models" / "classifier.safetensors")
    assert metrics["weights"] == model["weights"] == "drawn"
    readme = (folder / "reports" / "README.md").read_text()
    assert "starting from weights that were pretrained on drawings" in readme


def test_the_model_file_has_the_distances_of_the_validation_images(folder):
    distances = load_classifier(folder / "models" / "classifier.safetensors").distances
    n_val = (read_table(folder / "data" / "split.csv").subset == "val").sum()
    assert distances.validation.shape == (n_val,)
    assert distances.means.shape == (2, 576)
