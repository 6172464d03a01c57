"""What a run costs as its data grow: each stage at once and at ten times the images, and from that at a hundred times.

    python benchmarks/growth.py [--out table.csv] [--images 200] [--side 64]

A whole run on drawn images, an epoch of each training, twice: once with some images, once with ten times as many. Every
stage works batch by batch, so its time should grow in step with the images, and its memory hardly; both are measured
here, not assumed. The last columns carry the line through the two measured points on to a hundred times.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import pandas as pd
from _timing import arguments, circumstances

from uslnet_core import pipeline
from uslnet_core.compute import peak_memory
from uslnet_core.config import configure
from uslnet_core.runs import Run

# An epoch of each, with views so alike and thresholds so near that a run this short is healthy and has labels.
SHORT = {
    "contrastive": {"epochs": 1, "crop_area": (0.8, 1.0), "jitter": 0.0, "grey": 0.0, "learning_rate": 1e-3},
    "saliency": {"epochs": 10},
    "uncertainty": {"low": 0.45, "high": 0.55, "min_area": 0.005, "exclusion": 1.0},
    "refinement": {"iterations": 1, "first_epochs": 1, "epochs": 1},
    "compute": {"device": "cpu"},
}
STAGES = {
    "01-data/images/train": "draw the images",
    "02-contrastive/simclr": "SimCLR, an epoch",
    "03-saliency": "CCAM, ten epochs, and its maps",
    "04-labels": "uncertainty module",
    "05-segmenter/iteration-0": "segmenter, an epoch",
}


def carry_out(folder: Path, images: int, side: int) -> dict[str, float]:
    """Make a run in a process of its own: seconds of each stage, and the most memory held, GB."""
    run = Run(folder, configure("quick", images={"count": images, "size": side}, **SHORT))
    pipeline.prepare_images(run, "train")
    pipeline.learn_all_features(run)
    pipeline.make_saliency(run)
    pipeline.make_labels(run)
    pipeline.train_iteration(run, 0)
    stages = run.whole()
    seconds = {
        title: sum(stage.manifest.seconds for path, stage in stages.items() if path.startswith(name))
        for name, title in STAGES.items()
    }
    return seconds | {"most memory, GB": peak_memory() * 2**20 / 1e9}


def lay_out(found: Mapping[int, Mapping[str, float]]) -> pd.DataFrame:
    """Set the measured sizes side by side, and carry the line through them on to a hundred times the images."""
    few, many = sorted(found)
    rows = []
    for what in found[few]:
        one, ten = found[few][what], found[many][what]
        row = {"what": what, f"{few} images": one, f"{many} images": ten, "times": ten / one}
        rows.append(row | {f"{10 * many} images, from these": ten + (ten - one) / (many - few) * 9 * many})
    return pd.DataFrame(rows).round(2)


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, images=200, side=64)
    found = {}
    for count in (args.images, 10 * args.images):
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        ):
            found[count] = pool.submit(carry_out, Path(folder) / "run", count, args.side).result()
    table = lay_out(found)
    machine, versions = circumstances()
    machine = machine.replace(", 1 thread", "")
    print(f"{args.side} × {args.side} pixels, seconds · {machine} · {versions}\n")
    print(table.to_string(index=False))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        measured = f"{args.side} pixels, {machine}, {versions}, {date.today().isoformat()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
