"""Does the network name the object, or what lies around it?"""

import torch
import torch.nn.functional as F
from torch import Tensor

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
    # The border is repeated once at a time: no wider than the picture.
    width_px = min(2 * round(3 * sigma_px) + 1, 2 * size_px - 1)
    blurred = blur(x, width_px, sigma_px)
    pictures = (x, torch.where(grown > 0, x, blurred), torch.where(grown > 0, blurred, x))
    return dict(zip(CONDITIONS, pictures, strict=True))
