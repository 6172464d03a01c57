"""What is begun, on disk, so that a training or a decoding that was killed goes on where it was."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from uslnet_core.errors import RunError
from uslnet_core.folders import DAY

SECONDS = 60.0


class DiskKeeper:
    """Keeps the state of one stage's training in one file, replaced about once a minute.

    The file's name holds the stage's key, so a training with other settings or other images never takes it up.

    Args:
        run: the run's folder.
        stage: for example ``02-contrastive/simclr``.
        seconds: least time between two states; 0 keeps every step.
    """

    def __init__(self, run: Path, stage: str, seconds: float = SECONDS) -> None:
        self.folder, self.stem, self.seconds = run / ".checkpoints", stage.replace("/", "-"), seconds
        self.path: Path | None = None
        self.last = time.monotonic()

    def begin(self, key: str) -> None:
        """Be told the key of the stage that is made."""
        self.path = self.folder / f"{self.stem}-{key[:16]}.pt"

    def load(self) -> dict[str, Any] | None:
        """Give the state that was kept last; ``None`` if there is none.

        Raises:
            RunError: the file is damaged.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch makes of a damaged file
            raise RunError(
                f"The checkpoint {self.path.name} in {self.folder.parent.name}/{self.folder.name} cannot be read "
                f"({type(error).__name__}). Delete it, and the training begins at the beginning."
            ) from None

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Keep the state if the last one is old enough."""
        if self.path is None or time.monotonic() - self.last < self.seconds:
            return
        fresh = self.path.with_suffix(f".{os.getpid()}.new")
        # A training does not stop because its checkpoint cannot be written; torch says RuntimeError of a full disk.
        with suppress(OSError, RuntimeError):
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(state(), fresh)
            fresh.replace(self.path)
        with suppress(OSError):
            fresh.unlink()
        self.last = time.monotonic()

    def clear(self) -> None:
        """Forget every state of this stage: it is whole."""
        for file in self.folder.glob(f"{self.stem}-*"):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or not there
            self.folder.rmdir()


class Desk:
    """A folder for the files of a stage that is being made, left there when it is stopped, and taken up by the next.

    The folder's name holds the stage's key, so what was begun from other files or settings is never taken up, and the
    machine and process that work on it, so two processes never work on one. ``path`` is the folder.

    Args:
        run: the run's folder.
        stage: for example ``01-data/images/train``.
    """

    def __init__(self, run: Path, stage: str) -> None:
        self.folder, self.stem = run / ".checkpoints", stage.replace("/", "-")
        self.path: Path | None = None

    def begin(self, key: str) -> None:
        """Be told the key of the stage that is made; take up what was begun for it, or begin."""
        begun = f"{self.stem}-{key[:16]}"
        self.path = self.folder / f"{begun}.{platform.node()}.{os.getpid()}"
        if not self.path.exists():
            for left in filter(abandoned, sorted(self.folder.glob(f"{begun}.*"))):
                with suppress(OSError):  # another process was faster
                    left.rename(self.path)
                    break
        self.path.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Forget all that was begun of this stage and left: it is whole."""
        for left in self.folder.glob(f"{self.stem}-*"):
            if left == self.path or abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):  # not empty, or not there
            self.folder.rmdir()


def abandoned(path: Path) -> bool:
    """Say whether the process that worked on a desk is gone; of another machine's, whether it rests since a day."""
    node, _, process = path.name.partition(".")[2].rpartition(".")
    if node == platform.node() and process.isdigit():
        return int(process) != os.getpid() and not psutil.pid_exists(int(process))
    with suppress(OSError):
        return time.time() - max(each.stat().st_mtime for each in [path, *path.iterdir()]) > DAY
    return False
