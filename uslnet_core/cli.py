"""The command line, ``uslnet``: thin words around the pipeline and the book."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uslnet_core import __version__, parameters
from uslnet_core.cli_data import Data, data_app
from uslnet_core.cli_export import export
from uslnet_core.cli_reproduce import reproduce
from uslnet_core.cli_sweep import sweep
from uslnet_core.cli_train import train
from uslnet_core.cli_weights import weights_app
from uslnet_core.cli_workshop import slides, workshop_app
from uslnet_core.config import check_choice
from uslnet_core.errors import ConfigError, RunError, USLNetError
from uslnet_core.terminal import bars, err, out, say, stage_table, watch

if TYPE_CHECKING:
    from uslnet_core.runs import Run
    from uslnet_core.stages import Stage  # importing torch takes seconds, which --help need not wait for

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Segment skin lesions with no labels: run the book, change its parameters, segment your own images.",
)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
app.add_typer(workshop_app, name="workshop")
app.command()(reproduce)
app.command()(sweep)
app.command()(train)
app.command()(slides)
app.command()(export)

Dataset = Annotated[str, typer.Option(help="synthetic, isic2017, isic2018, ph2 or folder")]
Profile = Annotated[str, typer.Option(help="quick, workshop or paper")]
Seed = Annotated[int, typer.Option(help="seed of everything random")]
Name = Annotated[str, typer.Option(help="tells runs of one dataset and profile apart")]
Method = Annotated[str, typer.Option(help="usl-net (the paper's) or usl-plus (past it)")]
Runs = Annotated[str, typer.Option(help="folder of all runs (default: USLNET_RUNS, else runs/)")]
Device = Annotated[str, typer.Option(help="auto, cpu or gpu")]
Strict = Annotated[bool, typer.Option("--strict", help="stop at the first image that cannot be read")]


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 2, never a traceback."""
    try:
        app()
    except USLNetError as error:
        say(err, "Error:", "bold red", str(error))
        sys.exit(2)
    except OSError as error:
        say(err, "Error:", "bold red", f"{error.filename or error}: {error.strerror or error}")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:  # typer's word for Ctrl-C
            err.print("Stopped. What was whole is kept, and the same command reuses whole stages.")
        raise


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="show the version and stop")] = False) -> None:
    """Say the version."""
    if version:
        out.print(f"uslnet {__version__}")
        raise typer.Exit


# --- notebooks -------------------------------------------------------------------------------------------------------


def run_notebooks(
    numbers: list[str], common: dict[str, Any], extra: dict[str, dict[str, Any]], device: str
) -> list[dict[str, Any]]:
    """Execute notebooks in order and say what each took, made and reused.

    Args:
        numbers: notebook numbers.
        common: values for the parameters that all notebooks share.
        extra: further values by notebook number, already checked.
        device: auto, cpu or gpu, for the kernels.

    Returns:
        A row a notebook: number, executed (path), seconds.
    """
    from uslnet_core import book

    root = book.project_root()
    notebooks = book.find_notebooks(root)
    run = book.open_run(**common)
    rows = []
    for number in numbers:
        notebook = notebooks[number]
        executed = run.folder / "notebooks" / notebook.name
        progress_file = run.folder / f".progress-{os.getpid()}.json"
        values, environment = book.hand_on(notebook, common, extra.get(number, {}), device, progress_file)
        began = time.time()
        if not err.is_terminal:  # where no bar moves, say what is being worked on
            out.print(f"{notebook.stem} …")
        with watch(progress_file):
            seconds = book.execute(notebook, executed, values, environment)
        parts = stages_since(run.folder, number, began)
        said = [f"{word} {', '.join(stage.name for stage in stages)}" for word, stages in parts.items() if stages]
        out.print(f"{notebook.stem:32s} {seconds:7.1f} s   {'; '.join(said)}")
        for stage in sum(parts.values(), []):
            if skipped := stage.manifest.facts.get("skipped"):
                left_out = stage / "skipped.csv"
                out.print(f"  {skipped} files of {stage.name} could not be read and are left out: {left_out}")
        rows.append({"number": number, "executed": executed, "seconds": seconds})
    return rows


def stages_since(folder: Path, number: str, began: float) -> dict[str, list[Stage]]:
    """Tell the stages of one notebook that were made since a moment from those of other runs, and those reused."""
    from uslnet_core.stages import notebook_of, peek, stale_reason

    stages = peek(folder)
    found: dict[str, list[Stage]] = {"made": [], "shared from another run:": [], "reused": []}
    for name, stage in stages.items():
        if notebook_of(name) == number and not stale_reason(stage, stages):
            # What another run shares keeps the time at which that run made it; its folder here is new.
            new = stage.folder.stat().st_ctime >= began - 1
            made = datetime.fromisoformat(stage.manifest.made_at).timestamp() >= began - 1
            found["made" if new and made else "shared from another run:" if new else "reused"].append(stage)
    return found


