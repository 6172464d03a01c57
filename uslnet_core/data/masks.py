"""What only scoring sees: experts' outlines, in a cache of their own.

No module that trains, stops, selects, orients or sets a threshold may import this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uslnet_core.compute import Progress, quiet
from uslnet_core.data import layouts
from uslnet_core.data.decoding import opened, to_eight_bits
from uslnet_core.data.registry import dataset
from uslnet_core.data.storage import (
    Skipped,
    disk_errors,
    in_order,
    read_table,
    refuse_duplicates,
    require_space,
    whole_files,
    without_folder,
    write_rows,
    write_table,
)
from uslnet_core.errors import DataError, RunError

CUT = 128
"""A mask's pixel is lesion above this value, as in the challenge's own scorer."""

COLUMNS = ("id", "file", "width", "height", "has_mask")


@dataclass(frozen=True)
class MaskSource:
    """Where one mask comes from: a file, or the synthetic generator.

    Attributes:
        id: the id of the image that it outlines.
        path: the file, or None for a synthetic mask.
        synthetic: (index, seed) of a synthetic image, else None.
    """

    id: str
    path: Path | None = None
    synthetic: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse a source that names no origin, or two.

        Raises:
            DataError: not exactly one of ``path`` and ``synthetic`` is given.
        """
        if (self.path is None) == (self.synthetic is None):
            raise DataError(f"Mask {self.id!r} needs either a path or a synthetic (index, seed), and not both.")


def mask_sources(
    name: str, root: str | Path | None, split: str, *, count: int | None = None, seed: int = 0
) -> list[MaskSource]:
    """Find the masks of a split.

    Args:
        name: a dataset, as in ``DATASETS``.
        root: the data folder; not needed for ``synthetic``.
        split: ``train``, ``validation``, ``test`` or ``all``.
        count: how many images of each part `datasets.image_sources` was asked for. It sizes synthetic data;
            elsewhere all masks are listed, and `write_masks` takes those of the images at hand.
        seed: seed of the synthetic images.

    Returns:
        One source a mask, at most one for each image; empty if the dataset has none.

    Raises:
        ConfigError: unknown dataset or split.
        DataError: a folder is missing, or one mask would serve two images.
    """
    known = dataset(name)
    root = Path(root) if root is not None else None
    found: list[MaskSource] = []
    for part in known.parts(split):
        if name == "synthetic":
            from uslnet_core.data import synthetic

            found += [
                MaskSource(each, synthetic=(synthetic.index_of(each), seed)) for each in synthetic.ids(part, count)
            ]
            continue
        if name == "ph2":
            pairs = layouts.ph2_files(root, "lesion", "_lesion")
        elif name == "folder":
            pairs = layouts.own_masks(root)
        else:
            pairs = layouts.challenge_masks(known, root, part)
        found += [MaskSource(key, path) for key, path in pairs]
    return found


def read_mask(path: str | Path, size: int | None = None) -> np.ndarray:
    """Read one mask, lesion above 128 as in the challenge's scorer.

    Args:
        path: a PNG, BMP, TIFF or JPEG file; its brightness counts, its transparency does not.
        size: side of a square in pixels. The share of lesion in each of its cells is computed exactly, and a
            cell is lesion from one half on. None keeps the mask's own size.

    Returns:
        (H, W) bool, or (size, size) bool.

    Raises:
        DataError: the file is missing, is no image, is cut short, is smaller than 8 pixels, or holds only 0
            and 1 (which a cut at 128 would read as empty).
    """
    path = Path(path)
    with opened(path) as image:
        grey = np.asarray(to_eight_bits(image, path).convert("L"))
    if grey.max() == 1:
        raise DataError(f"{path} holds the values 0 and 1; a mask is expected in 0 and 255. Multiply it by 255.")
    mask = grey > CUT
    return mask if size is None else shrink(mask, size)


