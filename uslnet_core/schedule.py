"""How long a whole run takes, from the time of its steps: a plan before a machine is rented."""

from __future__ import annotations

from typing import get_args

import pandas as pd

from uslnet_core.config import Config, Method
from uslnet_core.errors import ConfigError

COLUMNS = ("step", "images", "seconds")


def plan(steps: pd.DataFrame, config: Config, images: int) -> pd.DataFrame:
    """Say how many hours each part of a run takes on the machine where its steps were measured.

    A step that was measured with another number of images is taken to need time in proportion to them. On a GPU,
    measure with the batches of the run: a small batch leaves it idle. What is not counted is small beside the training:
    decoding, the uncertainty module, scores.

    Args:
        steps: a row a measured step: ``step``, one of ``features`` (an encoder over images), ``ccam`` (one of its
            head's), ``segmenter``, ``prediction``, and a contrastive method for each encoder that is trained;
            ``images`` in it; its ``seconds``.
        config: the run's configuration.
        images: number of training images, all of which are taken to be kept.

    Returns:
        A row a part: part, epochs, steps, images a step, s an epoch, hours. A public encoder is not trained.

    Raises:
        ConfigError: a step that the run needs is missing or named twice, a column is, or a number is not above 0.
    """
    if missing := [name for name in COLUMNS if name not in steps]:
        raise ConfigError(f"The table of steps has no column {', '.join(missing)}: expected {', '.join(COLUMNS)}.")
    if images < 2:
        raise ConfigError(f"A plan for {images} images: expected at least 2.")
    each = seconds_an_image(steps)
    saliency, refinement = config.saliency, config.refinement
    rows = []
    for name in config.encoders:
        if name in get_args(Method):
            recipe = config.recipe(name)
            rows.append(_row(name, f"encoder, {name}", recipe.epochs, recipe.batch_size, images, each, drop_last=True))
    for name in config.encoders:
        rows.append(_row("features", f"features, {name}", 1, saliency.batch_size, images, each))
        part = f"CCAM's head, {name}"
        rows.append(_row("ccam", part, saliency.epochs, saliency.batch_size, images, each, drop_last=True))
    for iteration in range(refinement.iterations):
        epochs = refinement.epochs if iteration else refinement.first_epochs
        part, size = f"segmenter, iteration {iteration}", config.segmenter.batch_size
        if iteration:
            rows.append(_row("prediction", f"labels for iteration {iteration}", 1, 64, images, each))
        rows.append(_row("segmenter", part, epochs, size, images, each, drop_last=True))
    return pd.DataFrame(rows)


def seconds_an_image(steps: pd.DataFrame) -> dict[str, float]:
    """Give the seconds that an image takes in each measured step.

    Raises:
        ConfigError: a step is named twice, or a number is not above 0.
    """
    if twice := sorted(set(steps["step"][steps["step"].duplicated()])):
        raise ConfigError(f"Steps measured twice: {', '.join(twice)}. Keep one row of each.")
    wrong = steps[~((steps["images"] > 0) & (steps["seconds"] > 0))]
    if len(wrong):
        raise ConfigError(f"Steps whose images or seconds are not above 0: {', '.join(wrong['step'])}.")
    return dict(zip(steps["step"], steps["seconds"] / steps["images"], strict=True))


def _row(
    step: str, part: str, epochs: int, batch: int, images: int, each: dict[str, float], *, drop_last: bool = False
) -> dict[str, object]:
    """Describe one part: its steps an epoch are those of :func:`~uslnet_core.compute.batches`."""
    if step not in each:
        raise ConfigError(f"The plan needs the time of the step {step!r}, and the table has {', '.join(each)}.")
    batch = min(batch, images)
    number = images // batch if drop_last else -(-images // batch)
    seen = number * batch if drop_last else images
    seconds = seen * each[step]
    row = {"part": part, "epochs": epochs, "steps": epochs * number, "images a step": batch}
    return row | {"s an epoch": seconds, "hours": epochs * seconds / 3600}
