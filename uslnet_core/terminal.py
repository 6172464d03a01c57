"""What the user sees on the terminal: two consoles, progress bars, and the state of a run or a sweep as a table."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
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
        # In a narrow window long names go on in the next line; a number or a state is never cut.
        folds = head in ("stage", "device")
        table.add_column(head, no_wrap=not folds, overflow="fold", justify="right" if head == "took, s" else "left")
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


def as_rows(rows: list[tuple[str, ...]], heads: tuple[str, ...], most: int = 60) -> list[Table | str]:
    """Lay rows of text out as a plain table; of many rows, the first."""
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows[:most]:
        table.add_row(*(Text(each) for each in row))
    return [table, f"… and {len(rows) - most} rows more."] if len(rows) > most else [table]


class SweepView:
    """Shows how far a sweep is: on a terminal a line for all and one for each step under way, elsewhere a line a step.

    Args:
        titles: what each step is called, by its key.
        files: where each step says how far it is, by its key; a file is there while its step is under way.
        total: steps of the whole sweep, those that were done before among them.
    """

    def __init__(self, titles: dict[str, str], files: dict[str, Path], total: int) -> None:
        self.titles, self.files, self.total = titles, files, total
        self.open, self.failed, self.began = set(titles), 0, time.monotonic()
        # What is printed meanwhile goes above the lines that move; where it goes to a file, it still does.
        look = {"refresh_per_second": 2, "transient": True, "redirect_stdout": out.is_terminal}
        self.live = Live(get_renderable=self.render, console=err, **look)

    def __enter__(self) -> SweepView:
        if err.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if err.is_terminal:
            self.live.stop()

    def ended(self, key: str, text: str, well: bool) -> None:
        """Be told that a step has ended."""
        self.open.discard(key)
        self.failed += not well
        out.print(f"{text}  ({self.total - len(self.open)} of {self.total})")

    def render(self) -> Group:
        """Draw the state: all steps, then those under way."""
        done, spent = len(self.titles) - len(self.open), time.monotonic() - self.began
        left = f", about {spent / done * len(self.open) / 60:.0f} min left" if done else ""
        failed = f", {self.failed} failed" if self.failed else ""
        lines = [Text(f"{self.total - len(self.open)} of {self.total} notebooks{failed}, {spent / 60:.0f} min{left}")]
        for key in sorted(self.open, key=self.titles.get):
            with suppress(OSError, ValueError):  # not begun, or just being replaced
                at = json.loads(self.files[key].read_text(encoding="utf-8"))
                far = f"{at['what']}: {at['done']} of {at['total']}" if at["what"] else ""
                lines.append(Text(f"  {self.titles[key]}  {far}"))
        return Group(ProgressBar(total=self.total, completed=self.total - len(self.open), width=40), *lines)