def check_data_folder(run: Run) -> None:
    """Refuse a dataset whose folder is not there, before anything is run or made."""
    from uslnet_core.data.layouts import need_folder

    if run.data is not None:
        need_folder(run.config.dataset, run.data)


@app.command()
def book(
    dataset: Dataset = "synthetic",
    profile: Profile = "quick",
    data: Data = "",
    seed: Seed = 0,
    name: Name = "",
    runs: Runs = "",
    device: Device = "auto",
    strict: Strict = False,
    html: Annotated[bool, typer.Option(help="build the pages, too")] = True,
) -> None:
    """Run every notebook and build the book: _build/html/index.html."""
    from uslnet_core import book as books

    check_choice("device", device, ("auto", "cpu", "gpu"))
    start = time.monotonic()
    root = books.project_root()
    common = books.common_parameters(dataset, profile, data, seed, name, runs)
    run = books.open_run(**common)
    check_data_folder(run)
    out.print(f"Run {run.folder.name}: {dataset} images, profile {profile}, seed {seed}")
    rows = run_notebooks(list(books.find_notebooks(root)), common, {"01": {"strict": True}} if strict else {}, device)
    if html:
        books.publish([row["executed"] for row in rows], root)
        began = time.monotonic()
        page = books.build_html(root)
        out.print(f"{'HTML':32s} {time.monotonic() - began:7.1f} s")
        out.print(f"{'all':32s} {time.monotonic() - start:7.1f} s")
        out.print(f"The book is at {page}")


@app.command()
def run(
    notebooks: Annotated[list[str], typer.Argument(help="notebook numbers, for example 04, or 04 05 06 07")],
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, as in the parameters cell")] = None,
    with_inputs: Annotated[bool, typer.Option("--with-inputs", help="make missing earlier stages first")] = False,
    dataset: Dataset = "synthetic",
    profile: Profile = "quick",
    data: Data = "",
    seed: Seed = 0,
    name: Name = "",
    runs: Runs = "",
    method: Method = "usl-net",
    device: Device = "auto",
    strict: Strict = False,
) -> None:
    """Run one notebook or several with other parameters."""
    from uslnet_core import book as books
    from uslnet_core.runs import other_seed
    from uslnet_core.stages import base_seed

    check_choice("device", device, ("auto", "cpu", "gpu"))
    available = books.find_notebooks(books.project_root())
    numbers = [n.zfill(2) for n in notebooks]
    for given, number in zip(notebooks, numbers, strict=True):
        if number not in available:
            check_choice("notebook", given, available)
    if strict and "01" not in numbers and not with_inputs:
        raise ConfigError("--strict is about reading images, which notebook 01 does: name 01, too, or --with-inputs.")
    extra = parameters.check_parameters(parameter or [], numbers, available)
    if strict:
        extra.setdefault("01", {})["strict"] = True
        numbers = sorted({"01", *numbers})  # what is there may have been made without files that could not be read
    common = books.common_parameters(dataset, profile, data, seed, name, runs, method)
    parameters.check_method(method, numbers, available)
    encoders = parameters.settle(extra, available)
    target = books.open_run(**common, encoders=tuple(encoders) if encoders else None)
    check_data_folder(target)
    made_with = base_seed(target.folder, [seed])
    if made_with != seed and "02" not in numbers and any(books.READS.get(number) for number in numbers):
        raise other_seed(target.folder.name, made_with, seed)
    counts = {n: extra.get(n, {}).get("iterations") if n in ("06", "07") else None for n in numbers}
    first = sorted(
        {n for number in numbers for n in books.missing_inputs(target, number, counts[number])} - set(numbers)
    )
    if first and not with_inputs:
        raise RunError(
            f"{target.folder.name} lacks what notebook {', '.join(first)} makes, or has it stale. Make it first:\n"
            f"  {target.command(' '.join(first))}\nor add --with-inputs to this command."
        )
    rows: list[dict[str, Any]] = []
    for number in sorted(set(numbers)):
        # Asked again before each one: the notebook before may have made later stages stale.
        before = books.missing_inputs(target, number, counts[number]) if with_inputs else []
        rows += run_notebooks([*before, number], common, extra, device)
    for row in rows:
        if row["number"] in numbers:
            out.print(f"To look at it: {books.export_html(row['executed'])}")
    say_stale(target.folder, changed=bool(parameter))


