"""What the user sees on the terminal: two consoles, progress bars, and the state of a run as a table."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from uslnet_core.errors import RunError

# Paths and messages may hold brackets, so nothing that is printed is read as markup.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def say(console: Console, word: str, style: str, text: str) -> None:
    """Print a message behind a styled word, for example ``Error:``."""
    console.print(Text.assemble((word, style), " ", text))


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show rate and time left of long work on a terminal; elsewhere, say where it is once a minute."""
    if not err.is_terminal:
        yield lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks or done < progress.tasks[progress.task_ids.index(tasks[what])].completed:
                for old in tasks.values():
                    progress.update(old, visible=False)
                tasks[what] = progress.add_task(what, total=total, rate="")
            task = progress.tasks[progress.task_ids.index(tasks[what])]
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            progress.update(tasks[what], completed=done, total=total, rate=rate)

        yield report


def lines(every: float = 60.0) -> Callable[[str, int, int], None]:
    """Report long work to a file or a pipe: a line every so many seconds."""
    last = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            err.print(f"{what}: {done} of {total}")

    return report


@contextmanager
def watch(file: Path) -> Iterator[None]:
    """Show the progress that another process writes to a file."""
    with bars() as report:
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(0.3):
                try:
                    report(**json.loads(file.read_text(encoding="utf-8")))
                except (OSError, json.JSONDecodeError):
                    continue  # nothing written yet, or just being replaced

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for left in (file, file.with_suffix(".new")):
                left.unlink(missing_ok=True)


def stage_table(folder: Path) -> Group:
    """Lay out one run's stages as a table; what is wrong with one is a whole line below."""
    from uslnet_core.stages import gibibytes, list_stages, read_stage, stale_reason

    table = Table(title=folder.name, title_justify="left", box=None, pad_edge=False, collapse_padding=True)
    for head in ("stage", "made", "took, s", "GiB", "device", "from", "state"):
        table.add_column(head, no_wrap=head not in ("device", "from"), justify="right" if head == "took, s" else "left")
    stages, notes = {}, []
    for path in list_stages(folder):
        name = path.parent.relative_to(folder).as_posix()
        try:
            stages[name] = read_stage(folder, name)
        except RunError as error:
            table.add_row(name, "", "", "", "", "", Text("damaged", "red"))
            notes.append(Text.assemble(("Damaged: ", "red"), str(error)))
    for name, stage in stages.items():
        manifest, reason = stage.manifest, stale_reason(stage, stages)
        if reason:
            notes.append(Text.assemble(("Stale: ", "yellow"), f"{name}: {reason}"))
        state = Text("stale", "yellow") if reason else Text("current", "green")
        made = manifest.made_at[:16].replace("T", " ")
        read = " ".join(sorted({each[:2] for each in manifest.inputs}))
        took, memory = f"{manifest.seconds:.0f}", gibibytes(manifest.peak_memory)
        table.add_row(name, made, took, memory, manifest.device, read, state)
    return Group(table, *notes) if stages or notes else Group(f"{folder.name}: nothing made yet")
