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
from uslnet_core.data.images import ImageSet, as_floats, read
from uslnet_core.data.storage import forget
from uslnet_core.errors import DataError, TrainingError
from uslnet_core.loop import Loop
from uslnet_core.losses import uncertainty_loss
from uslnet_core.ranks import Stream, mean_of_all
from uslnet_core.segmenter import Segmenter
from uslnet_core.windows import crop, random_windows

THREE_WAY, SOFT = 2, 255  # what labels on disk are divided by: three-way ones, and probabilities


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
    size: int | None = None,
    cut: float = 0.0,
    scale: int = THREE_WAY,
    epochs: int | None = None,
    progress: Progress = quiet,
    keeper: Keeper | None = None,
) -> TrainedSegmenter:
    """Train a segmenter on pseudo-labels with the uncertainty loss.

    Args:
        model: the segmenter to train; it is changed in place.
        images: the training images, S × S pixels.
        labels: (N, S, S) uint8, ``scale`` times the pseudo-label.
        keep: (N,) bool, which images take part.
        config: the run's configuration.
        fabric: device, precision, and the processes that train together.
        iteration: 0 for the first, 1 to n − 1 for a refinement; chooses epochs and random stream.
        size: side of what the segmenter sees, past the paper: whole images, and windows around their lesions, are
            brought to it. By default it sees the images as they are.
        cut: with a size, the share of what it sees that are windows that cut the lesion; a half are whole images.
        scale: 2, and the labels are 0 background, 1 uncertain, 2 foreground; 255, and they are another network's
            probabilities, which a student learns, past the paper.
        epochs: passes over the kept images; by default as configured.
        progress: told of every step.
        keeper: keeps the state between steps; a training that was stopped and goes on ends as one that was not.

    Returns:
        The trained segmenter and its history.

    Raises:
        ConfigError: a batch holds fewer images than there are processes.
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
    epochs = epochs or (config.refinement.epochs if iteration else config.refinement.first_epochs)
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
        compiled=config.compute.compile,
    )
    if (saved := keeper.load()) and loop.fits(saved):
        loop.restore(saved)
    while loop.epoch < epochs:
        for lesson in loop.rest_of_epoch(lambda part: read_lesson(images, labels, kept[part], fabric.device)):
            view, label = augmented(*lesson, options, loop.draws, fabric.device, size, cut, scale)
            loss = uncertainty_loss(loop.model(view), label, literal=options.literal)
            loop.step(mean_of_all(loss, loop.draws))
            loop.keep(keeper)
            progress(f"segmenter, iteration {iteration}", loop.steps_done, loop.steps)
        loop.close_epoch()
        if not math.isfinite(loop.rows[-1]["loss"]):
            raise TrainingError(
                f"The segmenter's loss is {loop.rows[-1]['loss']} in epoch {loop.epoch} of iteration {iteration}. "
                f"Lower segmenter.learning_rate (-p learning_rate=…, now {options.learning_rate})."
            )
    return TrainedSegmenter(loop.trained(), pd.DataFrame(loop.rows))


def read_lesson(images: ImageSet, labels: np.ndarray, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Read some images and their labels as they are stored: (B, S, S, 3) uint8 and (B, S, S) uint8, on the CPU."""
    known = torch.from_numpy(labels[chosen.numpy()])
    forget(labels)
    return read(images, device, chosen), known


def augmented(
    pixels: Tensor,
    known: Tensor,
    options: SegmenterConfig,
    rng: Stream,
    device: torch.device,
    size: int | None = None,
    cut: float = 0.0,
    scale: int = THREE_WAY,
) -> tuple[Tensor, Tensor]:
    """Turn, mirror and recolour some images, and turn and mirror their labels likewise.

    Args:
        pixels: (B, S, S, 3) uint8, images as they are stored.
        known: (B, S, S) uint8, ``scale`` times the pseudo-label.
        options: the segmenter section, for the colours.
        rng: stream of the random numbers.
        device: where the result goes.
        size: as in :func:`train_segmenter`.
        cut: as in :func:`train_segmenter`.
        scale: as in :func:`train_segmenter`.

    Returns:
        Images (B, 3, S, S) float32 in [0, 1], channels last, and pseudo-labels (B, S, S) float32.
    """
    count = len(pixels)
    seen = as_floats(pixels, device if size is None else "cpu")  # windows are chosen and cut on the CPU
    if size is not None:
        windows = random_windows(known > scale / 2, rng, cut=cut)
        whole = pixels.shape[1]
        seen = crop(seen, windows, size, whole)
        mode = "nearest" if scale == THREE_WAY else "bilinear"  # nothing lies between three-way labels
        known = crop(known[:, None].float(), windows, size, whole, mode)[:, 0]
    turn = random_dihedral(count, rng)
    view = colour_jitter(
        dihedral(seen.to(device), *turn),
        rng,
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
        hue=options.hue,
    )
    label = dihedral(known.to(device), *turn).float() / scale
    return view.contiguous(memory_format=torch.channels_last), label
