"""Maps that are there, in one: of several encoders, as the paper has it, of several sources, and with appearance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from uslnet_core.data.images import ImageSet
from uslnet_core.data.storage import forget, growing, save_parts
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
        cells = min(each.shape[1] for each in loaded(parts))  # networks differ in the size of their cells
        save_parts(folder / "maps.npy", map(mean_maps, together(parts, cells)))

    settings = {"seed": run.config.seed, "fusion": "mean"}
    return run.make(f"03-saliency/{cam}-{FUSED}/{split}", compute, settings=settings, inputs=parts)


def loaded(parts: Sequence[Stage]) -> list[np.ndarray]:
    """Open the maps of several stages as memory maps."""
    return [np.load(part / "maps.npy", mmap_mode="r") for part in parts]


def together(parts: Sequence[Stage], cells: int, *, always: bool = False) -> Iterator[list[np.ndarray]]:
    """Hand out maps of several stages side by side, :data:`AT_ONCE` images at a time, all with so many cells a side.

    Args:
        parts: the stages, of the same images.
        cells: side of the maps that are handed out.
        always: whether those that have that side are interpolated, too, which keeps them within [0, 1].
    """
    maps = loaded(parts)
    for first in range(0, len(maps[0]), AT_ONCE):
        some = [np.array(each[first : first + AT_ONCE]) for each in maps]
        keep = [not always and each.shape[1] == cells for each in some]
        yield [e if k else upsample(torch.from_numpy(e), cells).numpy() for e, k in zip(some, keep, strict=True)]
        for each in maps:
            forget(each)


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
        maps, agreed = loaded(parts), 0.0
        with growing(folder / "maps.npy") as add:
            for some in together(parts, max(each.shape[1] for each in maps), always=True):
                add(weigh(some))
                agreed += float(agreement(some).mean(axis=(1, 2), dtype=np.float64).sum())
        return {"agreement": agreed / len(maps[0])}

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
        with growing(folder / "maps.npy") as add:
            for part in torch.arange(len(image_set)).split(AT_ONCE):
                some = upsample(torch.from_numpy(given[part.numpy()]), image_set.size)
                add(appearance(image_set.batch(part), some).numpy())
                forget(given)
                run.progress("appearance", int(part[-1]) + 1, len(image_set))

    name = f"03-saliency/appearance-{maps.name.split('/')[1]}/{split}"
    return run.make(name, compute, settings={"seed": run.config.seed}, inputs=[images, maps])
