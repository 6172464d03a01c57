"""The launch buttons, and the one cell that installs: it does nothing but on Colab and Binder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

spec = importlib.util.spec_from_file_location("tools_notebooks", ROOT / "tools" / "notebooks.py")
tools = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tools)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Run the cell in an empty folder, with what it would have run noted instead."""
    commands = []
    monkeypatch.setattr(subprocess, "check_call", commands.append)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("COLAB_RELEASE_TAG", "BINDER_REPO_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def call():
        exec("".join(tools.launch_cell()["source"]), {})
        return commands

    return call


def test_every_notebook_has_the_same_cell_in_the_same_place():
    assert tools.launches(NOTEBOOKS, write=False) == []
    for path in NOTEBOOKS:
        ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        assert ids.count("launch") == 1 and ids[ids.index("launch") + 1] == tools.BEFORE


def test_another_cell_is_found_and_mended(tmp_path):
    copy = tmp_path / NOTEBOOKS[0].name
    text = NOTEBOOKS[0].read_text(encoding="utf-8")
    copy.write_text(text.replace("pip", "conda"), encoding="utf-8")
    assert tools.launches([copy], write=True) == [copy] and tools.launches([copy], write=False) == []
    content = json.loads(text)
    content["cells"] = [cell for cell in content["cells"] if cell["id"] != "launch"]
    copy.write_text(json.dumps(content), encoding="utf-8")
    assert tools.launches([copy], write=True) == [copy] and copy.read_text(encoding="utf-8") == text


def test_it_does_nothing_on_a_machine_of_ones_own(asked, tmp_path):
    paths, folder = list(sys.path), os.getcwd()
    assert asked() == [] and sys.path == paths and os.getcwd() == folder


def test_on_colab_it_gets_the_project_once(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "any")
    clone, install = asked()
    assert clone[:2] == ["git", "clone"] and clone[-2] in (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert install[1:] == ["-m", "pip", "install", "-q", "-e", ".."]
    assert Path.cwd() == tmp_path / "book" / "notebooks" and sys.path[0] == str(tmp_path / "book")
    (tmp_path / "book" / "_config.yml").touch()  # as the clone would have it
    assert len(asked()) == 3, "a second call gets it again"


def test_on_binder_the_project_is_there(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("BINDER_REPO_URL", "any")
    (tmp_path / "book" / "_config.yml").touch()
    monkeypatch.chdir(tmp_path / "book" / "notebooks")
    assert [command[1:3] for command in asked()] == [["-m", "pip"]] and sys.path[0] == str(tmp_path / "book")


def test_the_books_buttons_open_notebooks_that_are_there():
    pages = sorted((ROOT / "_build" / "html" / "notebooks").glob("*.html"))
    if not pages:
        pytest.skip("the book is not built: make book")
    address = re.search(r"github.com/(\S+)", (ROOT / "_config.yml").read_text(encoding="utf-8"))[1]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        colab = set(re.findall(r'href="https://colab.research.google.com/github/([^"]+)"', text))
        binder = set(re.findall(r'href="https://mybinder.org/v2/gh/([^"]+)"', text))
        name = f"notebooks/{page.stem}.ipynb"
        assert colab == {f"{address}/blob/main/{name}"} and (ROOT / name).exists(), page.name
        assert binder == {f"{address}/main?urlpath=lab/tree/{name}"}, page.name
