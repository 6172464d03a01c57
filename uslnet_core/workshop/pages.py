"""The book's page of exercises, made of their notebooks."""

from __future__ import annotations

import re

import nbformat

from uslnet_core.workshop.exercises import Exercise, blank, exercises, listing


def exercise_page() -> str:
    """Write the table of all exercises and a section for each, in MyST markdown."""
    return listing(linked=True) + "\n" + "\n\n".join(section(each) for each in exercises()) + "\n"


def section(exercise: Exercise) -> str:
    """Write one exercise: its words, the lines to fill, and hint and solution folded away."""
    solution = nbformat.read(exercise.path, as_version=4)
    given = {cell.id: cell.source for cell in blank(solution).cells}
    solved = {cell.id: cell.source for cell in solution.cells}
    hint = re.sub(r"</?details>|<summary>.*?</summary>", "", given["hint"]).strip()
    about = f"*{exercise.level.capitalize()} · {exercise.minutes} minutes · after {exercise.after}.*"
    answer = re.sub(r"^[ ]*# (?:BEGIN|END) SOLUTION\n?", "", solved["answer"], flags=re.MULTILINE)
    told = solved["after"].partition("\n")[2].strip()
    return "\n\n".join(
        (
            f"(exercise-{exercise.path.stem[:2]})=\n## {int(exercise.path.stem[:2])}. {exercise.title}",
            f"{exercise.about}\n\n{about}",
            given["setup-note"],
            folded("What is given", f"```python\n{given['setup']}\n```"),
            given["what-to-do"].partition("\n")[2].strip(),
            f"```python\n{given['answer']}\n```",
            folded("Hint", hint),
            folded("Solution", f"```python\n{answer.strip()}\n```\n\n{told}"),
        )
    )


def folded(title: str, text: str) -> str:
    """Fold a text away behind a title."""
    return f"````{{dropdown}} {title}\n{text}\n````"
