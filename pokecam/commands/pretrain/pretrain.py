"""Pretraining of a backbone on chimeras: feature weights that need no image from outside.

    python -m pokecam pretrain --backbone resnet18

The network gets strongly distorted views of random creatures and learns to tell each creature from
its look-alikes. Linear layers on the same pooled features also learn the kind of each of its organs
and its colours. Each round shows every creature once. The learning rate rises, stays, and falls to
zero over the last part of the run. During that fall the views are larger.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from pokecam.commands.pretrain.batchnorm import add_batchnorm, fold_batchnorm
from pokecam.commands.pretrain.chimera import COLOURS
from pokecam.commands.pretrain.depthwise import use_tap_gradients
from pokecam.commands.pretrain.distortion import distort
from pokecam.commands.pretrain.menagerie import Menagerie, rendering
from pokecam.common.errors import InputError
from pokecam.common.files import whole_file
from pokecam.data.drawn.nuisances import read_settings
from pokecam.networks import backbones, quantised, safetensors_file
from pokecam.networks.averaging import MovingAverage
from pokecam.networks.device import Images, mixed_precision

FIRST_VIEWS = 6  # how many views the first rounds use in turn; one more after every fourth round
SAVE_EVERY = 5  # rounds between checkpoints
SNAPSHOT_EVERY = 20  # rounds between snapshots of the averaged weights


@dataclass(frozen=True)
class PretrainRecipe:
    """What decides the weights, together with the backbone and the menagerie.

    Attributes:
        rounds: how many times the network sees every creature. A round has one image of each.
        batch: images of a step.
        learning_rate: the highest one.
        weight_decay: of all weights but biases and BatchNorm.
        warm_up: steps in which the learning rate rises.
        fall: the fraction of the rounds in which the learning rate falls.
        view_px: sides of the views before and during that fall.
        smoothing: label smoothing of the creatures.
        traits: weight of the loss of the organs. The loss of the creatures has weight 1.
        colours: weight of the loss of the colours.
        averaging: decay of the averaged weights, for each step.
        seed: of weights, order and views.
    """

    rounds: int = 450
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warm_up: int = 300
    fall: float = 0.4
    view_px: tuple[int, int] = (96, 128)
    smoothing: float = 0.1
    traits: float = 1.0
    colours: float = 2.0
    averaging: float = 0.995
    seed: int = 1


# The recipes of the shipped weights.
SHIPPED = {
    "mobilenet_v3_small": PretrainRecipe(),
    "resnet18": PretrainRecipe(rounds=600, learning_rate=1e-3),
    "alexnet": PretrainRecipe(rounds=600, learning_rate=1e-3),
    "vgg16": PretrainRecipe(rounds=576, learning_rate=1e-3),
    "vgg19": PretrainRecipe(rounds=521, learning_rate=1e-3),
}
# Backbones that are not here are saved as int8, because their float16 would be large. Depthwise
# convolutions lose more by int8.
FORM = {"mobilenet_v3_small": "float16", "mobilenet_v2": "float16"}
SCENES = Path(__file__).parents[3] / "pretrained" / "scenes.yaml"


def shipped_recipe(backbone: str, rounds: int | None = None) -> PretrainRecipe:
    """Return the recipe of the shipped weights.

    Args:
        backbone: its name. Backbones without shipped weights get the recipe of resnet18.
        rounds: replaces the number of rounds of the recipe, unless it is None.
    """
    recipe = SHIPPED.get(backbone, SHIPPED["resnet18"])
    return recipe if rounds is None else replace(recipe, rounds=rounds)


def shipped_menagerie() -> Menagerie:
    """Return the creatures that the shipped weights were pretrained on."""
    settings = read_settings(SCENES)
    return Menagerie(
        families=150,
        members=3,
        views=32,
        size_px=settings.image_px,
        seed=1,
        settings=settings,
    )


class PretrainNetwork(nn.Module):
    """Body, average pooling, and one linear layer with logits for creature, organs and colours.

    A body without normalisation has a BatchNorm behind every convolution (`batchnorm`).
    """

    def __init__(self, backbone: str, n_creatures: int, n_kinds: list[int]) -> None:
        super().__init__()
        self.body, _ = backbones.split(backbone, n_classes=2)
        smallest = backbones.smallest_image_px(backbone)
        with torch.no_grad():
            channels = self.body.eval()(torch.zeros(1, 3, smallest, smallest)).shape[1]
        add_batchnorm(self.body)
        self.sizes = [n_creatures, *n_kinds, 3 * len(COLOURS)]
        self.heads = nn.Linear(channels, sum(self.sizes))
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return logits of the creature (N, creatures), logits of each organ (N, kinds), and
        colours (N, 18)."""
        pooled = self.body(x).mean(dim=(2, 3))
        return self.heads(pooled).split(self.sizes, dim=1)


