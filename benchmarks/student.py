"""How fast the student that ships is, as a ratio to the network that it learnt from, in the same process.

    python benchmarks/student.py [--out table.csv] [--images 16] [--side 600] [--rounds 15]

Every contender segments the same images one by one, in turn, round by round, so that a busy machine slows them alike; a
ratio is the median of the rounds' ratios. The larger network's weights are random: the time of a pass does not hang on
them.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from datetime import date
from functools import partial

import pandas as pd
import torch
from _timing import arguments, circumstances, in_turn, judged, tell_goals
from lightning_fabric import Fabric

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.data import synthetic
from uslnet_core.encoder import Encoder
from uslnet_core.inference import Predictor
from uslnet_core.pipeline.looks import answer_of
from uslnet_core.segmenter import Segmenter

LONGEST = 30.0  # ms an image


def contenders() -> dict[str, Predictor]:
    """The student as it ships and in two looks, and its teacher's network in one look and as it teaches."""
    fabric = Fabric(accelerator="cpu", devices=1)
    student = pipeline.shipped_predictor(fabric)
    torch.manual_seed(0)
    teacher = Segmenter(Encoder("resnet18")).eval().to(memory_format=torch.channels_last)
    plain = configure(method="usl-plus", look={"twice": True, "colour": 0.0, "appearance": False})
    all_of_it = configure(method="usl-plus", look={"twice": True})
    looks = answer_of(plain, student.model, fabric), answer_of(all_of_it, teacher, fabric)
    return {
        "the student, as it ships": student,
        "the student, two looks": replace(student, look=looks[0]),
        "ResNet-18, one look": Predictor(teacher, student.size, fabric),
        "ResNet-18, second look, colour, appearance": Predictor(teacher, student.size, fabric, look=looks[1]),
    }


def measure(images: int, side: int, rounds: int) -> pd.DataFrame:
    """Milliseconds an image of each contender, resizing to its size and back included, and the ratio to the student."""
    pictures = [synthetic.image(number, size=side, seed=0) for number in range(images)]
    predictors = contenders()
    for predictor in predictors.values():
        assert predictor.probability(pictures[0]).shape == (side, side)  # and what is prepared once, is

    def over_all(predictor: Predictor) -> None:
        for picture in pictures:
            predictor.probability(picture)

    seconds = in_turn({name: partial(over_all, predictor) for name, predictor in predictors.items()}, rounds)
    ours = seconds["the student, as it ships"]
    rows = []
    for name, own in seconds.items():
        ratio = statistics.median(theirs / each for theirs, each in zip(own, ours, strict=True))
        weights = sum(value.numel() for value in predictors[name].model.parameters())
        row = {"how": name, "million weights": weights / 1e6, "ms an image": 1000 * statistics.median(own) / images}
        rows.append(row | {"times the student": ratio})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, images=16, side=600, rounds=15)
    table = measure(args.images, args.side, args.rounds)
    machine, versions = circumstances()
    print(f"{args.images} images of {args.side} × {args.side}, {args.rounds} rounds · {machine} · {versions}\n")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.1f}"))
    name = "the student, as it ships"
    took = float(table.set_index("how").loc[name, "ms an image"])
    tell_goals(
        [judged(name, took, "ms an image", LONGEST, most=True, note=f"{args.side} × {args.side} pixels")], args.out
    )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{args.images} images, {args.rounds} rounds, {machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).round(1).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
