"""Saliency from colour alone: an example of a source that is a plain function."""

from __future__ import annotations

import torch
from skimage.color import rgb2lab
from torch import Tensor

FAR = 50.0  # distance in Lab that counts as wholly lesion; black and white are 100 apart


def colour_distance(images: Tensor) -> Tensor:
    """Measure how far each pixel's colour is from that of the image's border, which lesions avoid.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.

    Returns:
        (B, S, S) float32 in [0, 1]: the distance in CIE Lab to the border's median colour, 1 from 50 onwards.
    """
    lab = torch.from_numpy(rgb2lab(images.permute(0, 2, 3, 1).cpu().numpy()))  # (B, S, S, 3)
    border = torch.cat([lab[:, 0], lab[:, -1], lab[:, :, 0], lab[:, :, -1]], dim=1)  # (B, 4 · S, 3)
    skin = border.median(dim=1).values[:, None, None]  # (B, 1, 1, 3)
    return ((lab - skin).norm(dim=-1) / FAR).clamp(0, 1).float().to(images.device)
