"""The trained network as an ONNX file, with its logits and maps, for onnxruntime in any language.

input   images (N, S, S, 3) uint8, RGB, letterboxed. The network in the file normalises them
        itself, so no program can forget to.
outputs logits (N, C). With a head of average pooling and one linear layer also cams (N, C, h, w)
        float32: raw CAMs as `pokecam.cam.activation.cam` defines them, mean(cams) + bias = logits.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.common.files import whole_file
from pokecam.networks.classifier import Classifier, description, prepare
from pokecam.networks.dry_run import evaluating

PACKAGES = ("onnx", "onnxscript")
INPUT = "uint8 (N, S, S, 3), RGB, letterboxed; scaled to range and normalised in this file"
# A file of protocol buffers holds 2 GiB. 1 MiB of it is for what is not weights.
MAX_BYTES = 2**31 - 2**20


class _LogitsAndCams(nn.Module):
    """images (N, S, S, 3) uint8 → logits (N, C), and cams (N, C, h, w) of a linear head."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.classifier.body(prepare(images))
        logits = self.classifier.head(features)
        if self.classifier.linear is None:
            return (logits,)
        A = self.classifier.grid(features)  # (N, K, h, w)
        return logits, torch.einsum("nkhw,ck->nchw", A, self.classifier.linear.weight)


def export(classifier: Classifier, path: Path) -> bool:
    """Write a network as an ONNX file that takes any number of images.

    docs/model-file.md describes the metadata_props of the file.

    Args:
        classifier: the network, on the CPU.
        path: the file to write.

    Returns:
        Whether the file has maps.

    Raises:
        InputError: a package is not installed, or the network does not fit into one file.
    """
    check()
    n_bytes = sum(tensor.nbytes for tensor in classifier.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise InputError(
            f"{classifier.backbone} has {n_bytes / 2**30:.1f} GiB of weights, an ONNX file holds "
            f"2 at most: export a smaller backbone"
        )
    proto = _trace(classifier)
    metadata = description(classifier) | {"input": INPUT}
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    with whole_file(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return classifier.linear is not None


def check() -> None:
    """Check that the packages for the export are installed.

    Raises:
        InputError: one is not.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise InputError(
            f"not installed: {', '.join(missing)}, which only the export needs: "
            f"run `pip install {' '.join(missing)}`"
        )


def _trace(classifier: Classifier) -> Any:
    """Return the ModelProto of the network."""
    size_px = classifier.image_size
    images = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    network = _LogitsAndCams(classifier)
    with evaluating(network):
        program = torch.onnx.export(
            network,
            (images,),
            input_names=["images"],
            output_names=["logits", "cams"][: 1 if classifier.linear is None else 2],
            dynamic_shapes=({0: "N"},),
            verbose=False,
        )
    assert program is not None  # torch returns None only if it writes to a file
    proto = program.model_proto
    # This metadata holds lines of source code, with the paths of this machine.
    for message in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        message.ClearField("metadata_props")
    return proto
