"""The time of the maps of some of 1,000 classes, and of dividing a network.

    python benchmarks/classes.py                   # n = 5 rounds
    python benchmarks/classes.py --method grad_cam --layer layer3

torchvision's resnet50 with random weights, one image of 224 px, one thread. Prints median,
smallest and largest of the rounds, in seconds of the processor, which other work on the machine
changes little.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchvision

import pokecam

N_CLASSES = (1, 5, 1000)


def seconds(function: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of the processor of each round, after one that does not count."""
    durations = []
    for _ in range(rounds + 1):
        begin = time.process_time()
        function()
        durations.append(time.process_time() - begin)
    return durations[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", choices=list(pokecam.METHODS), default="layer_cam")
    parser.add_argument("--layer", default="layer4")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = torchvision.models.resnet50().eval()
    x = torch.rand(1, 3, 224, 224)
    classifier = pokecam.cut(network, x, options.layer)
    calls: dict[str, Callable[[], object]] = {
        "the network": lambda: classifier(x),
        "cut": lambda: pokecam.cut(network, x, options.layer),
    }
    for n in N_CLASSES:
        calls[f"{options.method}, {n} classes"] = lambda n=n: pokecam.heatmaps(
            classifier, x, options.method, classes=range(n)
        )
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    with torch.no_grad():
        for name, call in calls.items():
            durations = seconds(call, options.rounds)
            middle = statistics.median(durations)
            print(f"{name:24} {middle:6.2f} s   ({min(durations):.2f} to {max(durations):.2f})")


if __name__ == "__main__":
    main()
