"""What image and mask caches share: whole-file writes, disk-space checks, and a note of what was left out."""

from __future__ import annotations

import csv
import errno
import math
import mmap
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.lib import format as npy

from uslnet_core.errors import DataError

MARGIN = 64 * 2**20
"""Bytes that stay free on the disk after a cache or a download."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Skipped:
    """An image or mask that was left out.

    Attributes:
        id: the image's id.
        reason: why, without the folder it lies in.
    """

    id: str
    reason: str


def human(size: int) -> str:
    """Write a number of bytes for a reader: ``human(5_800_000_000) == '5.8 GB'``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what would fill the disk.

    Args:
        folder: where the files will go; it need not exist yet.
        needed: bytes that will be written.
        what: names the thing in the message.

    Raises:
        DataError: fewer than ``needed`` bytes and a margin of 64 MiB are free.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + MARGIN:
        raise DataError(
            f"Not enough room in {folder} for {what}: {human(needed + MARGIN)} are needed, {human(free)} "
            "are free. Free some space or choose another folder."
        )


@contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn the operating system's refusals into a message for the user.

    Args:
        folder: the folder being written.
        what: what is being written.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"The disk became full while writing {what} to {folder}. Free some space and run it again."
            ) from error
        raise DataError(
            f"Cannot write {what} to {folder}: {error.strerror or error}. Choose a folder that you may write to."
        ) from error


@contextmanager
def whole_files(*paths: Path, desk: Path | None = None) -> Iterator[list[Path]]:
    """Write several files so that either all of them appear, or none changes.

    Args:
        *paths: the final names, in the order in which they appear.
        desk: folder for what is not whole yet, on the same disk, where it stays when the writing is stopped; by default
            it is written beside the final names and removed. After a full disk or bad data, nothing is left anywhere.

    Yields:
        The temporary names to write to.
    """
    parts = [(desk or path.parent) / (path.name + ".part") for path in paths]
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    except (OSError, DataError):
        desk = None  # there is nothing to go on from, and a full disk needs the room
        raise
    finally:
        for part in parts if desk is None else ():
            part.unlink(missing_ok=True)


def write_rows(
    path: Path, rows: Iterable[np.ndarray], row_shape: tuple[int, ...], dtype: type, most: int, there: int = 0
) -> int:
    """Stream arrays of one shape into an ``.npy`` file whose length is known only at the end.

    A memory map would be shorter to write, but on a full disk it kills the process (SIGBUS); a plain write
    raises an error that can be told to the user. The header has room for any length, so it is corrected in
    place.

    Args:
        path: file to write.
        rows: arrays of shape ``row_shape``.
        row_shape: shape of one row.
        dtype: type of the file.
        most: the largest number of rows that there may be.
        there: rows that the file holds already and that stay; what comes after them is overwritten.

    Returns:
        How many rows the file holds.
    """
    header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    count = there
    with path.open("r+b" if there else "wb") as file:
        npy.write_array_header_1_0(file, {**header, "shape": (most, *row_shape)})
        start = file.tell()
        file.seek(start + there * row_bytes(row_shape, dtype))
        file.truncate()
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype=dtype).data)
            count += 1
        file.seek(0)
        npy.write_array_header_1_0(file, {**header, "shape": (count, *row_shape)})
        assert file.tell() == start
    return count


def row_bytes(row_shape: tuple[int, ...], dtype: type) -> int:
    """Count the bytes of a row."""
    return math.prod(row_shape) * np.dtype(dtype).itemsize


def rows_there(path: Path, row_shape: tuple[int, ...], dtype: type) -> int:
    """Count the whole rows that a stopped `write_rows` has left in a file; none where there is no such file."""
    try:
        with path.open("rb") as file:
            npy.read_magic(file)
            npy.read_array_header_1_0(file)
            return (path.stat().st_size - file.tell()) // row_bytes(row_shape, dtype)
    except (OSError, ValueError):
        return 0


@contextmanager
def growing(path: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an ``.npy`` file part by part, so that a large array never stands in memory whole.

    Plain writes, for the reason that `write_rows` gives. The bytes are those of ``numpy.save``.

    Args:
        path: file to write; without a part, an empty float32 array of one dimension.

    Yields:
        A function that adds a part: an array of any length, its other axes and its type those of the first.
    """
    count, kind = 0, (np.dtype(np.float32), ())

    def header(file: IO[bytes]) -> None:
        described = {"descr": npy.dtype_to_descr(kind[0]), "fortran_order": False, "shape": (count, *kind[1])}
        npy.write_array_header_1_0(file, described)

    with path.open("wb") as file:

        def add(part: np.ndarray) -> None:
            nonlocal count, kind
            if not count:
                kind = (part.dtype, part.shape[1:])
                file.seek(0)
                header(file)
            if (part.dtype, part.shape[1:]) != kind:
                raise ValueError(f"A part of {part.dtype} {part.shape} for an array of {kind[0]} (…, {kind[1]}).")
            file.write(np.ascontiguousarray(part).data)
            count += len(part)

        yield add
        file.seek(0)
        header(file)  # it has room for any length


def save_parts(path: Path, parts: Iterable[np.ndarray]) -> None:
    """Write an array that comes in parts, as `growing` does."""
    with growing(path) as add:
        for part in parts:
            add(part)


def forget(array: np.ndarray) -> None:
    """Let go of what was read of a memory map, so that a pass over all of it does not fill this process.

    The system keeps the pages in its own cache while it has room. Nothing is lost: not even what was written. Where the
    system cannot be told (Windows), it takes pages back by itself when it needs room. Other arrays are left alone.

    Args:
        array: a memory map.
    """
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        while isinstance(array, np.ndarray):
            array = array.base
        if isinstance(array, mmap.mmap):
            array.madvise(mmap.MADV_DONTNEED)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a small CSV file in UTF-8 with Unix line ends, the same bytes on every system.

    Args:
        path: file to write.
        columns: the header.
        rows: one sequence a line.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file written by `write_table`, one dictionary a line."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def in_order(function: Callable[[In], Out], items: Sequence[In], workers: int) -> Iterator[Out]:
    """Map with threads, in order, holding no more than a few results at a time.

    Args:
        function: called once for each item; image decoding releases Python's lock.
        items: its arguments.
        workers: threads; 1 means none.

    Yields:
        The results, in the order of the items.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    left = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        begun = deque(pool.submit(function, item) for item in islice(left, 8 * workers))
        try:
            while begun:
                made = begun.popleft().result()
                begun.extend(pool.submit(function, item) for item in islice(left, 1))
                yield made
        finally:
            for each in begun:  # when it is stopped, what has not begun need not
                each.cancel()


def without_folder(error: DataError, path: Path | None) -> str:
    """The message with the file's name for its path, so that artefacts name no one's folders."""
    return str(error).replace(str(path), path.name) if path is not None else str(error)


def refuse_duplicates(ids: Iterable[str]) -> None:
    """Raise a `DataError` if two sources share an id."""
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise DataError(f"Two images have the id {each!r}; each needs its own. Rename one of the files.")
        seen.add(each)
