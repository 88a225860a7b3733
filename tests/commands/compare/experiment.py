"""Experiments as `compare` reads them, without DVC."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pokecam.commands.compare.experiments import Experiment
from pokecam.commands.compare.groups import Group
from pokecam.report.inputs import Judgement

HARMFUL = "<img src=x onerror=alert(1)>"
CLASSES = [HARMFUL, "b"]
ENTRY = {
    "title": "Deletion",
    "group": "faithfulness",
    "better": -1,
    "meaning": "what is left",
    "is_recommended": True,
}
FILES = [f"{label}/{number}.png" for label in CLASSES for number in range(6)]


def experiment(name, wrong=(), seed=0, **params):
    labels = np.repeat([0, 1], 6)
    predicted = labels.copy()
    predicted[list(wrong)] = 1 - predicted[list(wrong)]
    probability = np.linspace(0.6, 0.9, 12)
    probabilities = np.where(
        np.eye(2)[predicted] == 1, probability[:, None], 1 - probability[:, None]
    )
    predictions = pd.DataFrame(
        {
            "file": FILES,
            "label": np.array(CLASSES)[labels],
            "predicted": np.array(CLASSES)[predicted],
            "probability": probability,
            **{f"p:{label}": probabilities[:, i] for i, label in enumerate(CLASSES)},
        }
    )
    rng = np.random.default_rng(seed)
    scores = pd.DataFrame({"deletion": rng.random(12)}, index=FILES)
    scores.iloc[3] = np.nan
    return Experiment(
        name=name,
        method="cam",
        title="CAM",
        params={"backbone": "resnet18", "epochs": 3} | params,
        classes=CLASSES,
        predictions=predictions,
        maps=rng.normal(size=(12, 3, 3)).astype(np.float32),
        scores=scores,
        entries={"deletion": ENTRY},
        metrics={},
        judgement=judgement(),
        images="abc",
        packed="def",
    )


def judgement(deletion=0.5, *, is_better=False, parts=None):
    """Tables of CAM and a baseline, with one measure."""
    columns = ["measure", "method", "label", "value", "low", "high", "n"]
    rows = [("deletion", "cam", "", deletion), ("deletion", "random", "", 0.9)]
    measures = pd.DataFrame(
        [(*row, row[3] - 0.1, row[3] + 0.1, 12) for row in rows], columns=columns
    )
    tests = pd.DataFrame(
        [("deletion", "cam", "random", 0.4, 0.3, 0.5, 12, 0.001, 0.01 if is_better else 0.2)],
        columns=["measure", "method", "other", "difference", "low", "high", "n", "p", "p_holm"],
    )
    about = {
        "measures": {"deletion": ENTRY},
        "methods": {"cam": "CAM", "random": "Random"},
        "baselines": ["random"],
        "part_baselines": {},
        "conditions": {},
    }
    absent = dict.fromkeys(("importance", "lookalikes", "background", "randomisation"))
    scores = pd.DataFrame({"file": FILES})
    return Judgement(measures, tests, scores, parts, about=about, **absent)


def single_groups(*experiments):
    """Each experiment as a group of its own."""
    return [Group(e.name, [e]) for e in experiments]


def training(name, seed, accuracy, *, wrong=(), split_seed=1, **of_judgement):
    """One training of a group."""
    base = experiment(name, wrong=wrong, seed=seed)
    return replace(
        base,
        params=base.params | {"seed": seed, "split_seed": split_seed},
        metrics={"accuracy": accuracy, "ece": None},
        judgement=judgement(**of_judgement),
    )
