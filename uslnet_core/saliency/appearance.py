"""Appearance, past the paper: the colours of one lesion and of its skin, learnt from a map and heard beside it.

A network, or two clusters of colour, put the outline halfway between skin and the darkest part of a lesion. People draw
it where the skin ends. How far skin varies is another matter in every image, and is measured here: one normal
distribution of colours for either side, and the side under which a pixel is the likelier wins. Skin that hardly varies
leaves the pale margin of a lesion to the lesion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uslnet_core.errors import DataError
from uslnet_core.saliency.clusters import even_colours

NOISE = 2.0  # distance in Lab that an eye just sees; no side is taken to vary less
DOUBT = 0.02  # no pixel is taken to be surer than this at the start
MOST = 8.0  # natural logarithm; beyond this one side is as good as certain


def appearance(images: Tensor, maps: Tensor, *, trust: float = 0.5, rounds: int = 5) -> Tensor:
    """Find each image's own two colours from a map, and from both the chance of each pixel to be lesion.

    Expectation and maximisation for two normal distributions in CIE Lab, begun from the map (as GrabCut does, Rother
    2004, there with a rectangle, several normals a side and a cut of a graph). The map stays in every round as what was
    believed before, with less weight than the colours: neighbours of one colour are not as many witnesses.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.
        maps: (B, S, S) float32 in [0, 1], any saliency or probability of lesion.
        trust: weight of the map's log-odds beside those of the colours, 0 or more.
        rounds: of expectation and maximisation.

    Returns:
        (B, S, S) float32 in [0, 1], on the device of the maps: 0 on frames and charts.

    Raises:
        DataError: images and maps do not belong together.
    """
    if maps.shape != (len(images), *images.shape[2:]):
        raise DataError(
            f"Images of shape {tuple(images.shape)} need maps of shape (B, S, S) alike; got {tuple(maps.shape)}."
        )
    colour, clear = even_colours(images)
    points, seen = colour.flatten(1, 2), clear.flatten(1).double()  # (B, S², 3), (B, S²)
    chance = maps.detach().cpu().flatten(1).double().clamp(DOUBT, 1 - DOUBT)
    believed = trust * torch.logit(chance)
    for _ in range(rounds):
        told = log_normal(points, seen * chance) - log_normal(points, seen * (1 - chance))
        chance = torch.sigmoid(believed + told.clamp(-MOST, MOST))
    return (chance * seen).view(maps.shape).float().to(maps.device)


def log_normal(points: Tensor, weight: Tensor) -> Tensor:
    """Fit a normal distribution to each image's weighted points, and give the logarithm of its density at all points.

    Args:
        points: (B, n, d) float64.
        weight: (B, n) float64, 0 or more.

    Returns:
        (B, n) float64, up to a constant that hangs on d alone. The square of :data:`NOISE` is added to the variance in
        every direction; where all weights are 0 it is all there is.
    """
    total = weight.sum(1)[:, None].clamp_min(torch.finfo(weight.dtype).tiny)  # (B, 1)
    mean = (points * weight[..., None]).sum(1) / total  # (B, d)
    away = points - mean[:, None]
    spread = (away * weight[..., None]).mT @ away / total[..., None]  # (B, d, d)
    root = torch.linalg.cholesky(spread + NOISE**2 * torch.eye(points.shape[-1], dtype=points.dtype))
    scaled = torch.linalg.solve_triangular(root, away.mT, upper=False)  # (B, d, n)
    return -scaled.square().sum(1) / 2 - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)[:, None]
