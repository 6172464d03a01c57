"""The command line's part for training without notebooks, on one device or several: ``uslnet train``."""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uslnet_core.config import check_choice
from uslnet_core.errors import ConfigError, RunError, USLNetError
from uslnet_core.terminal import bars, out

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    from uslnet_core.compute import Progress
    from uslnet_core.runs import Run
    from uslnet_core.stages import Stage

CHAPTERS = ("01", "02", "03", "04", "05", "06")
GONE = 75  # exit code of a process that has lost another one
LOST = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited")  # what gloo and NCCL say of one gone


def train(
    chapters: Annotated[list[str] | None, typer.Argument(help="01 to 06; none: all of them")] = None,
    processes: Annotated[int, typer.Option(help="processes, one a GPU (0: one for each GPU, or a single one)")] = 0,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="section.field=value, for example contrastive.epochs=20")
    ] = None,
    dataset: Annotated[str, typer.Option(help="synthetic, isic2017, isic2018, ph2 or folder")] = "synthetic",
    profile: Annotated[str, typer.Option(help="quick, workshop or paper")] = "quick",
    data: Annotated[str, typer.Option(help="folder that holds the dataset (default: USLNET_DATA, else data/)")] = "",
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
    name: Annotated[str, typer.Option(help="tells runs of one dataset and profile apart")] = "",
    runs: Annotated[str, typer.Option(help="folder of all runs (default: USLNET_RUNS, else runs/)")] = "",
    method: Annotated[str, typer.Option(help="usl-net (the paper's) or usl-plus (past it)")] = "usl-net",
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
) -> None:
    """Make the stages of chapters 1 to 6 without notebooks, on all GPUs; `uslnet book` and `run` find them there."""
    numbers = sorted({chapter.zfill(2) for chapter in chapters or CHAPTERS})
    for number in numbers:
        check_choice("chapter that trains", number, CHAPTERS)
    check_choice("device", device, ("auto", "cpu", "gpu"))
    sections = read_fields(parameter or [])
    if processes < 0:
        raise ConfigError(f"--processes is {processes}: expected 1 or more, or 0 for one a GPU.")
    import torch

    from uslnet_core.compute import make_fabric
    from uslnet_core.ranks import once, rank

    member = torch.distributed.is_torchelastic_launched()
    first = int(os.environ.get("RANK", 0)) == 0
    number_of = int(os.environ["WORLD_SIZE"]) if member else processes
    if processes not in (0, number_of):
        refused = ConfigError(
            f"--processes is {processes}, but torchrun has started {number_of}. Leave --processes out under torchrun, "
            f"or start it with --nproc-per-node {processes}."
        )
        raise refused if first else typer.Exit(2)
    if not number_of:
        number_of = max(1, torch.cuda.device_count()) if device != "cpu" else 1
    opened = {"dataset": dataset, "profile": profile, "data": data, "seed": seed, "name": name, "runs": runs}
    sections["compute"] = sections.get("compute", {}) | {"device": device, "processes": number_of}
    run = open_run(sections | opened | {"method": method}, None)
    if number_of > 1 and not member:
        raise typer.Exit(start_together(number_of))
    try:
        with bars() as report:
            run = open_run(sections | opened | {"method": method}, report if first else None)
            if number_of > 1:
                make_fabric(run.config.compute)  # joins the others
            once(lambda: say_run(run, number_of))
            for number in numbers:
                for make in stages_of(number):
                    for stage in make(run):
                        if rank() == 0:
                            out.print(told(stage))
    except USLNetError:
        if first:
            raise
        raise typer.Exit(2) from None  # all have met it, and the first says so
    except RuntimeError as error:
        if number_of == 1 or not any(words in str(error) for words in LOST):
            raise
        raise typer.Exit(GONE) from None  # another has gone, and who started it says which


