"""Device, number format and memory layout, chosen once and passed on; seeds likewise."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from uslnet_core.config import ComputeConfig
from uslnet_core.errors import ConfigError
from uslnet_core.ranks import alone

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it names the number format for every stage

LONGEST_WAIT = timedelta(days=2)  # for what one process does while the others wait

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)`` during long work."""


def quiet(what: str, done: int, total: int) -> None:
    """Report no progress: the default of every long function."""


class Keeper(Protocol):
    """Keeps the whole state of a training, so that one that was stopped goes on where it was."""

    def load(self) -> dict[str, Any] | None:
        """Give the state that was kept last; ``None`` to begin at the beginning."""

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Be told that a step is done: calls ``state`` and keeps what it gives, if it is time for that."""


class Forgetful:
    """A keeper that keeps nothing: the default of every training."""

    def load(self) -> None:
        """Begin at the beginning."""

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Keep nothing."""


def make_fabric(config: ComputeConfig) -> Fabric:
    """Choose device and precision, and join the other processes if there are to be several.

    bfloat16 is taken where the processor has instructions for it: every GPU since Ampere, and CPUs with AVX-512 BF16 or
    AMX. Elsewhere it is emulated and 15 times slower than float32 (measured on an AVX2 machine), so float32 is taken.

    Args:
        config: the run's compute section. More than one process must have been started together, by ``torchrun``; in
            what only one of them does (:func:`~uslnet_core.ranks.once`), the others are left out.

    Returns:
        A lightning-fabric object; ``fabric.device`` and ``fabric.autocast()`` are what training uses.

    Raises:
        ConfigError: a GPU is asked for and there is none, or there are not as many processes as asked for, or fewer
            GPUs than processes.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "gpu" and not has_gpu:
        raise ConfigError("compute.device is 'gpu', but torch sees no GPU here. Use 'auto' or 'cpu'.")
    on_gpu = has_gpu and config.device != "cpu"
    precision = config.precision
    if precision == "auto":
        gains = torch.cuda.is_bf16_supported() if on_gpu else torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if gains else "32-true"
    accelerator = "cuda" if on_gpu else "cpu"
    if config.processes == 1 or alone():
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    started = TorchElasticEnvironment().world_size() if TorchElasticEnvironment.detect() else 1
    if started != config.processes:
        raise ConfigError(
            f"compute.processes is {config.processes}, but {started} {'was' if started == 1 else 'were'} started. "
            f"Start them together: uslnet train --processes {config.processes}."
        )
    if on_gpu and torch.cuda.device_count() < config.processes:
        raise ConfigError(
            f"{config.processes} processes want a GPU each, but torch sees {torch.cuda.device_count()}. Start fewer, "
            "or take --device cpu."
        )
    strategy = DDPStrategy(
        process_group_backend="nccl" if on_gpu else "gloo",
        timeout=LONGEST_WAIT,
        forward_sync_buffers=False,  # all have the same anyway
        static_graph=True,  # parameters that take no part are found once, in the first step
    )
    fabric = Fabric(accelerator=accelerator, devices=config.processes, precision=precision, strategy=strategy)
    fabric.launch()
    return fabric


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Give the most memory that this process has held so far, in MiB: pages of its own and of files alike."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset >> 20
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands getrusage's figure on to new programs: a small process would tell the peak of what began it.
        found = [line.split() for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if found:
            return int(found[0][1]) >> 10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)  # bytes, KiB


def generator(*seeds: int) -> torch.Generator:
    """Make an independent random stream on the CPU.

    Random numbers are drawn on the CPU and moved, so that a seed means the same on every device.

    Args:
        *seeds: what tells this stream from others, for example run seed, stage number, iteration.

    Returns:
        A seeded generator.
    """
    mixed = 0
    for seed in seeds:
        mixed = (mixed * 6364136223846793005 + seed + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)


def batches(count: int, size: int, rng: torch.Generator, *, drop_last: bool) -> list[torch.Tensor]:
    """Shuffle ``count`` indices into batches.

    Args:
        count: number of images.
        size: images a batch.
        rng: the stream that shuffles.
        drop_last: leave out a last batch that is not full (unless it is the only one).

    Returns:
        Index tensors, int64, each of shape (size,) or, for the last, shorter.
    """
    parts = list(torch.randperm(count, generator=rng).split(size))
    return parts[:-1] if drop_last and len(parts) > 1 and len(parts[-1]) < size else parts


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, warm_up: float) -> LRScheduler:
    """Climb linearly to the optimiser's learning rate, then fall along a cosine to nothing.

    Args:
        optimizer: holds the peak learning rate.
        steps: optimiser steps of the whole training, at least 1.
        warm_up: share of the steps that climb.

    Returns:
        A schedule to step after every optimiser step.
    """
    climb = min(max(1, round(warm_up * steps)), steps)
    return SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=1 / 25, total_iters=climb),
            CosineAnnealingLR(optimizer, T_max=max(1, steps - climb)),
        ],
        milestones=[climb],
    )
