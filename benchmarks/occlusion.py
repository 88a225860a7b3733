"""Which regions should occlusion fill in, and what does it cost?

    dvc exp run -S draw_seed=7 -S judge_images=120 -S 'judge_measures=[parts]'
    python benchmarks/occlusion.py

Takes every second image whose importances the judge stage measured, and scores variants of
occlusion on its map of the predicted class: other superpixels, margins and numbers of regions, the
map times the root of CAM, a regression over random masks (as LIME, Ribeiro et al. 2016), and the
exact regions of the parts, which no method knows. Prints, for each, the mean number of runs of the
network after the first one, important parts with its standard error, and decisive part.

With --figure it draws instead, for an image of each of some classes, CAM and both methods beside
the importance of the parts, per pixel. With --times it prints what the two methods cost in forward
passes of one image, and how much of that is for the segmentation: medians of rounds in turns, one
thread, with the range.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb, slic
from support import PROJECT
from support.parts import measured_images
from support.rounds import in_turns
from torch import Tensor

from pokecam.cam import occlusion
from pokecam.cam.capture import Capture, capture
from pokecam.cam.display import display
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.imputation import impute
from pokecam.cam.maps import class_targets, compute_maps
from pokecam.data.packed import images
from pokecam.data.packed.csv_tables import read_table
from pokecam.judging import parts
from pokecam.networks.classifier import build_classifier, load_classifier, prepare
from pokecam.report.overlay import overlay

EVERY = 2
ROUNDS = 9
SIDE_PX = 224
DRAWN = ("Bulbasaur", "Ivysaur", "Charmeleon", "Pikachu")
ALL = 10_000  # more regions than there are
SEGMENTATIONS = (occlusion.by_similarity, occlusion.by_distance)  # of fine_occlusion
BACKBONES = ("mobilenet_v3_small", "resnet18", "vgg16")

Floats = NDArray[np.floating]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """An image, the class of its map, and the importances of its parts."""

    label: str
    pixels: NDArray[np.uint8]
    x: Tensor
    predicted: int
    regions: dict[str, Masks]
    importances: Floats


@dataclass(frozen=True)
class Variant:
    """Occlusion with other regions: the segmentations, the margin in px, and the most regions."""

    segmentations: Sequence[Callable[[Floats], NDArray[np.integer]]]
    margin_px: int = occlusion.MARGIN_PX
    limit: int = ALL
    times_cam: bool = False

    def map(self, captured: Capture, predicted: int) -> Tensor:
        targets = class_targets(captured.logits.detach(), [predicted])
        occlusion.MARGIN_PX = self.margin_px
        with torch.no_grad():
            values = occlusion._maps(captured, targets, self.segmentations, self.limit)
        if self.times_cam:
            cam = compute_maps(captured, "cam", classes=[predicted]).relu()
            cam = torch.nn.functional.interpolate(cam, values.shape[-2:], mode="bilinear")
            values = values.relu() * cam.sqrt()
        return values


def by_colour(image: Floats, k: float) -> NDArray[np.integer]:
    return felzenszwalb(image, scale=k, sigma=0.8, min_size=150)


def compact(image: Floats, n: int) -> NDArray[np.integer]:
    return slic(image, n_segments=n, compactness=10, sigma=1, start_label=0)


def windows(image: Floats, side: int) -> NDArray[np.integer]:
    rows, columns = (np.arange(length) // side for length in image.shape[:2])
    return rows[:, None] * (columns.max() + 1) + columns


def regression(captured: Capture, predicted: int, runs: int, share: float) -> Tensor:
    """Fit the logit of images without random regions, each region left out with a probability."""
    x = captured.x[0]
    labels = occlusion.by_similarity(occlusion._to_image(x))
    masks = labels == np.arange(labels.max() + 1)[:, None, None]
    wide = occlusion._widen(masks, occlusion.MARGIN_PX)
    is_left_out = np.random.default_rng(0).random((runs, len(masks))) < share
    removed = torch.from_numpy(np.einsum("nr,rhw->nhw", is_left_out, wide) > 0)
    with torch.no_grad():
        logits = torch.cat(
            [
                captured.logits_of(impute(x.expand(len(chunk), *x.shape), chunk))[:, predicted]
                for chunk in removed.split(32)
            ]
        )
    falls = (captured.logits[0, predicted].detach() - logits).double().numpy()
    left_out = is_left_out.astype(float)
    ridge = left_out.T @ left_out + 0.5 * np.eye(len(masks))
    weights = np.linalg.solve(ridge, left_out.T @ falls) / masks.sum(axis=(1, 2))
    return torch.from_numpy(weights[labels])[None, None].float()


VARIANTS = {
    "windows of 32 px": Variant([partial(windows, side=32)]),
    **{
        f"SLIC, {n} asked for, margin {margin} px": Variant([partial(compact, n=n)], margin)
        for n, margin in [(25, 3), (50, 3), (60, 3), (75, 0), (75, 3), (120, 3), (200, 3)]
    },
    **{
        f"similar colour, k = {k}, margin {margin} px": Variant([partial(by_colour, k=k)], margin)
        for k, margin in [(100, 3), (200, 0), (200, 2), (200, 3), (200, 5), (400, 3)]
    },
    "occlusion": Variant([occlusion.by_similarity], limit=occlusion.QUICK_LIMIT),
    "fine_occlusion": Variant(SEGMENTATIONS, limit=occlusion.FINE_LIMIT),
    "fine_occlusion, times the root of CAM": Variant(
        SEGMENTATIONS, limit=occlusion.FINE_LIMIT, times_cam=True
    ),
}
REGRESSIONS = {
    f"regression over {runs} masks without {share:.0%}": (runs, share)
    for runs, share in [(29, 0.1), (97, 0.05), (97, 0.2), (97, 0.5)]
}


def load_samples(every: int = EVERY) -> list[Sample]:
    packed = images.load_packed(PROJECT / "data/images")
    predictions = read_table(PROJECT / "data/evaluation/predictions.csv").set_index("file")
    return [
        Sample(
            image.label,
            packed.pixels[image.row],
            prepare(torch.from_numpy(packed.pixels[image.row][None].copy())),
            packed.classes.index(predictions.predicted[image.file]),
            image.regions,
            image.importances,
        )
        for image in islice(measured_images(packed), None, None, every)
    ]


def scores(sample: Sample, masses: Floats) -> tuple[float, float]:
    areas = parts.areas(sample.regions)
    return (
        parts.partial_rank_correlation(sample.importances, masses, areas),
        parts.has_decisive_part(sample.importances, masses),
    )


def exact_falls(captured: Capture, sample: Sample) -> Floats:
    """Return the fall of the logit without each part, whose region is filled in exactly."""
    removed = torch.from_numpy(np.stack([*sample.regions.values()]))
    with torch.no_grad():
        logits = captured.logits_of(impute(sample.x.expand(len(removed), -1, -1, -1), removed))
    falls = captured.logits[0, sample.predicted].detach() - logits[:, sample.predicted]
    return falls.relu().double().numpy()


def require(**expected: object) -> None:
    """End the program if the parameters are not those that the figures belong to."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for name, value in expected.items():
        if params[name] != value:
            raise SystemExit(f"{name} is {params[name]}, {value} expected: run the command above")


