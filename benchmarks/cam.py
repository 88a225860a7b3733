"""What maps cost, in plain forward passes of the same network; pytorch-grad-cam beside them.

    python benchmarks/cam.py                       # times, n = 9 rounds
    python benchmarks/cam.py --memory              # peak memory of each, in processes of its own

One thread, 16 pictures of 224 px, ten classes, untrained weights (they do not change the time).
In every round each thing runs once, in turns; shown are the medians, as multiples of the median
plain forward pass of that round's network, and the smallest and largest of the rounds. Score-CAM
and Ablation-CAM, of which pytorch-grad-cam takes minutes, are measured for one picture, and their
unit is the forward pass of one picture.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from pokecam.cam import core
from pokecam.cam.display import display
from pokecam.cam.gradient import grad_cam
from pokecam.classifier import Classifier, build
from pokecam.device import pick
from pokecam.folding import folded

CLASSES = [str(i) for i in range(10)]
NETWORKS = ("resnet18", "vgg16", "mobilenet_v3_small")
PICTURES, SIDE_PX = 16, 224


def plain(network: Classifier, x: torch.Tensor) -> None:
    with torch.no_grad():
        network(x)


def shown(maps: torch.Tensor) -> None:
    display(maps.numpy(), SIDE_PX)


def our_grad_cam_of_one_class(network: Classifier, x: torch.Tensor) -> None:
    captured = core.capture(network, x)
    with torch.no_grad():
        shown(grad_cam(captured, core.targets(captured.logits.detach())[:1]))


def ours(method: str) -> Callable:
    def run(network: Classifier, x: torch.Tensor) -> None:
        core.maps(core.capture(network, x), method)

    return run


def theirs(name: str) -> Callable:
    def run(network: Classifier, x: torch.Tensor) -> None:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        made = getattr(pytorch_grad_cam, name)(network, [network.body])
        made(x, [ClassifierOutputTarget(0)] * len(x))

    return run


# what → (function, head, folded, only one picture, networks)
THINGS: dict[str, tuple[Callable, str, bool, bool, tuple[str, ...]]] = {
    "plain forward": (plain, "native", False, False, NETWORKS),
    "folded forward": (plain, "native", True, False, NETWORKS),
    "CAM, ten classes": (ours("cam"), "gap", False, False, NETWORKS),
    "CAM, ten classes, folded": (ours("cam"), "gap", True, False, NETWORKS),
    "Grad-CAM, one class, shown": (our_grad_cam_of_one_class, "native", False, False, NETWORKS),
    "Grad-CAM, ten classes": (ours("grad_cam"), "native", False, False, NETWORKS),
    "pytorch-grad-cam, one class": (theirs("GradCAM"), "native", False, False, NETWORKS),
    "plain forward, one picture": (plain, "native", False, True, ("resnet18",)),
    "Ablation-CAM": (ours("ablation_cam"), "native", False, True, ("resnet18",)),
    "pytorch-grad-cam Ablation-CAM": (theirs("AblationCAM"), "native", False, True, ("resnet18",)),
    "Score-CAM, ten classes": (ours("score_cam"), "native", True, True, ("resnet18",)),
    "pytorch-grad-cam Score-CAM": (theirs("ScoreCAM"), "native", False, True, ("resnet18",)),
}


def prepared(backbone: str, thing: str) -> Callable[[], None]:
    """A call that does one thing once, everything else made ready."""
    function, head, fold, single, _ = THINGS[thing]
    torch.manual_seed(0)
    network = build(backbone, head, CLASSES, SIDE_PX).eval()
    network = folded(network) if fold else network
    x = torch.randn(1 if single else PICTURES, 3, SIDE_PX, SIDE_PX)
    x = x.to(memory_format=torch.channels_last)
    return lambda: function(network, x)


def times(backbone: str, rounds: int) -> None:
    calls = {thing: prepared(backbone, thing) for thing in THINGS if backbone in THINGS[thing][4]}
    taken: dict[str, list[float]] = {thing: [] for thing in calls}
    for number in range(rounds + 1):  # the first only warms up
        for thing, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                taken[thing].append(time.perf_counter() - start)
    for thing, seconds in taken.items():
        unit = "plain forward, one picture" if THINGS[thing][3] else "plain forward"
        base = statistics.median(taken[unit])
        ratios = [statistics.median(seconds) / base, min(seconds) / base, max(seconds) / base]
        print(f"{backbone:20} {thing:31} {ratios[0]:8.3f}   ({ratios[1]:.3f} to {ratios[2]:.3f})")


def peak_memory(backbone: str, thing: str) -> float:
    """MiB that one run adds to what the process had before, in a process of its own."""
    code = (
        "import sys; sys.argv = ['cam']; import benchmarks.cam as b, resource\n"
        f"call = b.prepared({backbone!r}, {thing!r})\n"
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
    options = parser.parse_args()
    torch.set_num_threads(1)
    pick("cpu")
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"n = {options.rounds}")
    for backbone in options.networks:
        if not options.memory:
            times(backbone, options.rounds)
            continue
        for thing in THINGS:
            if backbone in THINGS[thing][4]:
                print(f"{backbone:20} {thing:31} {peak_memory(backbone, thing):8.0f} MiB")


if __name__ == "__main__":
    main()
