"""What separates look-alikes: where the evidence for one class against the other lies, and
whether the prediction depends on it."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.imputation import noise
from pokecam.judging.case import Case, Indices
from pokecam.judging.faithfulness import fill_and_run, order
from pokecam.judging.heatmaps import heatmaps_of_difference
from pokecam.judging.parallel import map_images
from pokecam.judging.parts import difference_ranks
from pokecam.judging.redrawing import Redrawing

REMOVED = 0.05  # fraction of the pixels that are removed, as in Zhang et al. 2025

Floats = NDArray[np.floating]


def margin_drops(
    logits: Callable[[Tensor], Tensor],
    x: Tensor,
    classes: Tensor,
    references: Tensor,
    heatmaps: Floats,
    seeds: Sequence[int],
) -> tuple[Floats, Floats]:
    """Measure how far the margin between two classes falls without the most salient pixels.

    The fraction `REMOVED` of the pixels is removed. This is "sufficiency of contrast" of Zhang et
    al. 2025 (Finer-CAM, arXiv 2501.11309). The paper sets the pixels to a constant. Here they are
    filled in from their surroundings (`impute`), so that no hole is visible in their place.

    Args:
        logits: network input (n, 3, S, S) → (n, C).
        x: (N, 3, S, S).
        classes: (N,) int, the class of each image.
        references: (N,) int, the class that it is compared with.
        heatmaps: (N, M, S, S), evidence for the class against the reference.
        seeds: N, of the noise in the imputation.

    Returns:
        The margins S_class − S_reference, (N,), and their drops, (N, M).
    """
    N, M, S = heatmaps.shape[:3]
    removed = np.zeros((N, M, S * S), bool)
    most_salient = order(heatmaps)[..., : round(REMOVED * S * S)]
    np.put_along_axis(removed, most_salient, True, axis=-1)
    holes = torch.from_numpy(removed.reshape(N * M, S, S)).to(x.device)
    noises = torch.stack([noise(image, seed) for image, seed in zip(x, seeds, strict=True)])
    images = torch.arange(N, device=x.device).repeat_interleave(M)
    changed = fill_and_run(logits, x, images, holes, noises).unflatten(0, (N, M))
    outputs = torch.cat([logits(x).cpu()[:, None], changed], dim=1).double().numpy()
    n = np.arange(N)
    differences = outputs[n, :, classes.numpy()] - outputs[n, :, references.numpy()]
    return differences[:, 0], differences[:, :1] - differences[:, 1:]


def compare_lookalikes(
    case: Case, indices: Indices, seed: int, redrawing: Redrawing | None = None
) -> pd.DataFrame:
    """Measure the maps of difference for every pair of look-alikes.

    Args:
        case: M methods.
        indices: (n,) int, the images of the case that are measured.
        seed: of the noise in the imputation.
        redrawing: of a drawn source.

    Returns:
        file, label, against, method, margin, drop, differing: a row for every image of a class in
        a group of look-alikes, every other class of the group, and every method. margin and drop
        are those of `margin_drops`, in logits; differing is that of `parts.difference_ranks`.
    """
    names = case.packed.classes
    tasks = [
        (int(index), label, other)
        for index in indices
        for label in [names.index(case.labels[index])]
        for group in case.lookalikes
        if label in group
        for other in group
        if other != label
    ]
    columns = ["file", "label", "against", "method", "margin", "drop", "differing"]
    if not tasks:
        return pd.DataFrame(columns=columns)
    images, classes, references = np.array(tasks).T

    def compare(numbers: Indices, x: Tensor) -> list[Callable[[], list[tuple]]]:
        indices, labels, others = images[numbers], classes[numbers], references[numbers]
        heatmaps = heatmaps_of_difference(case, indices, x, labels, others)
        margins, drops = margin_drops(
            case.logits,
            x,
            torch.from_numpy(labels),
            torch.from_numpy(others),
            heatmaps,
            (seed + indices).tolist(),
        )
        return [
            partial(finish, tasks[n], heatmaps[k], float(margins[k]), drops[k])
            for k, n in enumerate(numbers)
        ]

    def finish(
        task: tuple[int, int, int], heatmaps: Floats, margin: float, drops: Floats
    ) -> list[tuple]:
        index, label, other = task
        differing = np.full(len(heatmaps), np.nan)
        if redrawing is not None:
            differing = difference_ranks(case, redrawing, index, names[other], heatmaps)
        return [
            (case.files[index], names[label], names[other], method, margin, *numbers)
            for method, *numbers in zip(case.methods, drops, differing, strict=True)
        ]

    results = map_images(case, case.rows[images], compare, "look-alikes", "pairs")
    return pd.DataFrame([row for rows in results for row in rows], columns=columns)
