"""Does the network recognise the object, or what lies around it?"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.judging.case import Case, Indices
from pokecam.judging.ground_truth import GroundTruth, ground_truth
from pokecam.judging.imputation import impute
from pokecam.networks.classifier import in_batches, prepare

MARGIN_PX = 4  # around the object that moves with it

AS_IT_IS = "as it is"
ELSEWHERE = "before the background of another class"
FILLED_IN = "object filled in"
LURED = "named after that background"  # under the second condition
BETTER = {AS_IT_IS: 1, ELSEWHERE: 1, FILLED_IN: -1, LURED: -1}  # 1 if more is better


def conditions(
    x: Tensor, masks: Tensor, backgrounds: Tensor, background_masks: Tensor
) -> dict[str, Tensor]:
    """Change the background of images.

    A network that relies on the object is right in the second condition and wrong in the third.
    One that relies on the background does the opposite. The second and third are MIXED-RAND and
    ONLY-BG of Xiao et al. 2021 ("Noise or signal", arXiv 2006.09994).

    Args:
        x: (N, 3, S, S), network input.
        masks: bool (N, S, S), where the object is.
        backgrounds: (N, 3, S, S), images that give their background.
        background_masks: bool (N, S, S), where the object of these is.

    Returns:
        Condition → (N, 3, S, S): the images as they are; their object before the background of
        others, whose own object is filled in from around it (`impute`); their own object filled
        in.
    """
    objects, background_objects = _dilated(masks), _dilated(background_masks)
    moved = torch.where(objects[:, None], x, impute(backgrounds, background_objects))
    return {AS_IT_IS: x, ELSEWHERE: moved, FILLED_IN: impute(x, objects)}


def classify_conditions(case: Case, seed: int) -> pd.DataFrame:
    """Classify the test images under every condition.

    Backgrounds are those of other test images, chosen by the seed. The conditions that need them
    are left out where the objects of only one class are known.

    Returns:
        file, label, condition, named: whether the network predicts `label`, a row for every test
        image whose object is known, and every condition. `label` is the class of the image; under
        `LURED`, which is asked of the images of `ELSEWHERE`, the class of the background.
    """
    columns = ["file", "label", "condition", "named"]
    indices = _with_known_object(case)
    if not len(indices):
        return pd.DataFrame(columns=columns)
    labels = np.array([case.packed.classes.index(label) for label in case.labels])
    partners = _of_other_classes(labels[indices], np.random.default_rng(seed))

    def classify(x: Tensor, batch: slice) -> list[tuple]:
        images = indices[batch]
        sources = images if partners is None else indices[partners[batch]]
        backgrounds = prepare(torch.from_numpy(case.packed.pixels[case.rows[sources]])).to(x)
        masks, background_masks = (
            torch.from_numpy(_ground_truth(case, which).masks).to(x.device)
            for which in (images, sources)
        )
        questions = [
            (condition, condition, labels[images])
            for condition in (AS_IT_IS, ELSEWHERE, FILLED_IN)
            if condition != ELSEWHERE or partners is not None
        ]
        if partners is not None:
            questions.append((LURED, ELSEWHERE, labels[sources]))
        predictions = {
            condition: case.logits(changed).argmax(dim=1).cpu().numpy()
            for condition, changed in conditions(x, masks, backgrounds, background_masks).items()
        }
        return [
            (
                case.files[index],
                case.packed.classes[expected[n]],
                name,
                float(predictions[condition][n] == expected[n]),
            )
            for n, index in enumerate(images.tolist())
            for name, condition, expected in questions
        ]

    batches = in_batches(case.network, case.packed.pixels, case.rows[indices], classify)
    return pd.DataFrame([row for _, rows in batches for row in rows], columns=columns)


def _ground_truth(case: Case, indices: Indices) -> GroundTruth:
    truth = ground_truth(case.packed, case.rows[indices])
    assert truth is not None
    return truth


def _with_known_object(case: Case) -> Indices:
    """Return the test images whose object is known, and is not the whole image."""
    indices = []
    for index in range(len(case.rows)):
        truth = ground_truth(case.packed, case.rows[[index]])
        if truth is not None and truth.masks.any() and not truth.masks.all():
            indices.append(index)
    return np.array(indices, int)


def _of_other_classes(labels: NDArray[np.intp], rng: np.random.Generator) -> Indices | None:
    """Return for each of n images another one, of another class, (n,); None for a single class."""
    if len(set(labels.tolist())) < 2:
        return None
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])


def _dilated(masks: Tensor) -> Tensor:
    side = 2 * MARGIN_PX + 1
    return F.max_pool2d(masks[:, None].float(), side, stride=1, padding=MARGIN_PX)[:, 0] > 0
