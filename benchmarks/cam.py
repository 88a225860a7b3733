"""What maps cost, in plain forward passes of the same network; pytorch-grad-cam beside them.

    python benchmarks/cam.py                       # times, n = 9 rounds
    python benchmarks/cam.py --memory              # peak memory of each, in processes of its own

One thread, 16 images of 224 px, ten classes, untrained weights (they do not change the time).
In every round each thing runs once, in turns; shown are the medians, and the smallest and largest
of the rounds, in two units: the plain forward pass of our network with torchvision's head
(channels_last, as the pipeline runs it, BatchNorm not folded), and that of torchvision's network
as it comes, which is also what pytorch-grad-cam is given, and once more in its faster layout.
Score-CAM and Ablation-CAM, of which pytorch-grad-cam takes minutes, are measured for one image,
and their unit is the forward pass of one image; their memory is measured with 16.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchvision

from benchmarks.rounds import in_turns
from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.folding import folded
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


def shown(maps: torch.Tensor) -> None:
    display(maps.numpy(), SIDE_PX)


def our_grad_cam_of_one_class(network: Classifier, x: torch.Tensor) -> None:
    captured = capture(network, x)
    with torch.no_grad():
        shown(grad_cam(captured, class_targets(captured.logits.detach())[:1]))


def ours(method: str) -> Callable:
    def run(network: Classifier, x: torch.Tensor) -> None:
        compute_maps(capture(network, x), method)

    return run


divided = functools.cache(cut)


def of_any_network(network: torch.nn.Module, x: torch.Tensor) -> None:
    """As `theirs`, but of all classes; where the network is divided is found once, beforehand."""
    heatmaps(divided(network, x, LAYER[type(network).__name__]), x)


def theirs(name: str) -> Callable:
    def run(network: torch.nn.Module, x: torch.Tensor) -> None:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layer = network.get_submodule(LAYER[type(network).__name__])
        made = getattr(pytorch_grad_cam, name)(network, [layer])
        made(x, [ClassifierOutputTarget(0)] * len(x))

    return run


@dataclass(frozen=True)
class Thing:
    """What is measured: a function of a network and images.

    head: `gap` or `native` for our network, "" for torchvision's own.
    """

    function: Callable
    head: str = ""
    folded: bool = False
    last: bool = True  # channels_last
    single: bool = False  # one image
    networks: tuple[str, ...] = NETWORKS


ONE = {"single": True, "networks": ("resnet18",)}
THINGS = {
    "plain forward": Thing(plain, "native"),
    "torchvision's forward": Thing(plain, last=False),
    "folded forward": Thing(plain, "native", folded=True),
    "CAM, ten classes": Thing(ours("cam"), "gap"),
    "CAM, ten classes, folded": Thing(ours("cam"), "gap", folded=True),
    "Grad-CAM, one class, shown": Thing(our_grad_cam_of_one_class, "native"),
    "Grad-CAM, ten classes": Thing(ours("grad_cam"), "native"),
    "pytorch-grad-cam, one class": Thing(theirs("GradCAM"), last=False),
    "the same, channels_last": Thing(theirs("GradCAM")),
    "any network, ten classes, shown": Thing(of_any_network, last=False),
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


def prepared(backbone: str, name: str, images: int | None = None) -> Callable[[], None]:
    """A call that does one thing once, everything else made ready."""
    thing = THINGS[name]
    torch.manual_seed(0)
    layout = torch.channels_last if thing.last else torch.contiguous_format
    if thing.head:
        network = build_classifier(backbone, thing.head, CLASSES, SIDE_PX).eval()
        network = folded(network) if thing.folded else network
    else:
        network = torchvision.models.get_model(backbone, num_classes=len(CLASSES)).eval()
        network = network.to(memory_format=layout)
    x = torch.randn(images or (1 if thing.single else IMAGES), 3, SIDE_PX, SIDE_PX)
    x = x.to(memory_format=layout)
    return lambda: thing.function(network, x)


def times(backbone: str, rounds: int, only: list[str]) -> None:
    names = [name for name in THINGS if name in {*only, *UNITS}]
    calls = {name: prepared(backbone, name) for name in names if backbone in THINGS[name].networks}
    taken = in_turns(calls, rounds)
    print(f"{'':50} in plain forwards            in torchvision's forwards")
    for name, seconds in taken.items():
        columns = []
        for unit in UNITS[2:] if THINGS[name].single else UNITS[:2]:
            base = statistics.median(taken[unit])
            middle, low, high = (f(seconds) / base for f in (statistics.median, min, max))
            columns.append(f"{middle:8.3f}   ({low:.3f} to {high:.3f})")
        print(f"{backbone:19} {name:30} {columns[0]:30} {columns[1]}", flush=True)


def peak_memory(backbone: str, thing: str) -> float:
    """MiB that one run adds to what the process had before, in a process of its own."""
    code = (
        "import sys; sys.argv = ['cam']; import benchmarks.cam as b, resource\n"
        f"call = b.prepared({backbone!r}, {thing!r}, b.IMAGES)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "call()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
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
