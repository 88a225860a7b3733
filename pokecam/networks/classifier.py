"""The classifier: body, head, and what is needed to use them.

A model file gives logits in two lines::

    classifier = load_classifier(Path("models/classifier.safetensors"))
    logits = classifier(prepare(pixels))  # (N, S, S, 3) uint8 → (N, C)

`build_classifier` makes a new one.
"""

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
from pokecam.networks.backbones import Apply, GlobalAverage
from pokecam.networks.class_distances import ClassDistances
from pokecam.networks.device import is_out_of_memory
from pokecam.networks.distributed import SINGLE_PROCESS, Team
from pokecam.networks.dry_run import building_without_content
from pokecam.networks.families import BACKBONES
from pokecam.networks.settings import HEADS

# Images in a batch, by type of device. Larger batches are no faster on a CPU; smaller ones are
# slower on other devices.
BATCH_SIZES = {"cpu": 16}
BATCH_ELSEWHERE = 128

# Mean and standard deviation of each colour channel over the images of ImageNet, in [0, 1]. The
# weights of torchvision expect images that are normalised with them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The keys without which a model file is refused. Every version of PokeCAM has written them; the
# other keys of `description` are missing in old files.
_REQUIRED_KEYS = ("backbone", "head", "classes", "image_size", "feature_stride")

# The tensors of a model file that hold a `ClassDistances`.
_MEANS, _VALIDATION = "distances.means", "distances.validation"

T = TypeVar("T")


class Classifier(nn.Module):
    """An image classifier in two halves: images (N, 3, S, S) → logits (N, C) = head(body(images)).

    `build_classifier` and `load_classifier` make one.

    Attributes:
        body: images → features, which the head reads and `grid` lays out as A (N, K, h, w), the
            activations that maps are made of. In a vision transformer the features are tokens
            (N, T, K), in all other networks A itself. They are a tensor that no later operation
            overwrites, so they can be stored, differentiated, and passed to `head` again.
        head: features → logits (N, C).
        backbone: the network of torchvision, a name in `families.BACKBONES`.
        head_kind: an entry of `HEADS`, as in `build_classifier`.
        classes: the names of the C classes, in the order of the logits.
        image_size: side S in px of the images that the network is meant for.
        feature_stride: 32, or 16 for A of twice the resolution, as in `build_classifier`.
        distances: how far validation images are from the classes. None before the end of the
            training, and in a file of an older version.
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
        self.distances: ClassDistances | None = None

    def with_halves(self, body: nn.Module, head: nn.Module) -> "Classifier":
        """Return a classifier of another body and head that is the same in all other respects."""
        classifier = Classifier(
            body,
            head,
            backbone=self.backbone,
            head_kind=self.head_kind,
            classes=self.classes,
            image_size=self.image_size,
            feature_stride=self.feature_stride,
        )
        classifier.distances = self.distances
        return classifier

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, 3, S, S), as `prepare` gives it.

        Returns:
            (N, C).
        """
        return self.head(self.body(x))

    def adapt_to(self, x: Tensor) -> None:
        """Get ready for images (N, 3, S, S): here nothing is to be done.

        Raises:
            InputError: the network cannot lay out the activations of such images.
        """

    def last_inputs(self, x: Tensor) -> Tensor:
        """Compute the inputs of the last layer: with `head: gap` the pooled features.

        Args:
            x: (N, 3, S, S), as `prepare` gives it.

        Returns:
            (N, K). Where the last layer is a convolution (the native head of SqueezeNet), its
            inputs are averaged over the image.
        """
        inputs: list[Tensor] = []
        hook = self.last_layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            self(x)
        finally:
            hook.remove()
        return inputs[0].flatten(2).mean(dim=2) if inputs[0].ndim > 2 else inputs[0]

    def grid(self, features: Tensor) -> Tensor:
        """Lay out features, or their gradient, as a grid.

        Args:
            features: (…, K, h, w), or tokens (…, T, K) in a vision transformer, with any number
                of dimensions in front.

        Returns:
            (…, K, h, w).
        """
        return backbones.grid(self.backbone, features)

    @property
    def cam_layer(self) -> str:
        """The layer whose output maps are made of, by torchvision's name.

        It is the last layer of the main line of the body, which in a vision transformer is that
        of the encoder (`backbones.steps`).
        """
        return backbones.steps(self.body)[-1][0]

    @property
    def linear(self) -> nn.Linear | None:
        """The only layer with weights of the head, if the head is average pooling over A and one
        linear layer: logits = linear(mean of A over h, w). None for any other head."""
        layers = [module for module in self.head.modules() if not list(module.children())]
        linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        pools = [layer for layer in layers if _is_global_average(layer)]
        remaining = set(layers) - {*linears, *pools}
        is_plain = all(isinstance(layer, nn.Flatten | nn.Dropout | Apply) for layer in remaining)
        return linears[0] if len(linears) == len(pools) == 1 and is_plain else None

    @property
    def pool_and_rest(self) -> tuple[nn.Module | None, nn.Module]:
        """The first layer of the head if it is average pooling over A, else None; and the layers
        that follow."""
        first = next(iter(self.head.children()), None)
        if isinstance(self.head, nn.Sequential) and first is not None and _is_global_average(first):
            return first, self.head[1:]
        return None, self.head

    @property
    def last_layer(self) -> nn.Module:
        """The layer that computes one logit for each class."""
        name = "linear" if self.head_kind == "gap" else BACKBONES[self.backbone].last
        return self.head.get_submodule(name)


