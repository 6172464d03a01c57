"""Training the segmenter on pseudo-labels: one loop for iteration 0 and for every refinement (paper 3.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor

from uslnet_core.compute import Forgetful, Keeper, Progress, generator, quiet
from uslnet_core.config import Config, SegmenterConfig
from uslnet_core.data.augment import colour_jitter, dihedral, random_dihedral
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError, TrainingError
from uslnet_core.loop import Loop
from uslnet_core.losses import uncertainty_loss
from uslnet_core.segmenter import Segmenter


@dataclass(frozen=True)
class TrainedSegmenter:
    """What one iteration hands on.

    Attributes:
        model: the segmenter, on the CPU, in evaluation mode.
        history: a row an epoch: epoch, loss, learning_rate.
    """

    model: Segmenter
    history: pd.DataFrame


def train_segmenter(
    model: Segmenter,
    images: ImageSet,
    labels: np.ndarray,
    keep: np.ndarray,
    config: Config,
    fabric: Fabric,
    *,
    iteration: int,
    progress: Progress = quiet,
    keeper: Keeper | None = None,
) -> TrainedSegmenter:
    """Train a segmenter on pseudo-labels with the uncertainty loss.

    Args:
        model: the segmenter to train; it is changed in place.
        images: the training images.
        labels: (N, S, S) uint8, twice the pseudo-label: 0 background, 1 uncertain, 2 foreground.
        keep: (N,) bool, which images take part.
        config: the run's configuration.
        fabric: device and precision.
        iteration: 0 for the first, 1 to n − 1 for a refinement; chooses epochs and random stream.
        progress: told of every step.
        keeper: keeps the state between steps; a training that was stopped and goes on ends as one that was not.

    Returns:
        The trained segmenter and its history.

    Raises:
        DataError: images, labels and keep do not belong together.
        TrainingError: no image is kept, or the loss is not a number.
    """
    options = config.segmenter
    if not len(images) == len(labels) == len(keep):
        raise DataError(
            f"{len(images)} images, {len(labels)} labels and {len(keep)} keep flags: expected equal numbers."
        )
    kept = torch.from_numpy(np.flatnonzero(keep))
    if len(kept) == 0:
        raise TrainingError(
            "The uncertainty module kept no image, so there is nothing to learn from. Look at the saliency maps "
            "(notebook 03), or lower uncertainty.high or uncertainty.min_area."
        )
    epochs = config.refinement.epochs if iteration else config.refinement.first_epochs
    keeper = keeper or Forgetful()
    loop = Loop(
        model.to(memory_format=torch.channels_last).requires_grad_(True),
        count=len(kept),
        batch_size=options.batch_size,
        epochs=epochs,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        warm_up=options.warm_up,
        rng=generator(config.seed, 5, iteration),
        fabric=fabric,
    )
    if (saved := keeper.load()) and loop.fits(saved):
        loop.restore(saved)
    while loop.epoch < epochs:
        for part in loop.rest_of_epoch():
            view, label = augmented(images, labels, kept[part], options, loop.rng, fabric.device)
            loop.step(uncertainty_loss(loop.model(view), label, literal=options.literal))
            keeper.offer(loop.state)
            progress(f"segmenter, iteration {iteration}", loop.steps_done, loop.steps)
        loop.close_epoch()
        if not math.isfinite(loop.rows[-1]["loss"]):
            raise TrainingError(
                f"The segmenter's loss is {loop.rows[-1]['loss']} in epoch {loop.epoch} of iteration {iteration}. "
                f"Lower segmenter.learning_rate (-p learning_rate=…, now {options.learning_rate})."
            )
    return TrainedSegmenter(loop.model.module.cpu().eval(), pd.DataFrame(loop.rows))


def augmented(
    images: ImageSet,
    labels: np.ndarray,
    chosen: Tensor,
    options: SegmenterConfig,
    rng: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Turn, mirror and recolour some images, and turn and mirror their labels likewise.

    Args:
        images: the training images.
        labels: (N, S, S) uint8, twice the pseudo-label.
        chosen: (B,) int64, which images.
        options: the segmenter section, for the colours.
        rng: stream of the random numbers.
        device: where the result goes.

    Returns:
        Images (B, 3, S, S) float32 in [0, 1], channels last, and pseudo-labels (B, S, S) float32.
    """
    turn = random_dihedral(len(chosen), rng)
    view = colour_jitter(
        dihedral(images.batch(chosen).to(device), *turn),
        rng,
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
        hue=options.hue,
    )
    label = dihedral(torch.from_numpy(labels[chosen.numpy()]).to(device), *turn).float() / 2
    return view.contiguous(memory_format=torch.channels_last), label
