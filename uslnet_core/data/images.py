"""What training sees: images without masks, decoded once into a memory map.

Nothing here knows of masks, so a function that takes an `ImageSet` cannot read one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.decoding import decode, read_image
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

__all__ = ["ImageSet", "ImageSource", "read_image", "write_images"]

COLUMNS = ("id", "file", "width", "height")


@dataclass(frozen=True)
class ImageSource:
    """Where one image comes from: a file, or the synthetic generator.

    Attributes:
        id: the image's name, unique in its dataset.
        path: the file, or None for a synthetic image.
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
            raise DataError(f"Source {self.id!r} needs either a path or a synthetic (index, seed), and not both.")


def draw_or_decode(source: ImageSource, size: int) -> tuple[np.ndarray, int, int]:
    """Make one square image from its source.

    Args:
        source: a file or a synthetic image.
        size: side of the square in pixels.

    Returns:
        (size, size, 3) uint8, and the source's own width and height.

    Raises:
        DataError: as in `read_image`.
    """
    if source.path is not None:
        return decode(source.path, size)
    from uslnet_core.data import synthetic  # only synthetic data needs the generator

    index, seed = source.synthetic
    return np.asarray(synthetic.image(index, size=size, seed=seed), dtype=np.uint8), size, size


def write_images(
    sources: Sequence[ImageSource],
    folder: Path,
    size: int,
    *,
    strict: bool = False,
    workers: int = 1,
    progress: Progress = quiet,
) -> list[Skipped]:
    """Decode images once into ``images.npy`` and ``index.csv``.

    An image that cannot be read is left out, and named in ``skipped.csv``.

    Args:
        sources: the images, in the order they shall have.
        folder: where the files go; made if missing.
        size: side of the squares in pixels.
        strict: stop at the first bad image instead of leaving it out.
        workers: threads that decode.
        progress: called after each image.

    Returns:
        The images that were left out, with the reason.

    Raises:
        DataError: no source, no readable image, two with one id, a bad image under ``strict``, too little
            room, or a folder that cannot be written. Nothing half written is left.
    """
    if not sources:
        raise DataError(f"No images to write to {folder}: the list is empty. Check the dataset's folder.")
    refuse_duplicates(source.id for source in sources)
    require_space(folder, len(sources) * size * size * 3, f"{len(sources)} images of {size} × {size}")
    index: list[tuple[str, str, int, int]] = []
    skipped: list[Skipped] = []

    def attempt(source: ImageSource) -> tuple[np.ndarray, int, int] | DataError:
        try:
            return draw_or_decode(source, size)
        except DataError as error:
            return error

    def good_rows() -> Iterator[np.ndarray]:
        for done, (source, made) in enumerate(zip(sources, in_order(attempt, sources, workers), strict=True), 1):
            if isinstance(made, DataError):
                if strict:
                    raise made
                skipped.append(Skipped(source.id, without_folder(made, source.path)))
            else:
                array, width, height = made
                index.append((source.id, source.path.name if source.path else "", width, height))
                yield array
            progress("images", done, len(sources))

    with disk_errors(folder, "images"):
        folder.mkdir(parents=True, exist_ok=True)
        names = [folder / name for name in ("images.npy", "index.csv", "skipped.csv")]
        with whole_files(*names) as (images, table, left_out):
            if not write_rows(images, good_rows(), (size, size, 3), np.uint8, len(sources)):
                raise DataError(
                    f"None of the {len(sources)} images could be read. The first: {skipped[0].reason} "
                    "Check that the folder holds JPEG, PNG, BMP or TIFF files."
                )
            write_table(table, COLUMNS, index)
            write_table(left_out, ("id", "reason"), [(each.id, each.reason) for each in skipped])
    return skipped


class ImageSet:
    """Images of one split, as training and inference see them.

    Attributes:
        ids: the images' ids, in order.
        images: (N, S, S, 3) uint8, a read-only memory map.
        size: S, the side in pixels.
    """

    def __init__(self, ids: Sequence[str], images: np.ndarray) -> None:
        """Join ids and pixels.

        Args:
            ids: N ids.
            images: (N, S, S, 3) uint8.

        Raises:
            DataError: the shapes do not fit.
        """
        if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or images.dtype != np.uint8:
            raise DataError(f"Images are {images.dtype} of shape {images.shape}; expected uint8 of (N, S, S, 3).")
        if len(ids) != len(images):
            raise DataError(f"{len(ids)} ids for {len(images)} images; expected one each.")
        self.ids = tuple(ids)
        self.images = images
        self.size = images.shape[1]

    @classmethod
    def open(cls, folder: str | Path) -> ImageSet:
        """Open what `write_images` wrote.

        Args:
            folder: the folder with ``images.npy`` and ``index.csv``.

        Returns:
            The images; pixels are read from disk when used.

        Raises:
            RunError: a file is missing or damaged.
        """
        folder = Path(folder)
        try:
            images = np.load(folder / "images.npy", mmap_mode="r")
            return cls([row["id"] for row in read_table(folder / "index.csv")], images)
        except FileNotFoundError as error:
            raise RunError(
                f"No images at {folder}: {Path(error.filename).name} is missing. Notebook 01 makes it: `uslnet run 01`."
            ) from error
        except (ValueError, KeyError, EOFError, DataError) as error:
            raise RunError(
                f"The images at {folder} are damaged ({error}). Delete the folder and run `uslnet run 01`."
            ) from error

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def batch(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """Load some images for a network.

        Args:
            indices: B positions.

        Returns:
            (B, 3, S, S) float32 in [0, 1], on the CPU.
        """
        pixels = torch.from_numpy(self.images[np.asarray(indices)])  # (B, S, S, 3), a copy in memory
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
