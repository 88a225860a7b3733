"""The trained network as an ONNX file, which onnxruntime runs in any language: answers and maps.

input   images (N, S, S, 3) uint8, RGB: letterboxed, as images are in memory; the normalisation is
        part of the network, so that nobody can forget it
outputs logits (N, C), and of a head of average pooling and one linear layer cams (N, C, h, w)
        float32: CAM as `pokecam.cam.activation.cam` defines it, raw, mean(cams) + bias = logits
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

NEEDED = ("onnx", "onnxscript")
INPUT = "uint8 (N, S, S, 3), RGB, letterboxed; scaled to range and normalised in this file"
MOST_BYTES = 2**31 - 2**20  # of one file of protocol buffers, less what is not weights


class _Exported(nn.Module):
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
    """Write the network, which is on the CPU, for any number of images; return whether there are
    maps. What the file's metadata_props say: docs/model-file.md.

    Raises `InputError` if a package is missing, or the network does not fit into one file.
    """
    check()
    weights = sum(tensor.nbytes for tensor in classifier.state_dict().values())
    if weights > MOST_BYTES:
        raise InputError(
            f"{classifier.backbone} has {weights / 2**30:.1f} GiB of weights, an ONNX file holds "
            f"2 at most: export a smaller backbone"
        )
    proto = _traced(classifier)
    metadata = description(classifier) | {"input": INPUT}
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    with whole_file(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return classifier.linear is not None


def check() -> None:
    """Raise `InputError` if a package that exporting needs is not installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(
            f"exporting needs {' and '.join(missing)}, which the pipeline does not and so are not "
            f"installed: pip install {' '.join(missing)}"
        )


def _traced(classifier: Classifier) -> Any:
    """The ModelProto of the network."""
    size_px = classifier.image_size
    images = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    network = _Exported(classifier)
    with evaluating(network):
        program = torch.onnx.export(
            network,
            (images,),
            input_names=["images"],
            output_names=["logits", "cams"][: 1 if classifier.linear is None else 2],
            dynamic_shapes=({0: "N"},),
            verbose=False,
        )
    assert program is not None  # it is, without a file to write to
    proto = program.model_proto
    # Where in the source each came from, with the paths of this machine.
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        part.ClearField("metadata_props")
    return proto
