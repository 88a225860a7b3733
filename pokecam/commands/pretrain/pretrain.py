"""Pretraining a backbone on chimeras: feature weights made without any image from outside.

    python -m pokecam pretrain --backbone resnet18

The network learns, from strongly distorted views of random creatures, to tell each creature from
its look-alikes, and with linear layers on the same pooled features to name the kind of each of
its organs and to say its colours. Each round shows every creature once. The learning rate rises,
stays, and falls to zero over the last part of the run, in which the views are also larger.
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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from pokecam.commands.pretrain.chimera import COLOURS
from pokecam.commands.pretrain.depthwise import by_taps
from pokecam.commands.pretrain.distortion import distort
from pokecam.commands.pretrain.menagerie import Menagerie, start_rendering, wait_for_view
from pokecam.common.errors import InputError
from pokecam.common.files import whole_file
from pokecam.data.drawn.nuisances import read_settings
from pokecam.networks import backbones, quantised, safetensors_file
from pokecam.networks.device import mixed_precision

HEAD_START = 6  # views that the first rounds take turns with; one more every fourth round


@dataclass(frozen=True)
class PretrainRecipe:
    """What decides the weights, together with the backbone and the menagerie.

    rounds       times that every creature is shown; a round has `creatures` images
    fall         part of the rounds over which the learning rate falls
    view_px      sides of the views before and during that fall
    traits       weight of the loss on organs, colours: on colours, against 1 for creatures
    averaging    of the weights from step to step: how much of the old average is kept
    """

    rounds: int = 450
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warm_up: int = 300  # steps
    fall: float = 0.4
    view_px: tuple[int, int] = (96, 128)
    smoothing: float = 0.1
    traits: float = 1.0
    colours: float = 2.0
    averaging: float = 0.995
    seed: int = 1


# What the shipped weights were made with, where it differs from the defaults above.
SHIPPED = {
    "mobilenet_v3_small": PretrainRecipe(),
    "resnet18": PretrainRecipe(rounds=600, learning_rate=1e-3),
}
# int8 for networks whose float16 would be large; depthwise convolutions lose more by it
FORM = {"mobilenet_v3_small": "float16", "mobilenet_v2": "float16"}
SCENES = Path(__file__).parents[3] / "pretrained" / "scenes.yaml"


def shipped_recipe(backbone: str, rounds: int | None = None) -> PretrainRecipe:
    """The recipe of the shipped weights, for other backbones that of resnet18, with `rounds`
    instead of its own number if given."""
    recipe = SHIPPED.get(backbone, SHIPPED["resnet18"])
    return recipe if rounds is None else replace(recipe, rounds=rounds)


def shipped_menagerie() -> Menagerie:
    """The creatures that the shipped weights were made with."""
    settings = read_settings(SCENES)
    return Menagerie(
        families=150,
        members=3,
        views=32,
        size_px=settings.image_px,
        seed=1,
        settings=settings,
    )


class Student(nn.Module):
    """Body, pooling, and one linear layer for creature, every organ and all colours."""

    def __init__(self, backbone: str, creatures: int, kinds: list[int]) -> None:
        super().__init__()
        self.body, _ = backbones.split(backbone, n_classes=2)
        smallest = backbones.smallest_image_px(backbone)
        with torch.no_grad():
            channels = self.body.eval()(torch.zeros(1, 3, smallest, smallest)).shape[1]
        self.sizes = [creatures, *kinds, 3 * len(COLOURS)]
        self.heads = nn.Linear(channels, sum(self.sizes))
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of creature (N, creatures) and of each organ (N, kinds), colours (N, 18)."""
        pooled = self.body(x).mean(dim=(2, 3))
        return self.heads(pooled).split(self.sizes, dim=1)


@dataclass(frozen=True)
class Answers:
    """What is to be learnt about every creature.

    kinds    int64 (creatures, organs)      colours  float32 (creatures, 3 · roles), 0–1
    """

    kinds: Tensor
    colours: Tensor
    n_kinds: list[int]

    @classmethod
    def of(cls, menagerie: Menagerie, device: torch.device) -> "Answers":
        kinds, n_kinds = menagerie.traits()
        colours = [[g.colours[role] for role in COLOURS] for g in menagerie.genomes()]
        flat = torch.tensor(colours, dtype=torch.float32, device=device).flatten(1) / 255
        return cls(torch.from_numpy(kinds).to(device), flat, n_kinds)


