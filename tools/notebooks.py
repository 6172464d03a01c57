"""Hold the tracked notebooks, chapters and solutions, free of outputs, and chapters with the cell for Colab and Binder.

`verify` complains, `strip` takes outputs away, `launch` puts the launch cell in or brings it up to date (after a change
of the repository's address in `_config.yml`).
Cell ids stay (`--keep-id`): links and diffs rely on them, and nbstripout would number them anew.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "imports-note"  # the launch cell stands before the cell of this id
LAUNCH = """\
import os  # the one cell that installs, on Colab and Binder; anywhere else it does nothing

if {{"COLAB_RELEASE_TAG", "BINDER_REPO_URL"}} & os.environ.keys():
    import subprocess
    import sys

    if not os.path.exists("../_config.yml"):  # Colab opens a notebook without its project
        subprocess.check_call(["git", "clone", "-q", "--depth=1", "{address}", "book"])
        os.chdir("book/notebooks")
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "-e", ".."])
    sys.path.insert(0, os.path.abspath(".."))"""


def launch_cell(root: Path = ROOT) -> dict[str, Any]:
    """Make the cell that every notebook has: it readies Colab and Binder, and the book hides it."""
    found = re.search(r"^repository:\n\s+url: (\S+)$", (root / "_config.yml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit("_config.yml names no repository.url, which the launch cell is made with.")
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "launch",
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": LAUNCH.format(address=found[1]).splitlines(keepends=True),
    }


def with_launch(content: dict[str, Any], cell: dict[str, Any]) -> dict[str, Any]:
    """Give a notebook with the launch cell in its place, once; the rest as it was.

    Raises:
        ValueError: it has no cell to put it before.
    """
    cells = [each for each in content["cells"] if each["id"] != cell["id"]]
    place = [each["id"] for each in cells].index(BEFORE)
    return content | {"cells": [*cells[:place], cell, *cells[place:]]}


def launches(notebooks: list[Path], *, write: bool) -> list[Path]:
    """List the notebooks whose launch cell is missing or another one; with ``write``, mend them."""
    cell, wrong = launch_cell(), []
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        try:
            whole = with_launch(json.loads(text), cell)
        except ValueError:
            raise SystemExit(f"{path.name} has no cell {BEFORE!r}, before which the launch cell stands.") from None
        mended = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
        if mended != text:
            wrong.append(path)
            if write:
                path.write_text(mended, encoding="utf-8", newline="\n")
    return wrong


def main() -> int:
    """Run a task; exit code 1 if `verify` finds an output, or a launch cell that is not right."""
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    if task not in ("verify", "strip", "launch"):
        print("usage: notebooks.py verify|strip|launch", file=sys.stderr)
        return 2
    chapters = sorted((ROOT / "notebooks").glob("*.ipynb"))
    notebooks = [*chapters, *sorted((ROOT / "uslnet_core" / "workshop" / "solutions").glob("*.ipynb"))]
    if not chapters:
        print("notebooks/ holds no notebook.")
        return 0
    if task == "launch":
        changed = launches(chapters, write=True)
        print(f"{len(changed)} of {len(chapters)} notebooks changed.")
        return 0
    command = [
        sys.executable,
        "-m",
        "nbstripout",
        "--keep-id",
        *(["--verify"] if task == "verify" else []),
        *(str(path.relative_to(ROOT)) for path in notebooks),
    ]
    failed = subprocess.run(command, cwd=ROOT).returncode
    if failed and task == "verify":
        print("Some notebooks hold outputs. Strip them with:  make format", file=sys.stderr)
    if task == "verify" and (wrong := launches(chapters, write=False)):
        names = ", ".join(path.name for path in wrong)
        print(f"Not the launch cell of the others: {names}. Mend: tools/notebooks.py launch", file=sys.stderr)
        failed = 1
    if task == "verify" and not failed:
        print(f"{len(notebooks)} notebooks, no outputs.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
