"""The segmenter: the contrastive encoder with a light fully convolutional decoder (paper 3.5, figure 6)."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder


class Segmenter(nn.Module):
    """Stage maps, each brought to ``width`` channels and a quarter of the input, summed, and read out.

    Args:
        encoder: the encoder the segmenter starts from, last stride 1.
        stages: ResNet stages that are summed.
        width: channels of the summed map.
    """

    def __init__(self, encoder: Encoder, stages: tuple[int, ...] = (2, 3, 4), width: int = 256) -> None:
        super().__init__()
        self.encoder, self.stages = encoder, stages
        self.lateral = nn.ModuleList(nn.Conv2d(encoder.channels[s - 1], width, kernel_size=1) for s in stages)
        self.readout = nn.Conv2d(width, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images: (B, 3, S, S) float32 in [0, 1] to logits (B, S, S) float32."""
        height, width = images.shape[-2:]
        quarter = torch.Size((height // 4, width // 4))
        sums: dict[torch.Size, Tensor] = {}  # of stages of one size: to add and then enlarge is to enlarge and then add
        for lateral, stage in zip(self.lateral, self.encoder(images, self.stages), strict=True):
            mapped, size = lateral(stage), stage.shape[-2:]
            sums[size] = sums[size] + mapped if size in sums else mapped
        enlarged = [
            part if size == quarter else F.interpolate(part, quarter, mode="bilinear", align_corners=False)
            for size, part in sums.items()
        ]
        logits = self.readout(F.relu(functools.reduce(torch.add, enlarged)))  # (B, 1, S/4, S/4)
        return F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def predict(
    model: Segmenter, images: ImageSet, fabric: Fabric, *, batch_size: int = 64, progress: Progress = quiet
) -> np.ndarray:
    """Give every pixel its probability of being lesion (paper 3.6).

    Args:
        model: a trained segmenter.
        images: any images.
        fabric: device and precision.
        batch_size: images at a time.
        progress: told of every batch.

    Returns:
        (N, S, S) float32 in [0, 1].
    """
    out = np.empty((len(images), images.size, images.size), dtype=np.float32)
    done = 0
    for maps in predict_parts(model, images, fabric, batch_size=batch_size, progress=progress):
        out[done : done + len(maps)] = maps
        done += len(maps)
    return out


@torch.no_grad()
def predict_parts(
    model: Segmenter, images: ImageSet, fabric: Fabric, *, batch_size: int = 64, progress: Progress = quiet
) -> Iterator[np.ndarray]:
    """Predict as `predict` does, a batch at a time, for sets of which all maps do not fit into memory.

    Yields:
        (B, S, S) float32 in [0, 1], in the order of the images.
    """
    model = model.to(fabric.device).eval()
    for part in torch.arange(len(images)).split(batch_size):
        batch = images.batch(part).to(fabric.device, memory_format=torch.channels_last)
        with fabric.autocast():
            logits = model(batch)
        yield torch.sigmoid(logits.float()).cpu().numpy()
        progress("prediction", int(part[-1]) + 1, len(images))
