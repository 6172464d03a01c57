"""Stand-ins for encoders, small enough to reckon with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Grid(nn.Module):
    """A convolutional encoder: two layers, cells of four pixels, six channels."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, 6, 4, stride=4)
            nn.init.normal_(self.stem.weight)  # embeddings far apart, as after a training
            self.layer4 = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.channels, self.cell = (6, 6, 6, 6), 4

    def forward(self, images: Tensor, stages: tuple[int, ...] = (4,)) -> list[Tensor]:
        cells = self.stem(images)
        return [self.layer4(cells.relu()) if stage == 4 else cells for stage in stages]


class Tokens(nn.Module):
    """A transformer's interface: the class token looks at the cells once, behind ``target``."""

    def __init__(self, seed: int = 0, cell: int = 8) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, 6, cell, stride=cell)
            self.first = nn.Parameter(torch.randn(1, 1, 6))
            self.target = nn.LayerNorm(6)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.channels, self.cell = (6, 6, 6, 6), cell

    def tokens(self, images: Tensor) -> Tensor:
        cells = self.patches(images).flatten(2).transpose(1, 2)
        return self.target(torch.cat([self.first.expand(len(cells), -1, -1), cells], 1))

    def to_grid(self, tokens: Tensor) -> Tensor:
        side = int((tokens.shape[1] - 1) ** 0.5)
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))

    def pooled(self, images: Tensor) -> Tensor:
        tokens = self.tokens(images)
        return self.attention(tokens[:, :1], tokens, tokens)[0][:, 0]

    def forward(self, images: Tensor, stages: tuple[int, ...] = (4,)) -> list[Tensor]:
        return [self.to_grid(self.tokens(images)) for _ in stages]


class Plain(nn.Module):
    """No network at all: features are the mean colour of cells of 16 pixels, plus a constant."""

    def __init__(self, scale: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset, self.channels = scale, offset, (3, 3, 3, 3)
        self.layer4 = nn.Identity()

    def forward(self, images: Tensor, stages: tuple[int, ...] = (4,)) -> list[Tensor]:
        return [self.layer4(F.avg_pool2d(images, 16) * self.scale + self.offset) for _ in stages]


@pytest.fixture
def grid() -> type[Grid]:
    return Grid


@pytest.fixture
def tokens() -> type[Tokens]:
    return Tokens


@pytest.fixture
def plain() -> type[Plain]:
    return Plain
