"""The check of a laptop: what is green here, and what each question says when it is not."""

from __future__ import annotations

from collections import namedtuple
from importlib import metadata

import pytest
from PIL import Image
from typer.testing import CliRunner

from uslnet_core.cli import app
from uslnet_core.workshop import ready

PAGE = '<link rel="stylesheet" href="style.css"><script src="code.js?v=1"></script><a href="https://x.y/z.html">z</a>'


@pytest.fixture
def kit(tmp_path):
    (tmp_path / "book").mkdir(), (tmp_path / "images").mkdir()
    (tmp_path / "book" / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=intro.html" />')
    (tmp_path / "book" / "intro.html").write_text(PAGE)
    for name in ("style.css", "code.js"):
        (tmp_path / "book" / name).touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def test_a_ready_laptop_is_told_so(kit, monkeypatch):
    monkeypatch.setattr(ready, "FREE", 0.0)  # whatever else this machine is at
    done = CliRunner().invoke(app, ["workshop", "check", "--kit", str(kit)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines[:-1]] == [
        "Python", "packages", "memory", "disk", "training", "notebooks", "widgets", "images", "book",
    ]  # fmt: skip
    assert lines[-1].startswith("Ready.")


def test_what_is_red_says_what_to_do_and_the_exit_code_is_1(kit, monkeypatch):
    monkeypatch.setattr(ready, "run_cell", lambda source: [])
    monkeypatch.setattr(ready, "training", lambda: 1 / 0)
    (kit / "book" / "code.js").unlink()
    (kit / "images" / "b.png").write_bytes(b"half an image")
    found = {answer.what: answer for answer in ready.check_laptop(kit)}
    assert {what for what, answer in found.items() if not answer.good} >= {"training", "notebooks", "images", "book"}
    assert all(answer.advice for answer in found.values() if not answer.good)
    assert "ZeroDivisionError" in found["training"].told
    assert "b.png" in found["images"].advice and "1 of 2" in found["images"].told
    assert "code.js" in found["book"].advice
    monkeypatch.setattr(ready, "check_laptop", lambda kit: [found["book"]])
    done = CliRunner().invoke(app, ["workshop", "check", "--kit", str(kit)])
    assert done.exit_code == 1 and "Not ready: 1 to mend" in done.output


def test_without_a_book_the_teacher_is_asked(tmp_path):
    answer = ready.book(tmp_path)
    assert not answer.good and "make book" in answer.advice
    assert not ready.book(None).good and ready.images(None).good


def test_missing_and_other_packages_are_named(monkeypatch):
    def version(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "scipy" else known(name)

    known = metadata.version
    monkeypatch.setattr(ready.metadata, "version", version)
    answer = ready.packages()
    assert not answer.good and "torch is missing" in answer.told and "scipy 0.1, not ==" in answer.told


@pytest.mark.parametrize(("total", "available", "told"), [(2e9, 2e9, "share"), (8e9, 1e9, "Close"), (8e9, 4e9, "")])
def test_memory(monkeypatch, total, available, told):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("M", "total available")(total, available))
    answer = ready.memory()
    assert answer.good == (not told) and told in answer.advice


def test_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(ready.shutil, "disk_usage", lambda place: namedtuple("D", "free")(1e9))
    assert not ready.disk(tmp_path).good
