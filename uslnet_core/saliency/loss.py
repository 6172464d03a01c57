"""CCAM's loss: the two sides of every image apart, and each side together across images (paper 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST, MOST = 5e-4, 0.9995  # cosine similarity is kept inside, so that no logarithm overflows


def ccam_loss(features: Tensor, side: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pull the two sides apart and each of them together, across a batch.

    Args:
        features: (B, channels, h, w) float.
        side: P, (B, 1, h, w) float in [0, 1].
        alpha: decay of the rank weights.

    Returns:
        Three scalars: together(P side), apart, together(1 − P side). The loss is their sum.
    """
    first, second = sides(features, side)
    apart = -torch.log(1 - (second @ first.T).clamp(LEAST, MOST)).mean()
    return together(first, alpha), apart, together(second, alpha)


def sides(features: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the two sides of each image: F · P and F · (1 − P), both (B, channels) of unit length."""
    cells = features.flatten(2).float()  # (B, channels, h·w)
    weight = side.flatten(2).float()  # (B, 1, h·w)
    first = F.normalize((cells * weight).sum(2), dim=1)  # (B, channels); cosine ignores the missing 1/(h·w)
    return first, F.normalize((cells * (1 - weight)).sum(2), dim=1)


@torch.no_grad()
def clamped_share(features: Tensor, side: Tensor) -> float:
    """Give the share of pairs from which the apart term gets no gradient, though their sides are not told apart.

    That is: the cosine is at the upper clamp, or a side is empty. A cosine at the lower clamp with both sides there is
    no fault: such a pair is as far apart as is asked for.

    Args:
        features: (B, channels, h, w) float.
        side: P, (B, 1, h, w) float in [0, 1].

    Returns:
        A number in [0, 1], over all B² pairs.
    """
    first, second = sides(features, side)
    empty = (second.abs().sum(1) == 0)[:, None] | (first.abs().sum(1) == 0)[None]  # (B, B)
    return float((empty | (second @ first.T >= MOST)).float().mean())


def together(vectors: Tensor, alpha: float) -> Tensor:
    """Weighted mean of −log cosine over pairs of different images, nearest pairs first.

    Args:
        vectors: (B, D) float, unit length, B at least 2.
        alpha: the pair (i, j) weighs exp(−alpha · rank), rank 0 for the image nearest to i.

    Returns:
        Scalar; divided by the sum of the weights, so that it does not hang on the batch size.
    """
    count = len(vectors)
    own = torch.eye(count, dtype=torch.bool, device=vectors.device)
    similarity = (vectors @ vectors.T).clamp(LEAST, MOST)
    others = similarity[~own].view(count, count - 1)
    rank = others.detach().argsort(dim=1, descending=True).argsort(dim=1)
    weight = torch.exp(-alpha * rank.float())
    return -(weight * others.log()).sum() / weight.sum()
