"""Saliency from two colours: skin and lesion, found anew in every image (k-means; after the paper's rivals, 4.3)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from uslnet_core.artefacts import find_charts, find_frame, find_hair, to_lab

BLUR, RING = 1 / 50, 1 / 16  # shares of the side: blur against noise; width of the ring that lesions avoid
ROUNDS = 20  # of k-means and of the fit of the light; both settle sooner
ALIKE = 1.0  # distance in Lab that no eye sees: an image with no more between its two colours has one
FARTHEST = 0.9  # the second colour starts from the tenth of the pixels that is farthest from skin


def colour_clusters(images: Tensor) -> Tensor:
    """Tell lesion from skin by colour: two clusters of CIE Lab in each image, and how near each pixel is to them.

    Frames, charts and hair are left out, and the light is evened out, before the two colours are sought. The cluster
    that the border has less of, and that is the darker one, is the lesion.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.

    Returns:
        (B, S, S) float32 in [0, 1]: d² to skin over the sum of d² to skin and to lesion, the membership of fuzzy
        c-means (Bezdek 1981, exponent 2). 0 on frames and charts, and everywhere on an image of a single colour.
    """
    colour, clear = even_colours(images)
    ring = clear & ~torch.from_numpy(_shrink(clear.numpy(), RING))
    centres = two_means(colour, clear, ring)  # (B, 2, 3)
    squares = (colour[..., None, :] - centres[:, None, None]).square().sum(-1)  # (B, S, S, 2)
    second = squares[..., 0] / squares.sum(-1).clamp_min(1e-6)
    share = (second * ring).sum((1, 2)) / ring.sum((1, 2)).clamp_min(1)  # of the ring, that is like the second
    gap = centres[:, 0] - centres[:, 1]
    darker = gap[:, 0] / gap.norm(dim=1).clamp_min(1e-6)  # in [-1, 1], above 0 if the second is the darker one
    lesion = torch.where((1 - 2 * share + darker < 0)[:, None, None], 1 - second, second)
    two = gap.norm(dim=1) > ALIKE
    return torch.where(two[:, None, None] & clear, lesion, 0).float().to(images.device)


def even_colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """Give the colours of skin and lesion: in even light, blurred a little, hair filled in, and where they are to see.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.

    Returns:
        (B, S, S, 3) float64, CIE Lab, and (B, S, S) bool, False on frames and charts. Both on the CPU.
    """
    lab = to_lab(images)
    clear = ~(find_frame(lab) | find_charts(lab))  # (B, S, S)
    blurred = _blur(lab, clear & ~find_hair(lab))  # (B, S, S, 3)
    clear = torch.from_numpy(clear)
    return even_light(torch.from_numpy(blurred).double(), clear), clear


def even_light(colour: Tensor, clear: Tensor) -> Tensor:
    """Take out the slope of the light and its fall towards the corners.

    Lightness is fitted by a plane and a bowl around the centre, x² + y², over and over; what is much darker than the
    fit is lesion and counts little. A bowl that is *brighter* outside would be a lesion, so it is not taken out.

    Args:
        colour: (B, S, S, 3) float, CIE Lab.
        clear: (B, S, S) bool, where there is skin or lesion.

    Returns:
        (B, S, S, 3), of the same dtype; the mean lightness stays.
    """
    count, side = colour.shape[:2]
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, side, dtype=colour.dtype)], indexing="ij")
    shapes = torch.stack([torch.ones_like(x), x, y, x * x + y * y], dim=-1).flatten(0, 1)  # (S², 4)
    light, inside = colour[..., 0].flatten(1), clear.flatten(1).to(colour.dtype)  # (B, S²)
    weight = inside
    for _ in range(ROUNDS):
        weighted = shapes * weight[..., None]  # (B, S², 4)
        normal = weighted.mT @ shapes + 1e-3 * torch.eye(4, dtype=colour.dtype)
        fit = torch.linalg.solve(normal, weighted.mT @ light[..., None])[..., 0]  # (B, 4)
        left = light - fit @ shapes.T
        scale = 1 + 1.5 * _median(left.abs(), clear.flatten(1))[:, None]
        weight = inside * torch.where(left < 0, (1 + (left / scale).square()).pow(-2), 1)
    fit = torch.where(fit[:, 3:] > 0, 0, fit)
    slope = fit @ shapes.T
    slope = slope - (slope * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    even = colour.clone()
    even[..., 0] -= slope.clamp(-25, 25).view(count, side, side)
    return even


def two_means(colour: Tensor, clear: Tensor, ring: Tensor) -> Tensor:
    """Find two colours in each image by k-means, from the ring's median and from what is farthest from it.

    Args:
        colour: (B, S, S, 3) float.
        clear: (B, S, S) bool, which pixels take part.
        ring: (B, S, S) bool, where skin is expected.

    Returns:
        (B, 2, 3), of the same dtype; both the same where an image has but one colour.
    """
    points, inside = colour.flatten(1, 2), clear.flatten(1)  # (B, S², 3), (B, S²)
    central = _squares_from_centre(colour.shape[1]).neg().exp().flatten()  # (S²,), 1 in the centre, 0.14 in a corner
    skin = torch.stack([_median(points[..., c], ring.flatten(1)) for c in range(3)], dim=-1)
    distance = torch.where(inside, (points - skin[:, None]).norm(dim=-1) * central, -1)
    most = int((1 - FARTHEST) * inside.shape[1])
    ranked = distance.topk(most).indices  # where little is clear, all of it, and -1s that weigh nothing
    far = _mean(points.gather(1, ranked[..., None].expand(-1, -1, 3)), inside.gather(1, ranked).to(points.dtype), skin)
    centres = torch.stack([skin, far], dim=1)
    for _ in range(ROUNDS):
        nearest = (points[:, :, None] - centres[:, None]).square().sum(-1).argmin(-1)  # (B, S²)
        moved = [_mean(points, central * (inside & (nearest == k)), centres[:, k]) for k in range(2)]
        before, centres = centres, torch.stack(moved, dim=1)
        if torch.equal(before, centres):
            break
    return centres


def _squares_from_centre(side: int) -> Tensor:
    """Give x² + y² of every pixel, 0 in the centre and 2 in the corners: (S, S)."""
    along = torch.linspace(-1, 1, side).square()
    return along[:, None] + along


def _mean(points: Tensor, weight: Tensor, instead: Tensor) -> Tensor:
    """Average (B, n, 3) points by (B, n) weights; where all are 0, give ``instead`` (B, 3)."""
    total = weight.sum(1, keepdim=True)
    return torch.where(total > 0, (points * weight[..., None]).sum(1) / total.clamp_min(1e-6), instead)


def _median(values: Tensor, where: Tensor) -> Tensor:
    """Give the median of (B, n) values over the places of a (B, n) mask; 0 where it is empty."""
    return torch.where(where, values, torch.nan).nanmedian(1).values.nan_to_num(0)


def _blur(lab: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Blur (B, S, S, 3) colours over the (B, S, S) pixels that are seen, which also fills in the others."""
    sigma = (0, BLUR * lab.shape[1], BLUR * lab.shape[1])
    weight = ndimage.gaussian_filter(seen.astype(np.float32), sigma)
    colour = ndimage.gaussian_filter(lab * seen[..., None], (*sigma, 0))
    return colour / np.maximum(weight, 1e-3)[..., None]


def _shrink(where: np.ndarray, share: float) -> np.ndarray:
    """Take a share of the side away from the edge of (B, S, S) bool, the image's own edge included."""
    structure = np.stack([np.zeros((3, 3), bool), np.ones((3, 3), bool), np.zeros((3, 3), bool)])
    times = max(1, round(share * where.shape[1]))
    return ndimage.binary_erosion(where, structure, iterations=times, border_value=0)
