"""Does the network recognise the object, or what lies around it?"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.imputation import impute
from pokecam.judging.case import Case, Indices
from pokecam.judging.ground_truth import find_ground_truth
from pokecam.networks.classifier import in_batches, prepare

MARGIN_PX = 4  # the object is moved with a margin of this width

# The names of the conditions as the report shows them.
ORIGINAL = "original image"
OTHER_BACKGROUND = "object on the background of another class"
FILLED_IN = "object filled in"
MISCLASSIFIED = (
    "misclassified as the class of that background"  # for the images of `OTHER_BACKGROUND`
)
BETTER = {ORIGINAL: 1, OTHER_BACKGROUND: 1, FILLED_IN: -1, MISCLASSIFIED: -1}  # 1 if more is better


def conditions(
    x: Tensor, masks: Tensor, backgrounds: Tensor, background_masks: Tensor
) -> dict[str, Tensor]:
    """Change the background of images.

    A network that relies on the object is right under `OTHER_BACKGROUND` and wrong under
    `FILLED_IN`. A network that relies on the background does the opposite. The two are MIXED-RAND
    and ONLY-BG of Xiao et al. 2021 ("Noise or signal", arXiv 2006.09994).

    Args:
        x: (N, 3, S, S), network input.
        masks: bool (N, S, S), where the object is.
        backgrounds: (N, 3, S, S), the images whose background is used.
        background_masks: bool (N, S, S), where the object is in these.

    Returns:
        Condition → (N, 3, S, S). `ORIGINAL` are the images x. In `OTHER_BACKGROUND` the object of x
        is pasted on the background, whose own object is filled in from its surroundings (`impute`).
        In `FILLED_IN` the object of x is filled in likewise.
    """
    objects, background_objects = _dilate(masks), _dilate(background_masks)
    moved = torch.where(objects[:, None], x, impute(backgrounds, background_objects))
    return {ORIGINAL: x, OTHER_BACKGROUND: moved, FILLED_IN: impute(x, objects)}


def classify_conditions(case: Case, seed: int) -> pd.DataFrame:
    """Classify the test images under every condition.

    Backgrounds are those of other test images, chosen by the seed. The conditions that need them
    are left out where the objects of only one class are known.

    Returns:
        file, label, condition, is_predicted: whether the network predicts `label`, a row for every
        condition and every test image whose object is known. `label` is the class of the image.
        Under `MISCLASSIFIED`, which tests the images of `OTHER_BACKGROUND`, it is the class of
        the background.
    """
    columns = ["file", "label", "condition", "is_predicted"]
    indices = _indices_with_object(case)
    if not len(indices):
        return pd.DataFrame(columns=columns)
    labels = np.array([case.packed.classes.index(label) for label in case.labels])
    partners = _choose_partners(labels[indices], np.random.default_rng(seed))

    def classify(x: Tensor, batch: slice) -> list[tuple]:
        images = indices[batch]
        partner_images = images if partners is None else indices[partners[batch]]
        backgrounds = prepare(torch.from_numpy(case.packed.pixels[case.rows[partner_images]])).to(x)
        masks, background_masks = (
            torch.from_numpy(_object_masks(case, selected)).to(x.device)
            for selected in (images, partner_images)
        )
        tests = [  # name, the images that are classified, the class that may be predicted
            (condition, condition, labels[images])
            for condition in (ORIGINAL, OTHER_BACKGROUND, FILLED_IN)
            if condition != OTHER_BACKGROUND or partners is not None
        ]
        if partners is not None:
            tests.append((MISCLASSIFIED, OTHER_BACKGROUND, labels[partner_images]))
        predictions = {
            condition: case.logits(changed_images).argmax(dim=1).cpu().numpy()
            for condition, changed_images in conditions(
                x, masks, backgrounds, background_masks
            ).items()
        }
        return [
            (
                case.files[index],
                case.packed.classes[expected[n]],
                name,
                float(predictions[condition][n] == expected[n]),
            )
            for n, index in enumerate(images.tolist())
            for name, condition, expected in tests
        ]

    batches = in_batches(case.network, case.packed.pixels, case.rows[indices], classify)
    return pd.DataFrame([row for _, rows in batches for row in rows], columns=columns)


def _object_masks(case: Case, indices: Indices) -> NDArray[np.bool_]:
    ground_truth = find_ground_truth(case.packed, case.rows[indices])
    assert ground_truth is not None
    return ground_truth.masks


def _indices_with_object(case: Case) -> Indices:
    """Return the test images whose object is known, and is not the whole image."""
    indices = []
    for index in range(len(case.rows)):
        ground_truth = find_ground_truth(case.packed, case.rows[[index]])
        if ground_truth is None:
            continue
        if ground_truth.masks.any() and not ground_truth.masks.all():
            indices.append(index)
    return np.array(indices, int)


def _choose_partners(labels: NDArray[np.intp], rng: np.random.Generator) -> Indices | None:
    """Choose for each of n images an image of another class, (n,); None for a single class."""
    if len(set(labels.tolist())) < 2:
        return None
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])


def _dilate(masks: Tensor) -> Tensor:
    side = 2 * MARGIN_PX + 1
    return F.max_pool2d(masks[:, None].float(), side, stride=1, padding=MARGIN_PX)[:, 0] > 0
