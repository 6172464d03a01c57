"""The uncertainty loss: learn from the certain pixels, be free on the others (paper 3.5, equation 3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from uslnet_core.errors import DataError


def uncertainty_loss(logits: Tensor, label: Tensor, *, literal: bool = False) -> Tensor:
    """Binary cross-entropy over the certain pixels of each image, averaged over the batch (equation 3, mended).

    The printed formula says log(1 − p) twice; the first must be log p. (l − ½)² is ¼ on certain pixels and 0 on
    uncertain ones, and h·w − 4 Σ l(1 − l) counts the certain pixels, so the printed loss is ¼ of this one.

    Args:
        logits: (B, H, W) or (B, 1, H, W) float, before the sigmoid.
        label: same shape, float: 0 background, 0.5 uncertain, 1 foreground.
        literal: keep the printed ¼.

    Returns:
        Scalar. An image without a certain pixel contributes 0.

    Raises:
        DataError: the shapes differ, or there is no batch.
    """
    if logits.shape != label.shape or logits.ndim < 3:
        raise DataError(
            f"logits and label must have the same shape (B, H, W); got {tuple(logits.shape)} and {tuple(label.shape)}."
        )
    certain = (label != 0.5).to(logits.dtype)
    pixel = F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), reduction="none") * certain
    per_image = pixel.flatten(1).sum(1) / certain.flatten(1).sum(1).clamp(min=1)  # (B,)
    return per_image.mean() * (0.25 if literal else 1.0)
