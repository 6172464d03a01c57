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
from uslnet_core.data.progress import COLUMNS, LOG, Log
from uslnet_core.data.storage import (
    Skipped,
    disk_errors,
    forget,
    in_order,
    read_table,
    refuse_duplicates,
    require_space,
    rows_there,
    whole_files,
    without_folder,
    write_rows,
    write_table,
)
from uslnet_core.errors import DataError, RunError

__all__ = ["ImageSet", "ImageSource", "read_image", "write_images"]

HELD = 64 * 2**20  # bytes that are read of the memory map before its pages are let go


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
    desk: Path | None = None,
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
        desk: a folder, there already and on the same disk, for what is not whole yet: a call that is stopped leaves its
            work in it, and the next one with the same sources and size goes on from there. By default all is removed.

    Returns:
        The images that were left out, with the reason.

    Raises:
        DataError: no source, no readable image, two with one id, a bad image under ``strict``, too little
            room, or a folder that cannot be written. Nothing half written is left.
    """
    if not sources:
        raise DataError(f"No images to write to {folder}: the list is empty. Check the dataset's folder.")
    refuse_duplicates(source.id for source in sources)
    row = ((size, size, 3), np.uint8)
    there = rows_there(desk / "images.npy.part", *row) if desk else 0
    require_space(folder, (len(sources) - there) * size * size * 3, f"{len(sources)} images of {size} × {size}")

    def attempt(source: ImageSource) -> tuple[np.ndarray, int, int] | DataError:
        try:
            return draw_or_decode(source, size)
        except DataError as error:
            return error

    with disk_errors(folder, "images"):
        folder.mkdir(parents=True, exist_ok=True)
        names = [folder / name for name in ("images.npy", "index.csv", "skipped.csv")]
        with whole_files(*names, desk=desk) as (images, table, left_out):
            log = Log(desk / LOG if desk else None, sources, there, strict=strict)
            there, left = log.good, sources[len(log) :]

            def good_rows() -> Iterator[np.ndarray]:
                for source, made in zip(left, in_order(attempt, left, workers), strict=True):
                    if isinstance(made, DataError):
                        if strict:
                            raise made
                        log.add(source.id, reason=without_folder(made, source.path))
                    else:
                        yield made[0]
                        log.add(source.id, source.path.name if source.path else "", made[1], made[2])
                    progress("images", len(log), len(sources))

            with log:
                found = write_rows(images, good_rows(), *row, len(sources), there)
            skipped = [Skipped(each["id"], each["reason"]) for each in log.rows if each["reason"]]
            if not found:
                raise DataError(
                    f"None of the {len(sources)} images could be read. The first: {skipped[0].reason} "
                    "Check that the folder holds JPEG, PNG, BMP or TIFF files."
                )
            write_table(table, COLUMNS, [[each[name] for name in COLUMNS] for each in log.rows if not each["reason"]])
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
        self._held = 0

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

    def pixels(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """Read some images as they are stored.

        Memory grows with B alone: what was read of the memory map is let go again and again.

        Args:
            indices: B positions.

        Returns:
            (B, S, S, 3) uint8, a copy on the CPU.
        """
        pixels = self.images[np.asarray(indices)]
        self._held += pixels.nbytes
        if self._held > HELD:
            self._held = 0
            forget(self.images)
        return torch.from_numpy(pixels)

    def batch(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """Load some images for a network.

        Args:
            indices: B positions.

        Returns:
            (B, 3, S, S) float32 in [0, 1], on the CPU.
        """
        return as_floats(self.pixels(indices))


def read(images: ImageSet, device: torch.device, indices: torch.Tensor) -> torch.Tensor:
    """Read some images as they are stored, into memory that a GPU can fetch them from by itself, if there is one.

    Args:
        images: the set.
        device: where they will go.
        indices: B positions.

    Returns:
        (B, S, S, 3) uint8, on the CPU.
    """
    pixels = images.pixels(indices)
    return pixels.pin_memory() if device.type == "cuda" else pixels


def as_floats(pixels: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Turn stored pixels into what networks take: moved first, since bytes are a quarter of floats.

    Args:
        pixels: (B, S, S, 3) uint8; from pinned memory they are moved while the processor goes on.
        device: where the result goes.

    Returns:
        (B, 3, S, S) float32 in [0, 1], the same numbers on every device.
    """
    moved = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
    floats = moved.to(torch.float32, memory_format=torch.contiguous_format)
    # A divisor that lies on the device: CUDA multiplies by the reciprocal of a plain number, which rounds otherwise.
    return floats.div_(torch.tensor(255.0, device=device))
