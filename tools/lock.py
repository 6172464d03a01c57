"""Make `requirements.lock` again from `pyproject.toml`: what `make lock` runs.

The lock covers Linux, macOS and Windows at once, holds a hash for every file and no download address. Pins
that stand in the present lock are kept unless `pyproject.toml` forbids them; `--upgrade` lets them all move.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.lock"

COMPILE = (
    "uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes "
    "--no-header --no-annotate --no-emit-index-url --quiet"
).split()


def main() -> int:
    """Write the lock, or leave the old one as it is when the solver finds no set of versions."""
    parser = argparse.ArgumentParser(description="Make requirements.lock from pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    more = ["--upgrade"] if parser.parse_args().upgrade else []
    uv = Path(sys.executable).with_name("uv.exe" if sys.platform == "win32" else "uv")
    return subprocess.run([str(uv), *COMPILE[1:], *more, "-o", LOCK], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
