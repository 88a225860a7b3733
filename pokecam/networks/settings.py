"""The parameters of networks: device, backbone and weights, checked without PyTorch."""

from pathlib import Path
from typing import Annotated

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, one_of
from pokecam.networks.families import BACKBONES

DEVICES = ("auto", "cpu", "cuda", "mps")
HEADS = ("gap", "native")
WEIGHTS = ("auto", "drawn", "imagenet", "none")  # the values of `weights` that are not files
SHIPPED_FOLDER = Path("pretrained")
# The backbones whose pretrained weights are shipped. `auto` goes by this list: DVC would not notice
# a file that is there or not.
SHIPPED = ("alexnet", "mobilenet_v3_small", "resnet18", "vgg16", "vgg19")


class DeviceSettings(Settings):
    """The parameter that all stages read that run a network."""

    device: Annotated[str, one_of(DEVICES)]


class WeightsSettings(Settings):
    """The backbone, and its pretrained weights: a name in `WEIGHTS`, or the path of a file."""

    backbone: Annotated[str, one_of(BACKBONES)]
    weights: str


def choose_weights(weights: str, backbone: str) -> str:
    """Return the weights that `auto` stands for: `drawn` if weights of the backbone are shipped,
    else `imagenet`. All other values are returned as they are.

    Args:
        weights: a name in `WEIGHTS`, or the path of a file.
        backbone: a name in `BACKBONES`.
    """
    if weights != "auto":
        return weights
    return "drawn" if backbone in SHIPPED else "imagenet"


def check_weights_exist(weights: str, backbone: str, folder: Path = SHIPPED_FOLDER) -> None:
    """Check that pretrained weights are a file that exists, or one of `WEIGHTS` that there is.

    Args:
        weights: a name in `WEIGHTS`, or the path of a file.
        backbone: a name in `BACKBONES`.
        folder: where the shipped weights are.

    Raises:
        InputError: there are no such weights. The message names those that there are.
    """
    weights = choose_weights(weights, backbone)
    if weights == "drawn" and not shipped_file(backbone, folder).is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors")))
        command = f"dvc exp run -S backbone={backbone} -S weights="
        raise InputError(
            f"weights: there are no drawn weights for {backbone}, but for {names or 'no backbone'}."
            f" Set backbone to one of these, or other weights: `{command}imagenet`, which downloads"
            f" them, or `{command}none`, which trains from random weights"
        )
    if weights not in WEIGHTS and not Path(weights).is_file():
        raise InputError(
            f"weights: {weights} is neither a file nor one of {', '.join(WEIGHTS)}."
            f"{did_you_mean(weights, WEIGHTS)}"
        )


def shipped_file(backbone: str, folder: Path = SHIPPED_FOLDER) -> Path:
    """Return where the shipped weights of a backbone are, if there are any."""
    return folder / f"{backbone}.safetensors"
