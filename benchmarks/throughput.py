"""Images per second of training, evaluation and maps, beside a bare network on the same device.

    python benchmarks/throughput.py                                   # mobilenet_v3_small, resnet18
    python benchmarks/throughput.py --backbones resnet50 --epochs 0   # 0: the whole training

Ten classes × 60 images of 224 px (noise: the content does not change the time), random weights, all
parameters as in params.yaml. The rates are those of the functions of the pipeline, with everything
that they do:

    training     `training.fit` on 360 images, as many as in the default training set: the fit of
                 the last layer, random views, steps, averaged weights, validation on 120 images;
                 the number of views divided by the total time
    evaluation   `classifier.predict`
    maps         `cam.store.write_maps` of CAM and Grad-CAM, ten classes each, to files
    bare …       forward and backward pass, or forward pass, of the same network in training or
                 evaluation mode. It repeats one batch that is on the device already, without
                 reading of images, optimiser or validation. Batch size and image size are those of
                 training or evaluation

Each is measured with bfloat16 in training where `pokecam.networks.device` chooses it, and
without. The measurements take turns in every round. Prints medians, smallest and largest values.
"""

import argparse
import contextlib
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from support import PROJECT

from pokecam.cam import store
from pokecam.common.params import read_params
from pokecam.networks import classifier, device
from pokecam.networks.classifier import Classifier
from pokecam.networks.settings import DEVICES
from pokecam.training import fit, schedule, step
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages

PARAMS = PROJECT / "params.yaml"
CLASSES = [f"class {number}" for number in range(10)]
SIDE_PX = 224
TRAIN, VAL = 360, 120  # of ten classes × 60, as the default splits them
STEPS = 10  # of a bare network in a round


class Bench:
    """A network and its images."""

    def __init__(self, backbone: str, on: torch.device, epochs: int | None) -> None:
        self.backbone, self.on, self.epochs = backbone, on, epochs
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (TRAIN + VAL, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        self.labels = np.arange(TRAIN + VAL) % len(CLASSES)
        self.recipe = read_params(Recipe, PARAMS).model_copy(update={"epochs": epochs})
        self.network = self.build()

    def build(self) -> Classifier:
        settings = read_params(TrainSettings, PARAMS).model_copy(update={"backbone": self.backbone})
        return fit.start(settings, CLASSES, SIDE_PX, {}, 0).to(self.on)

    def subset(self, start: int, end: int) -> LabelledImages:
        rows = np.arange(start, end)
        return LabelledImages(self.pixels, rows, self.labels[rows])

    def training(self) -> int:
        train, val = self.subset(0, TRAIN), self.subset(TRAIN, TRAIN + VAL)
        history = fit.fit(self.build(), train, val, self.recipe, pretrained=True)
        return len(history) * TRAIN

    def evaluation(self) -> int:
        classifier.predict(self.network, self.pixels, np.arange(len(self.pixels)))
        return len(self.pixels)

    def maps(self) -> int:
        self.network.eval()
        with tempfile.TemporaryDirectory() as folder:
            rows = np.arange(len(self.pixels))
            store.write_maps(Path(folder), self.network, self.pixels, rows, ["cam", "grad_cam"])
        return len(self.pixels)

    def batch(self, n: int, side_px: int) -> torch.Tensor:
        x = torch.randn(n, 3, side_px, side_px, device=self.on)
        return x.contiguous(memory_format=torch.channels_last)

    def bare_training(self) -> int:
        x = self.batch(self.recipe.batch_size, schedule.view_size(self.network))
        self.network.train()
        for _ in range(STEPS):
            with device.mixed_precision(self.network):
                logits = self.network(x)
            logits.float().sum().backward()
            self.network.zero_grad()
        return STEPS * len(x)

    def bare_evaluation(self) -> int:
        x = self.batch(classifier.batch_size(self.network), SIDE_PX)
        self.network.eval()
        with torch.inference_mode():
            for _ in range(STEPS):
                self.network(x)
        return STEPS * len(x)

    def rate(self, thing: str) -> float:
        """Return images per second, from the start to the last operation of the device."""
        run: Callable[[], int] = getattr(self, thing)
        self.wait()
        started = time.perf_counter()
        images = run()
        self.wait()
        return images / (time.perf_counter() - started)

    def wait(self) -> None:
        if self.on.type == "cuda":
            torch.cuda.synchronize()


# Measurement → the one that it is divided by.
THINGS = {
    "training": "bare_training",
    "bare_training": None,
    "evaluation": "bare_evaluation",
    "maps": "bare_evaluation",
    "bare_evaluation": None,
}


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Use float32 everywhere."""

    def without_autocast(network: torch.nn.Module) -> torch.autocast:
        device_type = next(network.parameters()).device.type
        return torch.autocast(device_type, torch.bfloat16, enabled=False)

    with (
        mock.patch.object(device, "mixed_precision", without_autocast),
        mock.patch.object(step, "mixed_precision", without_autocast),
    ):
        yield


def hardware(on: torch.device) -> str:
    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=["mobilenet_v3_small", "resnet18"])
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of training in a round; 0: all")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # training warns that nothing can be learnt from noise
    on = device.pick_device(options.device)
    print(f"{hardware(on)}, torch {torch.__version__}, n = {options.rounds}")
    for backbone in options.backbones:
        bench = Bench(backbone, on, options.epochs or None)
        reduced = device.mixed_precision(bench.network)._enabled
        print(f"\n{backbone}; {'' if reduced else 'no '}bfloat16 in training as it comes")
        rates: dict[tuple[str, bool], list[float]] = {}
        for number in range(options.rounds + 1):  # the first only warms up
            for full in (False, True):
                with full_precision() if full else contextlib.nullcontext():
                    for thing in THINGS:
                        rate = bench.rate(thing)
                        if number:
                            rates.setdefault((thing, full), []).append(rate)
        print(f"{'images/s':16} {'as it comes':30} {'float32':30} of the bare, as it comes")
        for thing, unit in THINGS.items():
            columns = []
            for full in (False, True):
                values = rates[thing, full]
                middle = statistics.median(values)
                columns.append(f"{middle:8.1f} ({min(values):.1f} to {max(values):.1f})")
            ratio = ""
            if unit:
                pairs = zip(rates[thing, False], rates[unit, False], strict=True)
                ratio = f"{statistics.median(a / b for a, b in pairs):.2f}"
            print(f"{thing:16} {columns[0]:30} {columns[1]:30} {ratio}", flush=True)
        if bench.epochs is None:
            images = schedule.n_epochs(TRAIN) * TRAIN
            seconds = [images / rate for rate in rates["training", False]]
            print(f"a whole training: {statistics.median(seconds):.1f} s")


if __name__ == "__main__":
    main()
