"""A small run as the stages before the report leave it, with a class name that means harm."""

import numpy as np
import pandas as pd
import pytest
import yaml

from pokecam.evaluation import evaluate
from pokecam.files import write_csv, write_json
from pokecam.report.inputs import read

HARMFUL = "<img src=x onerror=alert(1)>"
CLASSES = [HARMFUL, "Mr. Mime", "mr-mime", "$x$ ünï"]
SIZE_PX = 48
N_PER_CLASS = 4  # one to train, one to validate, two to test


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Only read by the tests: they write elsewhere."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    data, models = folder / "data", folder / "models"
    (data / "images").mkdir(parents=True)
    labels = np.repeat(CLASSES, N_PER_CLASS)
    table = pd.DataFrame({"file": [f"{c}/{i}.png" for i, c in enumerate(labels)], "label": labels})
    pixels = rng.integers(0, 256, (len(table), SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    np.save(data / "images" / "pixels.npy", pixels)
    write_csv(data / "images" / "manifest.csv", table.assign(group=range(len(table))))
    write_csv(
        data / "images" / "quarantine.csv",
        pd.DataFrame([[f"{HARMFUL}/x.svg", HARMFUL, "no picture: <svg>"]]).set_axis(
            ["file", "label", "reason"], axis=1
        ),
    )
    write_csv(data / "images" / "duplicates.csv", table.iloc[:2].assign(group=1))
    lookalikes = [["Mr. Mime", "mr-mime"]]
    write_json(data / "images" / "classes.json", {"classes": CLASSES, "lookalikes": lookalikes})
    parts = ["train", "val", "test", "test"] * len(CLASSES)
    write_csv(data / "split.csv", table.assign(part=parts))

    test = table[[part == "test" for part in parts]]
    # The second picture of the first class is taken for the second class; all else is right.
    certain = np.repeat(np.eye(len(CLASSES)), 2, axis=0) * 0.8 + 0.05
    certain[1] = [0.2, 0.7, 0.05, 0.05]
    truth = np.repeat(range(len(CLASSES)), 2)
    result = evaluate(test.file.tolist(), truth, certain, CLASSES, lookalikes)
    for name in ("predictions", "per_class", "confusion", "lookalikes", "calibration"):
        write_csv(data / "evaluation" / f"{name}.csv", getattr(result, name))
    write_json(data / "evaluation" / "metrics.json", result.metrics)

    maps = rng.normal(size=(len(test), len(CLASSES), 3, 3)).astype(np.float32)
    maps[0, 0] = -1  # speaks against the class everywhere
    (data / "cams").mkdir()
    np.save(data / "cams" / "cam.npy", maps)
    np.save(data / "cams" / "grad_cam.npy", maps / 9)
    write_json(
        data / "cams" / "meta.json",
        {"methods": {"cam": "CAM", "grad_cam": "Grad-CAM"}, "layer": "features.12"},
    )
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [1.5, 0.9, 0.4],
            "train_accuracy": [0.4, 0.7, 0.9],
            "val_loss": [1.4, 0.8, 0.9],
            "val_accuracy": [0.5, 0.8, 0.8765432],
            "learning_rate": [0.1, 0.1, 0.1],
        }
    )
    write_csv(models / "history.csv", history)
    values = {"source": "/home/me/pictures", "backbone": "resnet18", "weights": "none"}
    values |= {"head": "gap", "epochs": None, "lookalikes": lookalikes}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def inputs(run_folder):
    data = run_folder / "data"
    return read(
        images_folder=data / "images",
        split=data / "split.csv",
        history=run_folder / "models" / "history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        settings=run_folder / "params.yaml",
    )