@dataclass(frozen=True)
class Targets:
    """What the network learns about every creature, beside its number.

    Attributes:
        kinds: (creatures, organs) int64, the kind of each organ.
        colours: (creatures, 3 · roles) float32, from 0 to 1.
        n_kinds: how many kinds each organ has.
    """

    kinds: Tensor
    colours: Tensor
    n_kinds: list[int]

    @classmethod
    def of(cls, menagerie: Menagerie, device: torch.device) -> "Targets":
        """Return the targets of all creatures of a menagerie."""
        kinds, n_kinds = menagerie.traits()
        colours = [
            [genome.colours[role] for role in COLOURS] for genome in menagerie.genomes()
        ]  # (creatures, roles, 3)
        flat = torch.tensor(colours, dtype=torch.float32, device=device).flatten(1) / 255
        return cls(torch.from_numpy(kinds).to(device), flat, n_kinds)


@dataclass
class Run:
    """The state of a pretraining. A checkpoint holds all of it.

    Attributes:
        network: the weights that learn.
        averaged: their average.
        optimiser: it updates the network.
        rounds: how many rounds are complete.
        seconds: how long they took.
        log: one row of figures for each round.
    """

    network: PretrainNetwork
    averaged: MovingAverage
    optimiser: torch.optim.Optimizer
    rounds: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(
        cls, backbone: str, n_creatures: int, targets: Targets, recipe: PretrainRecipe
    ) -> "Run":
        """Return a run before its first round, on the device of the targets."""
        torch.manual_seed(recipe.seed)
        device = targets.kinds.device
        network = PretrainNetwork(backbone, n_creatures, targets.n_kinds).to(device)
        network = network.to(memory_format=torch.channels_last)
        if device.type == "cpu":
            use_tap_gradients(network.body)
        averaged = MovingAverage(network, recipe.averaging)
        return cls(network, averaged, _optimiser(network, recipe))

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        with whole_file(path) as temporary:
            figures = {"done": self.rounds, "seconds": self.seconds, "log": self.log}
            modules = (self.network, self.averaged, self.optimiser)
            torch.save([*(module.state_dict() for module in modules), figures], temporary)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        states = torch.load(path, map_location="cpu", weights_only=True)
        network, averaged, optimiser, figures = states
        self.network.load_state_dict(network)
        self.averaged.load_state_dict(averaged)
        self.optimiser.load_state_dict(optimiser)
        self.rounds, self.seconds, self.log = figures["done"], figures["seconds"], figures["log"]

    def save_features(self, path: Path, backbone: str) -> None:
        """Write the present averaged body as a safetensors file."""
        note = {"backbone": backbone, "rounds": str(self.rounds), "seconds": f"{self.seconds:.0f}"}
        safetensors_file.write_safetensors(path, self.features(), note)

    def features(self) -> dict[str, Tensor]:
        """Return the state of the averaged body, under torchvision's names."""
        state = fold_batchnorm(self.averaged.module.get_submodule("body")).state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def pretrain(
    backbone: str,
    recipe: PretrainRecipe,
    menagerie: Menagerie,
    work: Path,
    device: torch.device,
    workers: int,
    report: Callable[[str, int], None],
) -> dict[str, Tensor]:
    """Pretrain a backbone.

    Args:
        backbone: its name.
        recipe: how it is trained.
        menagerie: the creatures.
        work: folder for images, checkpoint and snapshots (`<backbone>-<rounds>.safetensors`). What
            it holds already is used, so an interrupted run continues and ends with the same
            weights.
        device: where it is trained.
        workers: processes that render during the training.
        report: takes a line of figures and the number of complete rounds, after every round.

    Returns:
        The weights of the features, under torchvision's names.

    Raises:
        InputError: `work` holds a run of this backbone with another recipe, or the backbone does
            not take images as small as the views.
    """
    smallest, view_px = backbones.smallest_image_px(backbone), min(recipe.view_px)
    if smallest > view_px:
        raise InputError(
            f"--backbone: {backbone} takes images of {smallest} px and more, the views of this "
            f"pretraining are {view_px} px; choose a convolutional network, such as mobilenet_v2"
        )
    work.mkdir(parents=True, exist_ok=True)
    images, checkpoint = work / menagerie.key, work / f"{backbone}.pt"
    targets = Targets.of(menagerie, device)
    run = Run.start(backbone, menagerie.n_creatures, targets, recipe)
    if _can_continue(work / f"{backbone}.json", checkpoint, asdict(recipe) | menagerie.summary()):
        run.load(checkpoint)
    with rendering(menagerie, images, workers) as images_of:
        while run.rounds < recipe.rounds:
            view = images_of(view_of(run.rounds, menagerie.views))
            _run_round(run, view, targets, recipe)
            report(_describe(run, recipe), run.rounds)
            if run.rounds % SAVE_EVERY == 0 or run.rounds == recipe.rounds:
                run.save(checkpoint)
            if run.rounds % SNAPSHOT_EVERY == 0:
                run.save_features(work / f"{backbone}-{run.rounds:04d}.safetensors", backbone)
    return run.features()


