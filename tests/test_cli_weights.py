"""``uslnet weights``: what is shown before anything is fetched, and what check says and exits with."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from uslnet_core import cli_weights, weights
from uslnet_core.book import WEIGHTS
from uslnet_core.cli_weights import weights_app
from uslnet_core.errors import ConfigError
from uslnet_core.weights import CHECKPOINTS, Checked


@pytest.fixture
def call(monkeypatch):
    """Call it as the shell would: ``call("fetch", "dino_r50", input="y")``."""
    monkeypatch.setattr(cli_weights.out, "_width", 200)  # lines whole, whatever the terminal is

    def run(*words: str, **options):
        return CliRunner().invoke(weights_app, list(words), **options)

    return run


@pytest.fixture
def fetched(monkeypatch) -> list[tuple[str, Path]]:
    """What would be fetched, in place of fetching."""
    asked = []

    def fetch(name, folder, *, progress):
        asked.append((name, folder))
        return Checked(name, CHECKPOINTS[name].file, "recorded now", "none is published", "ab" * 32)

    monkeypatch.setattr(weights, "fetch", fetch)
    return asked


def test_list_names_all_with_licence_and_place(call, tmp_path):
    (tmp_path / CHECKPOINTS["dino_r50"].file).write_bytes(b"x")
    result = call("list", "--weights", str(tmp_path))
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.output.splitlines() if line.split()[0] in CHECKPOINTS}
    assert list(rows) == list(CHECKPOINTS)
    assert "BY-NC" in rows["moco_v2_800"] and "375.0" in rows["moco_v2_800"] and "no" in rows["moco_v2_800"]
    assert [name for name, row in rows.items() if row[-1] == "yes"] == ["dino_r50"]
    assert "-p init=NAME" in result.output


def test_licence_is_shown_and_asked_for_before_anything_is_fetched(call, tmp_path, fetched):
    for answer, code in (("n\n", 1), ("", 1)):
        result = call("fetch", "moco_v2_800", "dino_r50", "--weights", str(tmp_path), input=answer)
        assert result.exit_code == code and fetched == []
        assert "no commercial use" in result.output and "Apache 2.0" in result.output
        assert CHECKPOINTS["dino_r50"].url in result.output and "Fetch them under these terms?" in result.output
    result = call("fetch", "dino_r50", "--weights", str(tmp_path), input="y\n")
    assert result.exit_code == 0 and fetched == [("dino_r50", tmp_path)]
    assert "Fetch it under" in result.output and "recorded now" in result.output and "ab" * 32 in result.output
    result = call("fetch", "moco_v1_200", "--yes", "--weights", str(tmp_path))
    assert result.exit_code == 0 and "no commercial use" in result.output and "terms?" not in result.output
    assert fetched[1:] == [("moco_v1_200", tmp_path)]


def test_all_names_are_looked_up_before_the_first_is_fetched(call, tmp_path, fetched):
    result = call("fetch", "dino_r50", "dino_r5O", "--yes", "--weights", str(tmp_path))
    assert isinstance(result.exception, ConfigError) and "Did you mean dino_r50" in str(result.exception)
    assert fetched == []


def test_check(call, tmp_path):
    place = ("--weights", str(tmp_path))
    assert "No checkpoint in" in call("check", *place).output
    path = tmp_path / CHECKPOINTS["dino_r50"].file
    path.write_bytes(b"x")
    assert "recorded now" in call("check", *place).output
    result = call("check", *place)
    assert result.exit_code == 0 and " ok " in result.output and "held to what it was at first" in result.output
    path.write_bytes(b"y")
    result = call("check", *place)
    assert result.exit_code == 2 and "changed" in result.output
    assert f"Problem: {path.name}: its sha256 is" in result.output
    path.unlink()
    result = call("check", *place)
    assert result.exit_code == 0 and "missing" in result.output


def test_folder_is_the_environments_unless_one_is_given(call, tmp_path, monkeypatch, fetched):
    monkeypatch.setenv(WEIGHTS, str(tmp_path / "a"))
    call("fetch", "dino_r50", "--yes")
    call("fetch", "dino_r50", "--yes", "--weights", str(tmp_path / "b"))
    assert [folder for _, folder in fetched] == [tmp_path / "a", tmp_path / "b"]
