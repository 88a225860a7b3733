"""The check of all parameters, before anything runs.

Nothing is imported that needs PyTorch, whose import takes seconds: this runs whenever a parameter
changes. What only images or a network can tell, the stages check.
"""

from pathlib import Path

from pokecam.cam.methods import CamSettings, check_head
from pokecam.common.params import read_params
from pokecam.data.packed.split_file import check_split_file
from pokecam.data.packed.splits import SplitSettings, check_fractions
from pokecam.data.packing.classes import LookalikeSettings, SelectSettings
from pokecam.data.sources.registry import DownloadSettings, find_source
from pokecam.judging.measures import JudgeSettings
from pokecam.networks.families import BACKBONES
from pokecam.networks.settings import WeightsSettings, check_weights_exist
from pokecam.training.settings import Recipe, TrainSettings

# In the order of params.yaml.
SETTINGS = (
    *(DownloadSettings, SelectSettings, LookalikeSettings, SplitSettings, WeightsSettings),
    *(TrainSettings, Recipe, CamSettings, JudgeSettings),
)


def check_params(path: Path = Path("params.yaml")) -> None:
    """Check every parameter, and those that depend on one another or name a file.

    Args:
        path: the file with the parameters.

    Raises:
        InputError: of the first fault, in the order of the stages.
    """
    for settings in SETTINGS:
        read_params(settings, path)
    source = read_params(DownloadSettings, path).source
    find_source(source).check(Path(source))
    split = read_params(SplitSettings, path)
    check_split_file(Path(split.split_file))
    check_fractions(split.val_fraction, split.test_fraction)
    weights = read_params(WeightsSettings, path)
    check_weights_exist(weights.weights, weights.backbone)
    network, maps = read_params(TrainSettings, path), read_params(CamSettings, path)
    if network.head == "native":
        for name in maps.cam_methods:
            check_head(
                name,
                parameter="cam_methods",
                network=f"{network.backbone} with head: {network.head}",
                has_linear_head=BACKBONES[network.backbone].linear_head,
            )
