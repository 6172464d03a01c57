"""The command line's ``uslnet sweep``: notebooks over a grid of parameters."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uslnet_core.config import check_choice
from uslnet_core.errors import DataError
from uslnet_core.terminal import SweepView, as_rows, err, out, say

if TYPE_CHECKING:
    import pandas as pd

    from uslnet_core.sweep.crew import Crew
    from uslnet_core.sweep.plan import Plan
    from uslnet_core.sweep.steps import Outcome


def sweep(
    notebooks: Annotated[list[str], typer.Argument(help="notebook numbers, for example 04, or 04 05 06 07")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="name=value,value,… as in the parameters cell, or seed=0,1,2")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes here (default: what fits)")] = None,
    scheduler: Annotated[str, typer.Option(help="address of a dask scheduler, for a cluster")] = "",
    retries: Annotated[int, typer.Option(min=0, help="further attempts for what fails")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the cells and stop")] = False,
    out_folder: Annotated[str, typer.Option("--out", help="where table and picture go (default: in the run)")] = "",
    dataset: Annotated[str, typer.Option(help="synthetic, isic2017, isic2018, ph2 or folder")] = "synthetic",
    profile: Annotated[str, typer.Option(help="quick, workshop or paper")] = "quick",
    data: Annotated[str, typer.Option(help="folder that holds the dataset (default: USLNET_DATA, else data/)")] = "",
    seed: Annotated[int, typer.Option(help="seed of everything random, unless -p seed=… names several")] = 0,
    name: Annotated[str, typer.Option(help="tells runs of one dataset and profile apart")] = "",
    runs: Annotated[str, typer.Option(help="folder of all runs (default: USLNET_RUNS, else runs/)")] = "",
    method: Annotated[str, typer.Option(help="usl-net (the paper's) or usl-plus (past it)")] = "usl-net",
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
) -> None:
    """Run notebooks over a grid of parameters, several at once; the same command again goes on where it was."""
    from uslnet_core import book
    from uslnet_core.data.layouts import need_folder
    from uslnet_core.sweep import crew as crews
    from uslnet_core.sweep import grid, work
    from uslnet_core.sweep.plan import make_plan
    from uslnet_core.sweep.steps import Outcome

    check_choice("device", device, ("auto", "cpu", "gpu"))
    available = book.find_notebooks(book.project_root())
    numbers = sorted({n.zfill(2) for n in notebooks})
    cells = grid.read_grid(parameter or [], numbers, available, seed, method)
    common = book.common_parameters(dataset, profile, data, seed, name, runs, method)
    base = book.open_run(**common)
    if base.data is not None:
        need_folder(dataset, base.data)
    varied = [p.partition("=")[0] for p in parameter or []]
    folder = base.folder / "sweeps" / "-".join([*numbers, *varied])
    plan = make_plan(cells, numbers, common, available, folder=folder, device=device)
    records = {key: work.read_record(folder, key) for key in plan.steps}
    outcomes = {key: Outcome(record) for key, record in records.items() if record}
    left = {key: step for key, step in plan.steps.items() if key not in outcomes}
    chosen = crews.choose_crew(workers, len(left), memory_of(base.folder, profile), gpu=on_gpu(device))
    announce(plan, outcomes, base.folder.name, scheduler or chosen)
    if dry_run:
        for line in as_rows(cell_rows(plan, outcomes, base.folder.name), ("cell", "state", "runs", "takes over")):
            out.print(line)
        return
    threads = {} if scheduler or "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(chosen.threads)}
    began, total = time.monotonic(), len(plan.steps)
    places = [Path(common["runs"]), folder, *([base.data] if base.data else [])]
    files = {key: work.progress_file(folder, key) for key in left}
    titles = {key: f"{step.number}  {step.cell}" for key, step in left.items()}
    target = Path(out_folder) if out_folder else folder
    try:
        with SweepView(titles, files, total) as view:

            def tell(step: Any, outcome: Outcome) -> None:
                outcomes[step.key] = outcome
                took = f"{outcome.record['seconds']:.1f} s" if outcome.record else "failed"
                view.ended(step.key, f"{titles[step.key]}  {took}", bool(outcome.record))

            if left:
                with crews.open_client(scheduler, chosen) as client:
                    (folder / "steps").mkdir(parents=True, exist_ok=True)  # only now: an error leaves nothing behind
                    for stale in files.values():  # of workers that were killed; who is at it now writes it anew
                        stale.unlink(missing_ok=True)
                    crews.check_workers(client, book.project_root(), places)
                    outcomes |= crews.carry_out(
                        left, client, work.take_step, environment=threads, retries=retries, tell=tell
                    )
    except KeyboardInterrupt:
        conclude(plan, outcomes, target)
        raise
    failed = conclude(plan, outcomes, target)
    out.print(f"{time.monotonic() - began:.0f} s")
    if failed:
        raise typer.Exit(1)


def on_gpu(device: str) -> bool:
    """Say whether kernels on this machine would compute on a GPU."""
    import torch

    return device != "cpu" and torch.cuda.is_available()


def memory_of(folder: Path, profile: str) -> int:
    """Give how much memory a kernel takes, in MiB: the most that a stage of the run took, or what the profile does."""
    from uslnet_core.stages import peek
    from uslnet_core.sweep.crew import MEMORY

    peaks = [stage.manifest.peak_memory or 0 for stage in peek(folder).values()]
    return max(MEMORY[profile], *peaks) if peaks else MEMORY[profile]


def count(number: int, noun: str) -> str:
    """Count things: ``1 cell``, ``9 cells``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def announce(plan: Plan, outcomes: dict[str, Outcome], run: str, where: str | Crew) -> None:
    """Say what there is to do, and who does it."""
    alone = sum(len(chain) for chain in plan.chains.values())
    shared = f" (each cell alone: {alone} together)" if alone > len(plan.steps) else ""
    done = f", {len(outcomes)} of them done before" if outcomes else ""
    out.print(
        f"Sweep of {run}: {count(len(plan.cells), 'cell')}, {count(len(plan.steps), 'notebook')} to run{shared}{done}."
    )
    if len(outcomes) == len(plan.steps):
        out.print("Nothing is left to run.")
    elif isinstance(where, str):
        out.print(f"Workers: those of the scheduler at {where}")
    else:
        out.print(f"Workers: {where.workers}, threads of each: {where.threads} ({where.why})")