def _is_global_average(layer: nn.Module) -> bool:
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return layer.output_size in (1, (1, 1))
    return isinstance(layer, GlobalAverage)


def build_classifier(
    backbone: str,
    head: str,
    classes: Sequence[str],
    image_size: int,
    feature_stride: int = 32,
    *,
    n_channels: int | None = None,
) -> Classifier:
    """Build a classifier with random weights.

    Example::

        classifier = build_classifier("resnet18", "gap", ["Ant", "Bee"], image_size=224)

    Args:
        backbone: a name in `families.BACKBONES`.
        head: `gap` is global average pooling and one linear layer (Zhou et al. 2015,
            arXiv 1512.04150), the head that CAM needs. `native` is the head of torchvision, with
            a last layer for these classes.
        classes: the names of the classes, in the order of the logits.
        image_size: side S in px of the images that the network is meant for.
        feature_stride: 32 leaves the network as it is. 16 makes the sides of the activations a
            16th of those of the image, twice what most networks have (`dilation.refine`).
        n_channels: K of the activations; None: found by running the body once.

    Returns:
        The classifier, in training mode and memory format channels_last.

    Raises:
        InputError: the backbone does not take images of this size, or its stride cannot be
            changed.
    """
    smallest = backbones.smallest_image_px(backbone)
    if image_size < smallest or (BACKBONES[backbone].one_size and image_size > smallest):
        sizes = f"only {smallest}" if BACKBONES[backbone].one_size else f"{smallest} or more"
        raise InputError(
            f"image_size: {image_size} does not fit {backbone}, which takes {sizes} px; change "
            f"image_size or the backbone"
        )
    body, head_module = backbones.split(backbone, len(classes), pooled=head == "gap")
    if feature_stride == 16:
        dilation.refine(body, backbone)
    if head == "gap":
        n_channels = n_channels or _n_channels(backbone, body)
        head_module = _gap_head(backbone, n_channels, len(classes))
    classifier = Classifier(
        body,
        head_module,
        backbone=backbone,
        head_kind=head,
        classes=classes,
        image_size=image_size,
        feature_stride=feature_stride,
    )
    return classifier.to(memory_format=torch.channels_last)


def prepare(pixels: Tensor) -> Tensor:
    """Convert pixels to the input of a network: x = (pixels / 255 − `MEAN`) / `STD` per channel.

    Args:
        pixels: (N, S, S, 3) uint8 in RGB, on any device. They are not changed.

    Returns:
        (N, 3, S, S) float32, on the same device, in memory format channels_last.
    """
    # The permuted view of pixels is channels_last already, so they are copied only once.
    scale = 255 * torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    shift = 255 * torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    return pixels.permute(0, 3, 1, 2).float().sub_(shift).div_(scale)


def batch_size(classifier: Classifier) -> int:
    """Return how many images go through the network at once where it does not learn."""
    return BATCH_SIZES.get(next(classifier.parameters()).device.type, BATCH_ELSEWHERE)


