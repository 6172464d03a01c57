"""Images of the known datasets and of any folder, and a check of what lies there.

Masks are found by `masks.mask_sources`, in the module that training does not import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low

from uslnet_core.compute import Progress, quiet
from uslnet_core.data import layouts
from uslnet_core.data.decoding import decode
from uslnet_core.data.images import ImageSource
from uslnet_core.data.registry import DATASETS, Dataset, dataset
from uslnet_core.data.storage import Skipped, without_folder
from uslnet_core.errors import ConfigError, DataError

__all__ = [
    "DATASETS",
    "Dataset",
    "Report",
    "SplitReport",
    "check",
    "dataset",
    "image_sources",
    "isic_ids",
    "overlap",
]

PROBE = 64
"""Side in pixels at which `check` decodes: the whole file is read, but large JPEGs at a reduced scale."""


def image_sources(
    name: str, root: str | Path | None, split: str, *, count: int | None = None, seed: int = 0
) -> list[ImageSource]:
    """Find the images of a split.

    Args:
        name: a dataset, as in ``DATASETS``.
        root: the data folder (with ``isic2017/`` in it) or the dataset's own folder; not needed for
            ``synthetic``.
        split: ``train``, ``validation``, ``test`` or ``all``; ``all`` leaves out a test set, which is read
            only when asked for by name.
        count: images of each part: how many synthetic ones to draw (None: the generator's own number), or,
            for others, only the first so many by id.
        seed: seed of the synthetic images.

    Returns:
        One source an image, in the order of the ids.

    Raises:
        ConfigError: unknown dataset or split, or a count below 1.
        DataError: the folder is missing or empty; the message shows the layout that is expected.
    """
    known = dataset(name)
    if count is not None and count < 1:
        raise ConfigError(f"count is {count}; expected 1 or more images, or none for all.")
    found: list[ImageSource] = []
    for part in known.parts(split):
        if name == "synthetic":
            from uslnet_core.data import synthetic

            found += [
                ImageSource(each, synthetic=(synthetic.index_of(each), seed)) for each in synthetic.ids(part, count)
            ]
        else:
            found += [ImageSource(key, path) for key, path in _pairs(known, root, part)[:count]]
    return found


def _pairs(known: Dataset, root: str | Path | None, part: str) -> list[tuple[str, Path]]:
    """Images of one part as (id, file)."""
    root = Path(root) if root is not None else None
    if known.name == "folder":
        return layouts.own_images(root)
    if known.name != "ph2":
        return layouts.challenge_images(known, root, part)
    pairs = layouts.ph2_files(root, "Dermoscopic_Image")
    if not pairs:
        raise DataError(
            f"{layouts.ph2_folder(root)} holds no image; expected "
            "IMD002/IMD002_Dermoscopic_Image/IMD002.bmp and so on. Unpack the archive there again."
        )
    return pairs


def isic_ids(sources: Sequence[ImageSource]) -> set[str]:
    """Collect the archive numbers in the ids of images, for example ``ISIC_0000000``.

    Args:
        sources: images of any dataset.

    Returns:
        The numbers; images from elsewhere have none.
    """
    found = (re.search(r"ISIC_\d{7}", source.id, re.IGNORECASE) for source in sources)
    return {match.group().upper() for match in found if match}


def overlap(first: Sequence[ImageSource], second: Sequence[ImageSource]) -> set[str]:
    """Find images that two sets share. Training on one and scoring on the other would leak through them.

    Args:
        first: images of one set.
        second: images of another.

    Returns:
        The archive's ids that occur in both.
    """
    return isic_ids(first) & isic_ids(second)


@dataclass
class SplitReport:
    """What `check` found in one part of a dataset.

    Attributes:
        split: the part's name.
        images: number of image files.
        masks: number of mask files.
        expected: the official number of images, or None.
        unreadable: images and masks that cannot be read, with the reason.
        masks_without_image: ids of masks whose image is not there.
        images_without_mask: ids of images that have no mask.
        size_mismatches: masks of another size than their image, with both sizes.
        widths: smallest, median and largest width of the images, pixels; None if none could be read.
        heights: the same of the heights.
    """

    split: str
    images: int = 0
    masks: int = 0
    expected: int | None = None
    unreadable: list[Skipped] = field(default_factory=list)
    masks_without_image: list[str] = field(default_factory=list)
    images_without_mask: list[str] = field(default_factory=list)
    size_mismatches: list[Skipped] = field(default_factory=list)
    widths: tuple[int, int, int] | None = None
    heights: tuple[int, int, int] | None = None


@dataclass
class Report:
    """What `check` found.

    Attributes:
        name: the dataset.
        splits: part → what was found in it.
        absent: parts that are not on the disk, with the reason.
        overlaps: pairs of parts, such as ``"isic2017 train, isic2018 train"`` → the ids that they share.
    """

    name: str
    splits: dict[str, SplitReport] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    overlaps: dict[str, set[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all that is there can be used: something is there, and nothing is a problem."""
        return bool(self.splits) and not self.problems

    @property
    def problems(self) -> list[str]:
        """Sentences on what should be mended."""
        return [line for each in self.splits.values() for line in _problems(each)]

    @property
    def notes(self) -> list[str]:
        """Sentences on what is worth knowing, and not wrong in itself."""
        lines = [f"{split}: not there. {reason}" for split, reason in self.absent.items()]
        for each in self.splits.values():
            if each.images_without_mask:
                lines.append(f"{each.split}: {len(each.images_without_mask)} images have no mask and cannot be scored.")
            if each.expected not in (None, each.images):
                lines.append(f"{each.split}: {each.images} images; the official set has {each.expected}.")
        for pair, shared in self.overlaps.items():
            lines.append(
                f"{pair}: {len(shared)} images are in both. Training on one and scoring on the other leaks, "
                "unless they are removed."
            )
        return lines


def _problems(part: SplitReport) -> Iterator[str]:
    for each in part.unreadable:
        yield f"{part.split}: {each.reason}"
    for each in part.size_mismatches:
        yield f"{part.split}: {each.reason}"
    for each in part.masks_without_image:
        yield f"{part.split}: the mask of {each} has no image."


def check(
    name: str, root: str | Path | None, *, splits: Sequence[str] | None = None, progress: Progress = quiet
) -> Report:
    """Look through a dataset: counts, unreadable files, pairs of image and mask, sizes, overlaps.

    Every file is decoded. That reads masks, so no stage that trains may call this.

    Args:
        name: a dataset, as in ``DATASETS``.
        root: the data folder.
        splits: parts to look at, all of which must be there; by default those that are, save a sealed test
            set.
        progress: called after each file.

    Returns:
        What was found.

    Raises:
        ConfigError: unknown dataset or split.
        DataError: the folder or a part is missing or empty.
    """
    known = dataset(name)
    asked = known.parts("all") if splits is None else [part for each in splits for part in known.parts(each)]
    report = Report(name)
    images: dict[str, list[ImageSource]] = {}
    first: DataError | None = None
    for part in asked:
        try:
            images[part] = image_sources(name, root, part)
        except DataError as error:
            if splits is not None:
                raise
            report.absent[part] = str(error)
            first = first or error
    if first is not None and not images:
        raise first
    for part, sources in images.items():
        report.splits[part] = _check_part(known, root, part, sources, progress)
    report.overlaps = _overlaps(name, root, images)
    return report


def _check_part(
    known: Dataset, root: str | Path | None, part: str, sources: list[ImageSource], progress: Progress
) -> SplitReport:
    # Imported here alone: whoever imports this module for its images must not get the masks along.
    from uslnet_core.data.masks import mask_sources, read_mask

    masks = mask_sources(known.name, root, part)
    out = SplitReport(part, len(sources), len(masks), known.expected.get(part))
    ids, masked = {source.id for source in sources}, {mask.id for mask in masks}
    out.masks_without_image = sorted(masked - ids)
    out.images_without_mask = sorted(ids - masked)
    sizes: dict[str, tuple[int, int]] = {}
    files = [each for each in (*sources, *masks) if each.path is not None]
    for done, each in enumerate(files, 1):
        try:
            if isinstance(each, ImageSource):
                sizes[each.id] = decode(each.path, PROBE, large=0)[1:]  # only whether it can be read, and its size
            else:
                height, width = read_mask(each.path).shape
                size = sizes.get(each.id, (width, height))
                if size != (width, height):
                    theirs = f"{size[0]} × {size[1]}"
                    reason = f"{each.path.name} is {width} × {height} pixels, but its image is {theirs}."
                    out.size_mismatches.append(Skipped(each.id, reason))
        except DataError as error:
            out.unreadable.append(Skipped(each.id, without_folder(error, each.path)))
        progress(f"{known.name} {part}", done, len(files))
    if sizes:
        out.widths, out.heights = (
            (min(side), median_low(side), max(side)) for side in zip(*sizes.values(), strict=True)
        )
    return out


def _overlaps(name: str, root: str | Path | None, images: dict[str, list[ImageSource]]) -> dict[str, set[str]]:
    """Compare the parts with one another, and with the other ISIC sets in the same data folder."""
    here = [(f"{name} {part}", sources) for part, sources in images.items()]
    others = []
    for other in DATASETS.values():
        if other.images_folder and other.name != name and root is not None:
            for part in other.parts("all"):
                for place in (Path(root), Path(root).parent):
                    folder = place / other.name / other.images_folder[part]
                    if folder.is_dir():
                        found = layouts.files_in(folder, layouts.is_image)
                        others.append((f"{other.name} {part}", [ImageSource(each.stem, each) for each in found]))
                        break
    pairs = [(a, b) for position, a in enumerate(here) for b in (*here[position + 1 :], *others)]
    return {f"{a}, {b}": shared for (a, left), (b, right) in pairs if (shared := overlap(left, right))}
