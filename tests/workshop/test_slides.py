"""Slides: from the marked cells, and with nothing from the web."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from uslnet_core.errors import RunError
from uslnet_core.workshop.slides import SCRIPTS, TAG, TALK, collect, write_slides

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path) -> Path:
    """A project of eight chapters, each with a marked title; the first has a figure and a table, too."""
    shutil.copytree(ROOT / "book" / "assets" / "vendor", tmp_path / "book" / "assets" / "vendor")
    (tmp_path / "notebooks").mkdir(), (tmp_path / "book" / "notebooks").mkdir()
    for number in TALK:
        values = 'dataset: str = "synthetic"  # a\nprofile: str = "quick"  # b\nseed: int = 0  # c'
        cells = [
            new_markdown_cell(
                f"# Chapter {number}\n\nSee [the next](01_b.ipynb).", id="title", metadata={"tags": [TAG]}
            ),
            new_code_cell(values, id="parameters", metadata={"tags": ["parameters"]}),
        ]
        if number == 0:
            about = {"image": {"alt": "dark & light"}, "figure": {"caption": "What it shows."}}
            cells += [
                new_markdown_cell("## What is it?", id="question"),
                new_code_cell("plot()", id="figure", metadata={"tags": [TAG], "mystnb": about}),
                new_markdown_cell("Look at $x^2$.", id="notice"),
                new_code_cell("table()", id="table", metadata={"tags": [TAG]}),
            ]
        nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / f"{number:02d}_a.ipynb")
        for cell in cells:
            if cell.id == "figure":
                cell.outputs = [new_output("display_data", {"image/png": "aGVsbG8="})]
            if cell.id == "table":
                html = "<style>td {}</style><table><tr><td>7</td></tr></table>"
                cell.outputs = [new_output("stream", text="noise"), new_output("execute_result", {"text/html": html})]
        meta = {"papermill": {"parameters": {"seed": 3}}}
        nbformat.write(
            new_notebook(cells=cells, metadata=meta), tmp_path / "book" / "notebooks" / f"{number:02d}_a.ipynb"
        )
    return tmp_path


def test_a_page_of_slides_with_headings_notes_and_provenance(project, tmp_path):
    page, count = write_slides(project, tmp_path / "slides")
    text = page.read_text(encoding="utf-8")
    assert count == len(TALK) + 2 and text.count("<section") == 2 * count
    assert 'alt="dark &amp; light"' in text and "What it shows." in text and "<td>7</td>" in text
    assert len(re.findall("<h2[^>]*>What is it", text)) == 2, "figure and table stand under their question"
    assert re.search(r'<aside class="notes">.*Look at', text, re.DOTALL)
    assert "noise" not in text and "plot()" not in text and ".ipynb" not in text
    assert "synthetic images, quick profile, seed 3" in text
    assert all((tmp_path / "slides" / name).is_file() for name in SCRIPTS)


def test_slides_ask_nothing_of_the_web(project, tmp_path):
    page, _ = write_slides(project, tmp_path / "slides")
    text = page.read_text(encoding="utf-8")
    for kind in (
        r'<script[^>]*src="([^"]+)"',
        r'<link[^>]*href="([^"]+)"',
        r'import [^;]*from ["\']([^"\']+)',
        r"url\(([^)]+)\)",
    ):
        for place in re.findall(kind, text):
            place = place.strip("'\"")
            assert not place.startswith(("http", "//")), place
            assert place.startswith(("data:", "#")) or (tmp_path / "slides" / place).is_file(), place


def test_a_chapter_that_was_not_executed_is_named(project):
    (project / "book" / "notebooks" / "04_a.ipynb").unlink()
    with pytest.raises(RunError, match="04_a.*make book"):
        collect(project)


def test_a_mark_on_a_cell_that_shows_nothing_is_refused(project):
    path = project / "notebooks" / "02_a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"].append(TAG)
    nbformat.write(notebook, path)
    with pytest.raises(RunError, match="parameters is marked"):
        collect(project)


def test_the_talk_is_of_about_twenty_five_slides_and_every_chapter_has_some():
    marked = []
    for number in TALK:
        (path,) = (ROOT / "notebooks").glob(f"{number:02d}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        marked.append(sum(TAG in cell.metadata.get("tags", []) for cell in cells))
    assert min(marked) >= 2 and 20 <= sum(marked) <= 32
