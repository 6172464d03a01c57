"""What the uncertainty module takes: batches of saliency maps in [0, 1], and what it says of anything else."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from uslnet_core.errors import DataError


def check_form(saliency: Tensor) -> None:
    """Refuse what is not a batch of saliency maps, saying what to do instead."""
    if not isinstance(saliency, Tensor):
        hint = ": torch.from_numpy(array) makes one" if isinstance(saliency, np.ndarray) else ""
        raise DataError(f"The saliency maps must be a torch tensor, but are a {type(saliency).__name__}{hint}.")
    shape = tuple(saliency.shape)
    if saliency.ndim != 3:
        hint = {2: " Add the batch axis with .unsqueeze(0).", 4: " Drop the channel axis with .squeeze(1)."}
        raise DataError(
            f"The saliency maps must have the shape (B, H, W), but have {shape}.{hint.get(saliency.ndim, '')}"
        )
    if 0 in shape[1:]:
        raise DataError(f"The saliency maps must have at least one pixel, but have the shape {shape}.")
    if saliency.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise DataError(
            f"The saliency maps must be floating-point in [0, 1], but are {saliency.dtype}. "
            "Divide 8-bit values by 255, turn masks with .float()."
        )


def largest(dtype: torch.dtype) -> float:
    """The largest value that passes: an interpolation of ones may end some rounding steps above 1."""
    return 1 + 4 * torch.finfo(dtype).eps


def check_values(saliency: Tensor) -> None:
    """Refuse saliency that is NaN or outside [0, 1], saying where and what to do."""
    if not saliency.numel():
        return
    least, most = torch.stack(torch.aminmax(saliency.detach())).tolist()  # one wait for the device, NaN included
    if least >= 0 and most <= largest(saliency.dtype):
        return
    wrong = ~((saliency >= 0) & (saliency <= 1))
    image, y, x = wrong.nonzero()[0].tolist()
    if math.isnan(least):
        wrong = saliency.isnan()
        image, y, x = wrong.nonzero()[0].tolist()
        raise DataError(
            f"{int(wrong.sum())} saliency values are NaN, the first in image {image} at row {y}, column {x}. "
            "A map that is not a number comes from a failed training step: look at the stage that made it."
        )
    raise DataError(
        f"Saliency must lie in [0, 1], but ranges from {least:g} to {most:g}; the first value outside is in image "
        f"{image} at row {y}, column {x}. Apply a sigmoid to logits, divide 8-bit values by 255."
    )
