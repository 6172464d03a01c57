"""What memory format and number format gain in training: steps of contrastive learning, against float32 NCHW.

    python benchmarks/training.py [--out table.csv] [--images 32] [--side 96] [--rounds 5]
    python benchmarks/training.py --seeds 3 [--epochs 12] [--count 320]

A step draws two views of each image, embeds them by ResNet-18, and follows the gradient of SimCLR's loss. The four ways
take turns, round by round; a ratio is the median of the rounds' ratios. On a GPU, the whole step of the stride-1
ResNet-50 at 224 pixels is set against its bare forward and backward pass. With ``--seeds``, the quick profile's encoder
is trained on synthetic images with so many seeds in either number format, and what each ends with stands side by side.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial

import numpy as np
import pandas as pd
import torch
from _timing import arguments, circumstances, in_turn, judged, tell_goals

from uslnet_core.compute import generator, make_fabric, peak_memory
from uslnet_core.config import ComputeConfig, configure
from uslnet_core.contrastive.infonce import simclr_loss
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.contrastive.simclr import SimCLR
from uslnet_core.contrastive.views import random_view
from uslnet_core.data import synthetic
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import TrainingError
from uslnet_core.saliency.ccam import train_ccam

GOAL = 1.6  # times float32 NCHW, at the package's own choice
FIRST = "float32, NCHW"
VIEWS, SHARE = 1500, 0.6  # on an H100: views a second, and of what forward and backward alone reach
WAYS = {
    FIRST: (torch.contiguous_format, False),
    "float32, channels_last": (torch.channels_last, False),
    "bf16, NCHW": (torch.contiguous_format, True),
    "bf16, channels_last": (torch.channels_last, True),
}
EPOCH = 2000  # images of ISIC-2017's training part
NEAR = 0.05  # the first losses of all ways lie within so much of each other; bf16 has three digits


def pictures(count: int, side: int) -> ImageSet:
    """Draw synthetic images."""
    return ImageSet(
        [str(n) for n in range(count)], np.stack([synthetic.image(n, size=side, seed=0) for n in range(count)])
    )


class Step:
    """One way to take a step of SimCLR, ready to be timed; all begin with the same weights and draw the same views."""

    def __init__(self, images: torch.Tensor, backbone: str, stride: int, layout: torch.memory_format, half: bool):
        self.images, self.layout, self.half, self.rng = images, layout, half, generator(1)
        self.recipe = configure(contrastive={"crop": images.shape[-1], "last_stride": stride}).recipe("simclr")
        torch.manual_seed(0)
        model = SimCLR(Encoder(backbone, last_stride=stride), self.recipe, len(images)).train()
        self.model = model.to(images.device, memory_format=layout)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def views(self) -> torch.Tensor:
        """Draw two views of each image."""
        both = [random_view(self.images, self.recipe, self.rng) for _ in range(2)]
        return torch.cat(both).contiguous(memory_format=self.layout)

    def learn(self, views: torch.Tensor) -> torch.Tensor:
        """Go forward and back."""
        with torch.autocast(views.device.type, torch.bfloat16, enabled=self.half):
            first, second = self.model(views).chunk(2)
        loss = simclr_loss(first, second, self.recipe.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def __call__(self) -> float:
        """Take a step, and give its loss."""
        loss = self.learn(self.views())
        self.optimizer.step()
        return float(loss)


def measure(images: int, side: int, rounds: int) -> pd.DataFrame:
    """Time a step each way: images per second, seconds an epoch of ISIC-2017, and times the first."""
    batch = pictures(images, side).batch(range(images))
    steps = {name: Step(batch, "resnet18", 2, *way) for name, way in WAYS.items()}
    losses = {name: step() for name, step in steps.items()}  # and what is prepared once, is
    assert max(losses.values()) - min(losses.values()) < NEAR, f"not the same step: {losses}"
    seconds = in_turn(steps, rounds)
    rows = []
    for name, own in seconds.items():
        ratio = statistics.median(first / each for first, each in zip(seconds[FIRST], own, strict=True))
        each = statistics.median(own) / images
        rows.append({"how": name, "images/s": 1 / each, "s an epoch": EPOCH * each, "times": ratio})
    return pd.DataFrame(rows)


def chosen() -> str:
    """Name the way that the package takes on this machine: channels last always, bf16 where it gains."""
    precision = make_fabric(ComputeConfig(device="cpu")).strategy.precision.precision
    return "bf16, channels_last" if precision == "bf16-mixed" else "float32, channels_last"


def on_gpu(images: int, rounds: int, side: int = 224) -> list[dict[str, object]]:
    """Time steps of the stride-1 ResNet-50, whole, compiled, and their forward and backward pass alone, on a GPU."""
    what = f"SimCLR, ResNet-50, stride 1, {side} px"
    if not torch.cuda.is_available():
        missing, note = float("nan"), "there is no GPU here"
        return [
            judged(f"{what}: whole step", missing, "views/s", VIEWS, note=f"{note}; the goal is for an H100"),
            judged(f"{what}: whole step", missing, "of forward and backward alone", SHARE, note=note),
        ]
    batch = pictures(min(images, 64), side).batch(range(min(images, 64)))
    batch = batch.repeat(-(-images // len(batch)), 1, 1, 1)[:images].cuda()
    step = Step(batch, "resnet50", 1, torch.channels_last, True)
    views = step.views()

    def timed(work: Callable[[], object]) -> float:
        work()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(5):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / 5

    pairs = [(timed(step), timed(partial(step.learn, views))) for _ in range(rounds)]
    whole, bare = (len(views) / statistics.median(each) for each in zip(*pairs, strict=True))
    share = statistics.median(alone / both for both, alone in pairs)
    memory = torch.cuda.max_memory_allocated() / 2**30
    step.model.encoder.compile()
    compiled = len(views) / statistics.median(timed(step) for _ in range(rounds))
    epoch = 2 * EPOCH / whole
    name = torch.cuda.get_device_name()
    print(f"{name}: {whole:.0f} views/s, {epoch:.1f} s an epoch of {EPOCH} images, {memory:.1f} GiB of its memory")
    print(f"{name}: {bare:.0f} views/s forward and back alone; {compiled:.0f} whole with torch.compile")
    return [
        judged(f"{what}: whole step", whole, "views/s", VIEWS, note=f"{name}, {len(views)} views; for an H100"),
        judged(f"{what}: whole step", share, "of forward and backward alone", SHARE, note=name),
        judged(f"{what}: torch.compile", compiled / whole, "times without", 1.0, note="pays, or does not"),
    ]


def train_each(seeds: int, epochs: int, count: int) -> tuple[pd.DataFrame, dict[tuple[str, int], np.ndarray]]:
    """Train the quick profile's encoder and its CCAM with each seed in either number format.

    Returns:
        What each training ends with, a row each, none of it from a label; and the training images' saliency, by format
        and seed, of those that came to something.
    """
    images, rows, maps = pictures(count, 96), [], {}
    for seed in range(seeds):
        for precision in ("32-true", "bf16-mixed"):
            fabric = make_fabric(ComputeConfig(device="cpu", precision=precision))
            config, start = configure(seed=seed, contrastive={"epochs": epochs}), time.perf_counter()
            try:
                trained = pretrain(images, config, fabric)
                found = trained.health
                ccam = train_ccam(images, trained.encoder, config, fabric)
                maps[precision, seed] = ccam.maps
                found = found | {"border margin": ccam.orientation["margin"]}
            except TrainingError as error:
                found = {"verdict": str(error).partition(". ")[0]}
            rows.append({"precision": precision, "seed": seed, **found, "s": time.perf_counter() - start})
    return pd.DataFrame(rows).sort_values("precision", kind="stable"), maps


def noise(table: pd.DataFrame) -> str:
    """Set the difference between the formats beside that between seeds, for each figure that needs no label."""
    lines = []
    for figure in ("loss", "top1", "alignment", "uniformity", "spread", "border margin"):
        if figure not in table:
            continue
        by = table.groupby("precision", sort=False)[figure]
        apart, spread = abs(by.mean().diff().iloc[-1]), by.std().mean()
        verdict = "within" if apart <= 2 * spread else "outside"
        lines.append(f"{figure:13s} formats differ by {apart:.4f}, seeds by {spread:.4f} (sd): {verdict} two of them")
    return "\n".join(lines)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over images of the Dice of what two maps hold for lesion; two empty ones agree."""
    first, second = one > 0.5, other > 0.5
    both, sizes = 2 * (first & second).sum((1, 2)), first.sum((1, 2)) + second.sum((1, 2))
    return float(np.where(sizes > 0, both / np.maximum(sizes, 1), 1.0).mean())