def cell_rows(plan: Plan, outcomes: dict[str, Outcome], run: str) -> list[tuple[str, ...]]:
    """Say of each cell what is done, which notebooks run in it, and from where it takes what others made."""
    rows = []
    for cell in plan.cells:
        steps = [plan.steps[key] for key in plan.chains[cell.name]]
        done = sum(step.key in outcomes for step in steps)
        state = "done" if done == len(steps) else f"{done} of {len(steps)} done" if done else "to do"
        sources: dict[str, list[str]] = {run: plan.taken[cell.name]} if plan.taken[cell.name] else {}
        for step in steps:
            if step.cell != cell.name:
                sources.setdefault(step.cell, []).append(step.number)
        own = " ".join(step.number for step in steps if step.cell == cell.name)
        rows.append((cell.name, state, own, "; ".join(f"{' '.join(part)} of {of}" for of, part in sources.items())))
    return rows


def as_texts(column: pd.Series) -> list[str]:
    """Write a column of the table for the screen: whole numbers whole, others with three decimals, nothing as such."""
    import pandas as pd

    whole = pd.api.types.is_numeric_dtype(column) and (column.dropna() % 1 == 0).all()
    texts = [f"{v:.0f}" if whole else f"{v:.3f}" if isinstance(v, float) else str(v) for v in column]
    return ["" if missing else text for missing, text in zip(column.isna(), texts, strict=True)]


def conclude(plan: Plan, outcomes: dict[str, Outcome], folder: Path) -> int:
    """Write the table and draw the picture, and name what failed.

    Returns:
        How many cells failed.
    """
    from uslnet_core.figures import sweep_plot
    from uslnet_core.sweep.measures import DONE, FAILED, measured, tabulate

    frame = tabulate(plan, outcomes)
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "sweep.csv", index=False)
    said = [f"Table: {folder / 'sweep.csv'}"]
    varied = [name for name in plan.cells[0].values if frame[name].nunique() > 1]
    done = frame[frame["status"] == DONE]
    measures = measured(done, list(plan.cells[0].values))
    picture = folder / "sweep.png"
    picture.unlink(missing_ok=True)  # one of an earlier call would not be of this table
    if varied and measures:
        try:
            sweep_plot(done, varied, measures).savefig(picture)
            said.append(f"Picture: {picture}")
        except DataError as error:  # of a grid too wide for one picture; its table is whole all the same
            said.append(f"No picture: {error}")
    elif varied and len(done) > 1:
        said.append("No picture: these notebooks measured nothing that differs between the cells.")
    failed = frame[frame["status"] == FAILED]
    for row in failed.to_dict("records"):
        say(err, "Failed:", "bold red", f"{row['cell']}: {row['error']}")
    shown = ["cell", "status", "minutes", *measures[:4]]
    for line in as_rows(list(zip(*(as_texts(frame[name]) for name in shown), strict=True)), tuple(shown)):
        out.print(line)
    for line in said:
        out.print(line)
    if len(done) < len(frame):
        out.print(f"{len(done)} of {len(frame)} cells are done. The same command again runs only the others.")
    return len(failed)
