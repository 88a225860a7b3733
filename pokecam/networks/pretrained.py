"""Pretrained weights: where they come from, and whether they fit the backbone.

They are a state: tensors by torchvision's names, without the last layer of the network.
"""

import hashlib
import logging
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from pokecam.common.errors import InputError, first_line
from pokecam.networks import backbones, quantised, safetensors_file
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import building_without_content
from pokecam.networks.families import BACKBONES
from pokecam.networks.settings import (
    SHIPPED,
    SHIPPED_FOLDER,
    WEIGHTS,
    check_weights_exist,
    choose_weights,
    shipped_file,
)

State = dict[str, Tensor]

# Where training scripts keep the state dict of the network, and after these that of its average.
_STATE_KEYS = (
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module"),
    *("params", "weights", "checkpoint", "state_dict_ema", "model_ema", "ema", "params_ema"),
)
# What torch.compile, FSDP and checkpointing insert into the names of a network.
_INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_REFUSED_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
_MAX_NAMES = 4  # of tensors, that a message lists
_OLD_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
_ADVICE = (
    "give a state dict as torch.save(model.state_dict(), path) writes it, or a .safetensors file"
)

log = logging.getLogger(__name__)


def fetch_weights(weights: str, backbone: str, folder: Path = SHIPPED_FOLDER) -> State:
    """Load pretrained weights and check that they fit a backbone.

    Args:
        weights: `drawn`, the weights that are shipped with the project; `imagenet`, the official
            weights of torchvision, which torch.hub downloads to its cache; `none`; or the path of
            a .pth or .safetensors file. No code in the file is run. `auto` is one of these,
            as `settings.choose_weights` says.
        backbone: a name in `BACKBONES`.
        folder: where the shipped weights are.

    Returns:
        float32 tensors by torchvision's names: all tensors of the body, and the hidden layers of
        the head if all of them are there in torchvision's shapes. The last layer is left out. For
        `none` it is empty.

    Raises:
        InputError: the weights cannot be loaded, or do not fit the backbone. The message names
            tensors that are missing, superfluous or of another shape, and a backbone that fits.
    """
    check_weights_exist(weights, backbone, folder)
    weights = choose_weights(weights, backbone)
    if weights == "none":
        return {}
    if load := NAMED_WEIGHTS.get(weights):
        return check_weights(load(backbone, folder), backbone, weights)
    content, keys = _load_file(Path(weights))
    try:
        state, origin = unwrap(content, Layout.of_backbone(backbone))
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    if keys or origin:
        log.warning(
            "%s: the tensors are taken from it: %s",
            weights,
            ", ".join(filter(None, [*keys, origin])),
        )
    return check_weights(state, backbone, weights)


def unwrap(state: Mapping[str, Tensor], layout: "Layout") -> tuple[State, str]:
    """Return the tensors of one network by torchvision's names.

    Programs save a network inside another module, which begins the name of every tensor
    (`module.` of DataParallel, `model.` of a LightningModule), or is in the middle of it
    (`_orig_mod.` of torch.compile). The prefix is the one below which most tensors of the backbone
    are, or none where the names need none.

    Args:
        state: tensors by name.
        layout: of the backbone.

    Returns:
        The tensors below the prefix, by their names without it, and a text for a message that says
        what was removed and which tensors are left out; "" if nothing is.

    Raises:
        InputError: several prefixes have the whole backbone below them.
    """
    plain, inserted = {}, {}  # `inserted` is used as an ordered set
    for name, tensor in state.items():
        for part in _INSERTED:
            if part in name:
                name, inserted[part] = name.replace(part, ""), True
        plain[name] = tensor
    prefix = layout.prefix_of(plain)
    removed = [f"without the prefix {prefix}"] if prefix else []
    removed += [f"without {', '.join(inserted)} in their names"] if inserted else []
    unused = [name for name in plain if not name.startswith(prefix)]
    text = " and ".join(removed)
    if unused:
        text += f"; {len(unused)} other tensors are left out ({_list_names(unused)})"
    below = {name.removeprefix(prefix): plain[name] for name in plain if name.startswith(prefix)}
    return below, text


