"""The cost of maps in plain forward passes of the same network, beside pytorch-grad-cam.

    python benchmarks/cam.py                       # times, n = 9 rounds
    python benchmarks/cam.py --memory              # peak memory of each, in processes of its own

One thread, 16 images of 224 px, ten classes, untrained weights (they do not change the time).
In every round each thing runs once, in turns. Prints median, smallest and largest of the rounds in
two units. One is the plain forward pass of our network with torchvision's head (channels_last, as
in the pipeline, BatchNorm not folded). The other is the forward pass of torchvision's network.
pytorch-grad-cam gets that network, and once more in the faster layout. For Score-CAM and
Ablation-CAM pytorch-grad-cam needs minutes: they are measured for one image, and their unit is the
forward pass of one image. Their memory is measured with 16 images.
"""

import argparse
import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchvision
from support.rounds import in_turns

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.gradient import grad_cam
from pokecam.cam.maps import class_targets, compute_maps
from pokecam.networks.classifier import Classifier, build_classifier
from pokecam.networks.device import pick_device

CLASSES = [str(i) for i in range(10)]
NETWORKS = ("resnet18", "vgg16", "mobilenet_v3_small")
IMAGES, SIDE_PX = 16, 224
# Our default layers in torchvision's own networks, by their class.
LAYER = {"ResNet": "layer4", "VGG": "features.29", "MobileNetV3": "features"}


def plain(network: torch.nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        network(x)


def to_heatmaps(maps: torch.Tensor) -> None:
    display(maps.numpy(), SIDE_PX)


def our_grad_cam_of_one_class(network: Classifier, x: torch.Tensor) -> None:
    captured = capture(network, x)
    with torch.no_grad():
        to_heatmaps(grad_cam(captured, class_targets(captured.logits.detach(), [0])))


def ours(method: str) -> Callable:
    def run(network: Classifier, x: torch.Tensor) -> None:
        compute_maps(capture(network, x), method)

    return run


cached_cut = functools.cache(cut)


def of_any_network(network: torch.nn.Module, x: torch.Tensor) -> None:
    """Compute heatmaps of all classes. The network is cut once, in the first call."""
    heatmaps(cached_cut(network, x, LAYER[type(network).__name__]), x)


def theirs(name: str) -> Callable:
    def run(network: torch.nn.Module, x: torch.Tensor) -> None:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layer = network.get_submodule(LAYER[type(network).__name__])
        explainer = getattr(pytorch_grad_cam, name)(network, [layer])
        explainer(x, [ClassifierOutputTarget(0)] * len(x))

    return run


@dataclass(frozen=True)
class Thing:
    """A function of a network and images whose cost is measured.

    Attributes:
        function: takes the network and its input.
        head: `gap` or `native` for our network, "" for that of torchvision.
        folded: whether BatchNorm is folded.
        last: whether the layout is channels_last.
        single: whether the input is one image.
        networks: backbones to measure it with.
    """

    function: Callable
    head: str = ""
    folded: bool = False
    last: bool = True
    single: bool = False
    networks: tuple[str, ...] = NETWORKS


ONE = {"single": True, "networks": ("resnet18",)}
THINGS = {
    "plain forward": Thing(plain, "native"),
    "torchvision's forward": Thing(plain, last=False),
    "folded forward": Thing(plain, "native", folded=True),
    "CAM, ten classes": Thing(ours("cam"), "gap"),
    "CAM, ten classes, folded": Thing(ours("cam"), "gap", folded=True),
    "Grad-CAM, one class, heatmap": Thing(our_grad_cam_of_one_class, "native"),
    "Grad-CAM, ten classes": Thing(ours("grad_cam"), "native"),
    "pytorch-grad-cam, one class": Thing(theirs("GradCAM"), last=False),
    "the same, channels_last": Thing(theirs("GradCAM")),
    "any network, ten classes": Thing(of_any_network, last=False),
    "plain forward of one": Thing(plain, "native", **ONE),
    "torchvision's forward of one": Thing(plain, last=False, **ONE),
    "any network, one image": Thing(of_any_network, last=False, **ONE),
    "pytorch-grad-cam, one image": Thing(theirs("GradCAM"), last=False, **ONE),
    "Ablation-CAM": Thing(ours("ablation_cam"), "native", **ONE),
    "pytorch-grad-cam Ablation-CAM": Thing(theirs("AblationCAM"), last=False, **ONE),
    "Score-CAM, ten classes": Thing(ours("score_cam"), "native", folded=True, **ONE),
    "pytorch-grad-cam Score-CAM": Thing(theirs("ScoreCAM"), last=False, **ONE),
    "its Score-CAM, channels_last": Thing(theirs("ScoreCAM"), **ONE),
}
UNITS = (
    "plain forward",
    "torchvision's forward",
    "plain forward of one",
    "torchvision's forward of one",
)


def prepare_call(backbone: str, name: str, images: int | None = None) -> Callable[[], None]:
    """Return a call that runs a thing once. Network and input are prepared before."""
    thing = THINGS[name]
    torch.manual_seed(0)
    layout = torch.channels_last if thing.last else torch.contiguous_format
    if thing.head:
        network = build_classifier(backbone, thing.head, CLASSES, SIDE_PX).eval()
        network = fold_batchnorm(network) if thing.folded else network
    else:
        network = torchvision.models.get_model(backbone, num_classes=len(CLASSES)).eval()
        network = network.to(memory_format=layout)
    x = torch.randn(images or (1 if thing.single else IMAGES), 3, SIDE_PX, SIDE_PX)
    x = x.to(memory_format=layout)
    return lambda: thing.function(network, x)


def times(backbone: str, rounds: int, only: list[str]) -> None:
    names = [name for name in THINGS if name in {*only, *UNITS}]
    calls = {
        name: prepare_call(backbone, name) for name in names if backbone in THINGS[name].networks
    }
    seconds_of = in_turns(calls, rounds)
    print(f"{'':50} in plain forwards            in torchvision's forwards")
    for name, seconds in seconds_of.items():
        columns = []
        for unit in UNITS[2:] if THINGS[name].single else UNITS[:2]:
            base = statistics.median(seconds_of[unit])
            middle, low, high = (f(seconds) / base for f in (statistics.median, min, max))
            columns.append(f"{middle:8.3f}   ({low:.3f} to {high:.3f})")
        print(f"{backbone:19} {name:30} {columns[0]:30} {columns[1]}", flush=True)


def peak_memory(backbone: str, thing: str) -> float:
    """Return the MiB that one run adds to the peak memory of a new process."""
    code = (
        "import cam, resource\n"
        f"call = cam.prepare_call({backbone!r}, {thing!r}, cam.IMAGES)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "call()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    folder = Path(__file__).resolve().parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return int(run.stdout.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of times")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--only", nargs="+", choices=list(THINGS), metavar="THING")
    options = parser.parse_args()
    only = options.only or list(THINGS)
    torch.set_num_threads(1)
    pick_device("cpu")
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"n = {options.rounds}")
    for backbone in options.networks:
        if not options.memory:
            times(backbone, options.rounds, only)
            continue
        for thing in only:
            if backbone in THINGS[thing].networks and thing not in UNITS[2:]:
                mebibytes = peak_memory(backbone, thing)
                print(f"{backbone:19} {thing:30} {mebibytes:8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
