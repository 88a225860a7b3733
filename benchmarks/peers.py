"""The same work with this project and with other libraries for class activation maps.

    python benchmarks/peers.py              # n = 5 rounds; for ROAD 3, of a minute each
    python benchmarks/peers.py --rounds 1

torchvision's resnet18 (untrained: that does not change the time), ten classes, images of 224 px,
one thread. In every round each library does the work once, in turns:

    Grad-CAM               maps of all ten classes for 8 images, in the size of the image: ours by
                           `cam.anywhere`, with the network cut before and during the measurement;
                           pytorch-grad-cam; torchcam and captum (torch upsamples their maps)
    deletion, insertion    areas of both curves, 14 steps, for 8 maps: ours, torchcam
    ROAD                   combined score, nine shares of the pixels, for 2 maps: ours,
                           pytorch-grad-cam

Prints seconds (median, smallest, largest) and the median over rounds of the ratio to ours.
"""

import argparse
import os
import statistics
import warnings
from collections.abc import Callable
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytorch_grad_cam
import torch
import torch.nn.functional as F
import torchcam.methods
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)
from support.rounds import in_turns
from torchcam.metrics import DeletionInsertionMetric

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.judging import faithfulness
from tests.support.given import FixedMaps

CLASSES, SIDE_PX, LAYER = 10, 224, "layer4"


def our_maps(network: torch.nn.Module, x: torch.Tensor) -> None:
    heatmaps(cut(network, x, LAYER), x, "grad_cam")


def pytorch_grad_cams_maps(network: torch.nn.Module, x: torch.Tensor) -> None:
    explainer = pytorch_grad_cam.GradCAM(network, [network.get_submodule(LAYER)])
    for c in range(CLASSES):
        explainer(x, [ClassifierOutputTarget(c)] * len(x))


def torchcams_maps(network: torch.nn.Module, x: torch.Tensor) -> None:
    with torchcam.methods.GradCAM(network, LAYER) as extractor:
        logits = network(x)
        for c in range(CLASSES):
            (maps,) = extractor([c] * len(x), logits, retain_graph=True)
            F.interpolate(maps[:, None], x.shape[-2:], mode="bilinear")


def captums_maps(network: torch.nn.Module, x: torch.Tensor) -> None:
    explainer = LayerGradCam(network, network.get_submodule(LAYER))
    for c in range(CLASSES):
        maps = explainer.attribute(x, c, relu_attributions=True)
        LayerGradCam.interpolate(maps, tuple(x.shape[-2:]), "bilinear")


class Maps:
    """Images, their heatmaps of class 0, and the network, whole and cut."""

    def __init__(self, network: torch.nn.Module, x: torch.Tensor) -> None:
        self.network, self.x = network, x
        self.cut_network = cut(network, x, LAYER)
        self.heatmaps = heatmaps(self.cut_network, x)[:, :1]  # (N, 1, S, S)
        self.target = torch.zeros(len(x), dtype=torch.long)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.network(x).softmax(dim=1)


def our_curves(case: Maps) -> None:
    order = faithfulness.order(case.heatmaps)
    curves = faithfulness.deletion_insertion(case.probabilities, case.x, case.target, order)
    for curve in (curves.deletion, curves.insertion):
        faithfulness.area(curve)


def torchcams_curves(case: Maps) -> None:
    softmax, steps = partial(torch.softmax, dim=-1), faithfulness.STEPS
    extractor = FixedMaps(case.network, case.heatmaps[:, 0])
    deletion = DeletionInsertionMetric(extractor, softmax, steps=steps)
    insertion = DeletionInsertionMetric(extractor, softmax, steps=steps, baseline=faithfulness.blur)
    for metric in (deletion, insertion):
        metric.update(case.x, case.target.tolist())
        metric.summary()


def our_road(case: Maps) -> None:
    order = faithfulness.order(case.heatmaps)
    seeds = range(len(case.x))
    faithfulness.road(case.probabilities, case.x, case.target, order, seeds).combined.mean()


def pytorch_grad_cams_road(case: Maps) -> None:
    targets = [ClassifierOutputSoftmaxTarget(0)] * len(case.x)
    ROADCombined()(case.x, np.ascontiguousarray(case.heatmaps[:, 0]), targets, case.network)


def compare(title: str, works: dict[str, Callable[[], object]], rounds: int) -> None:
    seconds_of = in_turns(works, rounds)
    print(f"{title}, n = {rounds}")
    for name, seconds in seconds_of.items():
        ratio = statistics.median(t / o for t, o in zip(seconds, seconds_of["ours"], strict=True))
        middle = statistics.median(seconds)
        print(
            f"  {name:18} {middle:8.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"
            f"   {ratio:6.2f} × ours",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=CLASSES).eval()
    x = torch.randn(8, 3, SIDE_PX, SIDE_PX)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    eight, two = Maps(network, x), Maps(network, x[:2])
    of_maps = {
        "ours, with the cut": our_maps,
        "pytorch-grad-cam": pytorch_grad_cams_maps,
        "torchcam": torchcams_maps,
        "captum": captums_maps,
    }
    compare(
        "Grad-CAM of ten classes, 8 images",
        {"ours": partial(heatmaps, eight.cut_network, x)}
        | {name: partial(work, network, x) for name, work in of_maps.items()},
        options.rounds,
    )
    compare(
        "deletion and insertion, 8 maps",
        {"ours": partial(our_curves, eight), "torchcam": partial(torchcams_curves, eight)},
        options.rounds,
    )
    compare(
        "ROAD, 2 maps",
        {"ours": partial(our_road, two), "pytorch-grad-cam": partial(pytorch_grad_cams_road, two)},
        min(options.rounds, 3),
    )


if __name__ == "__main__":
    main()
