"""The encoder, if it is a vision transformer: the same maps as a ResNet hands out, made of its patch tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uslnet_core.config import check_choice
from uslnet_core.encoder import MEAN, STD

WIDTH = 384
DEPTH = 12


@dataclass(frozen=True)
class Architecture:
    """What tells the small vision transformers apart; all have 12 blocks of width 384.

    Attributes:
        patch: side of a patch, pixels.
        heads: attention heads. They leave no trace in the weights' shapes, so a wrong number loads and is wrong.
        size: side of the images that the position embedding was made for, pixels.
        layer_scale: whether each block scales what it adds.
    """

    patch: int
    heads: int
    size: int = 224
    layer_scale: bool = False


TRANSFORMERS = {
    "vit_s16": Architecture(16, 6),  # DINO
    "vit_s8": Architecture(8, 6),  # DINO
    "vit_s14": Architecture(14, 6, size=518, layer_scale=True),  # DINOv2
    "vit_s16_h12": Architecture(16, 12),  # MoCo v3 gives the small model as many heads as the base one
}


class TransformerEncoder(nn.Module):
    """A small vision transformer, with the interface of :class:`~uslnet_core.encoder.Encoder`.

    Stage k is the patch tokens after block 3k of 12, behind the final norm, laid out as a map; all stages have the same
    cells. Position embeddings are resized to other grids by timm (bicubic, antialiased); DINO's and DINOv2's own code
    does not antialias, so that on grids smaller than the trained one features differ a little from theirs.

    Args:
        architecture: one of ``TRANSFORMERS``.

    Attributes:
        channels: of each stage.
        cell: side of a cell of the maps, pixels: the patch size.
        grid: rows and columns of the last forward pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str = "vit_s16") -> None:
        super().__init__()
        check_choice("backbone", architecture, TRANSFORMERS)
        from timm.models.vision_transformer import VisionTransformer  # takes seconds, which a ResNet need not wait for

        chosen = TRANSFORMERS[architecture]
        self.channels = (WIDTH,) * 4
        self.cell = chosen.patch
        self.grid = (chosen.size // chosen.patch,) * 2
        self.vit = VisionTransformer(
            img_size=chosen.size,
            patch_size=chosen.patch,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=chosen.heads,
            init_values=1.0 if chosen.layer_scale else None,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    @property
    def target(self) -> nn.Module:
        """The module whose output gradient CAMs hook: the last block's first norm.

        Behind the last block, patch tokens have no way left to the class token, so no gradient reaches them.
        """
        return self.vit.blocks[-1].norm1

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Lay patch tokens out as a map; torchcam's ``reshape_transform``.

        Args:
            tokens: (B, 1 + h·w, 384), class token first, h and w those of the last forward pass.

        Returns:
            (B, 384, h, w).
        """
        return tokens[:, 1:].transpose(1, 2).unflatten(2, self.grid)

    def forward(self, images: Tensor, stages: Sequence[int] = (4,)) -> list[Tensor]:
        """Compute the maps of the stages asked for.

        Args:
            images: (B, 3, H, W) float32 in [0, 1]. Sides that are no multiples of the patch size are resized to the
                nearest ones, bilinearly.
            stages: stage numbers, 1 to 4.

        Returns:
            One (B, 384, h, w) map per stage asked for, in the order asked.
        """
        numbers = sorted(set(stages))
        blocks = [stage * DEPTH // 4 - 1 for stage in numbers]
        found = self.vit.forward_intermediates(
            self._prepared(images), indices=blocks, norm=True, stop_early=True, intermediates_only=True
        )
        maps = dict(zip(numbers, found, strict=True))
        return [maps[stage] for stage in stages]

    def pooled(self, images: Tensor) -> Tensor:
        """Compute the class token behind the final norm.

        Args:
            images: as for the maps.

        Returns:
            (B, 384).
        """
        return self.vit.forward_features(self._prepared(images))[:, 0]

    def _prepared(self, images: Tensor) -> Tensor:
        """Normalise, fit to whole patches, and remember the grid."""
        self.grid = tuple(max(1, round(side / self.cell)) for side in images.shape[-2:])
        size = [cells * self.cell for cells in self.grid]
        if size != list(images.shape[-2:]):
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return (images - self.mean) / self.std
