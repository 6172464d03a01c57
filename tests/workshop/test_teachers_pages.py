"""The pages for teachers hold what they promise."""

from __future__ import annotations

import re
from pathlib import Path

from uslnet_core.workshop import exercises
from uslnet_core.workshop.pages import exercise_page

ROOT = Path(__file__).resolve().parents[2]


def test_every_chapter_has_goal_misconceptions_questions_and_what_to_show():
    text = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    sections = {int(part.split(":")[0]): part for part in re.split(r"^## Chapter ", text, flags=re.MULTILINE)[1:]}
    chapters = {int(path.name[:2]) for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert chapters <= set(sections)
    for number in chapters:
        for needed in ("**Goal.**", "**Often misunderstood.**", "**Ask.**", "**If time is short.**", " minutes."):
            assert needed in sections[number], f"chapter {number} lacks {needed}"


def test_the_page_shows_every_exercise_with_its_blank_hint_and_solution():
    text = exercise_page()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in parts] == [f"{i}. {e.title}" for i, e in enumerate(exercises(), start=1)]
    for part in parts:
        blank, solution = part.split("{dropdown} Solution")
        assert "raise NotImplementedError" in blank and "NotImplementedError" not in solution.split("(exercise-")[0]
        assert "{dropdown} Hint" in blank and "<details>" not in part and "SOLUTION" not in part
    assert (
        len(re.findall(r"\]\(#exercise-\d\d\)", text))
        == len(re.findall(r"^\(exercise-\d\d\)=", text, re.M))
        == len(parts)
    )


def test_pages_for_teachers_include_the_kits_own_words():
    text = (ROOT / "book" / "workshop.md").read_text(encoding="utf-8")
    included = re.findall(r"```\{include\} (\S+)", text)
    assert sorted(Path(name).name for name in included) == ["checklist.md", "timetables.md"]
    assert all((ROOT / "book" / name).is_file() for name in included)
