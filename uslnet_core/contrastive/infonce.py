"""The one contrastive loss, written out once (paper equation 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.errors import ConfigError


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE with separate negatives: −log of the positive's share among 1 + K candidates (equation 1).

    Args:
        query: (B, D) float, unit length.
        key: (B, D) float, unit length; row i is the positive of query i.
        negatives: (K, D) shared by all queries, or (B, K, D) one set for each.
        temperature: tau, above 0.

    Returns:
        Scalar, the mean over the batch. A network that knows nothing scores ln(1 + K).

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, got {temperature}.")
    with torch.autocast(query.device.type, enabled=False):  # divided by tau, eight bits would be too few
        positive = (query * key).sum(1, keepdim=True)  # (B, 1)
        others = torch.einsum("bd,bkd->bk", query, negatives) if negatives.ndim == 3 else query @ negatives.T  # (B, K)
        logits = torch.cat([positive, others], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def simclr_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE as SimCLR uses it: both views are queries, all other views of the batch are negatives.

    Args:
        first: (B, D) float, unit length, embeddings of the first views.
        second: (B, D) float, unit length, embeddings of the second views.
        temperature: tau, above 0.

    Returns:
        Scalar. Gradients flow through queries, keys and negatives. Uniform level: ln(1 + K) with K = 2B − 2.

    Raises:
        ConfigError: fewer than two images (there would be no negative), or ``temperature`` not above 0.
    """
    count = len(first)
    if count < 2:
        raise ConfigError("SimCLR takes its negatives from the batch: it needs at least 2 images a batch, got 1.")
    views = torch.cat([first, second])  # (2B, D)
    keys = torch.cat([second, first])
    # Row i keeps all views but itself and its positive: 2B − 2 negatives.
    own = torch.arange(2 * count, device=views.device)
    keep = torch.ones(2 * count, 2 * count, dtype=torch.bool, device=views.device)
    keep[own, own] = False
    keep[own, (own + count) % (2 * count)] = False
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, got {temperature}.")
    with torch.autocast(views.device.type, enabled=False):
        similarity = views @ views.T  # (2B, 2B); one product instead of gathering (2B, 2B − 2, D) negatives
    positive = (views * keys).sum(1, keepdim=True)
    logits = torch.cat([positive, similarity[keep].view(2 * count, -1)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(2 * count, dtype=torch.long, device=views.device))


def uniform_level(negatives: int) -> float:
    """Give the loss of a network that knows nothing, ln(1 + K)."""
    return math.log1p(negatives)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of positive pairs: 0 is best, 2 is chance. Inputs (B, D), unit length."""
    return (first - second).square().sum(1).mean()


def top1(first: Tensor, second: Tensor) -> Tensor:
    """Share of first views whose own second view is the likest of the batch: 1 is best, 1/B is chance.

    Unlike a loss against a queue, it compares keys of one age, so it tells nothing but what the images tell.

    Args:
        first: (B, D) float, unit length.
        second: (B, D) float, unit length; row i belongs to row i of ``first``.

    Returns:
        Scalar in [0, 1].
    """
    likest = (first.float() @ second.float().T).argmax(1)
    return (likest == torch.arange(len(first), device=first.device)).float().mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential over all pairs: 0 is collapse, lower is better. Input (B, D), unit length."""
    return torch.pdist(embeddings.float()).square().mul(-2).exp().mean().log()