def check_weights(state: Mapping[str, Tensor], backbone: str, origin: str) -> State:
    """Check that tensors fit a backbone, and return those that fine-tuning starts from.

    `num_batches_tracked` of BatchNorm may be missing and is 0 then. It counts batches, which has
    no influence where a momentum is set, and some file formats leave it out.

    Args:
        state: tensors by torchvision's names.
        backbone: a name in `BACKBONES`.
        origin: where the tensors come from, for messages.

    Returns:
        As `fetch_weights`.

    Raises:
        InputError: the tensors do not fit the backbone, or have values that are not finite.
    """
    layout = Layout.of_backbone(backbone)
    state = {
        name: tensor
        for name, tensor in state.items()
        if _first_part(name) not in BACKBONES[backbone].auxiliary
    }
    body = {name: tensor for name, tensor in state.items() if not layout.has_in_head(name)}
    if mismatch := layout.describe_mismatch(body):
        raise InputError(
            f"{origin} does not fit {backbone}: {mismatch}. {_suggest_backbone(state, backbone)}"
        )
    head = {name: state[name] for name in state.keys() - body.keys() - layout.last}
    if layout.hidden and {name: tuple(head[name].shape) for name in head} == layout.hidden:
        body |= head
    elif head:
        log.warning("%s: the hidden layers of the head are not used: %s", origin, _list_names(head))
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
    """Copy pretrained weights into a classifier, in place.

    Args:
        state: as `fetch_weights` returns it. An empty state changes nothing.
        classifier: its body is overwritten, and the hidden layers of a native head if the state
            holds them.
    """
    if not state:
        return
    names = classifier.body.state_dict().keys()
    classifier.body.load_state_dict({name: state[name] for name in names})
    if classifier.head_kind == "native":
        hidden = {name: tensor for name, tensor in state.items() if name not in names}
        needed = Layout.of_backbone(classifier.backbone).hidden
        if needed and not hidden:
            log.warning(
                "the pretrained weights have no hidden layers of the head: these (%s) start from "
                "random weights",
                _list_names(needed),
            )
        classifier.head.load_state_dict(classifier.head.state_dict() | hidden)


def write_weights(path: Path, state: Mapping[str, Tensor], backbone: str, weights: str) -> None:
    """Write pretrained weights to a safetensors file.

    Args:
        path: the file.
        state: as `fetch_weights` returns it.
        backbone: the backbone, for the metadata of the file.
        weights: where the weights come from, as in `fetch_weights`. The metadata keep the name of
            a file, without its folder.
    """
    origin = weights if weights in WEIGHTS else Path(weights).name
    safetensors_file.write_safetensors(path, state, {"backbone": backbone, "weights": origin})


def read_weights(path: Path, backbone: str) -> tuple[State, str]:
    """Read the file that `write_weights` wrote.

    Returns:
        The state, and where the weights come from.

    Raises:
        InputError: the file is missing or damaged, or is for another backbone.
    """
    state, metadata = safetensors_file.read_safetensors(path)
    if metadata.get("backbone") != backbone:
        raise InputError(
            f"{path} holds weights of {metadata.get('backbone', 'an unnamed network')}, but "
            f"backbone is {backbone}: run the weights stage again (dvc repro weights)"
        )
    return state, metadata["weights"]


@dataclass(frozen=True)
class Layout:
    """The tensors that a backbone has.

    Attributes:
        body: name → shape.
        hidden: name → shape, of the hidden layers of the native head.
        last: the names of the last layer, whose shapes depend on the classes.
    """

    body: dict[str, tuple[int, ...]]
    hidden: dict[str, tuple[int, ...]]
    last: frozenset[str]

    @classmethod
    def of_backbone(cls, backbone: str) -> "Layout":
        """Return the layout of a backbone, which is built without values."""
        with building_without_content():
            halves = backbones.split(backbone, n_classes=2, pooled=True)
            body, head = (half.state_dict() for half in halves)
        head = {name: tensor for name, tensor in head.items() if name not in body}
        prefix = BACKBONES[backbone].last + "."
        last = frozenset(name for name in head if name.startswith(prefix))
        return cls(
            {name: tuple(tensor.shape) for name, tensor in body.items()},
            {name: tuple(head[name].shape) for name in head.keys() - last},
            last,
        )

    def prefix_of(self, state: Mapping[str, Tensor]) -> str:
        """Return what most names of the body begin with in a state: "", or "module." and the like.

        It is "" if no name of the body is the end of a name.

        Raises:
            InputError: the whole body is there several times, below prefixes, with other values.
        """
        counts: Counter[str] = Counter()
        for name in state:
            parts = name.split(".")
            ends = (".".join(parts[i:]) for i in range(len(parts)))
            counts.update(name.removesuffix(end) for end in ends if end in self.body)
        needed = self.body.keys() - self.optional
        whole = [prefix for prefix in counts if all(prefix + name in state for name in needed)]
        if "" in whole:
            return ""
        if not whole:
            return max(counts, key=lambda prefix: (counts[prefix], not prefix), default="")
        first = whole[0]
        others = [
            prefix
            for prefix in whole
            if not all(_are_equal(state[prefix + name], state[first + name]) for name in needed)
        ]
        if others:
            raise InputError(
                f"there are {len(others) + 1} networks of this backbone "
                f"({_list_names([first, *others])}): give a file that holds one of them"
            )
        return first

    @property
    def optional(self) -> set[str]:
        """The tensors of the body that some file formats leave out."""
        return {name for name in self.body if name.endswith(".num_batches_tracked")}

    def has_in_head(self, name: str) -> bool:
        """Return whether a tensor of this name belongs to the native head (fc.…, classifier.…)."""
        return _first_part(name) in set(map(_first_part, self.last))

    def describe_mismatch(self, body: Mapping[str, Tensor]) -> str:
        """Say which tensors of a body do not fit; "" if all fit."""
        common = body.keys() & self.body.keys()
        mismatches = {
            "missing tensors": self.body.keys() - body.keys() - self.optional,
            "superfluous tensors": body.keys() - self.body.keys(),
            "tensors of another shape": {n for n in common if tuple(body[n].shape) != self.body[n]},
        }
        return "; ".join(
            f"{len(names)} {kind} ({_list_names(names)})"
            for kind, names in mismatches.items()
            if names
        )


