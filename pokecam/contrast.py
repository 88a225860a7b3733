"""What separates look-alikes: where the evidence for one against the other lies, and whether it
decides."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.faithfulness import ranks
from pokecam.imputation import NOISE, impute

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
    gone = ranks(shown) < round(share * S * S)
    margins, drops = np.empty(N), np.empty((N, M))
    for n in range(N):
        generator = torch.Generator().manual_seed(seeds[n])
        noise = NOISE * torch.randn(x.shape[1:], generator=generator).to(x)
        without = impute(x[n].expand(M, -1, -1, -1), torch.from_numpy(gone[n]).to(x.device), noise)
        given = logits(torch.cat([x[n : n + 1], without])).double().cpu().numpy()
        whole, *left = given[:, int(of[n])] - given[:, int(against[n])]
        margins[n], drops[n] = whole, whole - np.array(left)
    return margins, drops
