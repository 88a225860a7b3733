"""The loss: cross-entropy with smoothed labels, in which every image has a weight."""

import torch.nn.functional as F
from torch import Tensor


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor, *, label_smoothing: float, reduction: str
) -> Tensor:
    """Return the weighted sum or mean over images of the cross-entropy with smoothed labels.

    An image of class y has the loss w_y · −Σ_c t_c log p_c, with t_c = (1 − ε) [c = y] + ε / C
    (Szegedy et al. 2016, arXiv 1512.00567, §7). `torch.nn.functional.cross_entropy` multiplies
    the part ε / C of *every* class c by w_c instead, in the loss of every image. A class with one
    image beside nine classes with 36 has the weight 32.5. ε = 0.1 then leaves it a fourth of the
    target of each image of the others, and the network predicts it everywhere. Where all weights
    are 1 both are the same, to the bit.

    Args:
        logits: (N, C).
        labels: (N,) int, the class index of each image.
        class_weights: (C,), the weight w of an image of each class.
        label_smoothing: ε.
        reduction: "sum", or "mean": the sum divided by the sum of the weights of the images.

    Returns:
        (), in nats.
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    image_weights = class_weights[labels]
    of_labels = F.nll_loss(log_probabilities, labels, class_weights, reduction=reduction)
    of_all_classes = -(log_probabilities.sum(dim=1) * image_weights).sum()
    if reduction == "mean":
        of_all_classes = of_all_classes / image_weights.sum()
    return (1 - label_smoothing) * of_labels + of_all_classes * (label_smoothing / logits.shape[1])