def _load_drawn(backbone: str, folder: Path) -> State:
    return quantised.load_quantised(shipped_file(backbone, folder))


def _load_imagenet(backbone: str, folder: Path) -> State:
    """Load the official weights.

    torch.hub checks the hash of a file that it downloads, but not of a file in its cache. The
    hash of that file is checked here.
    """
    official = backbones.imagenet_weights(backbone)
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(official.url).name)
    try:
        state = official.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except (URLError, OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            f"the ImageNet weights of {backbone} cannot be loaded ({error}): put the file "
            f"{official.url} at {cached}, or set weights to auto and backbone to one whose weights "
            f"are shipped: {', '.join(SHIPPED)}"
        ) from None
    expected = cached.stem.rpartition("-")[2]
    if not _sha256(cached).startswith(expected):
        raise InputError(
            f"{cached} is not torchvision's file: its SHA-256 does not begin with {expected}. "
            f"Replace it with {official.url}"
        )
    return state


# `settings.WEIGHTS` but auto and none: (backbone, folder of the shipped weights) → state.
NAMED_WEIGHTS: dict[str, Callable[[str, Path], State]] = {
    "drawn": _load_drawn,
    "imagenet": _load_imagenet,
}


def _load_file(path: Path) -> tuple[State, list[str]]:
    """Return the state in a file, and the keys below which it is."""
    if path.suffix == ".safetensors":
        return safetensors_file.read_safetensors(path)[0], []
    if not _is_torch_file(path):
        raise InputError(f"{path} is not a file of torch.save, or not a whole one: {_ADVICE}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise InputError(
            f"{path} was not loaded: it is damaged, or holds objects whose loading could run code "
            f"({_reason(error)}): {_ADVICE}"
        ) from None
    return _state_of(content, path)


def _reason(error: Exception) -> str:
    """Name the object that torch refuses to load; else return the first line of its message."""
    if match := _REFUSED_OBJECT.search(str(error)):
        return f"a {match[1]}, as of a whole network or of settings beside it"
    return first_line(error)


def _is_torch_file(path: Path) -> bool:
    """Return whether a file begins like those of torch.save, now or before version 1.6."""
    with path.open("rb") as file:
        is_old = file.read(len(_OLD_MAGIC)) == _OLD_MAGIC
    return is_old or zipfile.is_zipfile(path)


def _state_of(content: Any, path: Path) -> tuple[State, list[str]]:
    """Return the state dict in an object of `torch.load`, and the keys below which it is: training
    scripts often nest it in a dict, beside their settings."""
    keys = _keys_of_state(content)
    if keys is None:
        raise InputError(f"{path} holds no state dict, which is a dict of tensors: {_ADVICE}")
    for key in keys:
        content = content[key]
    return dict(content), keys


def _keys_of_state(content: Any) -> list[str] | None:
    """Return the keys that lead to the first state dict in `content`; None if there is none."""
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(tensor, Tensor) for tensor in content.values()):
        return []
    for key in _STATE_KEYS:
        keys = _keys_of_state(content.get(key))
        if keys is not None:
            return [key, *keys]
    return None


def _suggest_backbone(state: Mapping[str, Tensor], backbone: str) -> str:
    """Say which backbone the tensors fit.

    Families that cannot be built without values are not tried: they take seconds and gigabytes.
    """
    for candidate in BACKBONES:
        if BACKBONES[candidate].computes_when_built:
            continue
        layout = Layout.of_backbone(candidate)
        try:
            below, _ = unwrap(state, layout)
        except InputError:  # several networks of the candidate
            continue
        body = {name: tensor for name, tensor in below.items() if not layout.has_in_head(name)}
        if not layout.describe_mismatch(body):
            return f"It fits {candidate}: set backbone to that"
    return f"Give weights of {backbone} with torchvision's names"


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _list_names(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
