"""Projection heads: what stands between the features and the sphere, as each method has it (paper 3.2, figure 3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from uslnet_core.config import Recipe
from uslnet_core.encoder import Encoder


def projection_head(channels: int, recipe: Recipe) -> nn.Sequential:
    """Build a method's projection head: features (B, channels) to embeddings (B, embedding), not yet of unit length.

    Args:
        channels: of the encoder's last stage.
        recipe: the method's settings.

    Returns:
        SimCLR: two layers with batch norm and ReLU between. MoCo v1: one linear layer. MoCo v2: two layers with ReLU
        between, and no batch norm, through which a batch could leak.
    """
    if recipe.method == "moco_v1":
        return nn.Sequential(nn.Linear(channels, recipe.embedding))
    if recipe.method == "moco_v2":
        return nn.Sequential(
            nn.Linear(channels, recipe.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(recipe.hidden, recipe.embedding),
        )
    return nn.Sequential(
        nn.Linear(channels, recipe.hidden, bias=False),
        nn.BatchNorm1d(recipe.hidden),
        nn.ReLU(inplace=True),
        nn.Linear(recipe.hidden, recipe.embedding),
    )


def embed(encoder: Encoder, head: nn.Module, views: Tensor) -> Tensor:
    """Embed views: (B, 3, s, s) float32 in [0, 1] to (B, embedding) float32 of unit length."""
    features = encoder(views)[0].mean((2, 3))  # (B, channels)
    return F.normalize(head(features).float(), dim=1)