def shrink(mask: np.ndarray, size: int) -> np.ndarray:
    """Average a mask over the cells of a square grid, and cut at one half.

    The sums are whole numbers, so a cell that is exactly half lesion is lesion on every machine.

    Args:
        mask: (H, W) bool.
        size: S, the side of the grid.

    Returns:
        (S, S) bool, True where at least half of the cell's area is True.
    """
    height, width = mask.shape
    sums = _cell_sums(_cell_sums(mask, size).T, size).T  # (S, S), in units of 1 / (H·W) of a cell
    return 2 * sums >= height * width


def _cell_sums(values: np.ndarray, size: int) -> np.ndarray:
    """Integrate over ``size`` cells along the first axis, in 1/size of a pixel: (H, W) → (size, W)."""
    height = len(values)
    whole, rest = np.divmod(np.arange(size + 1) * height, size)  # cell edges: pixel, and 1/size parts of it
    pixels = np.stack([values[a:b].sum(axis=0, dtype=np.int64) for a, b in zip(whole[:-1], whole[1:], strict=True)])
    partly = values[np.minimum(whole, height - 1)] * rest[:, None]
    return pixels * size + np.diff(partly, axis=0)


def write_masks(
    sources: Sequence[MaskSource],
    images_index: str | Path,
    folder: Path,
    size: int,
    *,
    strict: bool = False,
    workers: int = 1,
    progress: Progress = quiet,
) -> list[Skipped]:
    """Write the masks of a set of images into ``masks.npy`` and ``index.csv``, in the order of the images.

    An image without a mask, or whose mask cannot be read or has another size than the image, keeps its row,
    empty and with ``has_mask`` false: it is left out of scoring.

    Args:
        sources: masks in any order; those of other images are not read.
        images_index: the ``index.csv`` that `images.write_images` wrote.
        folder: where the files go; made if missing.
        size: side of the squares in pixels.
        strict: stop at the first bad mask instead of leaving it out. A missing mask is not a bad one.
        workers: threads that decode.
        progress: called after each image.

    Returns:
        The bad masks, with the reason.

    Raises:
        DataError: no image has a usable mask, two masks for one image, a bad mask under ``strict``, too
            little room, or a folder that cannot be written. Nothing half written is left.
        RunError: the images' index is missing.
    """
    refuse_duplicates(source.id for source in sources)
    try:
        images = read_table(Path(images_index))
    except FileNotFoundError:
        raise RunError(f"No index of images at {images_index}. Notebook 01 makes it: `uslnet run 01`.") from None
    by_id = {source.id: source for source in sources}
    require_space(folder, len(images) * size * size, f"{len(images)} masks of {size} × {size}")
    index: list[tuple[str, str, int, int, bool]] = []
    skipped: list[Skipped] = []

    def attempt(row: dict[str, str]) -> np.ndarray | DataError | None:
        source = by_id.get(row["id"])
        try:
            return None if source is None else _fitting_mask(source, size, int(row["width"]), int(row["height"]))
        except DataError as error:
            return error

    def rows() -> Iterator[np.ndarray]:
        for done, (row, made) in enumerate(zip(images, in_order(attempt, images, workers), strict=True), 1):
            source = by_id.get(row["id"])
            path = source.path if source else None
            if isinstance(made, DataError):
                if strict:
                    raise made
                skipped.append(Skipped(row["id"], without_folder(made, path)))
            usable = isinstance(made, np.ndarray)
            index.append((row["id"], path.name if path else "", row["width"], row["height"], usable))
            yield made if usable else np.zeros((size, size), dtype=bool)
            progress("masks", done, len(images))

    with disk_errors(folder, "masks"):
        folder.mkdir(parents=True, exist_ok=True)
        names = [folder / name for name in ("masks.npy", "index.csv", "skipped.csv")]
        with whole_files(*names) as (masks, table, left_out):
            write_rows(masks, rows(), (size, size), np.bool_, len(images))
            if not any(row[-1] for row in index):
                first = f" The first: {skipped[0].reason}" if skipped else ""
                raise DataError(
                    f"None of the {len(images)} images has a usable mask, so there is nothing to "
                    f"score.{first} Training needs no masks; for scoring, put them where `uslnet data "
                    "check` finds them."
                )
            write_table(table, COLUMNS, index)
            write_table(left_out, ("id", "reason"), [(each.id, each.reason) for each in skipped])
    return skipped


