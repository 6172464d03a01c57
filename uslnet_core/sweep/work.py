"""What a worker does: one step, or nothing if its record says that it was taken and still stands.

A worker may be killed at any moment, and a scheduler may then hand out again what was finished already. So the record
on disk has the say, not the scheduler: it is written when the step is whole, and read before one begins.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from uslnet_core import book
from uslnet_core.errors import RunError
from uslnet_core.folders import link_or_copy
from uslnet_core.locks import held
from uslnet_core.runs import Run
from uslnet_core.stages import peek, stale_reason
from uslnet_core.sweep.plan import MASKS, stages_of

ONE = threading.Lock()  # a kernel gets its folders by this process's environment, so one at a time


def record_file(folder: Path, key: str) -> Path:
    """Name the record of a step."""
    return folder / "steps" / f"{key[:16]}.json"


def progress_file(folder: Path, key: str) -> Path:
    """Name the file in which a step that is being taken says how far it is."""
    return folder / "steps" / f"{key[:16]}.progress.json"


def read_record(folder: Path, key: str) -> dict[str, Any] | None:
    """Read the record of a step; ``None`` if it was not taken, or its stages are gone or were made again since."""
    try:
        record = json.loads(record_file(folder, key).read_text(encoding="utf-8"))
        run = Path(record["runs"]) / record["run"]
        if record["key"] != key or not (run / "notebooks" / record["notebook"]).exists():
            return None
        there = peek(run)
        stands = all(
            name in there and there[name].manifest.fingerprint == fingerprint and not stale_reason(there[name], there)
            for name, fingerprint in record["stages"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if stands else None


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a step, whole or not at all."""
    file = record_file(folder, record["key"])
    fresh = file.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    fresh.replace(file)


def take_step(job: dict[str, Any]) -> dict[str, Any]:
    """Take one step of a sweep: adopt what it stands on, and execute its notebook as ``uslnet run`` does.

    Args:
        job: of the step (:class:`uslnet_core.sweep.plan.Step`), with ``environment`` for its kernel.

    Returns:
        Its record: key, run, notebook, stages with fingerprints, seconds, and whether it was taken ``now``.

    Raises:
        RunError: the run that is swept has changed since the sweep began.
        NotebookError: the notebook stopped.
    """
    folder, key = Path(job["folder"]), job["key"]
    with ONE, held(folder / "steps" / f"{key[:16]}.lock"):
        if record := read_record(folder, key):
            return record | {"now": False}
        progress = progress_file(folder, key)
        progress.write_text(json.dumps({"what": "", "done": 0, "total": 0}), encoding="utf-8")
        try:
            return run_notebook(job, progress) | {"now": True}
        finally:
            for left in (progress, progress.with_suffix(".new")):
                left.unlink(missing_ok=True)


def run_notebook(job: dict[str, Any], progress: Path) -> dict[str, Any]:
    """Execute a step's notebook in its cell's run, and write its record."""
    folder, common = Path(job["folder"]), job["common"]
    run = book.open_run(**common, encoders=tuple(job["encoders"]) if job["encoders"] else None)
    gather(run, job)
    notebook = book.find_notebooks(book.project_root())[job["number"]]
    values, environment = book.hand_on(notebook, common, job["values"], job["device"], progress)
    began = time.time()
    executed = run.folder / "notebooks" / notebook.name
    seconds = book.execute(notebook, executed, values, environment | job.get("environment", {}))
    record = {
        **{name: job[name] for name in ("key", "number", "cell", "values")},
        **{"runs": common["runs"], "run": run.folder.name, "notebook": notebook.name},
        "stages": stages_of(run, job["number"]),
        "began": round(began, 1),
        "seconds": round(seconds, 1),
    }
    write_record(folder, record)
    return record


def gather(run: Run, job: dict[str, Any]) -> None:
    """Link into a cell's run what it takes from the run that is swept, and from the steps that its step stands on.

    Raises:
        RunError: one of them is not what it was when the sweep was planned.
    """
    base = peek(Path(job["base"])) if job["given"] else {}
    for name, fingerprint in job["given"].items():
        if name not in base or base[name].manifest.fingerprint != fingerprint:
            raise RunError(f"{name} of {Path(job['base']).name} has changed since the sweep began: start it again.")
        run.adopt(base[name])
    for key in job["before"]:
        record = read_record(Path(job["folder"]), key)
        if record is None:
            raise RunError(
                f"What notebook {job['number']} stands on has changed since the sweep began: start it again."
            )
        source = Path(record["runs"]) / record["run"]
        if source == run.folder:
            continue
        there = peek(source)
        for name in record["stages"]:
            if not name.startswith(MASKS):
                run.adopt(there[name])
        show(source / "notebooks" / record["notebook"], run.folder / "notebooks")


def show(executed: Path, folder: Path) -> None:
    """Put an executed notebook that several cells share among those of a cell."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # a convenience: its stages are what counts
        (folder / executed.name).unlink(missing_ok=True)
        link_or_copy(executed, folder / executed.name)
