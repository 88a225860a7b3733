"""Does the network name the object, or what lies around it?"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.judging.case import Case, Ints
from pokecam.judging.imputation import impute
from pokecam.networks.classifier import prepare

MARGIN_PX = 4  # around the object that goes with it

AS_IT_IS = "as it is"
ELSEWHERE = "before the background of another class"
FILLED_IN = "object filled in"
LURED = "named after that background"  # … under the second condition
BETTER = {AS_IT_IS: 1, ELSEWHERE: 1, FILLED_IN: -1, LURED: -1}  # 1 if more is better


def conditions(x: Tensor, masks: Tensor, others: Tensor, their_masks: Tensor) -> dict[str, Tensor]:
    """The pictures as they are; with their object before the backgrounds of others, whose own
    object is filled in from around it (`impute`); and with their own object filled in. (N, 3, S, S)
    each.

    A network that goes by the object stays right in the second and fails in the third; one that
    goes by the background does the opposite. After Xiao et al. 2021 ("Noise or signal", arXiv
    2006.09994), whose MIXED-RAND and ONLY-BG these are.

    x, others: (N, 3, S, S), network input. masks, their_masks: bool (N, S, S), where the object is.
    """
    here, there = _grown(masks), _grown(their_masks)
    moved = torch.where(here[:, None], x, impute(others, there))
    return {AS_IT_IS: x, ELSEWHERE: moved, FILLED_IN: impute(x, here)}


def named(case: Case, seed: int) -> pd.DataFrame:
    """file, label, condition, named: whether the network names the picture `label`, a row for every
    test picture whose object is known, and every condition.

    `label` is the picture's own class; under `LURED`, which is asked of the pictures of
    `ELSEWHERE`, the class of the background. Backgrounds are other test pictures', chosen by the
    seed; the two are left out where the objects of one class alone are known.
    """
    known = _known(case)
    if not len(known):
        return pd.DataFrame(columns=["file", "label", "condition", "named"])
    labels = np.array([case.packed.classes.index(label) for label in case.labels])
    partners = _of_other_classes(labels[known], np.random.default_rng(seed))
    rows = []

    def run(x: Tensor, some: slice) -> None:
        here = known[some]
        behind = here if partners is None else known[partners[some]]
        others = prepare(torch.from_numpy(case.packed.pixels[case.rows[behind]])).to(x)
        masks, their_masks = (
            torch.from_numpy(truth.masks).to(x.device)
            for truth in (case.truth(here), case.truth(behind))
            if truth is not None
        )
        asked = [
            (condition, condition, labels[here])
            for condition in (AS_IT_IS, ELSEWHERE, FILLED_IN)
            if condition != ELSEWHERE or partners is not None
        ]
        if partners is not None:
            asked.append((LURED, ELSEWHERE, labels[behind]))
        pictures = conditions(x, masks, others, their_masks)
        said = {
            name: case.logits(made).argmax(dim=1).cpu().numpy() for name, made in pictures.items()
        }
        for n, number in enumerate(here.tolist()):
            for condition, shown, wanted in asked:
                name = case.packed.classes[wanted[n]]
                rows.append(
                    (case.files[number], name, condition, float(said[shown][n] == wanted[n]))
                )

    case.in_batches(case.rows[known], run)
    return pd.DataFrame(rows, columns=["file", "label", "condition", "named"])


def _known(case: Case) -> Ints:
    """The test pictures whose object is known, and is not the whole picture."""
    found = []
    for number in range(len(case.rows)):
        truth = case.truth(slice(number, number + 1))
        if truth is not None and truth.masks.any() and not truth.masks.all():
            found.append(number)
    return np.array(found, int)


def _of_other_classes(labels: NDArray[np.intp], chance: np.random.Generator) -> Ints | None:
    """For each of n pictures another one, of another class, (n,); None if there is one class."""
    if len(set(labels.tolist())) < 2:
        return None
    return np.array([chance.choice(np.flatnonzero(labels != label)) for label in labels])


def _grown(masks: Tensor) -> Tensor:
    side = 2 * MARGIN_PX + 1
    return F.max_pool2d(masks[:, None].float(), side, stride=1, padding=MARGIN_PX)[:, 0] > 0