def in_batches(
    classifier: Classifier,
    pixels: np.ndarray,
    rows: np.ndarray,
    run: Callable[[Tensor, slice], T],
) -> Iterator[tuple[int, T]]:
    """Apply a function to images, one batch after another.

    A batch that does not fit into memory is run again as two halves. All later batches have half
    the size, too.

    Args:
        classifier: the network. It decides the device and the size of a batch.
        pixels: (M, S, S, 3) uint8, memory-mapped or not.
        rows: (N,) int, the rows of `pixels` to run on.
        run: the function of a batch: network input (n, 3, S, S) on the device of the classifier,
            and the slice of `rows` that these images are.

    Yields:
        The index in `rows` at which the batch begins, and what `run` returned for it.
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
    """Compute the logits of images, in batches.

    Example::

        logits = predict(classifier, pixels, np.arange(len(pixels)))
        probabilities = logits.softmax(dim=1)

    Args:
        classifier: the network. It is put into evaluation mode and runs on the device it is on.
        pixels: (M, S, S, 3) uint8, memory-mapped or not.
        rows: (N,) int, the rows of `pixels` to classify.
        team: the processes that share the images. All of them must call this function, and each
            gets all logits.

    Returns:
        (N, C) on the CPU, in the order of `rows`.
    """
    classifier.eval()
    share = rows[team.share(len(rows))]
    batches = in_batches(classifier, pixels, share, lambda x, _: classifier(x).cpu())
    logits = [torch.empty(0, len(classifier.classes)), *(logits for _, logits in batches)]
    return team.all_gather(torch.cat(logits), len(rows))


def preprocessing(size_px: int) -> dict[str, Any]:
    """Describe how an image becomes the input of the network.

    The steps are `data.packed.letterbox.letterbox` and `prepare`. The description is for programs
    that use a model file without PokeCAM.

    Args:
        size_px: side S of the input.

    Returns:
        Words and numbers that JSON can hold; docs/model-file.md explains the keys.
    """
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
    """Return the metadata of a model file with this network; docs/model-file.md explains the
    keys."""
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
    """Write a classifier to a safetensors file.

    The file holds the weights, and in its metadata everything else that `load_classifier` or
    another program needs (`description`). The same classifier gives the same bytes.

    Args:
        classifier: the network, on any device.
        path: the file, which is replaced if it exists.
        weights: the pretrained weights that fine-tuning started from, as `weights` in params.yaml
            names them.
    """
    metadata = description(classifier) | {"weights": weights}
    state = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    if classifier.distances is not None:
        state |= {_MEANS: classifier.distances.means, _VALIDATION: classifier.distances.validation}
    safetensors_file.write_safetensors(path, state, metadata)


def load_classifier(path: Path | str) -> Classifier:
    """Read the classifier that `save_classifier` wrote.

    Reading runs no code that is in the file.

    Args:
        path: the safetensors file.

    Returns:
        The classifier on the CPU, in evaluation mode.

    Raises:
        InputError: the file is missing, damaged, or not written by `save_classifier`.
    """
    state, metadata = safetensors_file.read_safetensors(path)
    missing = [key for key in _REQUIRED_KEYS if key not in metadata]
    if missing:
        raise InputError(
            f"{path} is not a classifier of PokeCAM: its metadata lack {', '.join(missing)}; "
            f"give a file that the train stage wrote"
        )
    try:
        classifier = _build_without_weights(metadata, state)
    except ValueError as error:
        raise InputError(
            f"{path} describes a network that this version of PokeCAM does not support: {error}"
        ) from None
    classifier.distances = _take_distances(state)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    expected = {name: tensor.shape for name, tensor in classifier.state_dict().items()}
    distances = classifier.distances
    if shapes != expected or (distances and len(distances.means) != len(classifier.classes)):
        raise InputError(
            f"{path}: the metadata describe a {classifier.backbone} with "
            f"{len(classifier.classes)} classes, but the tensors are of another network; "
            f"give the file as the train stage wrote it"
        )
    classifier.load_state_dict(state, assign=True)
    linear = classifier.linear
    if linear and linear.in_features != _n_channels(classifier.backbone, classifier.body):
        raise InputError(
            f"{path}: its last layer has {linear.in_features} inputs, but the body of "
            f"{classifier.backbone} gives another number; give the file as the train stage wrote it"
        )
    return classifier.to(memory_format=torch.channels_last).eval()


def _take_distances(state: dict[str, Tensor]) -> ClassDistances | None:
    """Take the distances out of the tensors of a file; None if an older version wrote it."""
    if _MEANS not in state or _VALIDATION not in state:
        return None
    return ClassDistances(state.pop(_MEANS), state.pop(_VALIDATION))


def _build_without_weights(metadata: Mapping[str, str], state: Mapping[str, Tensor]) -> Classifier:
    """Build the network that the metadata describe, with tensors that have shapes but no values.

    `state` holds its tensors. Of these only the size of the last layer is used, so that nothing has
    to run: without values that would import `torch._dynamo`.

    Raises:
        ValueError: `save_classifier` does not write such metadata.
    """
    size_px, classes = int(metadata["image_size"]), json.loads(metadata["classes"])
    # Old files lack this key. Their images were prepared in the same way.
    steps = json.loads(metadata.get("preprocessing", json.dumps(preprocessing(size_px))))
    for key, value, is_supported in (
        ("backbone", metadata["backbone"], metadata["backbone"] in BACKBONES),
        ("head", metadata["head"], metadata["head"] in HEADS),
        ("classes", classes, isinstance(classes, list)),
        ("preprocessing", steps, steps == preprocessing(size_px)),
    ):
        if not is_supported:
            raise ValueError(f"{key} {value}")
    with building_without_content():  # all tensors are replaced at once
        stride = int(metadata["feature_stride"])
        return build_classifier(
            metadata["backbone"],
            metadata["head"],
            classes,
            size_px,
            stride,
            n_channels=_n_inputs(state.get("head.linear.weight")),
        )


def _n_inputs(weight: Tensor | None) -> int | None:
    return weight.shape[1] if weight is not None and weight.ndim == 2 else None


def _gap_head(backbone: str, n_channels: int, n_classes: int) -> nn.Sequential:
    layout = (
        {"grid": Apply(partial(backbones.grid, backbone))} if BACKBONES[backbone].tokens else {}
    )
    return nn.Sequential(
        OrderedDict(**layout, pool=GlobalAverage(), linear=nn.Linear(n_channels, n_classes))
    )


@torch.no_grad()
def _n_channels(backbone: str, body: nn.Module) -> int:
    """Return K of the activations, by running the body on an image of zeros."""
    size_px = backbones.smallest_image_px(backbone)
    image = torch.zeros(1, 3, size_px, size_px, device=next(body.parameters()).device)
    body.eval()
    n_channels = backbones.grid(backbone, body(image)).shape[1]
    body.train()
    return n_channels
