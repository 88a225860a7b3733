"""How good are features without any fine-tuning? Linear probes on drawn and on real images.

    python benchmarks/probe.py                                   # the table of pretrained/README.md
    python benchmarks/probe.py --weights some.safetensors --backbone resnet18

A probe is a logistic regression (C = 0.05) on the standardised pooled features of the body, with
five folds. Drawn images: the ten default classes, stratified folds. Real images:
../shared/real/pokemon10, folds by groups of near-duplicates; if that folder does not exist, they
are left out with a message. Random weights first adapt their BatchNorm statistics to the images.
No weights or recipes were chosen by their result on the real images (see the model card); the side,
--size-px, was chosen on the drawn images.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import PROJECT, images
from support.images import IMAGENET, REAL
from torch import nn

from pokecam.networks import backbones, pretrained, quantised
from pokecam.networks.classifier import prepare

DRAW_SEED = 7  # not the default's, on which the pipeline is tuned
BATCH = 32

Probe = tuple[np.ndarray, np.ndarray, np.ndarray]  # pixels (N, S, S, 3), labels (N,), groups (N,)


def packed(files: images.Files, size_px: int) -> Probe:
    pixels = np.stack([images.square(jpeg, size_px) for jpeg in files.jpegs])
    return pixels, files.labels, files.groups


def load_body(backbone: str, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return the body of a backbone with the weights of `state`, or random ones if it is empty."""
    torch.manual_seed(3)
    body, _ = backbones.split(backbone, n_classes=2)
    if state:
        body.load_state_dict({name: state[name] for name in body.state_dict()})
    return body.to(memory_format=torch.channels_last)


@torch.inference_mode()
def features(body: nn.Module, pixels: np.ndarray, adapt: bool) -> np.ndarray:
    """Return pooled features (N, K). With `adapt`, BatchNorm first sees all images once."""
    batches = [torch.from_numpy(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    if adapt:
        body.train()
        for batch in batches:
            body(prepare(batch))
    body.eval()
    return torch.cat([body(prepare(batch)).mean(dim=(2, 3)) for batch in batches]).numpy()


def accuracy(x: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the accuracy on each of five folds."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return cross_val_score(probe, x, labels, groups=groups, cv=folds)


def candidates(arguments: argparse.Namespace) -> Iterator[tuple[str, str, dict]]:
    """Yield name, backbone and state of all weights that are compared."""
    for file in arguments.weights:
        state = quantised.load_quantised(file)  # which reads snapshots in float32 as well
        yield file.stem, arguments.backbone, state
    if arguments.weights:
        return
    for file in sorted((PROJECT / "pretrained").glob("*.safetensors")):
        yield (
            f"{file.stem}, drawn",
            file.stem,
            pretrained.fetch_weights("drawn", file.stem, file.parent),
        )
        yield f"{file.stem}, random", file.stem, {}
    if IMAGENET.exists():
        state = pretrained.fetch_weights(str(IMAGENET), "mobilenet_v2")
        yield "mobilenet_v2, ImageNet", "mobilenet_v2", state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="snapshots to compare")
    parser.add_argument("--backbone", default="mobilenet_v3_small", help="of these snapshots")
    parser.add_argument("--size-px", type=int, default=224, help="side of the images")
    parser.add_argument("--per-class", type=int, default=60, help="drawn images of each class")
    parser.add_argument("--only", choices=("drawn", "real"), help="just one of the two sets")
    arguments = parser.parse_args()
    sets = {}
    if arguments.only != "real":
        sets["drawn"] = packed(images.drawn(DRAW_SEED, arguments.per_class), arguments.size_px)
    if arguments.only != "drawn":
        if REAL.is_dir():
            sets["real"] = packed(images.real(), arguments.size_px)
        else:
            print(f"real images left out: there is no {REAL.relative_to(PROJECT.parent)}")
    counts = ", ".join(f"{name} n = {len(labels)}" for name, (_, labels, _) in sets.items())
    print(f"{counts}; {arguments.size_px} px, five folds: mean ± standard deviation (min … max)")
    for title, backbone, state in candidates(arguments):
        body = load_body(backbone, state)
        for name, (pixels, labels, groups) in sets.items():
            folds = accuracy(features(body, pixels, adapt=not state), labels, groups)
            print(
                f"{title:28} {name:5} {folds.mean():.3f} ± {folds.std(ddof=1):.3f} "
                f"({folds.min():.3f} … {folds.max():.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