def agreement(maps: dict[tuple[str, int], np.ndarray]) -> str:
    """Set how alike the saliency of both formats is, with the same seed, beside that of two seeds in one format."""
    pairs: dict[str, list[float]] = {"the same seed in both formats": [], "two seeds in one format": []}
    for one, other in itertools.combinations(maps, 2):
        same = [a == b for a, b in zip(one, other, strict=True)]
        if any(same):
            pairs[[*pairs][same[0]]].append(overlap(maps[one], maps[other]))
    words = [f"{who}: {np.mean(d):.3f} ({min(d):.3f} to {max(d):.3f})" for who, d in pairs.items() if d]
    return "saliency at 0.5, Dice of the maps of " + "; of ".join(words) if words else "no saliency to compare"


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, images=32, side=96, rounds=5, seeds=0, epochs=12, count=320)
    machine, versions = circumstances()
    if args.seeds:
        print(f"quick, {args.count} images, {args.epochs} epochs · {machine} · {versions}\n")
        table, maps = train_each(args.seeds, args.epochs, args.count)
        print(table.round(4).to_string(index=False), noise(table) + "\n" + agreement(maps), sep="\n\n")
    else:
        table = measure(args.images, args.side, args.rounds)
        print(f"{args.images} images of {args.side} × {args.side}, {args.rounds} rounds · {machine} · {versions}\n")
        print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
        reached = float(table.set_index("how").loc[chosen(), "times"])
        note = f"the package's choice here; ResNet-18, {args.side} px"
        print(f"\nMemory, at most: {peak_memory() / 1024:.1f} GiB")
        ours = judged(f"a step of SimCLR, {chosen()}", reached, f"times {FIRST}", GOAL, note=note)
        tell_goals([ours, *on_gpu(256, args.rounds)], args.out)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).round(3).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
