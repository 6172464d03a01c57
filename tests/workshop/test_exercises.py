"""Exercises and their solutions: one source; each solution passes its own check, each blank fails it with a hint."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from uslnet_core.errors import DataError
from uslnet_core.workshop import NotYet, blank, checking, exercises, listing, write_exercises
from uslnet_core.workshop.exercises import BEGIN, BLANK, END, LEVELS, without_answer

ALL = exercises()


@pytest.fixture(params=ALL, ids=lambda exercise: exercise.path.stem)
def solution(request):
    return nbformat.read(request.param.path, as_version=4)


def tagged(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def execute(notebook, one_by_one=lambda cell: None) -> None:
    """Run the code cells in this process: a kernel each would take most of the time."""
    space: dict = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            one_by_one(cell)
            exec(compile(cell.source, "<cell>", "exec"), space)


def hint_of(check) -> str:
    calls = [node for node in ast.walk(ast.parse(check.source)) if isinstance(node, ast.Call)]
    return next(call.args[0].value for call in calls if getattr(call.func, "id", "") == "checking")


def test_there_are_enough_from_easy_to_research():
    assert len(ALL) >= 10 and {exercise.level for exercise in ALL} == set(LEVELS)
    order = [LEVELS.index(exercise.level) for exercise in ALL]
    assert order == sorted(order), "from easy to research, in the order of their numbers"


def test_anatomy(solution):
    nbformat.validate(solution)
    ids = [cell.id for cell in solution.cells]
    assert ids[:2] == ["title", "at-a-glance"] and {"what-to-do", "answer", "hint", "check", "after"} <= set(ids)
    assert ids.index("answer") < ids.index("check") and len(set(ids)) == len(ids)
    assert len(tagged(solution, "check")) == 1 and len(tagged(solution, "solution")) == 2
    assert not any(cell.get("outputs") for cell in solution.cells)
    for before, after in zip(solution.cells, solution.cells[1:], strict=False):
        assert "code" != before.cell_type or "code" != after.cell_type, f"{before.id} and {after.id}: no prose between"


def test_the_blank_is_the_solution_less_what_is_tagged(solution):
    exercise = blank(solution)
    kept = [cell for cell in solution.cells if cell.id != "after"]
    assert [cell.id for cell in exercise.cells] == [cell.id for cell in kept]
    for new, old in zip(exercise.cells, kept, strict=True):
        if old.id != "answer":
            assert new == old
    lines = re.sub(rf"{BEGIN}.*?{END}", BLANK, tagged(solution, "solution")[0].source, flags=re.DOTALL)
    assert tagged(exercise, "your-turn")[0].source == lines
    assert not tagged(exercise, "solution") and "SOLUTION" not in nbformat.writes(exercise)


def test_the_solution_passes_its_own_check(solution, capsys):
    execute(solution)
    assert capsys.readouterr().out.endswith("Right.\n")


def test_the_blank_fails_its_check_with_a_hint_and_nowhere_else(solution):
    reached = []
    with pytest.raises(NotYet) as caught:
        execute(blank(solution), lambda cell: reached.append(cell.id))
    assert reached[-1] == "check"
    assert hint_of(tagged(solution, "check")[0]) in str(caught.value)
    (shown,) = caught.value._render_traceback_()
    assert "\n" not in shown and shown.startswith("Not yet. ") and caught.value.__suppress_context__


def test_in_a_kernel_a_blank_shows_one_line_and_no_traceback(tmp_path):
    first = write_exercises(tmp_path)[0]
    notebook = nbformat.read(first, as_version=4)
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    (error,) = [out for cell in tagged(notebook, "check") for out in cell.outputs]
    assert error.ename == "NotYet" and len(error.traceback) == 1 and error.traceback[0].startswith("Not yet. ")


def test_a_wrong_answer_says_what_is_wrong_and_where():
    space: dict = {"checking": checking}
    exec(compile("def answer():\n    return 1 / 0\n", "<cell>", "exec"), space)
    with pytest.raises(NotYet, match="ZeroDivisionError.*Hint: divide by more"), checking("divide by more."):
        space["answer"]()
    with pytest.raises(NotYet, match="Three is not four. Hint: count"), checking("count."):
        raise AssertionError("Three is not four.")  # written out, since pytest adds words to an assert


@pytest.mark.parametrize("source", ["x = 1", f"{BEGIN}\nx = 1", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}\n{END}"])
def test_markers_must_pair(source):
    with pytest.raises(DataError, match="pairs of"):
        without_answer(source)


def test_a_head_that_lacks_a_row_is_refused(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# A\n\nB."), nbformat.v4.new_markdown_cell("| | |\n| level | easy |")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    with pytest.raises(DataError, match="after, goal, minutes"):
        exercises(tmp_path)


def test_the_table_has_a_row_for_each():
    assert [line.split("|")[2].strip() for line in listing().splitlines()[2:]] == [each.title for each in ALL]
