"""Exercises are made from their solutions: one source, so that the two cannot part.

A solution is a notebook whose answer stands in cells with the tag ``solution``. In a code cell the lines between
``# BEGIN SOLUTION`` and ``# END SOLUTION`` are blanked; a markdown cell with that tag is for those who are through, and
goes. The cell with the tag ``check`` holds the answer against what it should be.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from uslnet_core.errors import DataError

SOLUTIONS = Path(__file__).parent / "solutions"
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
BLANK = 'raise NotImplementedError("your lines go here")'
LEVELS = ("easy", "medium", "hard", "research")


@dataclass(frozen=True)
class Exercise:
    """What the head of a solution says of it.

    Attributes:
        path: the solution's file.
        title: its heading.
        about: the sentence below the heading.
        level: one of `LEVELS`.
        minutes: that it takes, at a guess.
        goal: what will have been done.
        after: the chapters that it stands on.
    """

    path: Path
    title: str
    about: str
    level: str
    minutes: int
    goal: str
    after: str


def exercises(folder: Path = SOLUTIONS) -> list[Exercise]:
    """Read the heads of all solutions, in the order of their names.

    Args:
        folder: of the solutions.

    Returns:
        An exercise each.

    Raises:
        DataError: a head lacks a row, or names no level that there is.
    """
    return [read_head(path) for path in sorted(folder.glob("*.ipynb"))]


def read_head(path: Path) -> Exercise:
    """Read title, sentence and the table at a glance of one solution; see :func:`exercises`."""
    title, glance = (cell.source for cell in nbformat.read(path, as_version=4).cells[:2])
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", glance, re.MULTILINE))
    lacking = {"level", "minutes", "goal", "after"} - set(rows)
    if lacking:
        raise DataError(f"{path.name}: the table at a glance has no row {', '.join(sorted(lacking))}.")
    if rows["level"] not in LEVELS:
        raise DataError(f"{path.name}: level is {rows['level']!r}, expected one of {', '.join(LEVELS)}.")
    heading, _, about = title.partition("\n")
    words = (heading.lstrip("# "), about.strip(), rows["level"], int(rows["minutes"]), rows["goal"], rows["after"])
    return Exercise(path, *words)


def blank(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Make the exercise of a solution; the solution stays as it is.

    Args:
        solution: the notebook.

    Returns:
        Another notebook: answers blanked, closing words gone, no tag ``solution`` left.

    Raises:
        DataError: a tagged code cell has no markers, or markers that do not pair.
    """
    exercise = copy.deepcopy(solution)
    exercise.cells = [cell for cell in exercise.cells if not (is_solution(cell) and cell.cell_type == "markdown")]
    for cell in exercise.cells:
        if is_solution(cell):
            cell.source = without_answer(cell.source)
            cell.metadata["tags"] = [tag for tag in cell.metadata["tags"] if tag != "solution"] + ["your-turn"]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return exercise


def is_solution(cell: Any) -> bool:
    """Whether a cell has the tag ``solution``."""
    return "solution" in cell.metadata.get("tags", [])


def without_answer(source: str) -> str:
    """Put one line that waits in place of the lines between each pair of markers.

    Raises:
        DataError: there are no markers, or they do not pair.
    """
    found = re.findall(rf"^[ ]*({BEGIN}|{END})$", source, re.MULTILINE)
    if not found or found != [BEGIN, END] * (len(found) // 2):
        raise DataError(
            f"A cell with the tag solution needs pairs of `{BEGIN}` and `{END}`, but has {found or 'none'}."
        )
    pattern = rf"^([ ]*){BEGIN}\n.*?^[ ]*{END}$"
    return re.sub(pattern, rf"\1{BLANK}", source, flags=re.MULTILINE | re.DOTALL)


def write_exercises(folder: Path, source: Path = SOLUTIONS) -> list[Path]:
    """Write the exercise of each solution into a folder, which is made if need be.

    Args:
        folder: where to; a file of the same name there is replaced.
        source: of the solutions.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for each in exercises(source):
        written.append(folder / each.path.name)
        nbformat.write(blank(nbformat.read(each.path, as_version=4)), written[-1])
    return written


def listing(linked: bool = False) -> str:
    """Lay all exercises out as a table in markdown, for pages and kits.

    Args:
        linked: make each title a link to the target ``exercise-01`` and so on.

    Returns:
        The table.
    """
    found = exercises()
    titles = {e: f"[{e.title}](#exercise-{e.path.stem[:2]})" if linked else e.title for e in found}
    rows = [f"| {e.path.stem[:2]} | {titles[e]} | {e.level} | {e.minutes} | {e.goal} | {e.after} |" for e in found]
    head = "| no. | exercise | level | minutes | goal | after |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n"
