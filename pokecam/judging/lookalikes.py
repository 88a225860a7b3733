"""What separates look-alikes: where the evidence for one against the other lies, and whether it
decides."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.judging import parts
from pokecam.judging.case import Case
from pokecam.judging.faithfulness import order
from pokecam.judging.imputation import impute, noise

REMOVED = 0.05  # of the pixels, Zhang et al. 2025

Floats = NDArray[np.floating]


def margin_drops(
    logits: Callable[[Tensor], Tensor],
    x: Tensor,
    of: Tensor,
    against: Tensor,
    shown: Floats,
    seeds: Sequence[int],
    share: float = REMOVED,
) -> tuple[Floats, Floats]:
    """The margin S_of − S_against of every picture, (N,), and how far it falls without the pixels
    that a map holds to speak most for one against the other, (N, M).

    "Sufficiency of contrast" of Zhang et al. 2025 (Finer-CAM, arXiv 2501.11309). The paper sets
    the pixels to a constant; here they are filled in from around them (`impute`), so that no hole
    is seen in their place.

    logits: gives (n, C) for input (n, 3, S, S). x: (N, 3, S, S). of, against: int (N,), classes.
    shown: displayed maps (N, M, S, S). seeds: N, of the noise. share: of the pixels that go.
    """
    N, M, S = shown.shape[:3]
    gone = np.zeros((N, M, S * S), bool)
    np.put_along_axis(gone, order(shown)[..., : round(share * S * S)], True, axis=-1)
    margins, drops = np.empty(N), np.empty((N, M))
    for n in range(N):
        removed = torch.from_numpy(gone[n].reshape(M, S, S)).to(x.device)
        without = impute(x[n].expand(M, -1, -1, -1), removed, noise(x[n], seeds[n]))
        given = logits(torch.cat([x[n : n + 1], without])).cpu().double().numpy()
        whole, *left = given[:, int(of[n])] - given[:, int(against[n])]
        margins[n], drops[n] = whole, whole - np.array(left)
    return margins, drops


def look_alikes(
    case: Case,
    asked: NDArray[np.intp],
    seed: int,
    redrawing: parts.Redrawing | None = None,
) -> pd.DataFrame:
    """file, label, against, method, margin, drop, differing: a row for every asked picture of a
    class in a group of look-alikes, every other class of the group, and every method.

    asked: (n,) int, numbers of pictures. margin, drop: as of `margin_drops`, in logits, of the
    picture's own class against the other. differing: of a drawn source, as of
    `parts.on_differing`.
    """
    classes = case.packed.classes
    tasks = [
        (int(i), own, other)
        for i in asked
        for own in [classes.index(case.labels[i])]
        for group in case.alike
        if own in group
        for other in group
        if other != own
    ]
    columns = ["file", "label", "against", "method", "margin", "drop", "differing"]
    if not tasks:
        return pd.DataFrame(columns=columns)
    which, of, against = np.array(tasks).T
    found: dict[int, list[tuple]] = {}

    def compare(n: int, x: Tensor) -> None:
        some = np.array([n])
        shown = case.of_difference(which[some], x, of[some], against[some])
        margins, drops = margin_drops(
            case.logits,
            x,
            torch.from_numpy(of[some]),
            torch.from_numpy(against[some]),
            shown,
            (seed + which[some]).tolist(),
        )
        i, own, other = tasks[n]
        differing = np.full(shown.shape[1], np.nan)
        if redrawing is not None:
            differing = parts.on_differing(case, redrawing, i, classes[other], shown[0])
        found[n] = [
            (case.files[i], classes[own], classes[other], method, margins[0], *figures)
            for method, *figures in zip(case.methods, drops[0], differing, strict=True)
        ]

    case.each(compare, case.rows[which], "look-alikes", "pairs")
    rows = [row for number in sorted(found) for row in found[number]]
    return pd.DataFrame(rows, columns=columns)