@dataclass
class Run:
    """A pretraining under way: everything that a checkpoint keeps."""

    student: Student
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    done: int = 0  # rounds
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(
        cls, backbone: str, creatures: int, answers: Answers, recipe: PretrainRecipe
    ) -> "Run":
        torch.manual_seed(recipe.seed)
        student = Student(backbone, creatures, answers.n_kinds).to(answers.kinds.device)
        student = student.to(memory_format=torch.channels_last)
        if answers.kinds.device.type == "cpu":
            by_taps(student.body)
        average = AveragedModel(
            student, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging), use_buffers=True
        )
        return cls(student, average, _optimiser(student, recipe))

    def save(self, path: Path) -> None:
        with whole_file(path) as temporary:
            rest = {"done": self.done, "seconds": self.seconds, "log": self.log}
            states = [part.state_dict() for part in (self.student, self.average, self.optimiser)]
            torch.save([*states, rest], temporary)

    def load(self, path: Path) -> None:
        student, average, optimiser, rest = torch.load(path, map_location="cpu", weights_only=True)
        self.student.load_state_dict(student)
        self.average.load_state_dict(average)
        self.optimiser.load_state_dict(optimiser)
        self.done, self.seconds, self.log = rest["done"], rest["seconds"], rest["log"]

    def save_features(self, path: Path, backbone: str) -> None:
        """Write the averaged body as it is now."""
        note = {"backbone": backbone, "rounds": str(self.done), "seconds": f"{self.seconds:.0f}"}
        safetensors_file.write_safetensors(path, self.features(), note)

    def features(self) -> dict[str, Tensor]:
        """The averaged body's state, under torchvision's names."""
        state = self.average.module.get_submodule("body").state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def pretrain(
    backbone: str,
    recipe: PretrainRecipe,
    menagerie: Menagerie,
    work: Path,
    device: torch.device,
    workers: int,
    report: Callable[[str, int], None],
    save_every: int = 5,
    keep_every: int = 20,
) -> dict[str, Tensor]:
    """Return the features' weights, by torchvision's names, after all rounds.

    work        folder for images, checkpoint and snapshots; what is there already is used, so
                an interrupted run goes on and ends with the same weights
    workers     processes that render beside the training
    report      takes a line of figures and the rounds done, after every round
    save_every  rounds between checkpoints
    keep_every  rounds between snapshots of the averaged weights, `<backbone>-<rounds>.safetensors`

    Raises `InputError` if `work` holds a run of this backbone with another recipe, and for a
    backbone that does not take images as small as the views.
    """
    smallest, shown = backbones.smallest_image_px(backbone), min(recipe.view_px)
    if smallest > shown:
        raise InputError(
            f"--backbone: {backbone} takes images of {smallest} px and more, the views of this "
            f"pretraining are {shown} px; choose a convolutional network, such as mobilenet_v2"
        )
    work.mkdir(parents=True, exist_ok=True)
    images, checkpoint = work / menagerie.key, work / f"{backbone}.pt"
    answers = Answers.of(menagerie, device)
    run = Run.start(backbone, menagerie.creatures, answers, recipe)
    if _goes_on(work / f"{backbone}.json", checkpoint, asdict(recipe) | menagerie.summary()):
        run.load(checkpoint)
    with start_rendering(menagerie, images, workers):
        while run.done < recipe.rounds:
            view = wait_for_view(images, view_of(run.done, menagerie.views))
            _round(run, view, answers, recipe)
            report(_figures(run, recipe), run.done)
            if run.done % save_every == 0 or run.done == recipe.rounds:
                run.save(checkpoint)
            if run.done % keep_every == 0:
                run.save_features(work / f"{backbone}-{run.done:04d}.safetensors", backbone)
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
    """Pretrain and write the features' weights compactly, with their origin as metadata.

    Shows a bar on a terminal, a line every round elsewhere. Raises `InputError` as `pretrain`.
    """
    with tqdm(total=recipe.rounds, unit="round", disable=not sys.stderr.isatty()) as bar:

        def report(line: str, done: int) -> None:
            bar.n = done
            bar.set_postfix_str(line)
            if bar.disable:
                tqdm.write(f"round {done}/{recipe.rounds}: {line}", file=sys.stderr)

        state = pretrain(backbone, recipe, menagerie, work, device, workers, report)
    origin = {"backbone": backbone, "weights": "drawn", "recipe": json.dumps(asdict(recipe))}
    quantised.save_quantised(state, output, origin, FORM.get(backbone, "int8"))