def read_fields(texts: list[str]) -> dict[str, Any]:
    """Read ``section.field=value`` into sections as :func:`~uslnet_core.config.configure` takes them.

    Raises:
        ConfigError: no ``=`` in one of them.
    """
    sections: dict[str, Any] = {}
    for text in texts:
        where, equals, raw = text.partition("=")
        if not equals:
            raise ConfigError(f"-p {text!r}: expected section.field=value, for example -p contrastive.epochs=20.")
        try:
            value = ast.literal_eval(raw)
        except (ValueError, SyntaxError):
            value = {"true": True, "false": False, "none": None}.get(raw.lower(), raw)
        value = tuple(value) if isinstance(value, list) else value
        section, dot, field = where.partition(".")
        if section == "encoders" and isinstance(value, str):
            value = tuple(value.split(","))
        if dot:
            sections.setdefault(section, {})[field] = value
        else:
            sections[section] = value
    return sections


def open_run(options: dict[str, Any], progress: Progress | None) -> Run:
    """Open the run, which reports where it is told to, or nowhere."""
    from dataclasses import replace

    from uslnet_core import book
    from uslnet_core.compute import quiet
    from uslnet_core.data.layouts import need_folder

    run = book.open_run(**options)
    if run.data is not None:
        need_folder(run.config.dataset, run.data)
    return replace(run, progress=progress or quiet)


def start_together(processes: int) -> int:
    """Start this very command as so many processes that know each other, and give their exit code.

    Raises:
        RunError: one of them was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    from uslnet_core.compute import cores

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    try:
        # By its address: the machine's name may not be known to itself.
        here = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}"]
        torchrun([*here, "-m", "uslnet_core.cli", *sys.argv[1:]])
    except ChildFailedError as error:  # what went wrong, the process that met it has said, unless it was killed
        number, failure = culprit(error.failures)
        if failure.exitcode < 0:
            raise RunError(killed(number, processes, -failure.exitcode)) from None
        return failure.exitcode
    except SignalException as error:  # stopped as a whole
        return 128 + error.sigval
    return 0


def culprit(failures: dict[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """Tell the process that went wrong from those that lost it, or that were stopped because of it."""

    def blame(item: tuple[int, ProcessFailure]) -> tuple[int, int]:
        number, failure = item
        return {GONE: 2, -signal.SIGTERM: 1}.get(failure.exitcode, 0), number

    return min(failures.items(), key=blame)


def killed(number: int, processes: int, signal_number: int) -> str:
    """Word the message about a process that was killed."""
    known = signal_number in {*signal.Signals}
    named = signal.Signals(signal_number).name if known else f"signal {signal_number}"
    memory = " Memory may have run out: see what the system's log says of it." if named == "SIGKILL" else ""
    return (
        f"Process {number} of {processes} (the first is 0) was ended by {named}, and the others were stopped.{memory} "
        "What was whole is kept, and the same command goes on from the last checkpoint, with any number of processes."
    )


def stages_of(chapter: str) -> list[Callable[[Run], list[Stage]]]:
    """Name what a chapter makes for the later ones to train on."""
    from uslnet_core import pipeline

    return {
        "01": [lambda run: [pipeline.prepare_images(run, pipeline.train_split(run))]],
        "02": [pipeline.learn_all_features],
        "03": [lambda run: [pipeline.make_saliency(run)]],
        "04": [lambda run: [pipeline.make_labels(run)]],
        "05": [lambda run: [pipeline.train_iteration(run, 0)]],
        "06": [pipeline.refine],
    }[chapter]


def say_run(run: Run, processes: int) -> None:
    """Say what is about to be trained, and by how many processes."""
    config, how = run.config, "one process" if processes == 1 else f"{processes} processes"
    out.print(f"Run {run.folder.name}: {config.dataset} images, profile {config.profile}, seed {config.seed}, {how}")


def told(stage: Stage) -> str:
    """Describe a stage in a line; of a training also its seconds an epoch and the memory it took."""
    import pandas as pd
    import torch

    from uslnet_core.stages import gibibytes

    manifest, history = stage.manifest, stage / "history.csv"
    parts = [stage.describe()]
    if history.exists() and stage.name.startswith(("02-", "05-")):
        epochs = len(pd.read_csv(history))
        parts.append(f"{epochs} epochs, {manifest.seconds / epochs:.1f} s an epoch")
    parts.append(f"{gibibytes(manifest.peak_memory)} GiB of memory")
    if stage.origin == "made" and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        parts.append(f"{gibibytes(torch.cuda.max_memory_allocated() >> 20)} GiB of the GPU's")
    return ", ".join(parts)