def print_scores() -> None:
    require(draw_seed=7, judge_images=120)
    network = fold_batchnorm(load_classifier(PROJECT / "models/classifier.safetensors")).eval()
    table: dict[str, list[tuple[float, float, float]]] = {}
    samples = load_samples()
    for sample in samples:
        captured, n_runs = capture(network, sample.x), [0]
        logits_of = Capture.logits_of

        def count_and_run(self: Capture, x: Tensor, n_runs=n_runs, logits_of=logits_of) -> Tensor:
            n_runs[0] += len(x)
            return logits_of(self, x)

        def add(name: str, masses: Floats, sample=sample, n_runs=n_runs) -> None:
            table.setdefault(name, []).append((n_runs[0], *scores(sample, masses)))
            n_runs[0] = 0

        def masses_of(maps: Tensor, sample=sample) -> Floats:
            return parts.masses(display(maps[0].numpy(), sample.x.shape[-1]), sample.regions)[0]

        Capture.logits_of = count_and_run  # type: ignore[method-assign]
        add("CAM", masses_of(compute_maps(captured, "cam", classes=[sample.predicted])))
        for name, variant in VARIANTS.items():
            add(name, masses_of(variant.map(captured, sample.predicted)))
        occlusion.MARGIN_PX = Variant.margin_px
        for name, options in REGRESSIONS.items():
            add(name, masses_of(regression(captured, sample.predicted, *options)))
        add("exact regions of the parts", exact_falls(captured, sample))
        Capture.logits_of = logits_of  # type: ignore[method-assign]
    print(f"{len(samples)} images: runs, important parts (standard error), decisive part")
    for name, rows in table.items():
        values = np.array(rows)
        error = np.nanstd(values[:, 1]) / np.sqrt(np.isfinite(values[:, 1]).sum())
        runs, correlation, decisive = np.nanmean(values, axis=0)
        print(f"{name}: {runs:.0f}, {correlation:.3f} ({error:.3f}), {decisive:.3f}")


