"""A small run as the stages before the report write it; the name of one class is an attack."""

import numpy as np
import pandas as pd
import pytest
import yaml

from pokecam.common.files import write_csv, write_json
from pokecam.judging.predictions import evaluate
from pokecam.report.inputs import read_inputs

HARMFUL = "<img src=x onerror=alert(1)>"
CLASSES = [HARMFUL, "Mr. Mime", "mr-mime", "$x$ ünï"]
SIZE_PX = 48
N_PER_CLASS = 4  # one for training, one for validation, two for testing


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The folder of a run, which the tests only read."""
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
        pd.DataFrame([[f"{HARMFUL}/x.svg", HARMFUL, "no image: <svg>"]]).set_axis(
            ["file", "label", "reason"], axis=1
        ),
    )
    write_csv(data / "images" / "duplicates.csv", table.iloc[:2].assign(group=1))
    # The object is a rectangle in the images of the first two classes; the first image has boxes.
    masks = np.zeros(pixels.shape[:3], dtype=np.uint8)
    masks[: 2 * N_PER_CLASS, 12:36, 6:30] = 3
    np.save(data / "images" / "masks.npy", masks)
    edges = {"xmin": [6, 0], "ymin": [12, 24], "xmax": [30, 12], "ymax": [36, 48]}
    first_test = [table.file[2]] * 2
    boxes = pd.DataFrame({"image": first_test, "label": [HARMFUL] * 2, **edges})
    write_csv(data / "images" / "boxes.csv", boxes)
    lookalikes = [["Mr. Mime", "mr-mime"]]
    write_json(data / "images" / "classes.json", {"classes": CLASSES})
    write_json(data / "lookalikes.json", {"groups": lookalikes})
    subsets = ["train", "val", "test", "test"] * len(CLASSES)
    write_csv(data / "split.csv", table.assign(subset=subsets))

    test = table[[subset == "test" for subset in subsets]]
    # The second image of the first class is misclassified as the second class, no other image is.
    probabilities = np.repeat(np.eye(len(CLASSES)), 2, axis=0) * 0.8 + 0.05
    probabilities[1] = [0.2, 0.7, 0.05, 0.05]
    label_indices = np.repeat(range(len(CLASSES)), 2)
    result = evaluate(test.file.tolist(), label_indices, probabilities, CLASSES)
    for name in ("predictions", "per_class", "confusion", "calibration"):
        write_csv(data / "evaluation" / f"{name}.csv", getattr(result, name))
    write_json(data / "evaluation" / "metrics.json", result.metrics | {"weights": "none"})

    maps = rng.normal(size=(len(test), len(CLASSES), 3, 3)).astype(np.float32)
    maps[0, 0] = -1  # evidence against the class everywhere
    (data / "cams").mkdir()
    np.save(data / "cams" / "cam.npy", maps)
    np.save(data / "cams" / "grad_cam.npy", maps / 9)
    write_json(
        data / "cams" / "meta.json",
        {"methods": {"cam": "CAM", "grad_cam": "Grad-CAM"}, "layer": "features.12"},
    )
    write_judgement(data / "judgement", test.file)
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
    values = {"source": "/home/me/images", "backbone": "resnet18", "weights": "none"}
    values |= {"head": "gap", "epochs": None, "lookalikes": lookalikes}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return folder


def write_judgement(folder, files):
    """Write a judgement. CAM is better than both baselines at pointing, not at deletion. No method
    has a correlation of parts. CAM is better than all baselines but the areas at the decisive part,
    Grad-CAM than the areas, too. Grad-CAM does not change when weights are re-initialised."""
    methods = {"cam": "CAM", "grad_cam": "Grad-CAM", "random": "Random", "centre": "Centre"}
    measures = {
        "deletion": ("Deletion", -1, [0.1, 0.3, 0.2, 0.25]),
        "pointing": ("Pointing game", 1, [0.9, 0.5, 0.2, 0.4]),
        "parts": ("Important parts", 1, [np.nan, np.nan, np.nan, np.nan]),
        "decisive_part": ("Decisive part", 1, [0.4, 0.8, 0.1, 0.2]),
    }
    values = [
        (measure, method, label, value, value - 0.05, value + 0.05, 8)
        for measure, (_, _, row) in measures.items()
        for method, value in zip(methods, row, strict=True)
        for label in ["", *CLASSES]
    ]
    values += [
        ("decisive_part", "areas", label, 0.375, np.nan, np.nan, 8) for label in ["", *CLASSES]
    ]
    columns = ["measure", "method", "label", "value", "low", "high", "n"]
    write_csv(folder / "measures.csv", pd.DataFrame(values, columns=columns))
    tests = [
        ("pointing", "cam", "random", 0.7, 0.001),
        ("pointing", "cam", "centre", 0.5, 0.01),
        ("pointing", "grad_cam", "random", 0.3, 0.01),
        ("pointing", "grad_cam", "centre", 0.1, 0.3),
        ("deletion", "cam", "random", 0.1, 0.2),
        ("deletion", "cam", "centre", 0.15, 0.001),
        ("deletion", "grad_cam", "random", -0.1, 0.001),
        ("deletion", "grad_cam", "centre", -0.05, 0.001),
        ("parts", "cam", "centre", np.nan, 1.0),
        *(
            ("decisive_part", method, other, 0.3, 0.01)
            for method in ("cam", "grad_cam")
            for other in ("random", "centre")
        ),
        ("decisive_part", "cam", "areas", 0.025, 0.8),
        ("decisive_part", "grad_cam", "areas", 0.425, 0.01),
        ("pointing", "cam", "grad_cam", 0.4, 0.01),
        ("deletion", "cam", "grad_cam", -0.2, 0.02),
        ("parts", "cam", "grad_cam", np.nan, 1.0),
    ]
    tests = [(*names, by, by - 0.1, by + 0.3, 8, p) for *names, by, p in tests]
    columns = ["measure", "method", "other", "difference", "low", "high", "n", "p_holm"]
    write_csv(folder / "tests.csv", pd.DataFrame(tests, columns=columns))
    # The first image has a score of pointing only, the last image has none.
    scores = [
        (file, method, np.nan if row == 0 else row / 10 + number / 100, row % 2)
        for row, file in enumerate(files[:-1])
        for number, method in enumerate(methods)
    ]
    scores = pd.DataFrame(scores, columns=["file", "method", "deletion", "pointing"])
    write_csv(folder / "scores.csv", scores)
    parts = [
        (files.iloc[1], part, drop, 1.0, mass, 1.0, 1.0)
        for part, drop, mass in (("tail", -0.5, 0.0), ("eye", 2.0, 0.0))
    ]
    columns = ["file", "part", "drop", *methods]
    write_csv(folder / "parts.csv", pd.DataFrame(parts, columns=columns))
    importance = [
        ("Mr. Mime", part, drop, drop - 0.5, drop + 0.5, 4, 0.5, np.nan, 0.25, 0.25)
        for part, drop in (("tail", 2.0), ("ear", 1.0), ("foot", 0.5), ("eye", 0.0))
    ]
    importance.append((HARMFUL, "wing", 0.25, np.nan, np.nan, 1, 1.0, 1.0, 1.0, 1.0))
    columns = ["label", "part", "drop", "low", "high", "n", *methods]
    write_csv(folder / "importance.csv", pd.DataFrame(importance, columns=columns))
    steps = [
        ("cam", "head", 0.6, 0.5, False),
        ("grad_cam", "head", 0.99, 0.9, True),
        ("cam", "features.0", -0.12, 0.1, False),
        ("grad_cam", "features.0", 0.97, 0.9, True),
    ]
    columns = ["method", "block", "rank_correlation", "ssim", "unchanged"]
    write_csv(folder / "sanity.csv", pd.DataFrame(steps, columns=columns).assign(n=8, constant=0))
    pairs = [
        (measure, label, against, method, value, value - 1, value + 1, 4)
        for label, against in (("", ""), ("Mr. Mime", "mr-mime"))
        for method in methods
        for measure, value in (("margin", 5.5), ("drop", 2.25), ("differing", np.nan))
    ]
    columns = ["measure", "label", "against", "method", "value", "low", "high", "n"]
    write_csv(folder / "lookalikes.csv", pd.DataFrame(pairs, columns=columns))
    shares = {"as it is": [0.9, 1, 0.5, 1, 0.75], "filled in": [0.3, 0.5, 0.25, 0, 0.25]}
    conditions = [
        (label, condition, value, value, value, 8)
        for condition, values in shares.items()
        for label, value in zip(["", *CLASSES], values, strict=True)
    ]
    columns = ["label", "condition", "value", "low", "high", "n"]
    write_csv(folder / "background.csv", pd.DataFrame(conditions, columns=columns))
    entries = {
        name: {
            "title": title,
            "group": "parts" if name in ("parts", "decisive_part") else "x",
            "better": better,
            "meaning": f"what {title} is",
            "is_recommended": name != "deletion",
        }
        for name, (title, better, _) in measures.items()
    }
    about = {
        **{"measures": entries, "methods": methods, "baselines": ["random", "centre"]},
        "part_baselines": {"areas": "Areas alone"},
        "conditions": {"as it is": 1, "filled in": -1},
    }
    write_json(folder / "about.json", about)


@pytest.fixture(scope="module")
def inputs(run_folder):
    data = run_folder / "data"
    return read_inputs(
        images_folder=data / "images",
        split=data / "split.csv",
        lookalikes=data / "lookalikes.json",
        history=run_folder / "models" / "history.csv",
        evaluation=data / "evaluation",
        cams=data / "cams",
        judgement=data / "judgement",
        settings=run_folder / "params.yaml",
    )
