"""SimCLR: two views of each image, one encoder, negatives from the rest of the batch (paper 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uslnet_core.config import ContrastiveConfig
from uslnet_core.contrastive.infonce import simclr_loss, uniform_level
from uslnet_core.data.augment import colour_jitter, random_grey, random_resized_crop
from uslnet_core.encoder import Encoder


def random_view(images: Tensor, config: ContrastiveConfig, rng: torch.Generator) -> Tensor:
    """Make one random view of each image: crop, flips, colour jitter, grey.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        config: the contrastive section: crop, jitter and grey.
        rng: stream of the random numbers.

    Returns:
        (B, 3, crop, crop) float32 in [0, 1].
    """
    view = random_resized_crop(images, config.crop, config.crop_area, rng)
    view = colour_jitter(
        view,
        rng,
        brightness=config.brightness,
        contrast=config.contrast,
        saturation=config.saturation,
        hue=config.hue,
        share=config.jitter,
    )
    return random_grey(view, config.grey, rng)


class SimCLR(nn.Module):
    """An encoder with a projection head on top of its pooled last stage.

    Args:
        encoder: the encoder that learns.
        config: the contrastive section.
    """

    def __init__(self, encoder: Encoder, config: ContrastiveConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.head = nn.Sequential(
            nn.Linear(encoder.channels[-1], config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.embedding),
        )

    def forward(self, views: Tensor) -> Tensor:
        """Embed views: (B, 3, s, s) float32 in [0, 1] to (B, embedding) of unit length."""
        features = self.encoder(views)[0].mean((2, 3))  # (B, channels)
        return F.normalize(self.head(features).float(), dim=1)

    def loss(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw two views of each image and compare them.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].
            rng: stream of the augmentation.

        Returns:
            The scalar loss, and the two (B, embedding) sets of embeddings, detached, for the health figures.
        """
        views = torch.cat([random_view(images, self.config, rng), random_view(images, self.config, rng)])
        first, second = self(views.contiguous(memory_format=torch.channels_last)).chunk(2)
        return simclr_loss(first, second, self.config.temperature), first.detach(), second.detach()

    def uniform_level(self, batch: int) -> float:
        """Give the loss of a network that knows nothing, for a batch of this many images."""
        return uniform_level(2 * batch - 2)
