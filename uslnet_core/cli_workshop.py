"""The command line for teachers: ``uslnet workshop``, ``uslnet workshop check`` and ``uslnet slides``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from uslnet_core.config import check_choice
from uslnet_core.errors import RunError
from uslnet_core.terminal import err, out, say

workshop_app = typer.Typer(help="Write a workshop's kit, or check whether a laptop is ready for one.")


@workshop_app.callback(invoke_without_command=True)
def workshop(
    context: typer.Context,
    out_folder: Annotated[str, typer.Option("--out", help="folder of the kit: new, empty, or a kit from before")] = "",
    data: Annotated[str, typer.Option(help="your copy of ISIC-2017: 60 of its images, CC0, go into the kit")] = "",
    platform: Annotated[
        list[str] | None, typer.Option(help="windows, mac, linux or linux-arm; again for more; none: no wheelhouse")
    ] = None,
    python: Annotated[
        list[str] | None, typer.Option(help="Python of the laptops, such as 3.12; again for more")
    ] = None,
    cpu_torch: Annotated[
        str, typer.Option(help="linux: folder or index with CPU builds of torch and torchvision; saves gigabytes")
    ] = "",
    no_wheels: Annotated[
        bool, typer.Option("--no-wheels", help="leave the wheelhouse out, whatever --platform")
    ] = False,
) -> None:
    """Write the kit: exercises, solutions apart, offline book, images, wheelhouse, checklist, timetables."""
    if context.invoked_subcommand:
        return
    if not out_folder:
        out.print(context.get_help())
        raise typer.Exit(2)
    from uslnet_core.book import project_root
    from uslnet_core.workshop.kit import make_kit
    from uslnet_core.workshop.wheels import PLATFORMS

    platforms = [] if no_wheels else platform or []
    for name in platforms:
        check_choice("platform", name, PLATFORMS)
    if "linux" in platforms and not cpu_torch:
        say(err, "Mind:", "yellow", "torch for Linux brings CUDA along, gigabytes of it. --cpu-torch saves them.")
    try:
        root = project_root()
    except RunError:
        root = None
    if root and not (root / "pyproject.toml").is_file():
        root = None  # an unpacked kit: it has chapters, and nothing to build packages of
    kit = make_kit(
        Path(out_folder).expanduser(),
        root,
        data=Path(data).expanduser() if data else None,
        platforms=platforms,
        pythons=python or (),
        cpu_torch=cpu_torch,
        say=lambda part: out.print(f"{part} …"),
    )
    for line in kit.lines:
        out.print(f"  {line}")
    for line in kit.missing:
        say(out, "Left out:", "yellow", line)
    for name in kit.kept:
        say(out, "Kept:", "yellow", f"{name} was changed by hand; the new one is {name}.new")
    out.print(f"The kit: {kit.folder}. Students open START.html, you open teacher/guide.html.")


@workshop_app.command()
def check(
    kit: Annotated[str, typer.Option(help="the unpacked kit (default: this folder)")] = "",
) -> None:
    """Tell whether this laptop is ready: a line for each thing, and what to do where one is red."""
    from uslnet_core.workshop.ready import check_laptop

    start, red, asked = time.monotonic(), 0, 0
    for answer in check_laptop(Path(kit).expanduser() if kit else Path.cwd()):
        say(
            out,
            "ready " if answer.good else "NOT   ",
            "green" if answer.good else "bold red",
            f"{answer.what}: {answer.told}",
        )
        asked += 1
        if not answer.good:
            red += 1
            out.print(f"       {answer.advice}")
    took = f"({time.monotonic() - start:.0f} s)"
    if red:
        say(out, "Not ready:", "bold red", f"{red} to mend, each with what to do. {took}")
        raise typer.Exit(1)
    say(out, "Ready.", "bold green", f"All {asked} questions are answered well. {took}")


def slides(
    out_folder: Annotated[str, typer.Option("--out", help="folder of the slides")] = "slides",
) -> None:
    """Make slides from the marked cells of the executed chapters: one page, with no outside request."""
    from uslnet_core.book import project_root
    from uslnet_core.workshop.slides import write_slides

    page, count = write_slides(project_root(), Path(out_folder).expanduser())
    out.print(f"{count} slides: {page}")
