"""Many short trainings on drawn images in memory, in several processes: the cells of a table."""

import argparse
import contextlib
import io
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pokecam.common.params import read_params
from pokecam.networks import device, pretrained
from pokecam.networks.classifier import Classifier
from pokecam.training import fit
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages
from support import PROJECT, images

Row = dict[str, object]
TRAIN, VAL, TEST = 36, 12, 60  # images of a class


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where and for how long the cells are computed."""
    parser.add_argument("--image-size", type=int, default=224, help="side in px")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
    parser.add_argument("--processes", type=int, default=1, help="cells at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--epochs", type=int, help="for a trial; default: as params.yaml says")
    parser.add_argument("--limit-s", type=float, help="begin no cell after so many seconds")
    parser.add_argument("--out", type=Path, help="folder for the csv files")


def draw(folder: Path, seeds: Sequence[int], options: argparse.Namespace) -> None:
    """Write the images of the default classes for each drawing seed, as `load` reads them.

    Args:
        folder: the folder to write to.
        seeds: drawing seeds.
        options: those of `add_options`.
    """
    classes = images.default_classes()
    tasks = [(seed, name, options.image_size) for seed in seeds for name in classes]
    with _pool(options) as pool:
        squares = list(pool.map(_draw, tasks))
    for number, seed in enumerate(seeds):
        first = number * len(classes)
        np.save(folder / f"{seed}.npy", np.stack(squares[first : first + len(classes)]))


def load(folder: Path, seed: int) -> np.ndarray:
    """Return the images of one drawing seed: (C, n, S, S, 3) uint8, memory-mapped."""
    return np.load(folder / f"{seed}.npy", mmap_mode="r")


def recipe(seed: int, options: argparse.Namespace) -> Recipe:
    """Return the recipe of params.yaml with another seed, and with the epochs of a trial."""
    changes = {"seed": seed} | ({"epochs": options.epochs} if options.epochs else {})
    return read_params(Recipe, PROJECT / "params.yaml").model_copy(update=changes)


def start(
    backbone: str, names: Sequence[str], seed: int, options: argparse.Namespace
) -> Classifier:
    """Return a network with the shipped weights, on its device, as the pipeline starts it."""
    settings = read_params(TrainSettings, PROJECT / "params.yaml")
    settings = settings.model_copy(update={"backbone": backbone})
    state = pretrained.fetch_weights("drawn", backbone)
    network = fit.start(settings, names, options.image_size, state, seed)
    return network.to(device.pick_device(options.device))


def subsets(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return which images of `load` are in the training, validation and test set: (C, n) bool."""
    numbers = np.arange(pixels.shape[1])
    members = {
        "train": numbers < TRAIN,
        "val": (numbers >= TRAIN) & (numbers < TRAIN + VAL),
        "test": numbers >= TRAIN + VAL,
    }
    return {name: np.tile(is_member, (len(pixels), 1)) for name, is_member in members.items()}


def labelled(pixels: np.ndarray, is_selected: np.ndarray) -> LabelledImages:
    """Return some of the images of `load`, with the index of their class.

    Args:
        pixels: (C, n, S, S, 3).
        is_selected: (C, n) bool.
    """
    rows = np.flatnonzero(is_selected)
    return LabelledImages(pixels.reshape(-1, *pixels.shape[2:]), rows, rows // pixels.shape[1])


def compute(
    function: Callable[..., Row], cells: Sequence[tuple], options: argparse.Namespace
) -> pd.DataFrame:
    """Return a table of what the function returns for each cell, in the order in which they end.

    It also prints every row, and writes all of them to cells.csv in the folder `--out`.

    Args:
        function: takes the members of a cell, and the options.
        cells: in the order in which they are begun.
        options: those of `add_options`.
    """
    started = time.perf_counter()
    rows = []
    with _pool(options) as pool:
        futures = [pool.submit(_within, options, started, function, cell) for cell in cells]
        for future in as_completed(futures):
            if (row := future.result()) is not None:
                rows.append(row)
                print(f"{time.perf_counter() - started:5.0f} s", *row.values(), flush=True)
                if options.out:
                    options.out.mkdir(parents=True, exist_ok=True)
                    pd.DataFrame(rows).to_csv(options.out / "cells.csv", index=False)
    return pd.DataFrame(rows)


def _within(
    options: argparse.Namespace, started: float, function: Callable[..., Row], cell: tuple
) -> Row | None:
    """Compute a cell, or return None if the time is over. The clock is the same in all
    processes."""
    if options.limit_s and time.perf_counter() - started > options.limit_s:
        return None
    with contextlib.redirect_stderr(io.StringIO()):  # the progress of the training
        return function(*cell, options)


def _pool(options: argparse.Namespace) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        options.processes,
        multiprocessing.get_context("spawn"),
        _prepare_process,
        (options.device, options.threads),
    )


def _prepare_process(name: str, threads: int) -> None:
    os.chdir(PROJECT)  # where the shipped weights are
    torch.set_num_threads(threads)
    device.pick_device(name)


def _draw(task: tuple[int, str, int]) -> np.ndarray:
    """Return the images (n, S, S, 3) of a class: (drawing seed, class, S)."""
    seed, name, size_px = task
    files = images.drawn(seed, TRAIN + VAL + TEST, [name])
    return np.stack([images.square(jpeg, size_px) for jpeg in files.jpegs])
