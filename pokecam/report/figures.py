"""Figures as SVG files in one style, for papers, git hosts and `dvc plots`.

The same numbers give the same bytes: text becomes outlines, and identifiers are salted. Figures are
objects of matplotlib, without pyplot, which would keep state and may need a window system.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pokecam.report.inputs import Judgement

INK, FAINT = "#1c1c1e", "#6b6b70"
BLUE, ORANGE = "#0072b2", "#d55e00"  # safe for the colour-blind: Okabe & Ito 2008

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "pokecam",
    "hatch.linewidth": 0.6,
}

MEASURES_ACROSS = 4  # panels in a row

# With more classes than this, numbers and names would not be readable.
READABLE_CLASSES = 40
NAME_CHARACTERS = 30


def draw_curves(history: pd.DataFrame, path: Path) -> None:
    """Draw loss and accuracy over the epochs.

    Args:
        history: epoch, train_loss, val_loss, train_accuracy, val_accuracy.
        path: of the SVG file.
    """
    with _figure(path, 7.6, 2.9) as figure:
        loss, accuracy = figure.subplots(1, 2)
        _draw_subsets(loss, history, "loss", "Loss")
        loss.set_ylim(bottom=0)
        _draw_subsets(accuracy, history, "accuracy", "Accuracy")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        accuracy.legend(frameon=False, loc="lower right")


def _draw_subsets(axes: Axes, history: pd.DataFrame, quantity: str, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    epoch = history["epoch"]
    marker = "o" if len(history) == 1 else None
    for subset, name, style, colour in (
        ("train", "training", "--", ORANGE),
        ("val", "validation", "-", BLUE),
    ):
        values = history[f"{subset}_{quantity}"]
        axes.plot(epoch, values, style, color=colour, label=name, marker=marker)


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix.

    Args:
        counts: counts[i][j] is the number of images of class i that are predicted to be class j.
        classes: their names.
        path: of the SVG file.
    """
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    readable = len(classes) <= READABLE_CLASSES
    side = min(2.2 + 0.4 * len(classes), 14)
    with _figure(path, side, side) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if not readable:
            return
        # A dollar sign in a class name must not start a formula.
        names = [_short(name) for name in classes]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        for i, j in np.argwhere(matrix > 0):
            colour = "white" if shares[i, j] > 0.6 else INK
            axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour)


def draw_measures(judgement: Judgement, path: Path) -> None:
    """Draw the recommended measures of every method with their 95 % intervals.

    Baselines are hatched, and an arrow says which way is better. Without measures the figure is a
    note.

    Args:
        judgement: of the maps.
        path: of the SVG file.
    """
    table = judgement.measures[judgement.measures["label"] == ""].dropna(subset=["value"])
    names = [
        name
        for name, entry in judgement.about["measures"].items()
        if entry.get("is_recommended", False) and (table["measure"] == name).any()
    ]
    methods, baselines = judgement.about["methods"], list(judgement.about["baselines"])
    if table["method"].isin(judgement.about["part_baselines"]).any():
        methods = methods | judgement.about["part_baselines"]
        baselines += judgement.about["part_baselines"]
    lines = -(-len(names) // MEASURES_ACROSS)
    with _figure(path, 9.5, 0.4 + max(1, lines) * (0.6 + 0.2 * len(methods))) as figure:
        if not names:
            figure.text(0.5, 0.5, "Nothing was measured.", ha="center", color=FAINT)
            return
        grid = figure.subplots(lines, MEASURES_ACROSS, squeeze=False, sharey=True).ravel()
        for axes, name in zip(grid, names, strict=False):
            values = table[table["measure"] == name].set_index("method").reindex(list(methods))
            entry = judgement.about["measures"][name]
            _draw_bars(axes, values, [method in baselines for method in methods])
            axes.set_title(f"{entry['title']} {'↑' if entry['better'] > 0 else '↓'}")
            axes.set_yticks(range(len(methods)), methods.values())
        grid[0].invert_yaxis()  # of all panels: the first method is on top
        for axes in grid[len(names) :]:
            axes.set_visible(False)


def _draw_bars(axes: Axes, values: pd.DataFrame, baselines: Sequence[bool]) -> None:
    axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    bars = axes.barh(range(len(values)), values["value"], height=0.66, color=BLUE)
    for bar, baseline in zip(bars, baselines, strict=True):
        if baseline:
            bar.set(facecolor="white", edgecolor=FAINT, hatch="////", linewidth=0.7)
    axes.hlines(range(len(values)), values["low"], values["high"], color=INK, linewidth=1.3)


def _short(name: str) -> str:
    """Return a name cut to the space beside the matrix."""
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"


@contextmanager
def _figure(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure
        with warnings.catch_warnings():
            # A letter that the font lacks is drawn as a box, which the user cannot change.
            warnings.filterwarnings("ignore", r"(Matplotlib|Glyph) .*(missing|support)")
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
