"""What a lesion is like, past the paper: compact, without holes, darker or redder than its skin. Gentle terms on maps.

Each takes maps and gives maps, in [0, 1]; none reads a label. Hair is no lesion, and can be painted over before.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from uslnet_core.artefacts import find_hair, to_lab
from uslnet_core.saliency.clusters import even_colours

SURE = 1e-3  # nearer to 0 and 1 than this nothing is weighed
STEP = 10.0  # distance in Lab that counts as one step darker or redder; more counts no more


def compact(maps: Tensor, share: float) -> Tensor:
    """Blur what is believed, so that an outline has no fringes thinner than a share of the side.

    Args:
        maps: (B, S, S) float32 in [0, 1].
        share: standard deviation of the blur, share of S; 0 changes nothing.

    Returns:
        (B, S, S) float32 in [0, 1]: the blurred log-odds.
    """
    sigma = (0, share * maps.shape[1], share * maps.shape[1])
    odds = torch.logit(maps.cpu().clamp(SURE, 1 - SURE)).numpy()
    return torch.sigmoid(torch.from_numpy(ndimage.gaussian_filter(odds, sigma, mode="nearest"))).to(maps.device)


def filled(maps: Tensor, threshold: float = 0.5) -> Tensor:
    """Fill holes: a pixel that lesion surrounds is as surely lesion as it was surely skin, 1 less its value.

    Args:
        maps: (B, S, S) float32 in [0, 1].
        threshold: above is lesion.

    Returns:
        (B, S, S) float32 in [0, 1]; what touches the frame is no hole.
    """
    found = (maps > threshold).cpu().numpy()
    whole = np.stack([ndimage.binary_fill_holes(each) for each in found]) if len(found) else found
    holes = torch.from_numpy(whole & ~found).to(maps.device)
    above = float(np.nextafter(np.float32(threshold), np.float32(1)))
    return torch.where(holes, (1 - maps).clamp_min(above), maps)


def darker_or_redder(images: Tensor, maps: Tensor, weight: float) -> Tensor:
    """Believe more where a pixel is darker or redder than the skin of its image, and less where it is neither.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.
        maps: (B, S, S) float32 in [0, 1].
        weight: of one step of :data:`STEP` in Lab, added to the log-odds; 0 changes nothing.

    Returns:
        (B, S, S) float32 in [0, 1]; nothing changes on frames and charts.
    """
    colour, clear = even_colours(images)
    sure = maps.detach().cpu().double().clamp(SURE, 1 - SURE)
    skin = ((1 - sure) * clear)[..., None]
    mean = (colour * skin).sum((1, 2), keepdim=True) / skin.sum((1, 2), keepdim=True).clamp_min(SURE)
    away = colour - mean
    step = (torch.maximum(-away[..., 0], away[..., 1]) / STEP).clamp(-1, 1) * clear
    return torch.sigmoid(torch.logit(sure) + weight * step).float().to(maps.device)


def without_hair(images: Tensor) -> Tensor:
    """Paint over hair with the colours beside it.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.

    Returns:
        (B, 3, S, S) float32 in [0, 1]; where no hair is, not a bit changes.
    """
    hair = find_hair(to_lab(images))  # (B, S, S)
    if not hair.any():
        return images
    hair = ndimage.binary_dilation(hair, np.ones((1, 3, 3), bool))
    sigma = (0, 0, images.shape[-1] / 32, images.shape[-1] / 32)
    seen = np.broadcast_to(~hair[:, None], images.shape).astype(np.float32)
    pixels = images.cpu().numpy()
    beside = ndimage.gaussian_filter(pixels * seen, sigma) / np.maximum(ndimage.gaussian_filter(seen, sigma), 1e-3)
    return torch.from_numpy(np.where(hair[:, None], beside, pixels).astype(np.float32)).clamp(0, 1).to(images.device)
