"""The folder of public checkpoints: fetched once, verified each time, held to the checksum they had at first."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.storage import disk_errors, human, require_space
from uslnet_core.download import digest, download_file, mismatch, size_of
from uslnet_core.errors import DataError
from uslnet_core.weights.registry import CHECKPOINTS, Checkpoint, checkpoint

CHECKSUMS = "checksums.json"
"""Beside the files: file name → sha256, as seen at first."""

UNKNOWN_SIZE = 10**9
"""Bytes that are kept free for a file whose size nobody says; the largest known is under 400 MB."""


@dataclass(frozen=True)
class Checked:
    """What became of one checkpoint's file.

    Attributes:
        name: the checkpoint.
        file: its file's name.
        state: ``ok``, ``recorded now``, ``changed`` or ``missing``.
        detail: what a reader should know of it; may be empty.
        sha256: of the file, empty if it is missing.
    """

    name: str
    file: str
    state: str
    detail: str = ""
    sha256: str = ""


def recorded(folder: Path) -> dict[str, str]:
    """Read the checksums that were recorded in a folder: file name → sha256.

    Raises:
        DataError: the record is there and cannot be read.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(known, dict) or not all(isinstance(each, str) for each in known.values()):
            raise ValueError("it is no table of checksums")
    except ValueError as error:
        raise DataError(
            f"{path} cannot be read ({error}). It is what tells a changed checkpoint. If you trust the files beside "
            "it, delete it, and it is made anew."
        ) from None
    return known


def _record(folder: Path, file: str, sha256: str) -> None:
    """Add a checksum; the file is replaced whole, so that a reader never meets half of it."""
    part = folder / f".{CHECKSUMS}-{os.getpid()}"
    with disk_errors(folder, CHECKSUMS):
        try:
            text = json.dumps({**recorded(folder), file: sha256}, indent=2, sort_keys=True)
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, folder / CHECKSUMS)
        finally:
            part.unlink(missing_ok=True)


def inspect(name: str, folder: Path) -> Checked:
    """Compare a checkpoint's file with what is published and with what was recorded; record it at first sight.

    Args:
        name: one of ``CHECKPOINTS``.
        folder: the weights folder.

    Returns:
        Its state; ``changed`` and ``missing`` are told, not raised.

    Raises:
        ConfigError: unknown checkpoint.
        DataError: the record of checksums cannot be read or written.
    """
    known = checkpoint(name)
    path, before = folder / known.file, recorded(folder).get(known.file)
    if not path.is_file():
        kept = size_of(_part(folder, known))
        return Checked(name, known.file, "missing", f"{human(kept)} of it are there: fetch it again" if kept else "")
    sha256 = digest(path)
    if known.checksum and (difference := mismatch(path, known.checksum)):
        return Checked(name, known.file, "changed", difference, sha256)
    if before is None:
        try:
            _record(folder, known.file, sha256)
        except DataError:
            if known.checksum is None:  # then the record is all there is to hold it against
                raise
            return Checked(name, known.file, "ok", _by(known), sha256)
        return Checked(name, known.file, "recorded now", _by(known), sha256)
    if before != sha256:
        detail = f"its sha256 is {sha256}, recorded at first was {before}"
        return Checked(name, known.file, "changed", detail, sha256)
    return Checked(name, known.file, "ok", _by(known), sha256)


def _by(known: Checkpoint) -> str:
    """Say what a file was held against."""
    if known.checksum is None:
        return "none is published: held to what it was at first"
    return f"as published ({known.checksum.split(':')[0]})"


def need(name: str, folder: Path) -> tuple[Path, str]:
    """Give a checkpoint's file, verified.

    Args:
        name: one of ``CHECKPOINTS``.
        folder: the weights folder.

    Returns:
        Its path and its sha256.

    Raises:
        ConfigError: unknown checkpoint.
        DataError: it is not there (the message says how to fetch it), or it changed.
    """
    found = _refuse_changed(inspect(name, folder), folder)
    if found.state == "missing":
        raise DataError(
            f"{name} is not in {folder}: expected {found.file} there. Get it with `uslnet weights fetch {name} "
            f"--weights {folder}`."
        )
    return folder / found.file, found.sha256


def _refuse_changed(found: Checked, folder: Path) -> Checked:
    if found.state == "changed":
        raise DataError(
            f"{folder / found.file} is not the checkpoint {found.name}: {found.detail}. Delete it and run "
            f"`uslnet weights fetch {found.name} --weights {folder}`. A file of your own is better kept under another "
            "name; give its path as init."
        )
    return found


def check(folder: Path, *, progress: Progress = quiet) -> list[Checked]:
    """Inspect every checkpoint of a folder: those that are there, in part or whole, and those that once were.

    Args:
        folder: the weights folder; it need not exist.
        progress: called with the file's name and how many of the registry are done.

    Returns:
        One row a checkpoint, in the registry's order.

    Raises:
        DataError: the record of checksums cannot be read or written.
    """
    before = recorded(folder)
    rows = []
    for done, known in enumerate(CHECKPOINTS.values(), start=1):
        if known.file in before or (folder / known.file).is_file() or _part(folder, known).is_file():
            rows.append(inspect(known.name, folder))
        progress("checkpoints", done, len(CHECKPOINTS))
    return rows


def fetch(name: str, folder: Path, *, progress: Progress = quiet) -> Checked:
    """Download a checkpoint and verify it; one that is there already is only verified.

    Args:
        name: one of ``CHECKPOINTS``.
        folder: the weights folder; made if missing.
        progress: called with the file's name, the bytes that are there, and the bytes in all.

    Returns:
        Its state: ``ok``, or ``recorded now``.

    Raises:
        ConfigError: unknown checkpoint.
        DataError: it cannot be had whole, differs from what is published or was recorded, or does not fit on the disk.
    """
    known = checkpoint(name)
    path, part = folder / known.file, _part(folder, known)
    if not path.is_file():
        require_space(folder, max((known.size or UNKNOWN_SIZE) - size_of(part), 0), known.title)
        with disk_errors(folder, known.file):
            folder.mkdir(parents=True, exist_ok=True)
        download_file([known.url], part, title=known.file, size=known.size, checksum=known.checksum, progress=progress)
        _refuse_other(part, known, recorded(folder).get(known.file))
        os.replace(part, path)
    return _refuse_changed(inspect(name, folder), folder)


def _part(folder: Path, known: Checkpoint) -> Path:
    return folder / f"{known.file}.part"


def _refuse_other(part: Path, known: Checkpoint, before: str | None) -> None:
    """Refuse a download that is no checkpoint, or not the one of last time, before it takes the file's name."""
    with part.open("rb") as file:
        start = file.read(2)
    # torch writes a zip file, or in the old days a pickle; a page that says sorry must not be recorded as a checkpoint
    if start != b"PK" and start[:1] != b"\x80":
        part.unlink()
        raise DataError(
            f"{known.url} sent no checkpoint, but something that begins with {start!r}. It was deleted. Open the "
            "address in a browser to see what it is."
        )
    if before is not None and (difference := mismatch(part, f"sha256:{before}")):
        part.unlink()
        raise DataError(
            f"{known.file} is not the file of last time: {difference}. It was deleted. If you trust the new one, take "
            f"{known.file} out of {CHECKSUMS} and run the same command again."
        )
