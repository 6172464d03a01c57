"""What an exercise's check cell says: *right*, or one calm line with a hint, and never a traceback."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

CELL = re.compile("ipykernel|^<")  # what the file names of notebooks' cells look like


class NotYet(Exception):  # noqa: N818 (a learner reads this name; it is no error of the program)
    """An exercise is not solved yet; the message says what is missing, and a hint."""

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook: IPython asks for this before it prints a traceback."""
        return [f"Not yet. {self}"]


@contextmanager
def checking(hint: str) -> Iterator[None]:
    """Hold an answer against what it should be; a check cell has one of these, with assertions inside.

    Args:
        hint: what to try next; it ends every message.

    Yields:
        Nothing. At the end it prints *Right.*

    Raises:
        NotYet: the answer is still blank, an assertion failed, or the answer itself stopped with an error.
    """
    try:
        yield
    except NotImplementedError:
        raise NotYet(f"The cell above still waits for your lines. Hint: {hint}") from None
    except AssertionError as error:
        told = str(error).strip() or "the answer is not what was expected."
        raise NotYet(f"{told} Hint: {hint}") from None
    except Exception as error:  # whatever a learner's code may raise
        raise NotYet(f"Your code stopped{where(error)}: {type(error).__name__}: {error}. Hint: {hint}") from None
    print("Right.")


def where(error: BaseException) -> str:
    """Name the learner's line that stopped, if it stands in a cell."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.line and CELL.search(f.filename)]
    return f" at `{frames[-1].line}`" if frames else ""
