"""The fine-tuned network: a body that sees, a head that decides, and what is needed to use them."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pokecam import backbones, tensors
from pokecam.backbones import BACKBONES
from pokecam.errors import InputError

HEADS = ("gap", "native")
BATCH = 16  # pictures that `predict` runs at once

# Per colour channel, of ImageNet's pictures in [0, 1]: what torchvision's weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Classifier(nn.Module):
    """head(body(x)): pictures x (N, 3, S, S) → logits (N, C).

    body: x → A (N, K, h, w), the activations that maps are made of: what the pooling of the `gap`
        head averages. A is a tensor of its own that no later operation overwrites, so it can be
        kept, differentiated, and given to `head` again.
    head: A → logits (N, C), C the number of classes.
    backbone, head_kind, classes, image_size: what it was built with; image_size S in px.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        *,
        backbone: str,
        head_kind: str,
        classes: Sequence[str],
        image_size: int,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.backbone = backbone
        self.head_kind = head_kind
        self.classes = tuple(classes)
        self.image_size = image_size

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    @property
    def linear(self) -> nn.Linear | None:
        """The only layer with weights in the head, if the head is average pooling and that layer:
        logits = linear(mean of A over h, w). None for heads with hidden or convolutional layers.
        """
        weighted = [module for module in self.head.modules() if module._parameters]
        only = weighted[0] if len(weighted) == 1 else None
        return only if isinstance(only, nn.Linear) else None

    @property
    def last_layer(self) -> nn.Module:
        """The layer that gives each class its score."""
        name = "linear" if self.head_kind == "gap" else BACKBONES[self.backbone].last
        return self.head.get_submodule(name)


class GlobalAverage(nn.Module):
    """A (N, K, h, w) → its mean over h and w (N, K). Unlike adaptive pooling, the gradient is
    deterministic on every device."""

    def forward(self, A: Tensor) -> Tensor:
        return A.mean(dim=(2, 3))


def build(backbone: str, head: str, classes: Sequence[str], image_size: int) -> Classifier:
    """Build a classifier with fresh weights.

    backbone: a name in `backbones.BACKBONES`.
    head: `gap`: global average pooling and one linear layer (Zhou et al. 2015, arXiv 1512.04150);
        `native`: torchvision's own, with a new last layer.
    classes: names in the order of the logits.
    image_size: side in px of the pictures it is meant for.

    Raises `InputError` if the backbone does not take pictures that small.
    """
    smallest = backbones.smallest_picture(backbone)
    if image_size < smallest:
        raise InputError(
            f"image_size: {image_size} is too small for {backbone}, which takes {smallest} and more"
        )
    body, decide = backbones.split(backbone, len(classes))
    if head == "gap":
        decide = _gap_head(_channels(body, smallest), len(classes))
    classifier = Classifier(
        body, decide, backbone=backbone, head_kind=head, classes=classes, image_size=image_size
    )
    return classifier.to(memory_format=torch.channels_last)


def prepare(pixels: Tensor) -> Tensor:
    """Pixels (N, S, S, 3) uint8 → network input (N, 3, S, S) float32, normalised, channels_last.

    The permuted view of pixels in memory order is channels_last already: nothing is copied twice.
    """
    scale = 255 * torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    shift = 255 * torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    return pixels.permute(0, 3, 1, 2).float().sub_(shift).div_(scale)


@torch.inference_mode()
def predict(classifier: Classifier, pixels: np.ndarray, rows: np.ndarray) -> Tensor:
    """Logits (N, C) of the pictures in some rows of `pixels` (M, S, S, 3) uint8, on the CPU.

    Runs on the device the classifier is on, `BATCH` pictures at a time, so pixels may be memory-
    mapped. The classifier is put into evaluation mode.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    batches = (
        torch.from_numpy(pixels[rows[start : start + BATCH]])
        for start in range(0, len(rows), BATCH)
    )
    return torch.cat([classifier(prepare(batch.to(device))).cpu() for batch in batches])


def save(classifier: Classifier, path: Path, *, weights: str) -> None:
    """Write weights and everything else that `load` needs as a safetensors file.

    weights: a word on where the fine-tuning started.
    """
    metadata = {
        "backbone": classifier.backbone,
        "head": classifier.head_kind,
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "image_size": str(classifier.image_size),
        "mean": json.dumps(MEAN),
        "std": json.dumps(STD),
        "weights": weights,
    }
    state = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    tensors.write(path, state, metadata)


def load(path: Path) -> Classifier:
    """Return the classifier that `save` wrote, on the CPU, in evaluation mode.

    Raises `InputError` if the file is missing, damaged, or not one of ours.
    """
    state, metadata = tensors.read(path)
    missing = [key for key in ("backbone", "head", "classes", "image_size") if key not in metadata]
    if missing:
        raise InputError(
            f"{path} is not a classifier of PokeCAM: it does not say its {', '.join(missing)}"
        )
    with torch.device("meta"):  # no time spent on fresh weights that are replaced at once
        classifier = build(
            metadata["backbone"],
            metadata["head"],
            json.loads(metadata["classes"]),
            int(metadata["image_size"]),
        )
    classifier.load_state_dict(state, assign=True)
    return classifier.to(memory_format=torch.channels_last).eval()


def _gap_head(channels: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(pool=GlobalAverage(), linear=nn.Linear(channels, n_classes)))


@torch.no_grad()
def _channels(body: nn.Module, size_px: int) -> int:
    """K of the body's activations, found by showing it a black picture."""
    body.eval()
    channels = body(torch.zeros(1, 3, size_px, size_px)).shape[1]
    body.train()
    return channels
