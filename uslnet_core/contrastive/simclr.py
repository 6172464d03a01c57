"""SimCLR: two views of each image, one encoder, negatives from the rest of the batch (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from uslnet_core.config import Recipe
from uslnet_core.contrastive.heads import embed, projection_head
from uslnet_core.contrastive.infonce import simclr_loss, uniform_level
from uslnet_core.contrastive.learner import Learner
from uslnet_core.contrastive.views import random_view
from uslnet_core.encoder import Encoder
from uslnet_core.ranks import Stream, whole


class SimCLR(Learner):
    """An encoder with a projection head on top of its pooled last stage.

    Args:
        encoder: the encoder that learns.
        recipe: the method's settings.
        images: number of training images; SimCLR keeps nothing of them.
    """

    def __init__(self, encoder: Encoder, recipe: Recipe, images: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.recipe = recipe
        self.head = projection_head(encoder.channels[-1], recipe)

    def forward(self, views: Tensor) -> Tensor:
        """Embed views: (B, 3, s, s) float32 in [0, 1] to (B, embedding) of unit length."""
        return embed(self.encoder, self.head, views)

    def loss(self, images: Tensor, rng: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Draw two views of each image and compare them; with several processes, with all views of all of them.

        Args:
            images: (B, 3, S, S) float32 in [0, 1]; of a shared batch, this process's own.
            rng: stream of the augmentation, or this process's share of it.

        Returns:
            The scalar loss of the whole batch, and its two (B, embedding) sets of embeddings, detached, for the health
            figures.
        """
        views = torch.cat([random_view(images, self.recipe, rng), random_view(images, self.recipe, rng)])
        embedded = self(views.contiguous(memory_format=torch.channels_last)).chunk(2)
        first, second = (whole(each, rng) for each in embedded)
        return simclr_loss(first, second, self.recipe.temperature), first.detach(), second.detach()

    def groups(self, batch: int) -> int:
        """Count the groups of a batch that batch norm sees apart: there is but one."""
        return 1

    def uniform_level(self, batch: int) -> float:
        """Give the loss of a network that knows nothing, for a batch of this many images."""
        return uniform_level(2 * batch - 2)
