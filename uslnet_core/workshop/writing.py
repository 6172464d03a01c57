"""Write a kit's files so that nothing of a teacher's is ever lost, and the same command can be given again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from uslnet_core.errors import DataError

RECORD = "kit.json"


class KitFolder:
    """A folder that this program fills, and that remembers what it put there.

    A file that is as it was written may be replaced. One that somebody changed stays, and the new one goes beside it as
    ``<name>.new``. What this program did not write is not touched.

    Args:
        folder: empty, not there yet, or a kit from before.

    Raises:
        DataError: it holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, record = folder, folder / RECORD
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; expected a folder for the kit. Give another --out.")
        if folder.is_dir() and not record.is_file() and any(folder.iterdir()):
            raise DataError(
                f"{folder} is not empty and is no kit (no {RECORD} in it). Nothing was written: give an empty or new "
                "folder with --out."
            )
        try:
            self.written: dict[str, str] = (
                json.loads(record.read_text(encoding="utf-8"))["files"] if record.is_file() else {}
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{record} cannot be read ({error}). Give a new folder with --out.") from error
        self.kept: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.save()

    def put(self, name: str, content: bytes | str | Path) -> None:
        """Write one file.

        Args:
            name: its place in the kit, with ``/``.
            content: bytes, a text, or a file to copy.
        """
        data = content.read_bytes() if isinstance(content, Path) else content
        data = data.encode() if isinstance(data, str) else data
        target, digest = self.folder / name, hashlib.sha256(data).hexdigest()
        if target.is_file():
            present = hashlib.sha256(target.read_bytes()).hexdigest()
            if present == digest:
                self.written[name] = digest
                return
            if present != self.written.get(name):
                self.kept += [name] if name not in self.kept else []
                target = target.with_name(f"{target.name}.new")
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.half")
        half.write_bytes(data)
        os.replace(half, target)
        if name not in self.kept:
            self.written[name] = digest

    def copy_tree(self, source: Path, name: str) -> int:
        """Write all files below a folder; hidden ones are left out.

        Args:
            source: the folder.
            name: its place in the kit.

        Returns:
            How many files there were.
        """
        files = [path for path in sorted(source.rglob("*")) if path.is_file()]
        files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(source).parts)]
        for path in files:
            self.put(f"{name}/{path.relative_to(source).as_posix()}", path)
        return len(files)

    def save(self) -> None:
        """Write down what was put here so far."""
        text = json.dumps({"files": dict(sorted(self.written.items()))}, indent=1)
        half = self.folder / f".{RECORD}.half"
        half.write_text(text + "\n", encoding="utf-8")
        os.replace(half, self.folder / RECORD)
