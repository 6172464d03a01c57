"""Fill the page of exercises from the solutions' notebooks while the book is built, so that nothing is typed twice."""

from __future__ import annotations

import sys
from pathlib import Path

MARK = "<!-- the exercises -->"


def fill(app: object, docname: str, source: list[str]) -> None:
    """Put the table and the exercises in place of the mark, on whichever page holds it."""
    if MARK in source[0]:
        from uslnet_core.workshop.pages import exercise_page

        source[0] = source[0].replace(MARK, exercise_page())


def setup(app: object) -> dict[str, bool]:
    """Tell Sphinx of it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this very project
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
