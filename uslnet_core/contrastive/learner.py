"""What the contrastive methods share: they are handed images as these are stored."""

from __future__ import annotations

from torch import Tensor, nn

from uslnet_core.data.images import as_floats
from uslnet_core.ranks import Stream


class Learner(nn.Module):
    """A network with a contrastive loss, which follows from images alone."""

    def loss(self, images: Tensor, rng: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Compare random views of images: the loss, and two sets of embeddings; each method says how."""
        raise NotImplementedError

    def loss_of_pixels(self, pixels: Tensor, rng: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Give the loss of images as they are stored.

        With several processes, lightning-fabric rounds every float that it hands on to the precision of the run, and
        images of eight bits would be left with fewer. Bytes it leaves alone.

        Args:
            pixels: (B, S, S, 3) uint8.
            rng: as :meth:`loss` takes it.

        Returns:
            What :meth:`loss` gives.
        """
        return self.loss(as_floats(pixels, next(self.parameters()).device), rng)
