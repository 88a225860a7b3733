"""The fine-tuned network: a body that sees, a head that decides, and what is needed to use them."""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.networks import backbones, dilation, safetensors_file
from pokecam.networks.backbones import BACKBONES, Apply, GlobalAverage
from pokecam.networks.device import is_out_of_memory
from pokecam.networks.distributed import SINGLE_PROCESS, Team

HEADS = ("gap", "native")
# Of `batch_size`: on a CPU more are no faster, on other devices fewer are slower.
BATCH = {"cpu": 16}
BATCH_ELSEWHERE = 128

T = TypeVar("T")

# Per colour channel, of ImageNet's images in [0, 1]: what torchvision's weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


# Of `description`, what no file of ours was ever without.
_NEEDED = ("backbone", "head", "classes", "image_size", "feature_stride")


class Classifier(nn.Module):
    """head(body(x)): images x (N, 3, S, S) → logits (N, C).

    body: x → what the head reads, which `grid` lays out as A (N, K, h, w), the activations that
        maps are made of: what the pooling of the `gap` head averages. It is a tensor of its own
        that no later operation overwrites, so it can be kept, differentiated, and given to `head`
        again. Except in vision transformers it is A itself.
    head: that → logits (N, C), C the number of classes.
    backbone, head_kind, classes, image_size, feature_stride: what it was built with; image_size
        S in px.
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
        feature_stride: int = 32,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.backbone = backbone
        self.head_kind = head_kind
        self.classes = tuple(classes)
        self.image_size = image_size
        self.feature_stride = feature_stride

    def with_parts(self, body: nn.Module, head: nn.Module) -> "Classifier":
        """Another body and head under the same description."""
        return Classifier(
            body,
            head,
            backbone=self.backbone,
            head_kind=self.head_kind,
            classes=self.classes,
            image_size=self.image_size,
            feature_stride=self.feature_stride,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def grid(self, features: Tensor) -> Tensor:
        """Lay out what the body gave, (N, K, h, w) or tokens, or a gradient with respect to it,
        with any further dimensions before, as (…, K, h, w)."""
        return backbones.grid(self.backbone, features)

    @property
    def cam_layer(self) -> str:
        """The layer that maps are made of, as torchvision calls it: the last of the body, and in a
        vision transformer the block whose tokens the head reads."""
        return backbones.steps(self.body)[-1][0]

    @property
    def linear(self) -> nn.Linear | None:
        """The linear layer of a head that is average pooling and that layer, so that logits =
        linear(mean of A over h, w); None for any other head.
        """
        layers = [module for module in self.head.modules() if not list(module.children())]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        pools = [layer for layer in layers if _averages(layer)]
        others = set(layers) - {*linear, *pools}
        plain = all(isinstance(layer, nn.Flatten | nn.Dropout | Apply) for layer in others)
        return linear[0] if len(linear) == len(pools) == 1 and plain else None

    @property
    def pool_and_rest(self) -> tuple[nn.Module | None, nn.Module]:
        """The head's first layer, if that is average pooling over A, and what follows it."""
        first = next(iter(self.head.children()), None)
        if isinstance(self.head, nn.Sequential) and first is not None and _averages(first):
            return first, self.head[1:]
        return None, self.head

    @property
    def last_layer(self) -> nn.Module:
        """The layer that gives each class its score."""
        name = "linear" if self.head_kind == "gap" else BACKBONES[self.backbone].last
        return self.head.get_submodule(name)


def _averages(layer: nn.Module) -> bool:
    whole = isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))
    return whole or isinstance(layer, GlobalAverage)


def build_classifier(
    backbone: str, head: str, classes: Sequence[str], image_size: int, feature_stride: int = 32
) -> Classifier:
    """Build a classifier with fresh weights.

    backbone: a name in `backbones.BACKBONES`.
    head: `gap`: global average pooling and one linear layer (Zhou et al. 2015, arXiv 1512.04150);
        `native`: torchvision's own, with a new last layer.
    classes: names in the order of the logits.
    image_size: side in px of the images it is meant for.
    feature_stride: 32 for the network as it is, 16 for activations of twice the resolution
        (`strides.refine`).

    Raises `InputError` if the backbone does not take images of that size, or cannot be given
    that stride.
    """
    smallest = backbones.smallest_image_px(backbone)
    if image_size < smallest or (BACKBONES[backbone].one_size and image_size > smallest):
        takes = f"{smallest} only" if BACKBONES[backbone].one_size else f"{smallest} and more"
        raise InputError(f"image_size: {image_size} does not fit {backbone}, which takes {takes}")
    body, decide = backbones.split(backbone, len(classes), pooled=head == "gap")
    if feature_stride == 16:
        dilation.refine(body, backbone)
    if head == "gap":
        decide = _gap_head(backbone, _channels(backbone, body), len(classes))
    classifier = Classifier(
        body,
        decide,
        backbone=backbone,
        head_kind=head,
        classes=classes,
        image_size=image_size,
        feature_stride=feature_stride,
    )
    return classifier.to(memory_format=torch.channels_last)


def prepare(pixels: Tensor) -> Tensor:
    """Pixels (N, S, S, 3) uint8 → network input (N, 3, S, S) float32, normalised, channels_last.

    The permuted view of pixels in memory order is channels_last already: nothing is copied twice.
    """
    scale = 255 * torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    shift = 255 * torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    return pixels.permute(0, 3, 1, 2).float().sub_(shift).div_(scale)


def batch_size(classifier: Classifier) -> int:
    """Images that run through the network at once, where nothing is learnt."""
    return BATCH.get(next(classifier.parameters()).device.type, BATCH_ELSEWHERE)


