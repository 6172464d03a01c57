"""A step of a sweep, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One notebook, executed once for all cells that need it with these values.

    Attributes:
        key: hash of all that its result hangs on.
        number: of the notebook.
        cell: the first cell that needs it; it is taken in that cell's run.
        before: keys of the steps that it stands on, in order.
        job: all that a worker needs to know, as JSON values.
    """

    key: str
    number: str
    cell: str
    before: tuple[str, ...]
    job: dict[str, Any] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a step: its record, or the error that its last attempt ended with."""

    record: dict[str, Any] | None
    error: str = ""
    attempts: int = 1
