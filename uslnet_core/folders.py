"""Folders that appear whole or not at all, and what the system says when they cannot be written."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil

from uslnet_core.errors import DataError, RunError

DAY = 24 * 3600  # seconds


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def replace_folder(fresh: Path, target: Path) -> None:
    """Put a whole folder in place of another: at no moment is the target half written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)  # a process that was killed here before
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)  # the stage before stays
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new one is in place; what still reads the old one may keep it


def clear_leftovers(run: Path) -> None:
    """Remove what processes of this machine were writing into a run when they were killed, a day ago or longer.

    The day is for processes that this one cannot see, such as those of another container.
    """
    for folder in run.glob(f".*.{platform.node()}.*"):
        process, _, ending = folder.name.rpartition(f".{platform.node()}.")[2].partition(".")
        dead = ending in ("tmp", "old") and process.isdigit() and not psutil.pid_exists(int(process))
        with suppress(OSError):  # another process may be clearing them, too
            if dead and time.time() - folder.stat().st_mtime > DAY:
                shutil.rmtree(folder)


def explain_os_error(error: Exception, target: Path) -> None:
    """Turn a full disk or a folder without permission into a message for the user; let other errors pass.

    Raises:
        DataError: the disk is full.
        RunError: no permission.
    """
    number = error.errno if isinstance(error, OSError) else None
    # On a full disk numpy.save raises an OSError without a number, and safetensors an error of its own.
    short = isinstance(error, OSError) and number is None and re.fullmatch(r"\d+ requested and \d+ written", str(error))
    foreign = type(error).__name__ == "SafetensorError" and os.strerror(errno.ENOSPC) in str(error)
    if number in (errno.ENOSPC, errno.EDQUOT) or short or foreign:
        raise DataError(
            f"The disk is full: {target} could not be written. Free some space and run the same command again."
        ) from error
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise RunError(
            f"No permission to write {target}. Choose another folder, or change the permission of this one. On Windows "
            "a notebook that still has its files open is in the way, too: restart its kernel."
        ) from error