def in_batches(
    classifier: Classifier,
    pixels: np.ndarray,
    rows: np.ndarray,
    run: Callable[[Tensor, slice], T],
) -> Iterator[tuple[int, T]]:
    """Yield (where it begins in rows, what `run` made of it) for one batch after another.

    pixels: (M, S, S, 3) uint8, memory-mapped or not. rows: (N,) int. run: gets network input
    (n, 3, S, S) on the device that the classifier is on, and where these images are in rows. A
    batch that does not fit into that device's memory is run again as two halves, and so are those
    after it.
    """
    device = next(classifier.parameters()).device
    size, start = batch_size(classifier), 0
    while start < len(rows):
        batch = torch.from_numpy(pixels[rows[start : start + size]])
        try:
            result = run(prepare(batch.to(device)), slice(start, start + len(batch)))
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
            continue
        yield start, result
        start += len(batch)


@torch.inference_mode()
def predict(
    classifier: Classifier, pixels: np.ndarray, rows: np.ndarray, team: Team = SINGLE_PROCESS
) -> Tensor:
    """Logits (N, C) of the images in some rows of `pixels` (M, S, S, 3) uint8, on the CPU.

    Runs on the device the classifier is on, a batch at a time, so pixels may be memory-mapped.
    The processes of the team, which must all ask, share the images; each gets all logits. The
    classifier is put into evaluation mode.
    """
    classifier.eval()
    own = rows[team.share(len(rows))]
    run = in_batches(classifier, pixels, own, lambda x, _: classifier(x).cpu())
    logits = [torch.empty(0, len(classifier.classes)), *(logits for _, logits in run)]
    return team.all_gather(torch.cat(logits), len(rows))


def preprocessing(size_px: int) -> dict[str, Any]:
    """What becomes of an image before the network sees it (`packing.geometry.letterbox`, then
    `prepare`), in words and numbers for whoever reads a model file with another program."""
    return {
        "colours": "RGB",
        "size_px": size_px,
        "fit": "letterbox",
        "resampling": "bicubic",
        "bars": "median colour of the two edges that touch them",
        "range": [0, 1],
        "mean": list(MEAN),
        "std": list(STD),
    }


def description(classifier: Classifier) -> dict[str, str]:
    """What a file says of the network in it; docs/model-file.md explains the keys."""
    return {
        "backbone": classifier.backbone,
        "head": classifier.head_kind,
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "image_size": str(classifier.image_size),
        "feature_stride": str(classifier.feature_stride),
        "preprocessing": json.dumps(preprocessing(classifier.image_size)),
        "cam_layer": classifier.cam_layer,
    }


def save_classifier(classifier: Classifier, path: Path, *, weights: str) -> None:
    """Write weights and everything else that `load_classifier` needs as a safetensors file.

    weights: a word on where the fine-tuning started.
    """
    metadata = description(classifier) | {"weights": weights}
    state = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    safetensors_file.write_safetensors(path, state, metadata)


def load_classifier(path: Path) -> Classifier:
    """Return the classifier that `save_classifier` wrote, on the CPU, in evaluation mode.

    Raises `InputError` if the file is missing, damaged, or not one of ours.
    """
    state, metadata = safetensors_file.read_safetensors(path)
    missing = [key for key in _NEEDED if key not in metadata]
    if missing:
        raise InputError(
            f"{path} is not a classifier of PokeCAM: it does not say its {', '.join(missing)}"
        )
    try:
        classifier = _described(metadata)
    except ValueError as error:
        raise InputError(
            f"{path} describes a network that this version of PokeCAM does not know: {error}"
        ) from None
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: tensor.shape for name, tensor in classifier.state_dict().items()}:
        raise InputError(f"{path} says that it is a {classifier.backbone}, but its tensors are not")
    classifier.load_state_dict(state, assign=True)
    return classifier.to(memory_format=torch.channels_last).eval()


def _described(metadata: Mapping[str, str]) -> Classifier:
    """The network that the metadata describe, without content.

    Raises `ValueError` for metadata that `save_classifier` would not write.
    """
    size_px, classes = int(metadata["image_size"]), json.loads(metadata["classes"])
    # Files from before there was this key were prepared in the same way.
    prepared = json.loads(metadata.get("preprocessing", json.dumps(preprocessing(size_px))))
    for what, told, known in (
        ("backbone", metadata["backbone"], metadata["backbone"] in BACKBONES),
        ("head", metadata["head"], metadata["head"] in HEADS),
        ("classes", classes, isinstance(classes, list)),
        ("preprocessing", prepared, prepared == preprocessing(size_px)),
    ):
        if not known:
            raise ValueError(f"{what} {told}")
    with torch.device("meta"):  # no time spent on fresh weights that are replaced at once
        stride = int(metadata["feature_stride"])
        return build_classifier(metadata["backbone"], metadata["head"], classes, size_px, stride)


def _gap_head(backbone: str, channels: int, n_classes: int) -> nn.Sequential:
    layout = (
        {"grid": Apply(partial(backbones.grid, backbone))} if BACKBONES[backbone].tokens else {}
    )
    return nn.Sequential(
        OrderedDict(**layout, pool=GlobalAverage(), linear=nn.Linear(channels, n_classes))
    )


@torch.no_grad()
def _channels(backbone: str, body: nn.Module) -> int:
    """K of the body's activations, found by showing it a black image."""
    size_px = backbones.smallest_image_px(backbone)
    image = torch.zeros(1, 3, size_px, size_px, device=next(body.parameters()).device)
    body.eval()
    channels = backbones.grid(backbone, body(image)).shape[1]
    body.train()
    return channels