def view_of(done: int, views: int) -> int:
    """The view that the round after `done` rounds shows: few at first, as they are being made."""
    return done % min(views, HEAD_START + done // 4)


def rate_factor(progress: float, fall: float) -> float:
    """Learning rate over its highest: 1, then down along a cosine from 1 − fall on."""
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, (progress - 1 + fall) / fall)))


def _goes_on(note: Path, checkpoint: Path, settings: dict) -> bool:
    """Whether there is a checkpoint to go on from; leaves a note of the settings if there is none.

    Raises `InputError` if the checkpoint's note says other settings.
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


def _round(run: Run, view: np.ndarray, answers: Answers, recipe: PretrainRecipe) -> None:
    """Show every creature once, in batches of a random order."""
    started = time.monotonic()
    run.student.train()
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + run.done)
    order = torch.randperm(len(view), generator=generator)
    steps = len(order) // recipe.batch
    falling = run.done >= round(recipe.rounds * (1 - recipe.fall))
    totals = torch.zeros(4)
    for step in range(steps):
        _set_rate(run, recipe, step, steps)
        numbers = order[step * recipe.batch : (step + 1) * recipe.batch]
        pixels = torch.from_numpy(np.array(view[numbers.numpy()])).to(answers.kinds.device)
        x = distort(pixels, recipe.view_px[falling], generator)
        with mixed_precision(run.student):
            given = run.student(x)
        exact = tuple(part.float() for part in given)
        losses, hits = _losses(exact, numbers.to(x.device), answers, recipe)
        weighted = losses[0] + recipe.traits * losses[1] + recipe.colours * losses[2]
        run.optimiser.zero_grad()
        weighted.backward()
        run.optimiser.step()
        run.average.update_parameters(run.student)
        totals += torch.stack([*losses, hits]).detach().cpu()
    run.done += 1
    run.seconds += time.monotonic() - started
    names = ("creature", "organs", "colours", "accuracy")
    run.log.append(dict(zip(names, (totals / steps).tolist(), strict=True)))


def _losses(
    given: tuple[Tensor, ...], numbers: Tensor, answers: Answers, recipe: PretrainRecipe
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Losses on creature, organs (mean over them) and colours, and the creatures' accuracy."""
    creature, *organs, colours = given
    which = F.cross_entropy(creature, numbers, label_smoothing=recipe.smoothing)
    kinds = answers.kinds[numbers]
    each = [F.cross_entropy(logits, kinds[:, i]) for i, logits in enumerate(organs)]
    colour = F.smooth_l1_loss(colours, answers.colours[numbers], beta=0.1)
    hits = (creature.argmax(dim=1) == numbers).float().mean()
    return (which, torch.stack(each).mean(), colour), hits


def _set_rate(run: Run, recipe: PretrainRecipe, step: int, steps: int) -> None:
    done = run.done * steps + step
    factor = min(1.0, (done + 1) / recipe.warm_up)
    factor *= rate_factor(done / (recipe.rounds * steps), recipe.fall)
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.learning_rate * factor


def _optimiser(student: Student, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    """AdamW; biases and BatchNorm do not decay."""
    parameters = list(student.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _figures(run: Run, recipe: PretrainRecipe) -> str:
    left = run.seconds / run.done * (recipe.rounds - run.done)
    figures = ", ".join(f"{name} {value:.3f}" for name, value in run.log[-1].items())
    return f"{figures}, {run.seconds:.0f} s, {left:.0f} s left"