def write_weights(
    backbone: str,
    recipe: PretrainRecipe,
    menagerie: Menagerie,
    *,
    output: Path,
    work: Path,
    device: torch.device,
    workers: int,
) -> None:
    """Pretrain and write the weights of the features in a small file, with their origin.

    The progress is a bar on a terminal, and a line for every round elsewhere.

    Args:
        backbone, recipe, menagerie, work, device, workers: as in `pretrain`.
        output: the safetensors file to write. Its metadata says how the weights were made.

    Raises:
        InputError: as in `pretrain`.
    """
    with tqdm(total=recipe.rounds, unit="round", disable=not sys.stderr.isatty()) as bar:

        def report(line: str, rounds: int) -> None:
            bar.n = rounds
            bar.set_postfix_str(line)
            if bar.disable:
                tqdm.write(f"round {rounds}/{recipe.rounds}: {line}", file=sys.stderr)

        state = pretrain(backbone, recipe, menagerie, work, device, workers, report)
    origin = {"backbone": backbone, "weights": "drawn", "recipe": json.dumps(asdict(recipe))}
    quantised.save_quantised(state, output, origin, FORM.get(backbone, "int8"))


def view_of(rounds: int, n_views: int) -> int:
    """Return the view of the next round.

    The first rounds take turns with few views, because the others are still being rendered.

    Args:
        rounds: how many rounds are complete.
        n_views: how many views there are in the end.
    """
    return rounds % min(n_views, FIRST_VIEWS + rounds // 4)


def rate_factor(progress: float, fall: float) -> float:
    """Return the learning rate divided by its highest value.

    It is 1, and falls to 0 along a cosine while `progress` goes from 1 − fall to 1.
    """
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, (progress - 1 + fall) / fall)))


