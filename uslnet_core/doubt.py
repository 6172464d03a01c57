"""Doubt past the paper: thresholds that adapt to each map, and a band along the outline; for the uncertainty module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def adapted(maps: Tensor, low: float, high: float, doubt: float) -> tuple[Tensor, Tensor]:
    """Move thresholds outwards in each map until a share of either side is uncertain.

    Args:
        maps: (B, H, W) float32 or float64.
        low: where ``low`` begins; it only falls.
        high: where ``high`` begins; it only rises.
        doubt: the share of the pixels below the middle of both, and of those above it, that shall be uncertain.

    Returns:
        (B,) low and high, in the maps' dtype, on their device.
    """
    ranked = maps.flatten(1).sort(dim=1).values  # (B, H · W)
    pixels = ranked.shape[1]
    under, over = nearest_to((low + high) / 2, maps.dtype)
    skin, lesion = (ranked < over).sum(1), (ranked > under).sum(1)

    def outwards(side: Tensor, nearest: Tensor, step: int, extreme: Tensor, fixed: float) -> Tensor:
        """Find the value that lies a share of its side away from the middle, unless it is the extreme one."""
        away = (doubt * side.double()).ceil().long()
        place = (nearest + step * (away - 1)).clamp(0, pixels - 1)
        value = ranked.gather(1, place[:, None])[:, 0]
        return torch.where((away > 0) & (value != extreme), value, torch.full_like(value, fixed))

    lows = outwards(skin, skin - 1, -1, ranked[:, 0], low).clamp(max=low)
    highs = outwards(lesion, pixels - lesion, 1, ranked[:, -1], high).clamp(min=high)
    return lows, highs


def nearest_to(value: float, dtype: torch.dtype) -> tuple[float, float]:
    """Find a dtype's largest number that is not above a value, and its least that is not below.

    What torch compares with a number it rounds to the tensor's dtype first: a pixel just above the middle of two
    thresholds would equal it. A pixel lies below the value exactly if it lies below the second of these, and above it
    exactly if it lies above the first.
    """
    near = torch.tensor(value, dtype=dtype)
    least, most = (torch.nextafter(near, torch.full_like(near, end)).item() for end in (-torch.inf, torch.inf))
    near = near.item()
    return (near if near <= value else least), (near if near >= value else most)


def along_outline(foreground: Tensor, radius: int) -> Tensor:
    """Find the pixels within some steps, diagonal ones included, of what is on the other side of an outline.

    Args:
        foreground: (B, H, W) bool.
        radius: steps, 1 or more.

    Returns:
        (B, H, W) bool. The frame of the image is no outline.
    """
    inside = foreground.float()[:, None]
    return (grown(inside, radius) > 1 - grown(1 - inside, radius))[:, 0]


def grown(values: Tensor, radius: int) -> Tensor:
    """Give each pixel of (B, 1, H, W) the largest value within some steps, first along columns and then along rows."""
    reach = 2 * radius + 1
    tall = F.max_pool2d(values, (reach, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(tall, (1, reach), stride=1, padding=(0, radius))
