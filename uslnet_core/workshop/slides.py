"""Slides from the chapters' own cells: those with the tag ``slide``, as they were executed, on one page.

The marks are those of the tracked notebooks, the outputs those of the executed copies, so marks may move freely. A
marked text is a slide as it stands. A marked figure or table takes the question above it as its heading, its
caption below, and the text that follows it as the speaker's notes (key S).
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from uslnet_core.errors import RunError
from uslnet_core.parameters import read_parameters

TEMPLATES = Path(__file__).parent / "templates"
TAG = "slide"
TALK = range(8)  # the chapters of the method, 00 to 07
SCRIPTS = {  # in the slides' folder: where it is in book/assets/vendor
    "mathjax/tex-svg-full.js": "mathjax/tex-svg-full.js",
    "mathjax/LICENSE": "mathjax/LICENSE",
    "reveal/dist/reveal.js": "reveal/reveal.js",
    "reveal/dist/reveal.css": "reveal/reveal.css",
    "reveal/plugin/notes/notes.js": "reveal/notes.js",
    "reveal/LICENSE": "reveal/LICENSE",
}


def write_slides(root: Path, folder: Path) -> tuple[Path, int]:
    """Write the slides, and the scripts that they need, into a folder.

    Args:
        root: of the project; its chapters must have been executed.
        folder: where to; of what is there only files of the same names are replaced.

    Returns:
        The page, and how many slides it has.

    Raises:
        RunError: a chapter has not been executed, or not since a marked cell was added.
    """
    from nbconvert import SlidesExporter

    slides = collect(root)
    exporter = SlidesExporter(template_name="uslnet_slides", extra_template_basedirs=[str(TEMPLATES)])
    exporter.reveal_url_prefix, exporter.reveal_theme = "reveal", "uslnet"
    notebook = new_notebook(cells=[cell for slide in slides for cell in slide], metadata={"title": "USL-Net"})
    page, _ = exporter.from_notebook_node(notebook)
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in SCRIPTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "book" / "assets" / "vendor" / source, folder / name)
    (folder / "reveal" / "dist" / "theme").mkdir(exist_ok=True)
    shutil.copyfile(TEMPLATES / "slides.css", folder / "reveal" / "dist" / "theme" / "uslnet.css")
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html", len(slides)


def collect(root: Path) -> list[list[NotebookNode]]:
    """Gather the cells of every slide, in the order of the chapters; see :func:`write_slides`."""
    slides = []
    for number in TALK:
        (path,) = (root / "notebooks").glob(f"{number:02d}_*.ipynb")
        marked = [cell.id for cell in nbformat.read(path, as_version=4).cells if TAG in cell.metadata.get("tags", [])]
        executed = root / "book" / "notebooks" / path.name
        if not executed.is_file():
            raise RunError(f"{path.stem} has not been executed: run `make book`, and then this command again.")
        cells = nbformat.read(executed, as_version=4).cells
        lacking = set(marked) - {cell.id for cell in cells}
        if lacking:
            raise RunError(f"{path.stem} was executed without {', '.join(sorted(lacking))}: run `make book` again.")
        places = {cell.id: k for k, cell in enumerate(cells)}
        foot = f'\n\n<p class="foot">Chapter {number} · {provenance(executed)}</p>'
        slides += [slide_of(cells, places[name], foot) for name in marked]
    return slides


def provenance(executed: Path) -> str:
    """Say what a chapter was executed on, by its own parameters and those that it was given."""
    given = nbformat.read(executed, as_version=4).metadata.get("papermill", {}).get("parameters", {})
    values = {name: parameter.default for name, parameter in read_parameters(executed).items()} | given
    return f"{values['dataset']} images, {values['profile']} profile, seed {values['seed']}"


def slide_of(cells: list[NotebookNode], place: int, foot: str) -> list[NotebookNode]:
    """Make one slide of one marked cell and its neighbours; the foot says what it stands on."""
    cell = cells[place]
    headings = re.findall(r"^##+ (.+)$", "\n".join(c.source for c in cells[:place] if c.cell_type == "markdown"), re.M)
    if cell.cell_type == "markdown":
        above = "" if cell.source.startswith("#") or not headings else f"## {headings[-1]}\n\n"
        return [as_slide(above + plain(cell.source) + foot, TAG)]
    shown = [part for output in cell.outputs if (part := show(output, cell.metadata.get("mystnb", {})))]
    if not shown:
        raise RunError(f"Cell {cell.id} is marked as a slide, but shows no figure and no table.")
    caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
    below = f'\n\n<p class="caption">{html.escape(caption)}</p>' if caption else ""
    slide = [as_slide(f"## {headings[-1]}\n\n" + "\n\n".join(shown) + below + foot, TAG)]
    after = cells[place + 1] if place + 1 < len(cells) else None
    if after is not None and after.cell_type == "markdown":
        slide.append(as_slide(plain(after.source), "notes"))
    return slide


def show(output: Any, about: dict[str, Any]) -> str:
    """Turn an output into a picture with alternative text, a table, or text; what was printed is left out."""
    data = output.get("data", {})
    if "image/png" in data:
        told = html.escape(about.get("image", {}).get("alt", "figure"), quote=True)
        return f'<img alt="{told}" src="data:image/png;base64,{"".join(data["image/png"].split())}">'
    if "text/html" in data:
        return re.sub(r"<style.*?</style>|\n\s*", "", data["text/html"], flags=re.DOTALL)
    return data.get("text/markdown", "")


def as_slide(source: str, kind: str) -> NotebookNode:
    """Wrap a text as nbconvert's reveal template wants it."""
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def plain(source: str) -> str:
    """Take the links to other chapters off, since a slide leads nowhere."""
    return re.sub(r"\[([^\]]*)\]\([^)\s]*\.ipynb[^)]*\)", r"\1", source)
