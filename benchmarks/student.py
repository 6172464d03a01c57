"""How fast the student that ships is, as a ratio to the network that it learnt from, in the same process.

    python benchmarks/student.py [--out table.csv] [--images 16] [--side 600] [--rounds 15]

Every contender segments the same images one by one, in turn, round by round, so that a busy machine slows them alike; a
ratio is the median of the rounds' ratios. The weights of the larger network are random: no time hangs on them.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric
from uncertainty import processor

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.data import synthetic
from uslnet_core.encoder import Encoder
from uslnet_core.inference import Predictor
from uslnet_core.pipeline.looks import build_look
from uslnet_core.segmenter import Segmenter


def contenders() -> dict[str, Predictor]:
    """The student in one look and as it ships, and its teacher's network in one look and in all that it learnt by."""
    fabric = Fabric(accelerator="cpu", devices=1)
    student = pipeline.shipped_predictor(fabric)
    torch.manual_seed(0)
    teacher = Segmenter(Encoder("resnet18")).eval().to(memory_format=torch.channels_last)
    look = build_look(configure(method="usl-plus"), teacher, fabric)
    return {
        "the student, one look": Predictor(student.model, student.size, fabric),
        "the student, as it ships": student,
        "ResNet-18, one look": Predictor(teacher, student.size, fabric),
        "ResNet-18, two looks with colour and appearance": Predictor(teacher, student.size, fabric, look=look),
    }


def measure(images: int, side: int, rounds: int) -> pd.DataFrame:
    """Milliseconds an image of each contender, resizing to its size and back included, and the ratio to the student."""
    pictures = [synthetic.image(number, size=side, seed=0) for number in range(images)]
    predictors = contenders()
    for predictor in predictors.values():
        assert predictor.probability(pictures[0]).shape == (side, side)  # and what is prepared once, is
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(rounds):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            for picture in pictures:
                predictor.probability(picture)
            seconds[name].append(time.perf_counter() - start)
    ours = seconds["the student, as it ships"]
    rows = []
    for name, own in seconds.items():
        ratio = statistics.median(theirs / each for theirs, each in zip(own, ours, strict=True))
        weights = sum(value.numel() for value in predictors[name].model.parameters())
        row = {"how": name, "million_weights": weights / 1e6, "ms_per_image": 1000 * statistics.median(own) / images}
        rows.append(row | {"times_the_student": ratio})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, and write the table where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)

    table = measure(args.images, args.side, args.rounds)
    machine = f"{processor()}, 1 thread, {platform.system()}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{args.images} images of {args.side} × {args.side}, {args.rounds} rounds · {machine} · {versions}\n")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        extra = {"images": args.images, "side": args.side, "rounds": args.rounds, "machine": machine}
        table.assign(**extra, versions=versions, date=date.today().isoformat()).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
