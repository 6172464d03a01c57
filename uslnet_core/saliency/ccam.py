"""CCAM: two class-agnostic maps, told apart by contrast between images (paper 3.3).

A 1 × 1 convolution, batch norm and a sigmoid split each image's feature cells into a side P and its rest 1 − P.
Training pulls the two sides apart and each side together across images. Nothing in that says which side is the lesion:
the orientation is decided once, over the whole training set, by the frame's border, which lesions avoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from uslnet_core.compute import Progress, batches, generator, quiet
from uslnet_core.config import Config
from uslnet_core.data.augment import dihedral, random_dihedral
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError
from uslnet_core.saliency.health import check_clamp, check_maps
from uslnet_core.saliency.loss import LEAST, MOST, ccam_loss, clamped_share, together
from uslnet_core.saliency.source import map_images, upsample

__all__ = [
    "CCAM",
    "CELL",
    "LEAST",
    "MOST",
    "TrainedCCAM",
    "all_features",
    "border_mean",
    "ccam_loss",
    "check_maps",
    "clamped_share",
    "orient",
    "saliency_maps",
    "together",
    "train_ccam",
    "upsample",
]

CELL = 16  # pixels of the input behind one cell of the features, unless the encoder says otherwise
WEAK_MARGIN = 0.1  # below, the border hardly tells the two sides apart: the reader is warned


class CCAM(nn.Module):
    """A frozen (or trained along) encoder with the one-channel head, a source of maps.

    Args:
        encoder: a contrastive encoder with last stride 1, or several: their features are concatenated under one head.
            A transformer says by ``cell`` how many pixels lie behind one cell of its features; without it there are 16.
        stages: the stages of each encoder that are concatenated.
        margin: pixels by which the image is mirrored outwards before it is encoded; the cells there are cut off again.
            Zero padding marks the cells at the frame in the same way in every image, and after a short training CCAM
            would rather split frame from middle than lesion from skin. 0 leaves the image as it is. Rounded down to
            whole cells.

    Raises:
        ConfigError: no encoder.
    """

    sign: Tensor

    def __init__(
        self, encoder: Encoder | Sequence[Encoder], stages: tuple[int, ...] = (3, 4), margin: int = 32
    ) -> None:
        super().__init__()
        several = list(encoder) if isinstance(encoder, (Sequence, nn.ModuleList)) else [encoder]
        if not several:
            raise ConfigError("CCAM needs an encoder, got none. Chapter 2 trains one.")
        self.encoder = several[0] if len(several) == 1 else nn.ModuleList(several)
        self.stages, self.margin = stages, margin
        channels = sum(each.channels[stage - 1] for each in several for stage in stages)
        self.head = nn.Sequential(nn.Conv2d(channels, 1, kernel_size=1, bias=False), nn.BatchNorm2d(1))
        self.register_buffer("sign", torch.tensor(1.0))  # +1: P is the lesion; −1: P is the skin

    def features(self, images: Tensor) -> Tensor:
        """Concatenate the stage maps: (B, 3, S, S) in [0, 1] to (B, channels, S/16, S/16), on the first's cells."""
        several = self.encoder if isinstance(self.encoder, nn.ModuleList) else [self.encoder]
        parts = [self._encode(each, images) for each in several]
        grid = parts[0].shape[-2:]
        parts = [part if part.shape[-2:] == grid else F.interpolate(part, grid, mode="bilinear") for part in parts]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _encode(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Concatenate one encoder's stage maps: (B, 3, S, S) in [0, 1] to (B, channels, S/cell, S/cell)."""
        cell = getattr(encoder, "cell", CELL)
        height, width = images.shape[-2] // cell, images.shape[-1] // cell
        rim = min(self.margin // cell, height - 1, width - 1)  # an image can be mirrored by less than its side
        maps = encoder(F.pad(images, [rim * cell] * 4, mode="reflect"), self.stages)
        full = (height + 2 * rim, width + 2 * rim)
        maps = [m if m.shape[-2:] == full else F.interpolate(m, full, mode="bilinear") for m in maps]
        return torch.cat(maps, 1)[..., rim : rim + height, rim : rim + width]

    def forward(self, images: Tensor) -> Tensor:
        """Compute the oriented foreground map C: (B, 3, S, S) in [0, 1] to (B, h, w) float32 in [0, 1]."""
        return self.read_out(self.features(images))

    def read_out(self, features: Tensor) -> Tensor:
        """Compute the map of features: (B, channels, h, w) to (B, h, w) float32 in [0, 1]."""
        features = features.float()
        with torch.autocast(features.device.type, enabled=False):  # maps are cut at thresholds: eight bits are too few
            return torch.sigmoid(self.sign * self.head(features)[:, 0])


def border_mean(maps: Tensor) -> float:
    """Mean over the outermost ring of cells of (N, h, w) maps."""
    ring = torch.ones(maps.shape[-2:], dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return float(maps[:, ring].double().mean())


def inside_mean(maps: Tensor) -> float:
    """Mean over the cells within that ring; NaN where the maps have none."""
    return float(maps[:, 1:-1, 1:-1].double().mean())


@dataclass(frozen=True)
class TrainedCCAM:
    """What CCAM's training hands on.

    Attributes:
        model: encoder and head, oriented, on the CPU, in evaluation mode.
        maps: (N, h, w) float32 in [0, 1], the oriented saliency of the training images.
        history: a row an epoch: epoch, loss, together_foreground, apart, together_background, clamped (the share of
            pairs as `clamped_share` counts them).
        orientation: as `orient` gives it.
    """

    model: CCAM
    maps: np.ndarray
    history: pd.DataFrame
    orientation: dict[str, float | str | bool]


def train_ccam(
    images: ImageSet,
    encoder: Encoder | Sequence[Encoder],
    config: Config,
    fabric: Fabric,
    progress: Progress = quiet,
    *,
    stream: int = 0,
) -> TrainedCCAM:
    """Train the CCAM head on images alone, orient it, and map the training images.

    Args:
        images: the training images.
        encoder: the contrastive encoder, last stride 1; or several, for one CCAM on their concatenated features.
        config: the run's configuration; ``saliency.train_encoder`` trains the encoder along.
        fabric: device and precision.
        progress: told of every step.
        stream: another number, 0 or more, for each head of a run, so that they do not share random numbers.

    Returns:
        The oriented model, the training images' maps, history and orientation.

    Raises:
        TrainingError: fewer than two images; maps that are not a number, constant or saturated; a head that could not
            learn (`check_clamp`).
    """
    options = config.saliency
    if len(images) < 2:
        raise TrainingError(f"CCAM compares images: it needs at least 2, got {len(images)}.")
    model, optimizer = _set_up(encoder, config, fabric, stream)
    rng = generator(config.seed, 3, stream) if stream else generator(config.seed, 3)
    rows, step = [], 0
    steps = options.epochs * len(batches(len(images), options.batch_size, generator(0), drop_last=True))
    model.train()
    if not options.train_encoder:
        model.module.encoder.eval().requires_grad_(False)
        frozen = all_features(model, images, fabric, options.batch_size, progress)
    for epoch in range(options.epochs):
        totals, parts = np.zeros(4), batches(len(images), options.batch_size, rng, drop_last=True)
        for part in parts:
            if options.train_encoder:
                view = dihedral(images.batch(part).to(fabric.device), *random_dihedral(len(part), rng))
                features = model.features(view.contiguous(memory_format=torch.channels_last))
            else:
                features = frozen[part].to(fabric.device)
            side = torch.sigmoid(model.module.head(features.float()))
            terms = ccam_loss(features, side, options.alpha)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(sum(terms))
            optimizer.step()
            totals += [*(float(t.detach()) for t in terms), clamped_share(features.detach(), side)]
            step += 1
            progress("CCAM", step, steps)
        rows.append([epoch + 1, totals[:3].sum() / len(parts), *(totals / len(parts))])
    columns = ["epoch", "loss", "together_foreground", "apart", "together_background", "clamped"]
    history = pd.DataFrame(rows, columns=columns)
    model = model.module.eval().requires_grad_(False)
    if options.train_encoder:
        maps = map_images(model, images, fabric, progress=progress, check=False)  # checked once they are oriented
    else:  # what was encoded once is not encoded again
        with torch.no_grad():
            parts = [model.read_out(part.to(fabric.device)).cpu() for part in frozen.split(options.batch_size)]
        maps = torch.cat(parts).clamp(0, 1).numpy()
    orientation = orient(model, maps)
    if orientation["sign"] < 0:
        maps = 1 - maps
        history = history.rename(columns={columns[2]: columns[4], columns[4]: columns[2]})[columns]
    maps = check_maps(maps)
    check_clamp(history)
    return TrainedCCAM(model.cpu(), maps, history, orientation)


def _set_up(encoder: Encoder | Sequence[Encoder], config: Config, fabric: Fabric, stream: int) -> tuple:
    """Make the model, its head drawn from the run's seed and the stream, and its optimiser, both set up by fabric."""
    options = config.saliency
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, 3, stream, 1).initial_seed() if stream else config.seed + 3)
        model = CCAM(encoder, options.stages, options.margin).to(memory_format=torch.channels_last)
    groups = [{"params": list(model.head.parameters()), "lr": options.learning_rate}]
    if options.train_encoder:
        groups.append({"params": list(model.encoder.parameters()), "lr": options.encoder_learning_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    model, optimizer = fabric.setup(model, optimizer)
    model.mark_forward_method("features")
    return model, optimizer


@torch.no_grad()
def all_features(model: CCAM, images: ImageSet, fabric: Fabric, batch_size: int, progress: Progress = quiet) -> Tensor:
    """Encode every image once, for an encoder that stays as it is.

    Args:
        model: the CCAM, as fabric has set it up, its encoder in evaluation mode.
        images: the training images.
        fabric: device.
        batch_size: images at a time.
        progress: told of every batch.

    Returns:
        (N, channels, h, w) float32 on the CPU: maps are cut at thresholds, and 16 bits are too few for that.
    """
    out = []
    for part in torch.arange(len(images)).split(batch_size):
        out.append(model.features(images.batch(part).to(fabric.device, memory_format=torch.channels_last)).cpu())
        progress("features", int(part[-1]) + 1, len(images))
    return torch.cat(out)


def orient(model: CCAM, maps: np.ndarray) -> dict[str, float | str | bool]:
    """Decide which side is the lesion, once, over the whole training set: the border is skin.

    Args:
        model: a trained, not yet oriented CCAM; its sign is set.
        maps: (N, h, w) float32, its unoriented maps of all training images.

    Returns:
        sign (+1 or −1); border_mean and inside_mean of the maps as they came; margin (|2 · border mean − 1|, 0
        undecided, 1 clear); about_position, whether the lesion's side lies more along the border than inside; and a
        warning, empty if all is well.
    """
    edge, inside = border_mean(torch.from_numpy(maps)), inside_mean(torch.from_numpy(maps))
    sign = -1.0 if edge > 0.5 else 1.0  # the side that holds more of the border is the background
    model.sign.fill_(sign)
    margin = abs(2 * edge - 1)
    warning, about_position = "", bool(sign * edge > sign * inside)
    if about_position:
        lesion = [edge, inside] if sign > 0 else [1 - edge, 1 - inside]
        warning = (
            f"The lesion's side lies more along the border ({lesion[0]:.2f}) than inside ({lesion[1]:.2f}): these maps "
            "tell where on the frame a cell is, not what it shows. Train this encoder longer (chapter 2, -p epochs=…), "
            "or take the easy answer away by a mirrored rim (chapter 3, -p margin=32)."
        )
    elif margin < WEAK_MARGIN:
        warning = (
            f"The border hardly tells lesion from skin (margin {margin:.2f}, expected above {WEAK_MARGIN}): the two "
            "sides may be swapped. Look at the maps before you go on."
        )
    return {
        "sign": sign,
        "border_mean": edge,
        "inside_mean": inside if math.isfinite(inside) else edge,
        "margin": margin,
        "about_position": about_position,
        "warning": warning,
    }


def saliency_maps(
    model: CCAM, images: ImageSet, fabric: Fabric, *, batch_size: int = 64, progress: Progress = quiet
) -> np.ndarray:
    """Map every image, at the resolution of the features.

    Args:
        model: the CCAM, in evaluation mode.
        images: any images.
        fabric: device and precision.
        batch_size: images at a time.
        progress: told of every batch.

    Returns:
        (N, S/16, S/16) float32 in [0, 1].

    Raises:
        TrainingError: the maps cannot be a saliency (`check_maps`).
    """
    return map_images(model, images, fabric, batch_size=batch_size, progress=progress)
