"""The weights that fine-tuning starts from, checked against the network they are for.

All come as a state with torchvision's names, without the classifier's last layer.
"""

import hashlib
import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import torch
from torch import Tensor

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, one_of
from pokecam.networks import backbones, quantised, safetensors_file
from pokecam.networks.backbones import BACKBONES
from pokecam.networks.classifier import Classifier

State = dict[str, Tensor]

SHIPPED = Path("pretrained")
_SHOWN = 4  # names listed in a message before "and n more"
_OLD_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
_WANTED = "needed is a state of tensors, torch.save(model.state_dict(), path), or safetensors"

log = logging.getLogger(__name__)


class WeightsSettings(Settings):
    """backbone: a name in `BACKBONES`; weights: a word of `SOURCES` or a file."""

    backbone: Annotated[str, one_of(BACKBONES)]
    weights: str


def fetch_weights(weights: str, backbone: str, shipped: Path = SHIPPED) -> State:
    """Return the weights to start from: float32 tensors by torchvision's names.

    weights: `drawn` (the file of this backbone in the folder `shipped`), `imagenet` (torchvision's
        official ones, through torch.hub's cache), `none` (an empty state), or the path of a .pth
        or .safetensors file, which is read without executing any code in it.

    The state has every tensor of the body; of the head the hidden layers, if the weights have all
    of them in torchvision's shapes; never the last layer.

    Raises `InputError` if the weights cannot be had, or do not fit the backbone: the message names
    the tensors that are missing, superfluous or of another shape, and the backbone they do fit.
    """
    if weights == "none":
        return {}
    source = SOURCES.get(weights)
    state = source(backbone, shipped) if source else _from_file(Path(weights))
    return check_weights(state, backbone, weights)


def check_weights(state: Mapping[str, Tensor], backbone: str, origin: str) -> State:
    """Return `state` as float32 without what the classifier's head has of its own.

    BatchNorm's `num_batches_tracked`, which some formats leave out, counts batches and decides
    nothing while a momentum is set: it may be missing and is then 0.

    Raises `InputError` as `fetch_weights` does, also for values that are not finite.
    """
    layout = Layout.of(backbone)
    state = {
        name: tensor
        for name, tensor in state.items()
        if name.split(".")[0] not in BACKBONES[backbone].auxiliary
    }
    body = {name: tensor for name, tensor in state.items() if not layout.in_head(name)}
    if fault := layout.fault(body):
        raise InputError(f"{origin}: {fault}{_other_backbone(state, backbone)}")
    head = {name: state[name] for name in state.keys() - body.keys() - layout.last}
    if layout.hidden and {name: tuple(head[name].shape) for name in head} == layout.hidden:
        body |= head
    elif head:
        log.warning("%s: the hidden layers of the classifier are not used: %s", origin, _few(head))
    for name in layout.body.keys() - body.keys():
        body[name] = torch.tensor(0)
    for name, tensor in body.items():
        if not tensor.isfinite().all():
            raise InputError(f"{origin}: {name} holds values that are not finite")
    return {
        name: body[name].float() if body[name].is_floating_point() else body[name]
        for name in sorted(body)
    }


def apply_weights(state: Mapping[str, Tensor], classifier: Classifier) -> None:
    """Copy a state that `fetch_weights` gave into `classifier`: the body, and with a native head
    its hidden layers if the state has them. An empty state changes nothing."""
    if not state:
        return
    names = classifier.body.state_dict().keys()
    classifier.body.load_state_dict({name: state[name] for name in names})
    if classifier.head_kind == "native":
        hidden = {name: tensor for name, tensor in state.items() if name not in names}
        classifier.head.load_state_dict(classifier.head.state_dict() | hidden)


def write_weights(path: Path, state: Mapping[str, Tensor], backbone: str, weights: str) -> None:
    """Write a state as a safetensors file that says its backbone and where it came from."""
    origin = weights if weights in (*SOURCES, "none") else Path(weights).name
    safetensors_file.write_safetensors(path, state, {"backbone": backbone, "weights": origin})


