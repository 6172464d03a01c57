"""One process at a time: a lock file, held while something is made and gone when its holder is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(file: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock for the length of a ``with`` block; the system takes it from a process that dies.

    Args:
        file: of the lock; its folder is made, and the file is removed at the end.
        waiting: called once if another process holds the lock, before waiting for it.

    Raises:
        OSError: the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, poll_interval=0.1)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        if os.name != "nt":  # filelock leaves the file; one that waits for it sees that it is gone, and begins anew
            file.unlink(missing_ok=True)
        lock.release()
