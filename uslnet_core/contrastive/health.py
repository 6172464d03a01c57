"""Is the network learning at all? Answered without a single label (paper 3.2)."""

from __future__ import annotations

import math

import pandas as pd
from torch import Tensor

from uslnet_core.config import Recipe
from uslnet_core.errors import TrainingError

# A loss within 2 % of ln(1 + K) has learnt nothing; embeddings this close together have collapsed.
STUCK, COLLAPSED = 0.98, -0.05
# A queue gives its keys away by their age, so a low loss is not enough: images must be told apart within a batch, too.
GUESSING, ENOUGH = 2.0, 16  # times chance; in a smaller batch, chance alone may reach it
# A training is stopped halfway after so many epochs in a row at so much: some come back from a little less.
PATIENCE, HOPELESS = 3, -0.02
FIGURES = ("loss", "uniform_level", "top1", "chance", "alignment", "uniformity", "spread")


def spread(embeddings: Tensor) -> Tensor:
    """Say how far embeddings spread: 0 when all are one point, 1 when every direction is used alike.

    Args:
        embeddings: (B, D) float, unit length.

    Returns:
        Scalar: the square root of the summed variances of the D coordinates.
    """
    return embeddings.float().var(0, correction=0).sum().sqrt()


def check_running(history: pd.DataFrame, recipe: Recipe) -> None:
    """Stop a training that cannot come to anything: a loss that is no number, a lasting collapse, or half of it stuck.

    Args:
        history: the epochs so far, as :class:`~uslnet_core.contrastive.pretrain.Pretrained` holds them.
        recipe: the method's settings, for the advice.

    Raises:
        TrainingError: which of them it is, and what to change.
    """
    last = history.iloc[-1]
    if not math.isfinite(last["loss"]):
        raise TrainingError(
            f"The contrastive loss of {recipe.method} is {last['loss']} in epoch {len(history)}. Lower "
            f"contrastive.learning_rate (-p learning_rate=…, now {recipe.learning_rate}) or raise "
            f"contrastive.temperature (-p temperature=…, now {recipe.temperature})."
        )
    climbing = math.ceil(recipe.warm_up * recipe.epochs)  # all random networks begin with nearly equal embeddings
    settled = history["uniformity"].iloc[climbing:]
    if len(settled) >= PATIENCE and (settled.iloc[-PATIENCE:] > HOPELESS).all():
        raise TrainingError(collapse(last, recipe, f"For {PATIENCE} epochs, up to epoch {len(history)}, "))
    share = history["loss"] / history["uniform_level"]
    if len(history) >= max(climbing + PATIENCE, math.ceil(recipe.epochs / 2)) and (share > STUCK).all():
        raise TrainingError(stuck(last, recipe, f"In all of its {len(history)} epochs so far "))


def check_health(history: pd.DataFrame, recipe: Recipe) -> dict[str, float | str]:
    """Judge a finished contrastive training by its last epoch.

    Args:
        history: as :class:`~uslnet_core.contrastive.pretrain.Pretrained` holds it.
        recipe: the method's settings, for the advice.

    Returns:
        loss, uniform_level, share (loss over uniform level), top1, chance (of top1), alignment, uniformity, spread and
        verdict ``"healthy"``.

    Raises:
        TrainingError: stuck at the uniform level or at guessing, or collapsed; the message says which and what to
            change.
    """
    last = history.iloc[-1]
    share = last["loss"] / last["uniform_level"]
    if last["uniformity"] > COLLAPSED:
        raise TrainingError(collapse(last, recipe, "At the end "))
    if share > STUCK:
        raise TrainingError(stuck(last, recipe, "At the end "))
    if last["chance"] <= 1 / ENOUGH and last["top1"] < GUESSING * last["chance"]:
        raise TrainingError(
            f"With {recipe.method}, {last['top1']:.1%} of the views are most like their own other view, and guessing "
            f"gives {last['chance']:.1%}: {told_apart(recipe)}"
        )
    figures = {name: float(last[name]) for name in FIGURES}
    return figures | {"share": float(share), "verdict": "healthy"}


def stuck(last: pd.Series, recipe: Recipe, when: str) -> str:
    """Word the message about a loss that has not left its uniform level."""
    return (
        f"{when}the contrastive loss of {recipe.method}, {last['loss']:.3f}, is stuck at its uniform level "
        f"{last['uniform_level']:.3f}: {told_apart(recipe)}"
    )


def told_apart(recipe: Recipe) -> str:
    """Word what is wrong with a training that learnt nothing, and what to change."""
    sooner = f" Or let the key encoder follow sooner or later (-p momentum=…, now {recipe.momentum})."
    return (
        "the network tells no image from another. Give it more images, or train longer: chapter 2 with more epochs "
        "(-p epochs=…), or with a lower temperature (-p temperature=…)." + ("" if recipe.method == "simclr" else sooner)
    )


def collapse(last: pd.Series, recipe: Recipe, when: str) -> str:
    """Word the message about a collapse."""
    return (
        f"{when}the embeddings of {recipe.method} have collapsed: uniformity {last['uniformity']:.3f}, expected well "
        f"below {COLLAPSED}; spread {last['spread']:.3f} of 1. All images look alike to the network. Lower "
        f"contrastive.learning_rate (-p learning_rate=…, now {recipe.learning_rate}) or contrastive.temperature (-p "
        f"temperature=…, now {recipe.temperature})."
    )
