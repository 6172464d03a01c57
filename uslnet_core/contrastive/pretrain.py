"""The contrastive training loop: one for all methods, and one that can be stopped at any step (paper 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn

from uslnet_core.compute import Forgetful, Keeper, Progress, generator, quiet
from uslnet_core.config import Config, Recipe
from uslnet_core.contrastive.health import check_health, check_running, spread
from uslnet_core.contrastive.infonce import alignment, top1, uniformity
from uslnet_core.contrastive.moco import MoCo
from uslnet_core.contrastive.simclr import SimCLR
from uslnet_core.data.images import ImageSet, read
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError
from uslnet_core.loop import Loop

METHODS = {"simclr": SimCLR, "moco_v1": MoCo, "moco_v2": MoCo}


@dataclass(frozen=True)
class Pretrained:
    """What contrastive learning hands on.

    Attributes:
        encoder: the trained encoder, on the CPU, in evaluation mode, last stride 1, dilated if it learnt with 2.
        head: the projection head, on the CPU, in evaluation mode.
        history: a row an epoch: epoch, loss, top1, alignment, uniformity, spread, uniform_level, chance (of top1),
            learning_rate.
        health: the last epoch's figures and the verdict.
    """

    encoder: Encoder
    head: nn.Module
    history: pd.DataFrame
    health: dict[str, float | str]


def pretrain(
    images: ImageSet,
    config: Config,
    fabric: Fabric,
    progress: Progress = quiet,
    *,
    method: str = "simclr",
    start: Encoder | None = None,
    keeper: Keeper | None = None,
) -> Pretrained:
    """Learn features by contrastive learning from images alone.

    Args:
        images: the training images; they carry no mask.
        config: the run's configuration.
        fabric: device, precision, and the processes that learn together.
        progress: told of every step.
        method: ``simclr``, ``moco_v1`` or ``moco_v2``.
        start: an encoder to go on from; by default random weights, from the run's seed.
        keeper: keeps the state between steps; a training that was stopped and goes on ends as one that was not.

    Returns:
        The encoder, its head, its history and its health.

    Raises:
        ConfigError: too few images for a batch of two, a queue too long for them, or a batch that the processes cannot
            share.
        TrainingError: the loss is stuck at its uniform level, the embeddings collapsed, or a number overflowed.
    """
    if len(images) < 2:
        raise ConfigError(f"Contrastive learning compares images: it needs at least 2, got {len(images)}.")
    recipe, keeper = config.recipe(method), keeper or Forgetful()
    batch_size = min(recipe.batch_size, len(images))
    model = build(images, config, recipe, start)
    loop = Loop(
        model,
        count=len(images),
        batch_size=batch_size,
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warm_up=recipe.warm_up,
        rng=stream(config, method),
        fabric=fabric,
        groups=model.groups(batch_size),
        figures=("loss", "top1", "alignment", "uniformity", "spread"),
        compiled=config.compute.compile,
    )
    loop.model.mark_forward_method("loss_of_pixels")
    if (saved := keeper.load()) and loop.fits(saved):
        loop.restore(saved)  # with MoCo's queue, its pointer and the key encoder, which are parts of the model
    while loop.epoch < recipe.epochs:
        for pixels in loop.rest_of_epoch(partial(read, images, fabric.device)):
            with fabric.autocast():  # fabric would see to it in forward alone, or with several processes
                loss, first, second = loop.model.loss_of_pixels(pixels, loop.draws)
            loop.step(loss, top1(first, second), alignment(first, second), uniformity(first), spread(first))
            loop.keep(keeper)
            progress(f"contrastive learning, {method}", loop.steps_done, loop.steps)
        loop.close_epoch(uniform_level=loop.model.module.uniform_level(batch_size), chance=1 / batch_size)
        check_running(pd.DataFrame(loop.rows), recipe)
    history = pd.DataFrame(loop.rows)
    health = check_health(history, recipe)
    model = loop.trained()
    model.encoder.set_last_stride(1, dilation=recipe.last_stride)
    return Pretrained(model.encoder, model.head, history, health)


def build(images: ImageSet, config: Config, recipe: Recipe, start: Encoder | None) -> nn.Module:
    """Build the method's model, its random weights from the run's seed."""
    with torch.random.fork_rng(devices=[]):  # initial weights come from torch's global stream
        torch.manual_seed(config.seed + 7919 * config.stream(recipe.method))
        encoder = start or Encoder(config.backbone)
        encoder.set_last_stride(recipe.last_stride)
        model = METHODS[recipe.method](encoder.train().requires_grad_(True), recipe, len(images))
    return model.to(memory_format=torch.channels_last)


def stream(config: Config, method: str) -> torch.Generator:
    """Make the stream that orders a method's images and draws its views."""
    number = config.stream(method)
    return generator(config.seed, 2, number) if number else generator(config.seed, 2)
