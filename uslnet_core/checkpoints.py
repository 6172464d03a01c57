"""A training's state on disk, so that one that was killed goes on where it was."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from uslnet_core.errors import RunError

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
