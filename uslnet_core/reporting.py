"""How long work in a kernel says how far it is: to the process that started the kernel, or under the running cell."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path


class FileProgress:
    """Writes progress to a small file, at most five times a second, for another process to show."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report ``done`` of ``total``."""
        now = time.monotonic()
        if now - self.last > 0.2 or done == total:
            self.last = now
            fresh = self.path.with_suffix(".new")
            with suppress(OSError):  # being read just now, or the disk is full: no reason to stop a training
                fresh.write_text(json.dumps({"what": what, "done": done, "total": total}), encoding="utf-8")
                fresh.replace(self.path)


class LiveProgress:
    """Shows one line under the running cell and takes it away at the end, so that saved notebooks hold no bar."""

    def __init__(self) -> None:
        self.handle, self.last, self.start, self.what = None, 0.0, 0.0, ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report ``done`` of ``total``."""
        from IPython import get_ipython
        from IPython.display import DisplayHandle

        if get_ipython() is None:
            return
        now = time.monotonic()
        if what != self.what or done <= 1:
            self.what, self.start, self.last = what, now, now  # nothing is shown for work under a second
        if self.handle is None and now - self.last > 1:
            self.handle = DisplayHandle()
            self.handle.display({"text/plain": ""}, raw=True)
        if self.handle is not None and (now - self.last > 1 or done == total):
            self.last = now
            left = (now - self.start) / done * (total - done)
            text = "" if done == total else f"{what}: {done} of {total}, {left:.0f} s left"
            self.handle.update({"text/plain": text}, raw=True)
