"""A table of an ablation is stale as soon as a row is, though the row lies in another run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from uslnet_core.config import configure
from uslnet_core.runs import Run
from uslnet_core.stages import Stage, peek, stale_reason

TABLE, MODEL = "tables/table-8/validation", "05-segmenter/iteration-0"


def make(run: Run, name: str, text: str, inputs: list[Stage] | None = None, **more) -> Stage:
    def compute(folder: Path) -> dict:
        (folder / "result.txt").write_text(text)
        return more.get("facts", {})

    return run.make(name, compute, settings=more.get("settings", {}) | {"text": text}, inputs=inputs or [])


@pytest.fixture
def runs(tmp_path) -> tuple[Run, Run]:
    return tuple(Run(tmp_path / name, configure()) for name in ("synthetic-quick", "synthetic-quick~model-3"))


@pytest.fixture
def table(runs) -> Run:
    run, other = runs
    labels = make(other, "04-labels", "labels")
    row = make(other, MODEL, "weights", [labels])
    facts = {"rows": {"Model 3": {"run": row.run_name, "stage": MODEL, "epochs": 1}}}
    make(run, TABLE, "scores", facts=facts, settings={"models": {"Model 3": row.manifest.fingerprint}})
    return run


def reason(run: Run) -> str:
    stages = peek(run.folder)
    return stale_reason(stages[TABLE], stages)


def test_a_table_whose_rows_are_as_they_were_is_current(table):
    assert reason(table) == ""


def test_a_row_that_was_made_again_is_named(table, runs):
    make(runs[1], MODEL, "other weights")
    assert reason(table) == f"synthetic-quick~model-3/{MODEL} was made again since"


def test_a_row_that_is_stale_itself_is_named_with_its_reason(table, runs):
    make(runs[1], "04-labels", "other labels")
    assert reason(table) == f"synthetic-quick~model-3/{MODEL} is stale (04-labels was made again since)"


def test_a_table_outlives_the_runs_that_it_was_made_of(table, runs):
    shutil.rmtree(runs[1].folder)
    assert reason(table) == ""