def say_stale(folder: Path, *, changed: bool) -> None:
    """Name the stages that no longer follow from what they read, and how they do so again."""
    from uslnet_core.stages import peek, stale_reason

    stages = peek(folder)
    stale = {name: reason for name, stage in stages.items() if (reason := stale_reason(stage, stages))}
    for name, reason in stale.items():
        out.print(f"Now stale: {name} ({reason})")
    if stale and changed:
        out.print(
            "Run the later chapters with the same -p to follow the change, or this one without -p to take it back."
        )


# --- use -------------------------------------------------------------------------------------------------------------


@app.command()
def segment(
    paths: Annotated[list[Path], typer.Argument(help="image files, or folders of them")],
    run: Annotated[str, typer.Option(help="a run's name, or its folder (default: the student that ships)")] = "",
    out_folder: Annotated[Path, typer.Option("--out", help="where masks, overlays and the table go")] = Path(
        "segmented"
    ),
    runs: Runs = "",
    device: Device = "auto",
    strict: Strict = False,
) -> None:
    """Segment images at their own size: masks, overlays, segmentation.csv. With no training, or by a run of yours."""
    from uslnet_core import pipeline
    from uslnet_core.book import find_run
    from uslnet_core.compute import make_fabric
    from uslnet_core.config import ComputeConfig
    from uslnet_core.gallery import left_from_before
    from uslnet_core.inference import segment_files

    check_choice("device", device, ("auto", "cpu", "gpu"))
    fabric, stage = make_fabric(ComputeConfig(device=device)), None
    if run:
        predictor, stage = pipeline.last_predictor(find_run(run, runs), fabric)
    else:
        predictor = pipeline.shipped_predictor(fabric)
    with bars() as report:
        table = segment_files(paths, out_folder, predictor, strict=strict, progress=report)
    done, doubtful = int(table["mask"].notna().sum()), table[table["warning"] != ""]
    by = f"{stage.name} of {run}" if stage else f"the student that ships ({pipeline.read_card()['trained on']})"
    out.print(f"{done} of {len(table)} images segmented with {by}, into {out_folder}")
    if stage and stage.manifest.config["dataset"] == "synthetic":
        out.print(
            "This run has seen drawn images only: on real ones, train on real ones first (uslnet book --dataset …)."
        )
    for _, row in doubtful.head(20).iterrows():
        out.print(f"  {row['file']}: {row['warning']}")
    if len(doubtful) > 20:
        out.print(f"  … and {len(doubtful) - 20} more, in {out_folder / 'segmentation.csv'}")
    if older := left_from_before(table, out_folder):
        out.print(
            f"{len(older)} files in {out_folder} are of an earlier call, and not in the table; they were left as they "
            f"are. The first: {older[0].relative_to(out_folder)}"
        )
    out.print(f"Sorted by doubt: {out_folder / 'gallery-1.html'}")
    out.print("For research and teaching. Not a medical device.")


@app.command()
def record(
    dataset: Dataset = "isic2017",
    profile: Profile = "workshop",
    data: Data = "",
    seed: Seed = 0,
    name: Name = "",
    runs: Runs = "",
    method: Method = "usl-net",
) -> None:
    """Keep a run's scores, figures and manifest under book/results/, for the page of results."""
    from uslnet_core import book as books
    from uslnet_core.record import record as keep

    run = books.open_run(**books.common_parameters(dataset, profile, data, seed, name, runs, method))
    out.print(f"Recorded: {keep(run, books.project_root() / 'book' / 'results')}")


@app.command()
def ship(
    run: Annotated[str, typer.Argument(help="a run's name or folder, for example isic2017-workshop~plus")],
    runs: Runs = "",
) -> None:
    """Put a run's student into the package, for `uslnet segment`; `uslnet reproduce steps` trains it."""
    from uslnet_core import pipeline
    from uslnet_core.book import find_run

    out.print(f"Ships from now on: {pipeline.ship(find_run(run, runs))}")


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(help="a run's name or folder; none: all runs")] = None, runs: Runs = ""
) -> None:
    """Show the stages of runs: when, from what, how long, current or stale."""
    from uslnet_core.book import find_run, runs_folder

    folder = runs_folder(runs)
    chosen = [find_run(run, runs)] if run else sorted(p for p in folder.glob("*") if p.is_dir())
    if not chosen:
        out.print(f"No run in {folder} yet. `uslnet book` makes the first.")
    for each in chosen:
        out.print(stage_table(each))


if __name__ == "__main__":
    main()
