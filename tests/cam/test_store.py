"""Maps on disk, and the stage that writes them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pokecam.cam import store
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.common.errors import InputError
from pokecam.common.files import write_csv, write_json
from pokecam.data.packed import csv_tables
from pokecam.networks import classifier
from pokecam.networks.classifier import build_classifier, prepare, save_classifier
from stages import cam

CLASSES = ["a", "b"]
SIZE_PX = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (7, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


def network(head="gap"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_classifier("squeezenet1_1", head, CLASSES, SIZE_PX).eval()


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """The outputs of the stages before; images 1, 4 and 6 are the test set."""
    monkeypatch.chdir(tmp_path)
    files = [f"{label}/{i}.png" for i, label in enumerate("aaabbbb")]
    table = pd.DataFrame({"file": files, "label": list("aaabbbb")})
    (tmp_path / "data" / "images").mkdir(parents=True)
    np.save(tmp_path / "data" / "images" / "pixels.npy", PIXELS)
    write_csv(tmp_path / "data" / "images" / "manifest.csv", table.assign(group=range(7)))
    write_json(tmp_path / "data" / "images" / "classes.json", {"classes": CLASSES})
    write_json(tmp_path / "data" / "lookalikes.json", {"groups": []})
    subsets = ["train", "test", "val", "train", "test", "val", "test"]
    write_csv(tmp_path / "data" / "split.csv", table.assign(subset=subsets))
    set_methods(tmp_path, ["grad_cam", "cam"])
    return tmp_path


def set_methods(folder, methods):
    settings = {"cam_methods": methods, "cam_layer": None, "device": "cpu"}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize("at_once", [1, 2])
def test_batches_of_any_size_give_the_maps_of_the_chosen_rows(tmp_path, monkeypatch, at_once):
    monkeypatch.setitem(classifier.BATCH_SIZES, "cpu", at_once)
    rows = np.array([5, 0, 3])
    store.write_maps(tmp_path, network(), PIXELS, rows, ["cam"])
    expected = compute_maps(
        capture(network(), prepare(torch.from_numpy(PIXELS[rows]))), "cam"
    ).numpy()
    written = np.load(tmp_path / "cam.npy", mmap_mode="r")
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())
    assert written.dtype == np.float32


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("squeezenet1_1", "features.12"),
        ("mobilenet_v3_small", "features.12"),
        ("resnet18", "layer4.1"),
        ("alexnet", "features.11"),
    ],
)
def test_layer_is_named_as_in_torchvision(backbone, layer):
    assert build_classifier(backbone, "gap", CLASSES, SIZE_PX).cam_layer == layer


def test_stage_writes_maps_of_the_test_set(run_folder):
    save_classifier(network(), run_folder / "models" / "classifier.safetensors", weights="none")
    cam.main()
    folder = run_folder / "data" / "cams"
    index = csv_tables.read_table(folder / "index.csv")
    assert index.values.tolist() == [[0, "a/1.png", "a"], [1, "b/4.png", "b"], [2, "b/6.png", "b"]]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["methods"] == {"grad_cam": "Grad-CAM", "cam": "CAM"}
    assert list(meta["methods"]) == ["grad_cam", "cam"]
    assert meta["layer"] == "features.12"
    cams, grad_cams = (np.load(folder / f"{name}.npy") for name in ("cam", "grad_cam"))
    h, w = cams.shape[2:]
    assert cams.shape[:2] == (3, 2)
    np.testing.assert_allclose(h * w * grad_cams, cams, atol=1e-5 * abs(cams).max())

    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    set_methods(run_folder, ["grad_cam"])
    cam.main()
    assert not (folder / "cam.npy").exists()
    assert (folder / "grad_cam.npy").read_bytes() == first["grad_cam.npy"]


def test_stage_refuses_methods_that_do_not_fit_and_keeps_its_old_output(run_folder):
    save_classifier(
        network("native"), run_folder / "models" / "classifier.safetensors", weights="none"
    )
    meta = run_folder / "data" / "cams" / "meta.json"
    meta.parent.mkdir()
    meta.write_text("{}")
    with pytest.raises(InputError, match="set head to gap and cam_layer to null"):
        cam.main()
    assert meta.read_text() == "{}"
