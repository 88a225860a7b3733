"""Does the network name the object, or what lies around it?"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.case import Case
from pokecam.faithfulness import blur

SIGMA = 1 / 12  # of the blur, as a fraction of the side: no outline is left
MARGIN_PX = 4  # around the object that stays with it

CONDITIONS = ("as it is", "background blurred", "object blurred")


def conditions(x: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """The pictures as they are, with all but the object blurred beyond recognition, and with the
    object blurred so: (N, 3, S, S) each, by the names in `CONDITIONS`.

    A network that goes by the object stays right in the second and fails in the third; one that
    goes by the background does the opposite. Blurred is blurred together with what it touches, so
    a trace of colour crosses the object's outline.

    x: (N, 3, S, S), network input. masks: bool (N, S, S), where the object is.
    """
    size_px = x.shape[-1]
    sigma_px = SIGMA * size_px
    grown = F.max_pool2d(masks[:, None].to(x.dtype), 2 * MARGIN_PX + 1, stride=1, padding=MARGIN_PX)
    blurred = blur(x, 2 * round(3 * sigma_px) + 1, sigma_px)
    pictures = (x, torch.where(grown > 0, x, blurred), torch.where(grown > 0, blurred, x))
    return dict(zip(CONDITIONS, pictures, strict=True))


def named_right(case: Case) -> pd.DataFrame:
    """file, label, condition, right: whether every test picture whose object is known is named
    right under every condition."""
    labels = np.array([case.packed.classes.index(label) for label in case.labels])
    right: dict[tuple[int, str], bool] = {}

    def run(x: Tensor, some: slice) -> None:
        truth = case.truth(some)
        if truth is None:
            return
        masks = torch.from_numpy(truth.masks).to(x.device)
        for condition, pictures in conditions(x, masks).items():
            predicted = case.logits(pictures).argmax(dim=1).cpu().numpy()
            for n in np.flatnonzero(truth.masks.any(axis=(1, 2))):
                number = some.start + int(n)
                right[number, condition] = predicted[n] == labels[number]

    case.in_batches(case.rows, run)
    rows = [
        (case.files[number], case.labels[number], condition, float(right[number, condition]))
        for number in sorted({number for number, _ in right})
        for condition in CONDITIONS
    ]
    return pd.DataFrame(rows, columns=["file", "label", "condition", "right"])