def read_weights(path: Path, backbone: str) -> tuple[State, str]:
    """Return the state that `write_weights` wrote and the word on where it came from.

    Raises `InputError` if the file is for another backbone.
    """
    state, metadata = safetensors_file.read_safetensors(path)
    if metadata.get("backbone") != backbone:
        raise InputError(
            f"{path} holds weights of {metadata.get('backbone', 'an unnamed network')}, backbone "
            f"is {backbone}: run the weights stage again (dvc repro weights)"
        )
    return state, metadata["weights"]


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a backbone's tensors: `body`, the head's `hidden` layers, and the names
    of the `last` layer, whose shape depends on the classes."""

    body: dict[str, tuple[int, ...]]
    hidden: dict[str, tuple[int, ...]]
    last: frozenset[str]

    @classmethod
    def of(cls, backbone: str) -> "Layout":
        """Shapes of a network that takes no memory."""
        with torch.device("meta"):
            body, head = (
                part.state_dict() for part in backbones.split(backbone, n_classes=2, pooled=True)
            )
        head = {name: tensor for name, tensor in head.items() if name not in body}
        prefix = BACKBONES[backbone].last + "."
        last = frozenset(name for name in head if name.startswith(prefix))
        return cls(
            {name: tuple(tensor.shape) for name, tensor in body.items()},
            {name: tuple(head[name].shape) for name in head.keys() - last},
            last,
        )

    def in_head(self, name: str) -> bool:
        """Whether a tensor of this name belongs to the classifier head (fc.…, classifier.…)."""
        return name.split(".")[0] in {ours.split(".")[0] for ours in self.last}

    def fault(self, body: Mapping[str, Tensor]) -> str:
        """What is wrong with the tensors of a body, in words, or ""."""
        optional = {name for name in self.body if name.endswith(".num_batches_tracked")}
        common = body.keys() & self.body.keys()
        faults = {
            "missing": self.body.keys() - body.keys() - optional,
            "superfluous": body.keys() - self.body.keys(),
            "of another shape": {n for n in common if tuple(body[n].shape) != self.body[n]},
        }
        return "; ".join(
            f"{len(names)} tensors {what}: {_few(names)}" for what, names in faults.items() if names
        )


def _drawn(backbone: str, shipped: Path) -> State:
    path = shipped / f"{backbone}.safetensors"
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in shipped.glob("*.safetensors")))
        raise InputError(
            f"weights: there are no drawn weights for {backbone}. They ship for: {have or 'none'}. "
            f"Take one of these backbones, or set weights to imagenet, none or a file"
        )
    return quantised.load_quantised(path)


def _imagenet(backbone: str, shipped: Path) -> State:
    """torch.hub checks the hash of what it downloads, not of what lies in its cache already."""
    official = backbones.imagenet_weights(backbone)
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(official.url).name)
    try:
        state = official.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except (URLError, OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            f"the ImageNet weights of {backbone} could not be had ({error}): put the file "
            f"{official.url} at {cached}"
        ) from None
    expected = cached.stem.rpartition("-")[2]
    if not _sha256(cached).startswith(expected):
        raise InputError(
            f"{cached} is not torchvision's file: its SHA-256 does not begin with {expected}. "
            f"Replace it with {official.url}"
        )
    return state


SOURCES: dict[str, Callable[[str, Path], State]] = {"drawn": _drawn, "imagenet": _imagenet}


def _from_file(path: Path) -> State:
    if not path.is_file():
        words = (*SOURCES, "none")
        raise InputError(
            f"weights: {path} is neither a file nor one of {', '.join(words)}."
            f"{did_you_mean(str(path), words)}"
        )
    if path.suffix == ".safetensors":
        return safetensors_file.read_safetensors(path)[0]
    if not _saved_by_torch(path):
        raise InputError(f"{path} is no whole file of torch.save: {_WANTED}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise InputError(
            f"{path} was not loaded: it is damaged, or holds objects whose loading could run code "
            f"({str(error).partition(chr(10))[0]}): {_WANTED}"
        ) from None
    return _plain_state(content, path)


def _saved_by_torch(path: Path) -> bool:
    """Whether the file begins as torch.save's do, the present ones and those before version 1.6."""
    with path.open("rb") as file:
        old = file.read(len(_OLD_MAGIC)) == _OLD_MAGIC
    return old or zipfile.is_zipfile(path)


def _plain_state(content: Any, path: Path) -> State:
    """The state dict in what `torch.load` gave; training scripts often keep it under a key."""
    if isinstance(content, Mapping):
        content = content.get("state_dict", content.get("model", content))
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(tensor, Tensor) for tensor in content.values())
    ):
        raise InputError(f"{path} holds no state dict: names and tensors, as model.state_dict()")
    return dict(content)


def _other_backbone(state: Mapping[str, Tensor], backbone: str) -> str:
    """A hint which backbone of the table these tensors do fit, or "". The families that would take
    seconds and gigabytes to look at are left out."""
    for other in BACKBONES:
        if BACKBONES[other].computes:
            continue
        layout = Layout.of(other)
        body = {name: tensor for name, tensor in state.items() if not layout.in_head(name)}
        if not layout.fault(body):
            return f". It looks like {other}: set backbone to that"
    return ""


def _few(names: Any) -> str:
    names = sorted(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
