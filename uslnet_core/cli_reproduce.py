"""The command line's ``uslnet reproduce``: one table or figure of the paper, with all that it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.table import Table

from uslnet_core.config import Method, check_choice
from uslnet_core.parameters import parse_list
from uslnet_core.terminal import bars, err, out, say

if TYPE_CHECKING:
    import pandas as pd

    from uslnet_core.runs import Run

NAMES = ("table-8", "table-9", "table-10", "figure-1", "figure-7", "figure-8", "figure-9", "options")
BEYOND = (
    "steps",
    "parts",
    "lessons",
    "together",
    "larger",
    "failures",
)  # past the paper: on the run's own encoders, and no part of `all`
ENCODERS = get_args(Method)  # table 9 compares all three, at any profile
WITH_EPOCHS = ("figure-9", "options")
MOST_ROWS = 30  # of a table on the terminal


def reproduce(
    item: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}, or all; past the paper: {', '.join(BEYOND)}")],
    dataset: Annotated[str, typer.Option(help="synthetic, isic2017, isic2018, ph2 or folder")] = "synthetic",
    profile: Annotated[str, typer.Option(help="quick, workshop or paper")] = "quick",
    data: Annotated[str, typer.Option(help="folder that holds the dataset (default: USLNET_DATA, else data/)")] = "",
    split: Annotated[str, typer.Option(help="part that is scored (default: the dataset's own choice)")] = "",
    seeds: Annotated[str, typer.Option(help="one seed or several: 0, or 0,1,2")] = "0",
    encoders: Annotated[str, typer.Option(help="default: all three; in quick the run's own, save for table-9")] = "",
    iterations: Annotated[
        int | None, typer.Option(min=1, help="of the segmenter, not past the paper (default: 5; quick: 3)")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="figure-9 and options: of iteration 0 there")] = None,
    name: Annotated[str, typer.Option(help="tells runs of one dataset and profile apart")] = "",
    runs: Annotated[str, typer.Option(help="folder of all runs (default: USLNET_RUNS, else runs/)")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
    record: Annotated[bool, typer.Option("--record", help="keep it under book/results/, for the book")] = False,
    out_folder: Annotated[str, typer.Option("--out", help="where tables and pictures go (default: in the run)")] = "",
) -> None:
    """Make one table or figure of the paper's ablations, and whatever it needs that is not there yet."""
    from uslnet_core import book, reproduce
    from uslnet_core.data.layouts import need_folder
    from uslnet_core.errors import ConfigError, DataError
    from uslnet_core.stages import base_seed

    check_choice("table or figure", item, [*NAMES, *BEYOND, "all"])
    check_choice("device", device, ("auto", "cpu", "gpu"))
    numbers, names = whole_numbers(seeds), encoder_names(encoders)
    if epochs is not None and item not in (*WITH_EPOCHS, "all"):
        raise ConfigError(f"--epochs is for {' and '.join(WITH_EPOCHS)} (and all, for these two): {item} has none.")
    if iterations is not None and item in BEYOND:
        raise ConfigError(
            f"--iterations is for the paper's own tables: {item} has as many as its method is settled on."
        )
    places = {"data": str(book.data_folder(data)), "runs": str(book.runs_folder(runs))}
    chosen = {"evaluation": {"split": split or None}, "compute": {"device": device}}
    run = book.open_run(dataset=dataset, profile=profile, name=name, seed=numbers[0], **places, **chosen)
    first = base_seed(run.folder, numbers)
    run = replace(run, config=run.config.model_copy(update={"seed": first}))
    if run.data is not None:
        need_folder(dataset, run.data)
    folder = Path(out_folder) if out_folder else run.folder / "reproduced"
    with bars() as report:
        run = replace(run, progress=report)
        for each in NAMES if item == "all" else [item]:
            lines = reproduce.open_lines(run, *line_for(each, run, names, iterations), numbers)
            options: dict[str, Any] = {"epochs": epochs} if each in WITH_EPOCHS else {}
            found = reproduce.ITEMS[each][0](lines, **options)
            if not found.tables and not found.figures:
                if item != "all":
                    raise DataError(f"{each} cannot be made: {found.needs}.")
                say(err, "Warning:", "yellow", f"{each} was not made: {found.needs}.")
                continue
            told = reproduce.caption(lines, found.stages, reproduce.part_of(each, run))
            files = reproduce.save(found, folder, each, told)
            if record:
                what = "usl-plus" if each in BEYOND else "ablations"
                kept = book.project_root() / "book" / "results" / f"{run.folder.name}-{what}"
                reproduce.record(each, lines, found, kept)
            for what, frame in found.tables.items():
                for part in as_tables(f"{each}: {what}" if what != each.replace("-", " ") else what, frame, out.width):
                    out.print(part)
            for seed, stage in found.stages.items():
                out.print(f"seed {seed}: {stage.run_name}, {stage.describe()}")
            out.print(told)
            out.print(f"Written: {', '.join(file.name for file in files)} in {folder}")
            for seed in found.stages:
                heads = lines[seed].open("03-saliency/main").manifest.facts["orientation"]
                for who, warning in ((who, head["warning"]) for who, head in heads.items() if head["warning"]):
                    say(err, "Warning:", "yellow", f"seed {seed}, CCAM on {who}: {warning}")


