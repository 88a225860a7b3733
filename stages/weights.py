"""Load the weights that fine-tuning starts from, and check that they fit the backbone."""

from pathlib import Path

from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.networks import pretrained
from pokecam.networks.settings import WeightsSettings, choose_weights


def main(out: Path = Path("models/pretrained.safetensors")) -> None:
    settings = read_params(WeightsSettings)
    weights = choose_weights(settings.weights, settings.backbone)
    state = pretrained.fetch_weights(weights, settings.backbone)
    pretrained.write_weights(out, state, settings.backbone, weights)


if __name__ == "__main__":
    run(main)