def _can_continue(note: Path, checkpoint: Path, settings: dict) -> bool:
    """Return whether there is a checkpoint to continue from. If there is none, write the settings
    to the note beside it.

    Raises `InputError` if the note of the checkpoint has other settings.
    """
    text = json.dumps(settings, indent=2)
    if not checkpoint.exists():
        with whole_file(note) as temporary:
            temporary.write_text(text)
        return False
    if not note.exists() or note.read_text() != text:
        raise InputError(
            f"{checkpoint} is of a run with another recipe (see {note.name}): remove both to "
            "start anew, or give another --work"
        )
    return True


def _run_round(run: Run, view: np.ndarray, targets: Targets, recipe: PretrainRecipe) -> None:
    """Train on every creature once, in batches of a random order."""
    started = time.monotonic()
    run.network.train()
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + run.rounds)
    order = torch.randperm(len(view), generator=generator)
    steps = len(order) // recipe.batch
    device = targets.kinds.device
    images = Images.of(view, np.arange(len(view)), device)
    is_falling = run.rounds >= round(recipe.rounds * (1 - recipe.fall))
    figures = []  # of every step, on the device: reading them would stop it in every step
    for step in range(steps):
        _set_rate(run, recipe, step, steps)
        numbers = order[step * recipe.batch : (step + 1) * recipe.batch]
        x = distort(images.read(numbers), recipe.view_px[is_falling], generator)
        with mixed_precision(run.network):
            outputs = run.network(x)
        outputs = tuple(tensor.float() for tensor in outputs)
        losses, accuracy = _losses(outputs, numbers.to(device, non_blocking=True), targets, recipe)
        weighted = losses[0] + recipe.traits * losses[1] + recipe.colours * losses[2]
        run.optimiser.zero_grad()
        weighted.backward()
        run.optimiser.step()
        run.averaged.update_parameters(run.network)
        figures.append(torch.stack([*losses, accuracy]).detach())
    means = torch.stack(figures).mean(dim=0).tolist()
    run.rounds += 1
    run.seconds += time.monotonic() - started
    names = ("creature", "organs", "colours", "accuracy")
    run.log.append(dict(zip(names, means, strict=True)))


def _losses(
    outputs: tuple[Tensor, ...], numbers: Tensor, targets: Targets, recipe: PretrainRecipe
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return the losses of creature, organs (their mean) and colours, and the accuracy of the
    creatures."""
    creature, *organs, colours = outputs
    creature_loss = F.cross_entropy(creature, numbers, label_smoothing=recipe.smoothing)
    kinds = targets.kinds[numbers]
    organ_losses = [F.cross_entropy(logits, kinds[:, i]) for i, logits in enumerate(organs)]
    colour_loss = F.smooth_l1_loss(colours, targets.colours[numbers], beta=0.1)
    accuracy = (creature.argmax(dim=1) == numbers).float().mean()
    return (creature_loss, torch.stack(organ_losses).mean(), colour_loss), accuracy


def _set_rate(run: Run, recipe: PretrainRecipe, step: int, steps: int) -> None:
    """Set the learning rate of a step of the present round, which has `steps` steps."""
    steps_done = run.rounds * steps + step
    factor = min(1.0, (steps_done + 1) / recipe.warm_up)
    factor *= rate_factor(steps_done / (recipe.rounds * steps), recipe.fall)
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.learning_rate * factor


def _optimiser(network: PretrainNetwork, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    """Return AdamW without weight decay of biases and BatchNorm."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    is_fused = next(network.parameters()).device.type == "cuda"  # on CPUs it rounds differently
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=is_fused)


def _describe(run: Run, recipe: PretrainRecipe) -> str:
    """Return the figures of the last round, and the time so far and still needed, in one line."""
    remaining_s = run.seconds / run.rounds * (recipe.rounds - run.rounds)
    figures = ", ".join(f"{name} {value:.3f}" for name, value in run.log[-1].items())
    return f"{figures}, {run.seconds:.0f} s, {remaining_s:.0f} s left"
