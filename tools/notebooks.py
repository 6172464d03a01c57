"""Hold the tracked notebooks free of outputs: `verify` complains, `strip` mends.

Cell ids stay (`--keep-id`): links and diffs rely on them, and nbstripout would number them anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run nbstripout over `notebooks/` and the solutions of exercises; exit code 1 if `verify` finds an output."""
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    if task not in ("verify", "strip"):
        print("usage: notebooks.py verify|strip", file=sys.stderr)
        return 2
    folders = (ROOT / "notebooks", ROOT / "uslnet_core" / "workshop" / "solutions")
    notebooks = sorted(str(path.relative_to(ROOT)) for folder in folders for path in folder.glob("*.ipynb"))
    if not notebooks:
        print("notebooks/ holds no notebook.")
        return 0
    command = [
        sys.executable,
        "-m",
        "nbstripout",
        "--keep-id",
        *(["--verify"] if task == "verify" else []),
        *notebooks,
    ]
    failed = subprocess.run(command, cwd=ROOT).returncode
    if failed and task == "verify":
        print("Some notebooks hold outputs. Strip them with:  make format", file=sys.stderr)
    elif task == "verify":
        print(f"{len(notebooks)} notebooks, no outputs.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
