"""The parameters of networks: device, backbone and weights, checked without PyTorch."""

from pathlib import Path
from typing import Annotated

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, one_of
from pokecam.networks.families import BACKBONES

DEVICES = ("auto", "cpu", "cuda", "mps")
HEADS = ("gap", "native")
WEIGHTS = ("drawn", "imagenet", "none")  # the values of `weights` that are names, not files
SHIPPED_FOLDER = Path("pretrained")


class DeviceSettings(Settings):
    """The parameter that all stages read that run a network."""

    device: Annotated[str, one_of(DEVICES)]


class WeightsSettings(Settings):
    """The backbone, and its pretrained weights as in `pretrained.fetch_weights`."""

    backbone: Annotated[str, one_of(BACKBONES)]
    weights: str


def check_weights_exist(weights: str, backbone: str, folder: Path = SHIPPED_FOLDER) -> None:
    """Check that pretrained weights are a file that exists, or `imagenet` or `none`.

    Args:
        weights: as in `pretrained.fetch_weights`.
        backbone: a name in `BACKBONES`.
        folder: where the shipped weights are.

    Raises:
        InputError: there are no such weights. The message names those that there are.
    """
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
