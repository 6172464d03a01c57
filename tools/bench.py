"""Run every benchmark, one after the other, and say at the end which goals were met: what `make bench` runs.

    python tools/bench.py [FOLDER] [--only NAME]

Each benchmark writes its table into the folder (`_bench` where none is named), `goals.csv` gathers what has a goal, and
`measured.csv` says where and when. `make bench OUT=book/results/speed` is what the book shows. A goal that is not met
is no failure of the command: it says *short*. Close other programs first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent


def circumstances_of(file: Path) -> Path:
    """Take the column that says where and when out of a table, into a file of its own; name the others in words."""
    taken = file.with_name(f"{file.stem}-measured.csv")
    if file.exists() and "measured" in (table := pd.read_csv(file, keep_default_na=False)):
        table[["measured"]].head(1).to_csv(taken, index=False)
        table.drop(columns="measured").rename(columns=lambda name: name.replace("_", " ")).to_csv(file, index=False)
    return taken


def briefly(goals: pd.DataFrame) -> pd.DataFrame:
    """Lay goals out for a page: verdict, what, what was reached with its unit, and the goal."""

    def reached(row: pd.Series) -> str:
        value = pd.to_numeric(row["value"], errors="coerce")
        shown = "–" if pd.isna(value) else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        return f"{shown} {row['unit']}"

    what = [f"{row.what} ({row.note})" if row.note else row.what for row in goals.itertuples()]
    columns = {
        "verdict": goals["verdict"],
        "what": what,
        "reached": goals.apply(reached, axis=1),
        "goal": goals["goal"],
    }
    return pd.DataFrame(columns)


def gather(out: Path, benchmark: str, part: Path, name: str) -> None:
    """Put one benchmark's rows into the table of all of them, in place of those from before, and remove its own."""
    if not part.exists():
        return
    fresh = pd.read_csv(part, keep_default_na=False)
    fresh = briefly(fresh) if "verdict" in fresh else fresh
    fresh.insert(len(fresh.columns) if "verdict" in fresh else 0, "benchmark", benchmark)
    whole = out / name
    others = [pd.read_csv(whole, keep_default_na=False)] if whole.exists() else []
    kept = [table[table["benchmark"] != benchmark] for table in others]
    pd.concat([*kept, fresh]).sort_values("benchmark", kind="stable").to_csv(whole, index=False)
    part.unlink()


def main() -> int:
    """Run them, print the goals, and give 1 if a benchmark could not be run."""
    parser = argparse.ArgumentParser(description="Run every benchmark and say which goals were met.")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "_bench", help="gets the tables")
    parser.add_argument("--only", help="one benchmark; the goals of the others stay as they are")
    args = parser.parse_args()
    out, failed = args.folder.resolve(), []
    scripts = sorted((ROOT / "benchmarks").glob(f"{args.only or '[!_]*'}.py"))
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        start, goals = time.monotonic(), out / f"{script.stem}-goals.csv"
        goals.unlink(missing_ok=True)
        if subprocess.run([sys.executable, script, "--out", out / f"{script.stem}.csv"], cwd=ROOT).returncode:
            failed.append(script.stem)
        print(f"== {script.stem}: {time.monotonic() - start:.0f} s\n", flush=True)
        gather(out, script.stem, goals, "goals.csv")
        gather(out, script.stem, circumstances_of(out / f"{script.stem}.csv"), "measured.csv")
    if (out / "goals.csv").exists():
        table = pd.read_csv(out / "goals.csv", keep_default_na=False)
        print(table.to_string(index=False))
        print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in table["verdict"].value_counts().items()))
    if failed:
        print(f"Could not be run: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
