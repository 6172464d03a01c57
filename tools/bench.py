"""Run every benchmark, one after the other, and say at the end which goals were met: what `make bench` runs.

    python tools/bench.py [FOLDER]

Each benchmark writes its table into the folder (`_bench` where none is named), and `goals.csv` gathers what has a goal.
A goal that is not met is no failure of the command: it says *short*. Close other programs first.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run them, print the goals, and give 1 if a benchmark could not be run."""
    out = Path(sys.argv[1] if sys.argv[1:] else ROOT / "_bench").resolve()
    failed, tables = [], []
    for script in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        print(f"== {script.stem}", flush=True)
        start, goals = time.monotonic(), out / f"{script.stem}-goals.csv"
        goals.unlink(missing_ok=True)
        if subprocess.run([sys.executable, script, "--out", out / f"{script.stem}.csv"], cwd=ROOT).returncode:
            failed.append(script.stem)
        print(f"== {script.stem}: {time.monotonic() - start:.0f} s\n", flush=True)
        if goals.exists():
            tables.append(pd.read_csv(goals, keep_default_na=False).assign(benchmark=script.stem))
            goals.unlink()
    if tables:
        table = pd.concat(tables)
        table.insert(0, "benchmark", table.pop("benchmark"))
        table.to_csv(out / "goals.csv", index=False)
        print(table.to_string(index=False))
        print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in table["verdict"].value_counts().items()))
    if failed:
        print(f"Could not be run: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
