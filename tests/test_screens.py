"""The screens of README and front page: taken by the tool's table, small, shown, and described in words."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("screens")


def test_five_screens_of_pages_that_are_there_each_small_and_of_its_size(tool):
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    pages = {contents["root"], *(each["file"] for part in contents["parts"] for each in part["chapters"])}
    assert len(tool.SCREENS) >= 5
    for screen in tool.SCREENS:
        assert screen.page.removesuffix(".html") in pages, screen
        path = tool.SCREENS_FOLDER / f"{screen.name}.png"
        assert path.is_file(), f"{path.name} is missing: run  make screens"
        assert path.stat().st_size <= tool.LARGEST
        taken = (round(screen.width * screen.scale), round(screen.height * screen.scale))
        assert Image.open(path).size == taken, f"{path.name} is not what the table says: run  make screens"


def test_the_folder_holds_nothing_else(tool):
    assert {path.stem for path in tool.SCREENS_FOLDER.iterdir()} == {screen.name for screen in tool.SCREENS}


def test_each_is_shown_with_words_for_who_cannot_see_it(tool):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r'<img src="book/assets/screens/(\w+)\.png" alt="([^"]{20,})"', readme))
    assert set(shown) == {screen.name for screen in tool.SCREENS}
    front = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    named = re.findall(r"^:img-top: assets/screens/(\w+)\.png\n:img-alt: (.{20,})$", front, re.MULTILINE)
    assert len(named) == front.count("assets/screens/") > 0
    assert {name for name, _ in named} <= set(shown)


def test_a_screen_is_stored_in_as_few_colours_as_its_limit_wants(tool, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    png = BytesIO()
    Image.fromarray(noise).save(png, "PNG")
    full = tool.small(png.getvalue())
    monkeypatch.setattr(tool, "LARGEST", len(full) - 1)
    assert len(tool.small(png.getvalue())) < len(full)
    monkeypatch.setattr(tool, "LARGEST", 100)
    with pytest.raises(SystemExit, match="32 colours"):
        tool.small(png.getvalue())