def _fitting_mask(source: MaskSource, size: int, width: int, height: int) -> np.ndarray:
    """Make one (size, size) bool mask, and refuse one of another size than its image."""
    if source.path is None:
        from uslnet_core.data import synthetic

        index, seed = source.synthetic
        return np.asarray(synthetic.mask(index, size=size, seed=seed), dtype=bool)
    mask = read_mask(source.path)
    if mask.shape != (height, width):
        raise DataError(
            f"{source.path} is {mask.shape[1]} × {mask.shape[0]} pixels, but its image is {width} × "
            f"{height}. Replace the mask or leave it out."
        )
    return shrink(mask, size)


class MaskSet:
    """Masks of one split, for scoring.

    Attributes:
        ids: the images' ids, in the images' order.
        masks: (N, S, S) bool, a read-only memory map; rows without a mask are empty.
        has_mask: (N,) bool.
    """

    def __init__(self, ids: Sequence[str], masks: np.ndarray, has_mask: np.ndarray) -> None:
        """Join ids, pixels and flags.

        Args:
            ids: N ids.
            masks: (N, S, S) bool.
            has_mask: (N,) bool.

        Raises:
            DataError: the shapes do not fit.
        """
        if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or masks.dtype != np.bool_:
            raise DataError(f"Masks are {masks.dtype} of shape {masks.shape}; expected bool of (N, S, S).")
        if not len(ids) == len(masks) == len(has_mask):
            raise DataError(f"{len(ids)} ids and {len(has_mask)} flags for {len(masks)} masks; expected one each.")
        self.ids = tuple(ids)
        self.masks = masks
        self.has_mask = np.asarray(has_mask, dtype=bool)
        self._position = {each: position for position, each in enumerate(self.ids)}

    @classmethod
    def open(cls, folder: str | Path) -> MaskSet:
        """Open what `write_masks` wrote.

        Args:
            folder: the folder with ``masks.npy`` and ``index.csv``.

        Returns:
            The masks; pixels are read from disk when used.

        Raises:
            RunError: a file is missing or damaged.
        """
        folder = Path(folder)
        try:
            masks = np.load(folder / "masks.npy", mmap_mode="r")
            rows = read_table(folder / "index.csv")
            return cls([row["id"] for row in rows], masks, np.array([row["has_mask"] == "True" for row in rows]))
        except FileNotFoundError as error:
            raise RunError(
                f"No masks at {folder}: {Path(error.filename).name} is missing. Notebook 01 makes it: `uslnet run 01`."
            ) from error
        except (ValueError, KeyError, EOFError, DataError) as error:
            raise RunError(
                f"The masks at {folder} are damaged ({error}). Delete the folder and run `uslnet run 01`."
            ) from error

    def __len__(self) -> int:
        """Return the number of rows, those without a mask included."""
        return len(self.ids)

    @property
    def scored_ids(self) -> tuple[str, ...]:
        """Ids of the images that have a mask, in order: those that can be scored."""
        return tuple(each for each, usable in zip(self.ids, self.has_mask, strict=True) if usable)

    def select(self, ids: Sequence[str]) -> np.ndarray:
        """Load the masks of some images.

        Args:
            ids: n ids of images that have a mask.

        Returns:
            (n, S, S) bool, in the order of ``ids``.

        Raises:
            DataError: an id is unknown or has no mask.
        """
        for each in ids:
            if each not in self._position:
                raise DataError(f"No image {each!r} among the {len(self)} in this mask set. Check the split.")
            if not self.has_mask[self._position[each]]:
                raise DataError(f"Image {each!r} has no mask and cannot be scored. Take ids from `scored_ids`.")
        return np.array(self.masks[[self._position[each] for each in ids]])
