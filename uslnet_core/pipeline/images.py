"""Stage 01 as training sees it: images, and no masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uslnet_core.checkpoints import Desk
from uslnet_core.compute import cores
from uslnet_core.config import Config
from uslnet_core.data.datasets import image_sources
from uslnet_core.data.images import ImageSet, write_images
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import DataError
from uslnet_core.runs import Run
from uslnet_core.stages import Stage, digest

ALIKE = 0.03  # mean distance, of [0, 1], that another way to make an image smaller may leave


def train_split(run: Run) -> str:
    """Name the part of the dataset that is trained on."""
    return DATASETS[run.config.dataset].train_split


def prepare_images(run: Run, split: str, *, size: int | None = None, strict: bool = False) -> Stage:
    """Decode one part's images once, into a memory map at the run's size (``01-data/images/<split>``).

    Args:
        run: the run.
        split: ``train``, ``validation``, ``test`` or ``all``.
        size: side in pixels; by default as the configuration says.
        strict: stop at the first image that cannot be read, instead of leaving it out.

    Returns:
        The stage: images.npy (N, S, S, 3) uint8, index.csv, skipped.csv.

    Raises:
        DataError: no image, an image that cannot be read under ``strict``, too little disk space.
    """
    config, size = run.config, size or run.config.images.size
    count = config.images.count if split == train_split(run) else None
    sources = image_sources(config.dataset, run.data, split, count=count, seed=config.seed)
    return decode(run, f"01-data/images/{split}", split, sources, size, strict=strict)


def decode(run: Run, name: str, split: str, sources: list[Any], size: int, *, strict: bool = False) -> Stage:
    """Decode images into a memory map, as a stage of any name; the rest is as for :func:`prepare_images`."""
    config = run.config

    desk = Desk(run.folder, name)  # what is decoded when it is stopped is not decoded again

    def compute(folder: Path) -> dict[str, Any]:
        options = {"strict": strict, "workers": cores(), "progress": run.progress, "desk": desk.path}
        skipped = write_images(sources, folder, size, **options)
        return {"images": len(sources) - len(skipped), "skipped": len(skipped)}

    settings = {
        "dataset": config.dataset,
        "split": split,
        "size": size,
        "sources": source_digest(sources, config.seed),
    }
    settings |= drawn_by(config)
    stage = run.make(name, compute, settings=settings, keeper=desk)
    return refuse_skipped(stage) if strict else stage


def prepare_fine_images(run: Run, split: str, finer: int = 2) -> Stage:
    """Decode one part's images at several times the run's size (``01-data/fine-images/<split>``), to cut windows from.

    Args:
        run: the run; the part's images are there.
        split: which part.
        finer: how many times.

    Raises:
        DataError: a file has changed since the images of the run's size were decoded, or others are there.
    """
    images = run.open(f"01-data/images/{split}")
    made = images.manifest
    count = made.config["images"]["count"] if split == train_split(run) else None
    sources = image_sources(run.config.dataset, run.data, split, count=count, seed=made.seed)
    stage = decode(run, f"01-data/fine-images/{split}", split, sources, finer * made.settings["size"])
    touched = source_digest(sources, made.seed) != made.settings["sources"]  # copied, or changed: the pixels tell
    if touched and (other := first_other(ImageSet.open(images.folder), ImageSet.open(stage.folder), finer)):
        raise DataError(
            f"The {split} images of {run.folder.name} have changed since they were decoded: {other}. Decode them anew, "
            f"and train again: {run.command_with_inputs('01')}"
        )
    return stage


def first_other(images: ImageSet, fine: ImageSet, finer: int) -> str:
    """Name the first image that is not the same in finer pixels, save for how it was made smaller; none is ''."""
    if images.ids != fine.ids:
        return next(iter(sorted(set(images.ids) ^ set(fine.ids))), "their order")
    for number, name in enumerate(images.ids):
        coarse, size = np.asarray(images.images[number], dtype=np.float32) / 255, images.size
        blocks = np.asarray(fine.images[number], dtype=np.float32).reshape(size, finer, size, finer, 3)
        if abs(blocks.mean((1, 3)) / 255 - coarse).mean() > ALIKE:
            return name
    return ""


def refuse_skipped(stage: Stage) -> Stage:
    """Refuse a stage that an earlier call, not strict, made without some files.

    Raises:
        DataError: a file was left out; the message names the first.
    """
    if stage.manifest.facts["skipped"]:
        count, first = stage.manifest.facts["skipped"], pd.read_csv(stage / "skipped.csv")["reason"].iloc[0]
        raise DataError(f"{stage.name} leaves out {count} files. The first: {first} Or go on without --strict.")
    return stage


def source_digest(sources: list[Any], seed: int) -> str:
    """Hash where images or masks come from: ids, and sizes and times of files or the seed of synthetic ones."""
    files = [(s.id, s.path.stat()) for s in sources if s.path is not None]
    if not files:
        return f"synthetic seed {seed}: {sources[0].id} … {sources[-1].id}"
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in files])


def drawn_by(config: Config) -> dict[str, int]:
    """Name the seed that synthetic images and masks hang on; real ones hang on none."""
    return {"seed": config.seed} if config.dataset == "synthetic" else {}


def image_size(run: Run, split: str | None = None, kind: str = "images") -> int:
    """Give the side in pixels that a part's images were decoded at; later notebooks follow it."""
    return run.open(f"01-data/{kind}/{split or train_split(run)}").manifest.settings["size"]


def load_images(run: Run, split: str | None = None) -> ImageSet:
    """Open the images of a part (default: the part that is trained on)."""
    return ImageSet.open(run.open(f"01-data/images/{split or train_split(run)}").folder)
