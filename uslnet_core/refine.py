"""Training the segmenter on pseudo-labels: one loop for iteration 0 and for every refinement (paper 3.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from uslnet_core.compute import Progress, batches, generator, one_cycle, quiet
from uslnet_core.config import Config
from uslnet_core.data.augment import colour_jitter, dihedral, random_dihedral
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError, TrainingError
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
    rng = generator(config.seed, 5, iteration)
    model = model.to(memory_format=torch.channels_last).requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    model, optimizer = fabric.setup(model, optimizer)
    steps = epochs * len(batches(len(kept), options.batch_size, generator(0), drop_last=True))
    schedule = one_cycle(optimizer, steps, options.warm_up)
    model.train()
    rows, step = [], 0
    for epoch in range(epochs):
        total, parts = 0.0, batches(len(kept), options.batch_size, rng, drop_last=True)
        for part in parts:
            chosen = kept[part]
            turn = random_dihedral(len(chosen), rng)
            view = dihedral(images.batch(chosen).to(fabric.device), *turn)
            view = colour_jitter(
                view,
                rng,
                brightness=options.brightness,
                contrast=options.contrast,
                saturation=options.saturation,
                hue=options.hue,
            )
            label = dihedral(torch.from_numpy(labels[chosen.numpy()]).to(fabric.device), *turn).float() / 2
            loss = uncertainty_loss(
                model(view.contiguous(memory_format=torch.channels_last)), label, literal=options.literal
            )
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            step += 1
            progress(f"segmenter, iteration {iteration}", step, steps)
        rows.append({"epoch": epoch + 1, "loss": total / len(parts), "learning_rate": schedule.get_last_lr()[0]})
        if not math.isfinite(total):
            raise TrainingError(
                f"The segmenter's loss is {total} in epoch {epoch + 1} of iteration {iteration}. Lower "
                f"segmenter.learning_rate (now {options.learning_rate})."
            )
    return TrainedSegmenter(model.module.cpu().eval(), pd.DataFrame(rows))
