"""What the benchmarks share: their options, taking turns, where they ran, and whether a goal is met."""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch


def arguments(description: str, **numbers: int) -> argparse.Namespace:
    """Read ``--out`` and some whole numbers from the command line, and keep torch to one thread."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    for name, usual in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    torch.set_num_threads(1)
    return parser.parse_args()


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time contenders in turn, round by round, so that a busy machine slows them alike: seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def circumstances() -> tuple[str, str]:
    """Name the machine and the versions."""
    machine = f"{processor()}, 1 thread, {platform.system()}"
    return machine, f"Python {platform.python_version()}, torch {torch.__version__}"


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def judged(
    what: str, value: float, unit: str, goal: float | None = None, *, most: bool = False, note: str = ""
) -> dict[str, object]:
    """Make a row of the table of goals.

    Args:
        what: was measured.
        value: in ``unit``; NaN where it cannot be measured here.
        unit: for example ``times scipy``.
        goal: the least that it must be; ``None``: the row has no goal, and no verdict.
        most: the goal is the most that it may be.
        note: what else one must know to read it.
    """
    words = "" if goal is None else f"{'at most' if most else 'at least'} {goal:g}"
    met = goal is not None and (value <= goal if most else value >= goal)
    verdict = "" if goal is None else "not measured" if math.isnan(value) else "pass" if met else "short"
    return {"what": what, "value": round(value, 3), "unit": unit, "goal": words, "verdict": verdict, "note": note}


def tell_goals(rows: Sequence[Mapping[str, object]], out: Path | None) -> None:
    """Print the rows that have a goal, and write them beside a benchmark's own table, as ``<name>-goals.csv``."""
    table = pd.DataFrame([row for row in rows if row["verdict"]])
    print()
    print(table.to_string(index=False))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(out.with_name(f"{out.stem}-goals.csv"), index=False)
