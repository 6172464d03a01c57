"""A whole sweep whose workers are killed, in the middle of a stage and after one: nothing lost, nothing done twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask
import nbformat
import pytest
from distributed.utils import get_mp_context

from uslnet_core import book
from uslnet_core.stages import peek
from uslnet_core.sweep import work
from uslnet_core.sweep.crew import Crew, carry_out, open_client
from uslnet_core.sweep.grid import read_grid
from uslnet_core.sweep.measures import tabulate
from uslnet_core.sweep.plan import make_plan

MADE = {"01": "01-data/images/train", "02": "02-contrastive/simclr", "03": "03-saliency/main", "04": "04-labels"}
LOG = "log.txt"  # in the project, where workers start


def note(what: str) -> int:
    """Add a line to the log, and say how often it is there."""
    with Path(LOG).open("a") as log:
        log.write(f"{what}\n")
    return Path(LOG).read_text().splitlines().count(what)


def die() -> None:
    """End this process as a lack of memory or a lost machine does: at once, nothing tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def execute(notebook: Path, output: Path, values: dict, environment: dict) -> float:
    """Make the stage that a notebook would; the first process that makes notebook 03's is killed halfway."""
    number, high = notebook.name[:2], values.get("high")
    turn = note(f"begun {number} {high}")
    common = {k: values[k] for k in ("dataset", "profile", "seed", "name", "method")}
    run = book.open_run(**common, runs=environment[book.RUNS])

    def compute(folder: Path) -> dict:
        (folder / "what.txt").write_text("half")
        if number == "03" and turn == 1:
            die()
        (folder / "what.txt").write_text(f"{number} {high}")
        note(f"made {number} {high}")
        return {"high": high or 0.0}

    inputs = [run.open(MADE["03"])] if number == "04" else []
    run.make(MADE[number], compute, settings={"high": high}, inputs=inputs)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("executed")
    return 6.0


def take(job: dict) -> dict:
    """Take a step as workers do; the first that took 0.7 to its end is killed before it can say so."""
    book.execute = execute
    record = work.take_step(job)
    if job["values"].get("high") == 0.7 and note("taken 0.7") == 1:
        die()
    return record


@pytest.fixture
def forked():
    """Have workers forked from a process that has torch, which takes each of them seconds to import otherwise."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(["distributed", "uslnet_core.sweep.work"])
        yield


@pytest.mark.usefixtures("forked")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_workers_lose_nothing_and_nothing_is_done_twice(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("title: x\n")
    names = ("dataset", "profile", "data", "name", "runs", "method")
    source = "".join(f'{name}: str = ""  # {name}\n' for name in names) + "seed: int = 0  # seed\n"
    for number in MADE:
        last = "high: float | None = None  # threshold" if number == "04" else ""
        cell = nbformat.v4.new_code_cell(source + last, metadata={"tags": ["parameters"]}, id="cell")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / f"{number}_x.ipynb")
    monkeypatch.chdir(tmp_path)
    for name in (book.DEVICE, book.DATA, book.RUNS):
        monkeypatch.delenv(name, raising=False)
    available = book.find_notebooks(tmp_path)
    common = book.common_parameters("synthetic", "quick", "", 0, "", "")
    folder = tmp_path / "runs" / "synthetic-quick" / "sweeps" / "04-high"
    (folder / "steps").mkdir(parents=True)
    plan = make_plan(read_grid(["high=0.6,0.7"], ["04"], available), ["04"], common, available, folder=folder)

    with open_client("", Crew(2, 1, "")) as client:
        outcomes = carry_out(plan.steps, client, take, retries=0)  # a dead worker is no failure: it costs no attempt

    steps = ["01 None", "02 None", "03 None", "04 0.6", "04 0.7"]
    log = (tmp_path / LOG).read_text().splitlines()
    assert sorted(line for line in log if line.startswith("made")) == [f"made {step}" for step in steps]
    assert sorted(line for line in log if line.startswith("begun")) == sorted(
        f"begun {step}" for step in [*steps, "03 None"]
    )
    assert log.count("taken 0.7") == 2  # handed out again, since nobody had said that it was done; and not run again
    assert list(tabulate(plan, outcomes)["status"]) == ["done", "done"]
    for cell, high in (("high=0.6", 0.6), ("high=0.7", 0.7)):
        run = plan.runs[cell]
        assert {f"{number} {high if number == '04' else None}" for number in MADE} == {
            (run / name / "what.txt").read_text() for name in MADE.values()
        }
        assert {stage.name for stage in peek(run).values()} == set(MADE.values())  # the half of a stage is none
    assert all(work.read_record(folder, key) for key in plan.steps)  # so the same sweep again has nothing to do
