"""How close `uslnet segment` comes to its slowest stage, on photographs of 12 megapixels.

    python benchmarks/segment.py [--out table.csv] [--images 16] [--rounds 5] [--workers 0]

Drawn images of 4000 × 3000 pixels are written as JPEG into a temporary folder. Then the stages take turns, round by
round, each alone and one image after the other: reading (decode, and squeeze to the model's square), predicting,
writing (enlarge, describe, overlay, mask); and the whole, overlapped, as the command does it. The goal is 0.8 of the
slowest stage's images a second. Workers: threads that read, and as many that write; 0 takes as many as the command
does. Stages can only overlap on cores that are free: on a busy machine the whole is no faster than one after the other.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from _timing import arguments, circumstances, in_turn, judged, tell_goals
from PIL import Image

from uslnet_core import pipeline
from uslnet_core.ahead import usual_workers
from uslnet_core.compute import cores, make_fabric
from uslnet_core.config import ComputeConfig
from uslnet_core.data import synthetic
from uslnet_core.data.images import read_image
from uslnet_core.inference import Predictor, enlarged, segment_files, write_one

WIDTH, HEIGHT = 4000, 3000
GOAL = 0.8
WHOLE = "the whole, overlapped"
READ, PREDICT, WRITE = "read", "predict", "write"


def photographs(folder: Path, count: int) -> list[Path]:
    """Write drawn images, enlarged and with a sensor's noise, so that they take a photograph's time to decode."""
    noise = np.random.default_rng(0).integers(-6, 7, (HEIGHT, WIDTH, 3), dtype=np.int16)
    files = [folder / f"{number:04d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        drawn = Image.fromarray(synthetic.image(number, size=600, seed=0)).resize((WIDTH, HEIGHT))
        noisy = (np.asarray(drawn) + np.roll(noise, number, axis=0)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(file, quality=92)
    return files


def contenders(files: list[Path], out: Path, predictor: Predictor, workers: int) -> dict[str, Callable[[], object]]:
    """Each stage alone over all files, and the whole."""
    few = [read_image(file) for file in files[:4]]  # memory holds no more than a few
    squares = [predictor.squeezed(image) for image in few]
    maps = [predictor.predict(each) for each in squares]

    def read() -> None:
        for file in files:
            predictor.squeezed(read_image(file))

    def predict() -> None:
        for number in range(len(files)):
            predictor.predict(squares[number % len(few)])

    def write() -> None:
        for number, file in enumerate(files):
            image, probability = few[number % len(few)], maps[number % len(few)]
            write_one(image, enlarged(probability, image.shape[:2]), file.stem, out / "alone", predictor)

    def whole() -> None:
        segment_files(files, out / "whole", predictor, workers=workers)

    return {READ: read, PREDICT: predict, WRITE: write, WHOLE: whole}


def measure(images: int, rounds: int, workers: int) -> pd.DataFrame:
    """Images a second of each stage and of the whole; for the whole, the ratio to the slowest stage."""
    predictor = pipeline.shipped_predictor(make_fabric(ComputeConfig(device="cpu")))
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), images)
        seconds = in_turn(contenders(files, Path(folder) / "out", predictor, workers), rounds)
    slowest = [max(seconds[stage][turn] for stage in (READ, PREDICT, WRITE)) for turn in range(rounds)]
    one_by_one = [sum(seconds[stage][turn] for stage in (READ, PREDICT, WRITE)) for turn in range(rounds)]
    rows = []
    for name, own in {**seconds, "one after the other": one_by_one}.items():
        ratio = statistics.median(stage / each for stage, each in zip(slowest, own, strict=True))
        rate = images / statistics.median(own)
        rows.append({"stage": name, "images_per_second": rate, "of_the_slowest_stage": ratio})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, images=16, rounds=5, workers=0)
    workers = args.workers or usual_workers()
    table = measure(args.images, args.rounds, workers)
    machine, versions = circumstances()
    threads = f"{cores()} cores, {workers} reading, 1 predicting, {workers} writing"
    machine = machine.replace("1 thread", threads)
    print(f"{args.images} images of {WIDTH} × {HEIGHT}, {args.rounds} rounds · {machine} · {versions}\n")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    reached = float(table.set_index("stage").loc[WHOLE, "of_the_slowest_stage"])
    note = "photographs of 12 megapixels"
    tell_goals([judged("uslnet segment", reached, "of its slowest stage's speed", GOAL, note=note)], args.out)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{args.images} images, {args.rounds} rounds, {machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).round(2).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
