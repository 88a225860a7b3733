"""The parameters of training: which network is built, and how it is trained."""

from typing import Annotated, Literal

from pydantic import Field

from pokecam.common.params import Settings, one_of
from pokecam.networks.families import BACKBONES
from pokecam.networks.settings import HEADS, DeviceSettings


class TrainSettings(DeviceSettings):
    """The network that the train stage builds; params.yaml explains each parameter."""

    backbone: Annotated[str, one_of(BACKBONES)]
    head: Annotated[str, one_of(HEADS)]
    feature_stride: Literal[32, 16]


class Recipe(Settings):
    """How the network is trained.

    Attributes:
        freeze: the layers that do not learn, as in `freezing.freeze`. `early` layers are frozen
            if they are pretrained, and learn otherwise.
        epochs: None lets `schedule.n_epochs` decide.
        batch_size: images per step, over all processes. All steps of an epoch have the same
            number of images to within one, so it may be a little more or less.
        learning_rate: the peak rate of networks with BatchNorm, of all but the last layer.
            `schedule.rate_multiplier` changes it for other networks.
        weight_decay: of AdamW.
        label_smoothing: the probability that the target leaves to the other classes.
        zoom_out: the share of views that show their image smaller, as in
            `augmentation.sample_views`.
        seed: decides everything random in training.
    """

    freeze: Annotated[str, Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    zoom_out: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
