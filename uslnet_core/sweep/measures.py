"""What the cells of a sweep measured, in one table: scores where something was scored, and facts of their stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from uslnet_core.evaluation import METRICS
from uslnet_core.stages import Stage, notebook_of, peek, stale_reason
from uslnet_core.sweep.plan import Plan
from uslnet_core.sweep.steps import Outcome

STATED = ("cell", "status", "minutes", "error", "run", "model")  # columns that are neither given nor measured
DONE, FAILED, OPEN = "done", "failed", "not done yet"
ERROR_LINES = 3


def tabulate(plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Put all cells in one table.

    Args:
        plan: of the sweep.
        outcomes: of its steps by key; those that are missing have not been taken.

    Returns:
        A row a cell, in the order of the grid: cell, a column for each parameter, status, minutes (of the steps that
        were taken in this cell's own run; what cells share is counted once, where it was made), error, run, the model
        that was scored, and what was measured.
    """
    rows = []
    for cell in plan.cells:
        own = [outcomes.get(key) for key in plan.chains[cell.name]]
        failed = next((each for each in own if each and each.record is None), None)
        whole = all(each and each.record for each in own)
        row: dict[str, Any] = {"cell": cell.name} | {name: shown(value) for name, value in cell.values.items()}
        row["status"] = DONE if whole else FAILED if failed else OPEN
        spent = [each.record["seconds"] for each in own if each and each.record and each.record["cell"] == cell.name]
        row["minutes"] = round(sum(spent) / 60, 2)
        row["error"] = first_lines(failed.error) if failed else ""
        folder = plan.runs[cell.name]
        row["run"] = folder.name if folder.is_dir() else ""
        rows.append(row | (measure(folder, plan.numbers) if whole else {}))
    return pd.DataFrame(rows)


def shown(value: Any) -> Any:
    """Write a parameter's value for a table: lists as ``a+b``, nothing as ``none``, numbers and words as they are."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return "none" if value is None else value


def first_lines(error: str) -> str:
    """Shorten an error to its first lines."""
    return "\n".join(error.strip().splitlines()[:ERROR_LINES])


def measure(run: Path, numbers: list[str]) -> dict[str, Any]:
    """Read what the notebooks of one cell measured.

    Args:
        run: the cell's run.
        numbers: the notebooks that were asked for; what others made is no result of the cell's own.

    Returns:
        The last model's name and mean scores per image, in [0, 1], at the run's own size; and every number among the
        facts of the stages, as ``<stage>/<fact>``.
    """
    stages = peek(run)
    found: dict[str, Any] = {}
    for name, stage in stages.items():
        if notebook_of(name) in numbers and not stale_reason(stage, stages):
            found |= (
                scores(stage) if name.startswith("07-evaluation/") else dict(numbers_in(stage.manifest.facts, name))
            )
    return found


def scores(stage: Stage) -> dict[str, Any]:
    """Read the last model's scores; nothing where nothing was scored."""
    file = stage / "summary.csv"
    if not file.exists():
        return {}
    summary = pd.read_csv(file, dtype={"size": str})
    last = summary[(summary["model"] == summary["model"].iloc[-1]) & (summary["size"] == summary["size"].iloc[0])]
    means = last.set_index("metric")["mean"]
    return {"model": last["model"].iloc[0]} | {metric: float(means[metric]) for metric in METRICS if metric in means}


def numbers_in(facts: Mapping[str, Any], where: str) -> Iterator[tuple[str, float]]:
    """Walk all numbers among facts, those of a fact's own facts included."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from numbers_in(value, f"{where}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{where}/{name}", value


def measured(frame: pd.DataFrame, parameters: list[str]) -> list[str]:
    """Choose what a picture shows: columns of numbers that are not the same in all cells, scores first."""
    columns = [name for name in frame if name not in (*STATED, *parameters)]
    telling = [n for n in columns if pd.api.types.is_numeric_dtype(frame[n]) and frame[n].dropna().nunique() > 1]
    return sorted(telling, key=lambda name: (name not in METRICS, "DIC" != name))
