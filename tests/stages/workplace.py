"""A folder in which stages can run a network: packed images, a split, and weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pokecam.common.files import write_csv, write_json
from tests.conftest import PROJECT

CLASSES = ["blue", "green", "red"]
SIZE_PX = 64
PER_CLASS = 16
PARAMETERS = {
    "backbone": "mobilenet_v3_small",
    "weights": "auto",
    "head": "gap",
    "feature_stride": 32,
    "freeze": "none",
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "zoom_out": 0.0,
    "seed": 1,
    "device": "cpu",
    "cam_layer": None,
    "cam_methods": ["cam", "grad_cam"],
    "judge_measures": [
        "faithfulness",
        "localization",
        "parts",
        "lookalikes",
        "background",
        "sanity",
    ],
    "judge_images": 4,
}


class Workplace:
    """A folder with all inputs of these stages.

    Args:
        path: the folder.
        changed: parameters that differ from `PARAMETERS`.
    """

    def __init__(self, path: Path, **changed: object) -> None:
        self.path = path
        n = PER_CLASS * len(CLASSES)
        labels = np.arange(n) % len(CLASSES)
        rng = np.random.default_rng(0)
        pixels = (
            90
            + 60 * np.eye(3)[2 - labels][:, None, None]
            + rng.normal(0, 40, (n, SIZE_PX, SIZE_PX, 3))
        )
        table = pd.DataFrame(
            {
                "file": [f"{CLASSES[label]}/{i}.png" for i, label in enumerate(labels)],
                "label": [CLASSES[label] for label in labels],
            }
        )
        folder = path / "data" / "images"
        folder.mkdir(parents=True)
        np.save(folder / "pixels.npy", pixels.clip(0, 255).astype(np.uint8))
        write_csv(folder / "manifest.csv", table.assign(group=range(n)))
        write_json(folder / "classes.json", {"classes": CLASSES})
        write_json(path / "data" / "lookalikes.json", {"groups": [CLASSES[:2]]})
        subsets = np.array(["train", "val", "train", "test", "train"])[np.arange(n) // 3 % 5]
        write_csv(path / "data" / "split.csv", table.assign(subset=subsets))
        (path / "pretrained").symlink_to(PROJECT / "pretrained")
        self.parameters = PARAMETERS | changed
        self.set(**self.parameters)
        self.run("weights")

    def set(self, **parameters: object) -> None:
        (self.path / "params.yaml").write_text(yaml.safe_dump(parameters))

    def start(self, stage: str, **environment: str) -> subprocess.Popen:
        """Start a stage as DVC does."""
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}"],
            cwd=self.path,
            env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, stage: str, **environment: str) -> str:
        """Run a stage that must succeed, and return its stderr."""
        process = self.start(stage, **environment)
        stderr = process.communicate(timeout=300)[1]
        assert process.returncode == 0, stderr
        return stderr

    def model_bytes(self) -> tuple[bytes, bytes]:
        """Return the bytes of the network and of its history."""
        models = self.path / "models"
        return tuple(
            (models / name).read_bytes() for name in ("classifier.safetensors", "history.csv")
        )

    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.path / "models" / "history.csv")

    def results(self) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """Return the predictions, and method → maps."""
        predictions = pd.read_csv(self.path / "data" / "evaluation" / "predictions.csv")
        cams = (self.path / "data" / "cams").glob("*.npy")
        return predictions, {path.stem: np.load(path) for path in cams}

    def checkpoints(self) -> list[Path]:
        return list((self.path / "checkpoints").glob("*.pt"))
