"""The command line's part for public checkpoints: ``uslnet weights list``, ``fetch`` and ``check``."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.table import Table

from uslnet_core.terminal import bars, out, say

weights_app = typer.Typer(no_args_is_help=True, help="List, fetch and check public checkpoints to start from.")

Weights = Annotated[str, typer.Option(help="folder of checkpoints (default: USLNET_WEIGHTS, else weights/)")]


@weights_app.command("list")
def weights_list(weights: Weights = "") -> None:
    """List the known checkpoints: what each is, its size, its licence, and whether it is here."""
    from uslnet_core.book import weights_folder
    from uslnet_core.data.storage import human
    from uslnet_core.weights.registry import CHECKPOINTS

    folder = weights_folder(weights)
    table = Table(box=None, pad_edge=False)
    for head in ("name", "what", "about", "licence", "commercial", "checksum", "here"):
        table.add_column(head, no_wrap=head == "name")
    for known in CHECKPOINTS.values():
        size = "–" if known.size is None else human(known.size)
        checksum = known.checksum.split(":")[0] if known.checksum else "at first use"
        here = "yes" if (folder / known.file).is_file() else "–"
        commercial = {True: "yes", False: "no", None: "not known"}[known.commercial]
        licence = re.split(r"[:,]", known.licence)[0]
        table.add_row(known.name, known.title, size, licence, commercial, checksum, here)
    out.print(table)
    out.print(
        "`uslnet weights fetch NAME` gets one; `-p init=NAME`, or -p init=PATH for a file of yours, starts from it."
    )


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="checkpoints, as `uslnet weights list` names them")],
    weights: Weights = "",
    yes: Annotated[bool, typer.Option("--yes", help="the licences are known and accepted")] = False,
) -> None:
    """Download checkpoints: licence first, resumable, verified."""
    from uslnet_core.book import weights_folder
    from uslnet_core.weights import fetch, licence_notice

    folder = weights_folder(weights)
    for notice in [licence_notice(name) for name in names]:  # all names are looked up before the first is shown
        out.print(notice)
    if not yes and not typer.confirm(f"Fetch {'it' if len(names) == 1 else 'them'} under these terms?"):
        raise typer.Exit(1)
    with bars() as report:
        for name in names:
            found = fetch(name, folder, progress=report)
            out.print(f"Ready: {folder / found.file}\n  {found.state}: {found.detail}; sha256 {found.sha256}")


@weights_app.command("check")
def weights_check(weights: Weights = "") -> None:
    """Compare the checkpoints that are here with what is published, or with what they were at first."""
    from uslnet_core.book import weights_folder
    from uslnet_core.weights import check

    folder = weights_folder(weights)
    with bars() as report:
        rows = check(folder, progress=report)
    if not rows:
        out.print(
            f"No checkpoint in {folder} yet. `uslnet weights fetch NAME` gets one; `uslnet weights list` names them."
        )
        return
    table = Table("name", "file", "state", "sha256", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, row.file, row.state, row.sha256[:12] or "–")
    out.print(table)
    for row in rows:
        if row.state == "changed":
            say(out, "Problem:", "red", f"{row.file}: {row.detail}. Delete it and fetch it again.")
        elif row.detail:
            out.print(f"Note: {row.file}: {row.detail}")
    if any(row.state == "changed" for row in rows):
        raise typer.Exit(2)
