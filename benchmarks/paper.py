"""The paper's schedule in hours on this machine, from measured steps of the package's own trainings.

    python benchmarks/paper.py [--out steps.csv] [--batch 4] [--side 224] [--epochs 300]
    python benchmarks/paper.py --read steps.csv --epochs 60   # the plan alone, from steps that were measured before

Each training of the paper's profile (ResNet-50, stride 1) takes a few steps on synthetic images, timed between its
reports of progress; the first, which prepares, is left out. On a GPU a step has the profile's own batch. On a CPU it
has ``--batch`` images, and is taken to need time in proportion: an estimate. ``--epochs`` are those of each of the
segmenter's five iterations.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from contextlib import suppress
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _timing import circumstances

from uslnet_core.compute import make_fabric, peak_memory
from uslnet_core.config import ComputeConfig, Config, configure
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.data import synthetic
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import TrainingError
from uslnet_core.refine import train_segmenter
from uslnet_core.saliency.ccam import train_ccam
from uslnet_core.schedule import plan
from uslnet_core.segmenter import Segmenter, predict

IMAGES = 2000  # of ISIC-2017's training part
DRAWN = 16  # synthetic images that are drawn; more are the same again
TIMED = 2  # steps of each kind, after the first


class Clock:
    """A progress that notes how long each step took, by what it belongs to; the first of each is left out."""

    def __init__(self) -> None:
        self.before, self.seconds = time.perf_counter(), defaultdict(list)

    def __call__(self, what: str, done: int, total: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[what].append(now - self.before)
        self.before = now

    def step(self, what: str) -> float:
        """Give the median of what was noted, but for the first."""
        return statistics.median(self.seconds[what][1:])


def pictures(count: int, side: int) -> ImageSet:
    """Draw synthetic images; beyond a few they repeat."""
    drawn = np.stack([synthetic.image(n, size=side, seed=0) for n in range(min(count, DRAWN))])
    return ImageSet([str(n) for n in range(count)], drawn[np.arange(count) % len(drawn)])


def measure(config: Config) -> pd.DataFrame:
    """Take a few steps of each kind: step, images, seconds, and on a GPU the most memory that it took, in GiB."""
    fabric, rows = make_fabric(config.compute), []

    def note(step: str, size: int, seconds: float) -> None:
        row = {"step": step, "images": size, "seconds": seconds}
        rows.append(row | ({"GPU GiB": torch.cuda.max_memory_allocated() / 2**30} if torch.cuda.is_available() else {}))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    for method in config.encoders:
        size, clock = config.contrastive.batch_size, Clock()
        with suppress(TrainingError):  # so few steps teach nothing
            pretrain(pictures(size * (TIMED + 1), config.images.size), config, fabric, clock, method=method)
        note(method, size, clock.step(f"contrastive learning, {method}"))
    size, clock = config.saliency.batch_size, Clock()
    images, encoder = pictures(size * (TIMED + 1), config.images.size), Encoder(config.backbone, last_stride=1)
    with suppress(TrainingError):
        train_ccam(images, encoder, config, fabric, clock)
    for step, what in (("features", "features"), ("ccam", "CCAM")):
        note(step, size, clock.step(what))
    size, clock = config.segmenter.batch_size, Clock()
    images = pictures(size * (TIMED + 1), config.images.size)
    labels = (
        np.random.default_rng(0).integers(0, 3, images.batch([0]).shape[-2:], np.uint8)[None].repeat(len(images), 0)
    )
    model, keep = Segmenter(encoder.requires_grad_(True), config.segmenter.stages, config.segmenter.width), [True]
    train_segmenter(model, images, labels, np.array(keep * len(images)), config, fabric, iteration=0, progress=clock)
    note("segmenter", size, clock.step("segmenter, iteration 0"))
    predict(model, images, fabric, batch_size=size, progress=clock)
    note("prediction", size, clock.step("prediction"))
    return pd.DataFrame(rows)


def main() -> None:
    """Measure or read, print steps and plan, and write the steps where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV of the steps to write")
    parser.add_argument("--read", type=Path, help="CSV of steps to plan from, in place of measuring")
    parser.add_argument("--batch", type=int, default=4, help="images a step, on a CPU")
    parser.add_argument("--side", type=int, default=224, help="side of the images, pixels")
    parser.add_argument("--epochs", type=int, default=300, help="epochs of each iteration of the segmenter")
    args = parser.parse_args()
    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    schedule = {"refinement": {"first_epochs": args.epochs, "epochs": args.epochs}}
    if args.read:
        steps = pd.read_csv(args.read)
    else:
        size = {} if on_gpu else {"batch_size": args.batch}
        few = {"contrastive": {"epochs": 1, "crop": args.side} | size, "saliency": {"epochs": 1} | size}
        few |= {"segmenter": size, "refinement": {"first_epochs": 1, "epochs": 1}, "images": {"size": args.side}}
        machine, versions = circumstances()
        device = torch.cuda.get_device_name() if on_gpu else machine
        steps = measure(
            configure("paper", **few, compute=ComputeConfig(device="auto" if on_gpu else "cpu").model_dump())
        )
        measured = f"{args.side} pixels, {device}, {versions}, {date.today().isoformat()}"
        steps = steps.assign(measured=[measured, *[""] * (len(steps) - 1)])
    table = plan(steps, configure("paper", **schedule), IMAGES)
    print(f"Steps, {steps['measured'].iloc[0] if 'measured' in steps else f'read from {args.read}'}\n")
    print(steps.drop(columns="measured", errors="ignore").to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    print(f"\nThe paper's profile on {IMAGES} images, 5 × {args.epochs} epochs of the segmenter\n")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    print(f"\nIn all {table['hours'].sum():.1f} hours on the device where the steps were measured")
    if not args.read:
        print(f"Memory, at most: {peak_memory() / 1024:.1f} GiB")
        if not on_gpu:
            print("No GPU here: these are a CPU's hours, from small batches on one thread, and say nothing of a GPU's.")
    if args.out and not args.read:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        steps.round(4).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
