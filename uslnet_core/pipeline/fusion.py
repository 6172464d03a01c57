"""Maps that are there, in one: of several encoders, as the paper has it, of several sources, and with appearance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from uslnet_core.data.images import ImageSet
from uslnet_core.pipeline.sources import BLENDS, FUSED
from uslnet_core.runs import Run
from uslnet_core.saliency.appearance import appearance
from uslnet_core.saliency.fuse import agreement, mean_maps, weighed_maps
from uslnet_core.saliency.source import upsample
from uslnet_core.stages import Stage

BLENDERS = {BLENDS["evenly"]: mean_maps, BLENDS["by_sureness"]: weighed_maps}
AT_ONCE = 64  # images that are blended at a time


def fit_to_fuse(heads: Mapping[str, Stage]) -> list[str]:
    """Name the encoders whose CCAMs are fused: decided on the training images, without a mask.

    A CCAM whose lesion side lies more along the border of the frame than inside tells places and not things. In a mean
    of three it would cap every lesion at two thirds. If all are such, all are fused, and all warn.

    Args:
        heads: the stage of each encoder's CCAM on the training part.
    """
    fit = [name for name, stage in heads.items() if not stage.manifest.facts["orientation"]["about_position"]]
    return fit or list(heads)


def average(run: Run, split: str, cam: str, parts: Sequence[Stage]) -> Stage:
    """Average maps of one kind that are there."""

    def compute(folder: Path) -> None:
        maps = [np.load(part / "maps.npy") for part in parts]
        cells = min(each.shape[1] for each in maps)  # networks differ in the size of their cells
        alike = [each if each.shape[1] == cells else upsample(torch.from_numpy(each), cells).numpy() for each in maps]
        np.save(folder / "maps.npy", mean_maps(alike))

    settings = {"seed": run.config.seed, "fusion": "mean"}
    return run.make(f"03-saliency/{cam}-{FUSED}/{split}", compute, settings=settings, inputs=parts)


def blend(run: Run, split: str, name: str, parts: Sequence[Stage]) -> Stage:
    """Fuse different sources, pixel by pixel, at the finest resolution among them.

    Args:
        run: the run.
        split: which images.
        name: of the source, as :func:`~uslnet_core.pipeline.sources.source_name` gives it; says how they are weighed.
        parts: the stages of the sources on this part.

    Returns:
        The stage: maps.npy; its facts say how far the sources agree, a mean over all pixels.
    """
    weigh = BLENDERS[name.partition("-")[0]]

    def compute(folder: Path) -> dict[str, float]:
        maps = [np.load(part / "maps.npy", mmap_mode="r") for part in parts]
        count, cells, agreed = len(maps[0]), max(each.shape[1] for each in maps), 0.0
        out = np.lib.format.open_memmap(folder / "maps.npy", "w+", np.float32, (count, cells, cells))
        for first in range(0, count, AT_ONCE):
            some = [upsample(torch.from_numpy(each[first : first + AT_ONCE].copy()), cells).numpy() for each in maps]
            out[first : first + AT_ONCE] = weigh(some)
            agreed += float(agreement(some).mean(axis=(1, 2), dtype=np.float64).sum())
        out.flush()
        return {"agreement": agreed / count}

    return run.make(f"03-saliency/{name}/{split}", compute, settings={"seed": run.config.seed}, inputs=parts)


def with_appearance(run: Run, split: str, maps: Stage) -> Stage:
    """Let the two colours of each image decide beside maps that are there (``03-saliency/appearance-<source>``).

    Args:
        run: the run.
        split: which images.
        maps: the stage of the maps on this part.

    Returns:
        The stage: maps.npy, at the images' own size.
    """
    images = run.open(f"01-data/images/{split}")

    def compute(folder: Path) -> None:
        image_set, given = ImageSet.open(images.folder), np.load(maps / "maps.npy", mmap_mode="r")
        shape = (len(image_set), image_set.size, image_set.size)
        out = np.lib.format.open_memmap(folder / "maps.npy", "w+", np.float32, shape)
        for part in torch.arange(len(image_set)).split(AT_ONCE):
            some = upsample(torch.from_numpy(given[part.numpy()]), image_set.size)
            out[part.numpy()] = appearance(image_set.batch(part), some).numpy()
            run.progress("appearance", int(part[-1]) + 1, len(image_set))
        out.flush()

    name = f"03-saliency/appearance-{maps.name.split('/')[1]}/{split}"
    return run.make(name, compute, settings={"seed": run.config.seed}, inputs=[images, maps])
