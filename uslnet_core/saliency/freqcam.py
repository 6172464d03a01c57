"""FreqCAM: cells where many channels are active at once, and of these the largest region.

The idea is that of "FreqCAM: Frequent Class Activation Map for Weakly Supervised Object Localization" (ICMR 2022): the
channels of the last layer agree on where an object is, so how often they are active at a cell tells it from the rest.
USL-Net's paper (section 2) sums it up as a threshold on frequency and a search for the largest connected region. That
summary and the abstract are what we go by, so this is a reading and not a reproduction. Ours are: what "active" means;
a threshold between an image's least and largest frequency (the share itself hardly differs between lesion and skin, and
by how much hangs on the encoder); and the frequency as the map, where the original filters a class activation map.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError

TOUCHING = np.ones((3, 3), dtype=bool)  # eight neighbours, as in the uncertainty module


class FreqCAM(nn.Module):
    """A source of maps: inside the largest frequent region the frequency, 0 outside.

    The frequency is scaled for each image: 0 at the cell with the fewest active channels, 1 at that with the most. An
    image where all cells have the same gets a map of zeros.

    Nothing orients it: where more channels answer to skin than to the lesion, it marks skin.

    Args:
        encoder: any encoder that gives stage maps.
        frequency: least scaled frequency of the region, in [0, 1].
        stage: the stage whose channels are counted.

    Raises:
        ConfigError: ``frequency`` is outside [0, 1].
    """

    def __init__(self, encoder: Encoder, frequency: float = 0.5, stage: int = 4) -> None:
        super().__init__()
        if not 0 <= frequency <= 1:
            raise ConfigError(f"frequency is {frequency}, but it is scaled to each image's range: choose it in [0, 1].")
        self.encoder, self.frequency, self.stage = encoder, frequency, stage

    def forward(self, images: Tensor) -> Tensor:
        """Map images: (B, 3, S, S) float32 in [0, 1] to (B, h, w) float32 in [0, 1]."""
        share = channel_frequency(self.encoder(images, (self.stage,))[0].float())
        least, most = share.amin((1, 2), keepdim=True), share.amax((1, 2), keepdim=True)
        scaled = torch.where(most > least, (share - least) / (most - least), 0.0)
        return torch.where(largest_regions(scaled >= self.frequency), scaled, 0.0)


def channel_frequency(features: Tensor) -> Tensor:
    """Count the channels that are active at each cell: above their own mean over the image.

    Args:
        features: (B, channels, h, w) float.

    Returns:
        (B, h, w) float32 in [0, 1], the share of the channels.
    """
    return (features > features.mean((2, 3), keepdim=True)).float().mean(1)


def largest_regions(inside: Tensor) -> Tensor:
    """Keep each mask's largest connected region; among equals the one that comes first in raster order.

    Args:
        inside: (B, h, w) bool.

    Returns:
        (B, h, w) bool, on the same device.
    """
    kept = np.zeros(inside.shape, dtype=bool)
    for out, mask in zip(kept, inside.cpu().numpy(), strict=True):
        labels, count = ndimage.label(mask, TOUCHING)  # numbered from 1 in raster order
        if count:
            out[:] = labels == 1 + np.bincount(labels.flat)[1:].argmax()
    return torch.from_numpy(kept).to(inside.device)