def print_times() -> None:
    torch.set_num_threads(1)
    x = load_samples()[0].x
    for backbone in BACKBONES:
        network = fold_batchnorm(build_classifier(backbone, "gap", ["a", "b"], x.shape[-1]).eval())
        with torch.no_grad():
            captured, image = capture(network, x), occlusion._to_image(x[0])
            calls = {
                "forward passes of 29 images": partial(
                    captured.logits_of, x.expand(29, -1, -1, -1).contiguous()
                ),
                "occlusion": partial(compute_maps, captured, "occlusion"),
                "fine_occlusion": partial(compute_maps, captured, "fine_occlusion"),
                "segmentation by similarity": partial(occlusion.by_similarity, image),
                "segmentation by distance": partial(occlusion.by_distance, image),
            }
            seconds = in_turns(calls, ROUNDS)
        unit = statistics.median(seconds["forward passes of 29 images"]) / 29
        n_regions = [segment(image).max() + 1 for segment in SEGMENTATIONS]
        print(f"{backbone}: {n_regions[0]} regions by similarity, {n_regions[1]} by distance")
        for name, values in seconds.items():
            low, middle, high = (f(values) / unit for f in (min, statistics.median, max))
            print(f"{backbone}, {name}: {middle:.1f} ({low:.1f} to {high:.1f}) forward passes")


def draw(path: Path) -> None:
    """Draw the maps of the first image of each class in `DRAWN` that is correctly classified."""
    require(draw_seed=1)
    network = fold_batchnorm(load_classifier(PROJECT / "models/classifier.safetensors")).eval()
    columns = {"CAM": "cam", "occlusion": "occlusion", "fine occlusion": "fine_occlusion"}
    samples = load_samples(1)
    rows = []
    for name in DRAWN:
        sample = next(
            s for s in samples if s.label == name == network.classes[s.predicted] and s.regions
        )
        captured = capture(network, sample.x)
        maps = [
            display(compute_maps(captured, method, classes=[sample.predicted])[0].numpy(), SIDE_PX)
            for method in columns.values()
        ]
        ground_truth = np.zeros((1, SIDE_PX, SIDE_PX), np.float32)
        for importance, region in zip(sample.importances, sample.regions.values(), strict=True):
            ground_truth[0, region] = max(importance, 0) / region.sum()
        pixels = np.repeat(sample.pixels[None], len(maps) + 1, axis=0)
        rows.append(
            [
                sample.pixels,
                *overlay(pixels, np.concatenate([*maps, ground_truth / ground_truth.max()])),
            ]
        )
    figure, axes = plt.subplots(
        len(rows), len(columns) + 2, figsize=(10, 2.05 * len(rows)), layout="constrained"
    )
    for of_row, images_of_row, name in zip(axes, rows, DRAWN, strict=True):
        of_row[0].set_ylabel(name)
        for axis, image in zip(of_row, images_of_row, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], ["image", *columns, "importance of the parts"], strict=True):
        axis.set_title(title, fontsize=11)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 85})


def main() -> None:
    """Read the command line and print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", action="store_true", help="what the methods cost instead")
    parser.add_argument("--figure", type=Path, help="the image to draw instead")
    options = parser.parse_args()
    if options.times:
        print_times()
    elif options.figure:
        draw(options.figure)
    else:
        print_scores()


if __name__ == "__main__":
    main()
