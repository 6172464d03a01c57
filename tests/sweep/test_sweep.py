"""A whole sweep, its notebooks replaced by a few lines: what is shared is made once, and what is done stays done."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from uslnet_core import book, cli
from uslnet_core.config import configure
from uslnet_core.errors import DataError, RunError
from uslnet_core.runs import Run
from uslnet_core.sweep import crew, work
from uslnet_core.sweep.grid import read_grid
from uslnet_core.sweep.plan import chain, make_plan

NOTEBOOKS = {"01_a": "", "02_b": "", "03_c": "", "04_d": "high: float | None = None  # threshold"}
MADE = {"01": "01-data/images/train", "02": "02-contrastive/simclr", "03": "03-saliency/main", "04": "04-labels"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose notebooks make a stage each; what they made lies in ``made``, each thing once or never."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "_config.yml").write_text("title: x\n")
    common = "".join(f'{k}: str = ""  # {k}\n' for k in ("dataset", "profile", "data", "name", "runs", "method"))
    for name, extra in NOTEBOOKS.items():
        source = f"{common}seed: int = 0  # seed\n{extra}"
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}, id="cell")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.chdir(tmp_path)
    for name in (book.DEVICE, book.DATA, book.RUNS):
        monkeypatch.delenv(name, raising=False)

    def execute(notebook: Path, output: Path, values: dict, environment: dict) -> float:
        number, high = notebook.name[:2], values.get("high")
        if high == 0.9 and not (tmp_path / "mended").exists():
            raise book.NotebookError("Notebook 04 stopped: high is 0.9\nsecond line", settled=True)
        common = {k: values[k] for k in ("dataset", "profile", "seed", "name", "method")}
        run = book.open_run(**common, runs=environment[book.RUNS])
        inputs = [run.open(MADE[before]) for before in ("01", "03") if before < number]

        def compute(folder: Path) -> dict:
            with (tmp_path / "made" / f"{number}-{high}-{values['seed']}").open("x"):  # a second time is an error
                (folder / "what.txt").write_text(f"{number} {high} {values['seed']}")
            return {"certain": high, "images": 4}

        settings = {"high": high, "seed": values["seed"]}
        run.make(MADE[number], compute, settings=settings, inputs=inputs)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.with_suffix(".new").write_text(f"{number} {high}")
        output.with_suffix(".new").replace(output)
        with (tmp_path / "executed.txt").open("a") as log:
            log.write(f"{number} {high} {values['seed']}\n")
        return 6.0

    monkeypatch.setattr(book, "execute", execute)
    return tmp_path


@pytest.fixture(scope="module")
def client():
    """A cluster inside this process, where what is replaced stays replaced."""
    from distributed import Client, LocalCluster

    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**local, memory_limit=0) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def sweep(project, client, monkeypatch, capsys):
    """Type ``uslnet sweep …``; gives exit code and what was said."""

    @contextmanager
    def inside(scheduler, crew):
        yield client

    monkeypatch.setattr(crew, "open_client", inside)

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["uslnet", "sweep", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, "".join(capsys.readouterr())

    return call


def executed(project: Path) -> list[str]:
    log = project / "executed.txt"
    return log.read_text().splitlines() if log.exists() else []


def folder_of(project: Path) -> Path:
    return project / "runs" / "synthetic-quick"


GRID = ("04", "-p", "high=0.6,0.7", "-p", "seed=0,1")


def test_what_cells_share_is_run_once_and_all_are_measured(project, sweep):
    code, said = sweep(*GRID)
    assert code == 0, said
    assert sorted(executed(project)) == sorted(
        [f"{n} None {s}" for n in ("01", "02", "03") for s in (0, 1)]
        + [f"04 {h} {s}" for h in (0.6, 0.7) for s in (0, 1)]
    )
    sweeps = folder_of(project) / "sweeps" / "04-high-seed"
    table = pd.read_csv(sweeps / "sweep.csv")
    assert list(table["cell"]) == [f"high={h},seed={s}" for h in (0.6, 0.7) for s in (0, 1)]
    assert list(table["04-labels/certain"]) == [0.6, 0.6, 0.7, 0.7] and set(table["status"]) == {"done"}
    assert list(table["minutes"]) == [0.4, 0.4, 0.1, 0.1]  # what is shared is counted where it was made
    assert (sweeps / "sweep.png").stat().st_size > 5000
    for cell in table["run"]:  # each a whole run of its own, that can be gone on from
        assert all((project / "runs" / cell / name / "manifest.json").exists() for name in MADE.values())
        assert len(list((project / "runs" / cell / "notebooks").glob("*.ipynb"))) == 4
    assert not list(project.glob("runs/.*")) and not list(sweeps.glob("steps/*.progress.json"))


def test_the_same_again_runs_nothing_and_more_values_only_what_is_new(project, sweep):
    sweep(*GRID)
    before = executed(project)
    code, said = sweep(*GRID)
    assert code == 0 and executed(project) == before
    assert "10 of them done before" in said and "Nothing is left to run." in said and "Workers" not in said
    sweep("04", "-p", "high=0.5,0.6,0.7", "-p", "seed=0,1")
    assert sorted(set(executed(project)) - set(before)) == ["04 0.5 0", "04 0.5 1"]
    assert len(executed(project)) == len(before) + 2


def test_only_what_is_gone_or_of_another_notebook_is_run_again(project, sweep):
    sweep(*GRID)
    before = len(executed(project))
    (project / "runs/synthetic-quick-04-high=0.7,seed=1/04-labels/manifest.json").unlink()
    (project / "made/04-0.7-1").unlink()
    sweep(*GRID)
    assert executed(project)[before:] == ["04 0.7 1"]
    notebook = project / "notebooks" / "04_d.ipynb"
    notebook.write_text(notebook.read_text() + "\n")
    sweep(*GRID)
    assert [line[:2] for line in executed(project)[before + 1 :]] == ["04"] * 4


def test_what_stands_before_is_taken_from_the_run_that_is_swept(project, sweep):
    base = book.open_run()
    for number in ("01", "02", "03"):
        name = f"{number}_{'abc'[int(number) - 1]}.ipynb"
        values = {"dataset": "synthetic", "profile": "quick", "seed": 0, "name": "", "method": "usl-net"}
        book.execute(project / "notebooks" / name, base.folder / "x.ipynb", values, {book.RUNS: "runs"})
    before = executed(project)
    code, said = sweep("04", "-p", "high=0.6,0.7", "--dry-run")
    assert code == 0 and executed(project) == before and "01 02 03 of synthetic-quick" in said
    assert not (base.folder / "sweeps").exists()  # a dry run writes nothing
    sweep("04", "-p", "high=0.6,0.7")
    assert sorted(executed(project)[len(before) :]) == ["04 0.6 0", "04 0.7 0"]
    assert "04-labels" not in base.whole()  # the run itself is left as it was
    other = project / "runs" / "synthetic-quick-04-high=0.6" / MADE["03"] / "what.txt"
    assert other.samefile(base.folder / MADE["03"] / "what.txt")


def test_a_failure_is_named_the_others_go_on_and_the_next_call_tries_again(project, sweep):
    code, said = sweep("04", "-p", "high=0.6,0.9")
    assert code == 1 and "Failed: high=0.9: Notebook 04 stopped: high is 0.9" in said and "1 of 2 cells" in said
    table = pd.read_csv(folder_of(project) / "sweeps/04-high/sweep.csv").set_index("cell")
    assert list(table["status"]) == ["done", "failed"] and "high is 0.9" in table.loc["high=0.9", "error"]
    assert "nan" not in said
    (project / "mended").touch()
    before = executed(project)
    assert sweep("04", "-p", "high=0.6,0.9")[0] == 0
    assert executed(project)[len(before) :] == ["04 0.9 0"]


def test_a_grid_too_wide_for_a_picture_still_has_its_table(project, sweep, monkeypatch):
    def refuse(*_):
        raise DataError("there are 7 colours")

    monkeypatch.setattr("uslnet_core.figures.sweep_plot", refuse)
    code, said = sweep("04", "-p", "high=0.6,0.7")
    assert code == 0 and "No picture: there are 7 colours" in said and "Table: " in said


def test_refusals_come_before_anything_runs(project, sweep):
    for words, said in ((("04", "-p", "hihg=1"), "high"), (("05",), "Unknown notebook"), (("04", "-p", "high=x"), "x")):
        code, text = sweep(*words)
        assert code == 2 and said in text
    assert not (project / "runs").exists()


def test_a_step_notices_that_the_run_it_stands_on_has_changed(project):
    available, base = book.find_notebooks(project), book.open_run()
    values = {"dataset": "synthetic", "profile": "quick", "seed": 0, "name": "", "method": "usl-net"}
    for letter, number in zip("abc", ("01", "02", "03"), strict=True):
        notebook = project / "notebooks" / f"{number}_{letter}.ipynb"
        book.execute(notebook, base.folder / "x.ipynb", values, {book.RUNS: "runs"})
    cells = read_grid(["high=0.6"], ["04"], available)
    common = book.common_parameters("synthetic", "quick", "", 0, "", "")
    plan = make_plan(cells, ["04"], common, available, folder=base.folder / "sweeps" / "x")
    (step,) = plan.steps.values()
    base.make(MADE["03"], lambda folder: (folder / "a.txt").write_text("new") and None, settings={"other": 1})
    (plan.folder / "steps").mkdir(parents=True)
    with pytest.raises(RunError, match="03-saliency/main of synthetic-quick has changed"):
        work.take_step(step.job)


def test_a_chain_holds_all_that_is_needed():
    assert chain(["04"]) == ["01", "02", "03", "04"]
    assert chain(["01"]) == ["01"] and chain(["14"]) == ["14"]
    assert chain(["07"]) == [f"0{k}" for k in range(1, 8)]


# --- locks -----------------------------------------------------------------------------------------------------------


def make_together(run: Run, barrier, made: Path) -> None:
    def compute(folder: Path) -> None:
        with made.open("x"):  # a second process that comes here fails
            (folder / "a.txt").write_text("a")

    barrier.wait()
    stage = run.make("02-contrastive/simclr", compute, settings={"a": 1})
    assert (stage / "a.txt").read_text() == "a"


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "fork"), reason="forks, so that torch is not imported again")
@pytest.mark.parametrize("names", [("one", "two"), ("one", "one")])
def test_two_processes_make_a_stage_once(tmp_path, names):
    context = multiprocessing.get_context("fork")
    for turn in range(3):
        barrier, made = context.Barrier(2), tmp_path / f"made-{turn}"
        runs = [Run(tmp_path / f"runs-{turn}" / name, configure()) for name in names]
        both = [context.Process(target=make_together, args=(run, barrier, made)) for run in runs]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        assert made.exists() and not list((tmp_path / f"runs-{turn}").glob(".*"))