def line_for(item: str, run: Run, names: list[str] | None, iterations: int | None) -> tuple[Any, int | None]:
    """Choose the encoders and the number of iterations that an item stands on."""
    from uslnet_core import pipeline, reproduce

    if item in BEYOND:
        return names or pipeline.main_encoders(run), 1
    return names or reproduce.usual_encoders(run, every=item == "table-9"), iterations


def whole_numbers(text: str) -> list[int]:
    """Read seeds: ``0`` or ``0,1,2`` or ``[0, 1, 2]``.

    Raises:
        ConfigError: it is no list of whole numbers.
    """
    from uslnet_core.errors import ConfigError

    numbers = parse_list(text, "list[int]")
    if not numbers:
        raise ConfigError(f"--seeds {text!r}: expected whole numbers, for example 0 or 0,1,2.")
    return numbers


def encoder_names(text: str) -> list[str] | None:
    """Read encoders: ``simclr,moco_v2``; None if none are given.

    Raises:
        ConfigError: it is no list of encoders.
    """
    from uslnet_core.errors import ConfigError
    from uslnet_core.weights import CHECKPOINTS

    names = parse_list(text, "list[str]") if text else None
    if text and not names:
        raise ConfigError(f"--encoders {text!r}: expected names, for example simclr,moco_v2.")
    for name in names or []:
        check_choice("encoder", name, [*ENCODERS, *CHECKPOINTS])
    return names


def as_tables(title: str, frame: pd.DataFrame, width: int) -> list[Table | str]:
    """Lay a frame out for the terminal: as several tables where it is too wide, and its first rows where it is long.

    Args:
        title: over the first table.
        frame: with what tells the rows apart in its first column, which every table begins with.
        width: of the terminal, in letters.
    """
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row] for row in frame.values]
    needed = [
        3 + max(len(each) for each in [str(name), *(row[k] for row in cells[:MOST_ROWS])])
        for k, name in enumerate(frame.columns)
    ]
    parts: list[list[int]] = [[0]]
    for k in range(1, len(needed)):
        if len(parts[-1]) > 1 and sum(needed[j] for j in parts[-1]) + needed[k] + 1 > width:
            parts.append([0])
        parts[-1].append(k)
    shown: list[Table | str] = []
    for part in parts:
        table = Table(*(str(frame.columns[k]) for k in part), title="" if shown else title)
        for row in cells[:MOST_ROWS]:
            table.add_row(*(row[k] for k in part))
        shown.append(table)
    rest = len(cells) - MOST_ROWS
    return [*shown, f"… and {rest} rows more, in the file."] if rest > 0 else shown
