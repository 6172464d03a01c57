"""One spelling for everything that people read, and a check of it that can fail."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytest.importorskip("codespell_lib")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("prose", ROOT / "tools" / "prose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_notebooks_and_code_are_read(tool):
    read = {path.relative_to(ROOT).as_posix() for path in tool.files()}
    assert {"README.md", "book/intro.md", "notebooks/04_uncertainty_module.ipynb", "uslnet_core/cli.py"} <= read
    assert len(read) > 100
    notebook = tool.prose(ROOT / "notebooks" / "04_uncertainty_module.ipynb")
    assert "uncertain" in notebook and "import " not in notebook


def test_american_words_are_found_with_what_to_write(tool):
    assert tool.american()["color"] == "colour"
    found = tool.mixed("The color of the center, normalized.", tool.american())
    assert found == [("center", "centre"), ("color", "colour"), ("normalized", "normalised")]


@pytest.mark.parametrize(
    "text", ["the `color` of a line", "see [colours](https://a.example/color)", "```python\ncolor = 1\n```", "a colour"]
)
def test_code_and_addresses_are_left_alone(tool, text):
    assert tool.mixed(tool.of_markdown(text), tool.american()) == []


def test_of_code_the_sentences_are_read_and_not_the_names(tool):
    source = (
        'color = {"center": 1}  # the color here\ndef f(color):\n    """Make the gray one.\n\n    color: it.\n    """\n'
    )
    text = "\n".join(tool.of_python(source))
    assert tool.mixed(text, tool.american()) == [("color", "colour"), ("gray", "grey")]


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "book/assets/vendor/README.md"]
)
def test_links_of_pages_outside_the_book_lead_somewhere(name):
    """The built pages' links are followed in test_book; these pages are read on the project's own site."""
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|href)=\"([^\"#]+)", text)
    lost = [link for pair in links for link in pair if link and ":" not in link and not (page.parent / link).exists()]
    assert not lost, f"{name} links to {lost}"
