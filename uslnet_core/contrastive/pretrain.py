"""The contrastive training loop, and its health: is the network learning at all (paper 3.2)?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import torch
from lightning_fabric import Fabric

from uslnet_core.compute import Progress, batches, generator, one_cycle, quiet
from uslnet_core.config import Config
from uslnet_core.contrastive.infonce import alignment, uniformity
from uslnet_core.contrastive.simclr import SimCLR
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError

METHODS = {"simclr": SimCLR}
# A loss within 2 % of ln(1 + K) at the end has learnt nothing; embeddings this close together have collapsed.
STUCK, COLLAPSED = 0.98, -0.05


@dataclass(frozen=True)
class Pretrained:
    """What contrastive learning hands on.

    Attributes:
        encoder: the trained encoder, on the CPU, in evaluation mode, last stride 1, dilated if it learnt with 2.
        history: a row an epoch: epoch, loss, uniform_level, alignment, uniformity, learning_rate.
        health: the last epoch's figures and the verdict.
    """

    encoder: Encoder
    history: pd.DataFrame
    health: dict[str, float | str]


def pretrain(images: ImageSet, config: Config, fabric: Fabric, progress: Progress = quiet) -> Pretrained:
    """Learn features by contrastive learning from images alone.

    Args:
        images: the training images; they carry no mask.
        config: the run's configuration.
        fabric: device and precision.
        progress: told of every step.

    Returns:
        The encoder, its history and its health.

    Raises:
        ConfigError: too few images for a batch of two.
        TrainingError: the loss is stuck at its uniform level, the embeddings collapsed, or a number overflowed.
    """
    options = config.contrastive
    if len(images) < 2:
        raise ConfigError(f"Contrastive learning compares images: it needs at least 2, got {len(images)}.")
    batch_size = min(options.batch_size, len(images))
    rng = generator(config.seed, 2)
    with torch.random.fork_rng(devices=[]):  # initial weights come from torch's global stream
        torch.manual_seed(config.seed)
        model = METHODS[options.method](Encoder(config.backbone, options.last_stride), options)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    model, optimizer = fabric.setup(model, optimizer)
    model.mark_forward_method("loss")
    steps = len(batches(len(images), batch_size, generator(0), drop_last=True)) * options.epochs
    schedule = one_cycle(optimizer, steps, options.warm_up)
    model.train()
    rows, step = [], 0
    for epoch in range(options.epochs):
        totals = torch.zeros(3, dtype=torch.float64)
        parts = batches(len(images), batch_size, rng, drop_last=True)
        for part in parts:
            loss, first, second = model.loss(images.batch(part).to(fabric.device), rng)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            schedule.step()
            totals += torch.stack([loss.detach(), alignment(first, second), uniformity(first)]).double().cpu()
            step += 1
            progress("contrastive learning", step, steps)
        mean_loss, align, uniform = (totals / len(parts)).tolist()
        rows.append(
            {
                "epoch": epoch + 1,
                "loss": mean_loss,
                "uniform_level": model.module.uniform_level(batch_size),
                "alignment": align,
                "uniformity": uniform,
                "learning_rate": schedule.get_last_lr()[0],
            }
        )
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"The contrastive loss is {mean_loss} in epoch {epoch + 1}. Lower contrastive.learning_rate "
                f"(now {options.learning_rate}) or raise contrastive.temperature (now {options.temperature})."
            )
    history = pd.DataFrame(rows)
    health = check_health(history)
    encoder = model.module.encoder
    encoder.set_last_stride(1, dilation=options.last_stride)
    return Pretrained(encoder.cpu().eval(), history, health)


def check_health(history: pd.DataFrame) -> dict[str, float | str]:
    """Judge a finished contrastive training by its last epoch.

    Args:
        history: as :class:`Pretrained` holds it.

    Returns:
        loss, uniform_level, share (loss over uniform level), alignment, uniformity, and verdict ``"healthy"``.

    Raises:
        TrainingError: stuck at the uniform level, or collapsed; the message says which and what to change.
    """
    last = history.iloc[-1]
    share = last["loss"] / last["uniform_level"]
    if last["uniformity"] > COLLAPSED:
        raise TrainingError(
            f"The embeddings have collapsed: uniformity {last['uniformity']:.3f}, expected well below {COLLAPSED}. All "
            "images look alike to the network. Lower contrastive.learning_rate or raise contrastive.temperature."
        )
    if share > STUCK:
        raise TrainingError(
            f"The contrastive loss {last['loss']:.3f} is stuck at its uniform level {last['uniform_level']:.3f}: the "
            "network tells no image from another. Give it more images, or train longer: chapter 2 with more epochs (-p "
            "epochs=…), or with a lower temperature (-p temperature=…)."
        )
    return {
        "loss": float(last["loss"]),
        "uniform_level": float(last["uniform_level"]),
        "share": float(share),
        "alignment": float(last["alignment"]),
        "uniformity": float(last["uniformity"]),
        "verdict": "healthy",
    }
