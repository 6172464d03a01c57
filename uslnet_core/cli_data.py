"""The command line's ``uslnet data``: check a dataset, or fetch one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from uslnet_core.terminal import bars, out, say

data_app = typer.Typer(no_args_is_help=True, help="Check a dataset, or fetch one.")

Data = Annotated[str, typer.Option(help="folder that holds the dataset (default: USLNET_DATA, else data/)")]


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="synthetic, isic2017, isic2018, ph2 or folder")],
    data: Data = "",
) -> None:
    """Count images and masks; name unreadable files, masks without an image, odd sizes and overlaps."""
    from uslnet_core.book import data_folder
    from uslnet_core.data.datasets import check

    folder = None if name == "synthetic" else data_folder(data)
    with bars() as report:
        found = check(name, folder, progress=report)
    table = Table("part", "images", "official", "masks", "width (min, median, max)", "height")
    for part in found.splits.values():
        expected = "–" if part.expected is None else str(part.expected)
        sizes = [" ".join(map(str, s)) if s else "–" for s in (part.widths, part.heights)]
        table.add_row(part.split, str(part.images), expected, str(part.masks), *sizes)
    out.print(table)
    for line in found.notes:
        out.print(f"Note: {line}")
    for line in found.problems:
        say(out, "Problem:", "red", line)
    if not found.ok:
        raise typer.Exit(2)
    out.print(f"{name}: all is well.")


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="isic2017 or isic2018 (ph2 has a form; this says where)")],
    data: Data = "",
    split: Annotated[list[str] | None, typer.Option(help="train or validation; again for more")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="the licence is known and accepted")] = False,
) -> None:
    """Download a dataset: licence first, resumable, verified."""
    from uslnet_core.book import data_folder
    from uslnet_core.data.fetch import fetch, licence_notice

    out.print(licence_notice(name))
    if name in ("isic2017", "isic2018") and not yes and not typer.confirm("Fetch it under these terms?"):
        raise typer.Exit(1)
    with bars() as report:
        for folder in fetch(name, data_folder(data), splits=split, progress=report):
            out.print(f"Ready: {folder}")
