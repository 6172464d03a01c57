"""How far a decoding has come: a line an image, written when its pixels are, so that one that was stopped goes on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

COLUMNS = ("id", "file", "width", "height")
LOG = "done.csv"


class Named(Protocol):
    """Whatever has an id."""

    id: str


class Log:
    """What was made of each source so far, in order, in memory and, where that is asked for, in a file.

    Used as a context manager: inside, lines can be added.

    Attributes:
        rows: a row a source: id, file, width, height, and the reason if it was left out, else ''. All as text.

    Args:
        path: the file, which is taken up if it fits; None keeps none.
        sources: what is to be done, in order.
        there: how many rows of pixels are there. Of a log that knows of more, the rest is dropped.
        strict: whether what is left out is to be tried again, and all after it.
    """

    def __init__(self, path: Path | None, sources: Sequence[Named], there: int, *, strict: bool = False) -> None:
        self.path, self.file = path, None
        self.rows: list[dict[str, str]] = []
        for row, source in zip(read_whole_lines(path), sources, strict=False):
            if row["id"] != source.id or (strict if row["reason"] else self.good == there):
                break
            self.rows.append(row)
            self.good += not row["reason"]

    good = 0  # rows with pixels

    def __len__(self) -> int:
        """Count the sources that are done."""
        return len(self.rows)

    def __enter__(self) -> Log:
        """Open the file, with the lines that hold."""
        if self.path:
            self.file = self.path.open("w", newline="", encoding="utf-8", buffering=1)  # a line is out when it is whole
            self.table = csv.DictWriter(self.file, (*COLUMNS, "reason"), lineterminator="\n")
            self.table.writeheader()
            self.table.writerows(self.rows)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self.file:
            self.file.close()

    def add(self, name: str, file: str = "", width: Any = "", height: Any = "", *, reason: str = "") -> None:
        """Note that a source is done."""
        row = {"id": name, "file": file, "width": str(width), "height": str(height), "reason": reason}
        self.rows.append(row)
        self.good += not reason
        if self.file:
            self.table.writerow(row)


def read_whole_lines(path: Path | None) -> list[dict[str, str]]:
    """Read the rows of a log that are whole; none where there is no log, or one of another kind."""
    if path is None or not path.exists():
        return []
    whole = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    rows = list(csv.DictReader(io.StringIO(whole)))
    return [row for row in rows if tuple(row) == (*COLUMNS, "reason") and None not in row.values()]
