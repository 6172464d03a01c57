"""``uslnet reproduce``: options reach the item, files and tables come out, mistakes are told before work begins."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from uslnet_core import reproduce
from uslnet_core.cli import app
from uslnet_core.cli_reproduce import BEYOND, NAMES, whole_numbers
from uslnet_core.errors import ConfigError


@pytest.fixture
def asked(monkeypatch):
    """Every item replaced by one that notes what it was asked for."""
    calls = []

    def item(name):
        def make(lines, **options):
            calls.append((name, {seed: line for seed, line in lines.items()}, options))
            return reproduce.Reproduced(
                {name.replace("-", " "): pd.DataFrame({"model": ["Model 1"], "DIC": [0.5]})}, {"dice": Figure()}
            )

        return make

    monkeypatch.setattr(reproduce, "ITEMS", {name: (item(name), "09") for name in reproduce.ITEMS})
    return calls


def call(*arguments):
    return CliRunner().invoke(app, ["reproduce", *arguments], catch_exceptions=False)


def test_names_are_those_of_the_items():
    assert {*NAMES, *BEYOND} == set(reproduce.ITEMS)


def test_options_reach_the_item_and_files_are_written(asked, tmp_path):
    out, runs = str(tmp_path / "out"), str(tmp_path / "runs")
    result = call(
        "table-8", "--seeds", "3,4", "--iterations", "2", "--encoders", "simclr,moco_v2", "--out", out, "--runs", runs
    )
    ((name, lines, options),) = asked
    assert result.exit_code == 0 and name == "table-8" and options == {}
    assert [line.folder.name for line in lines.values()] == [
        "synthetic-quick~simclr+moco_v2",
        "synthetic-quick~simclr+moco_v2~seed-4",
    ]
    assert all(line.config.refinement.iterations == 2 for line in lines.values())
    assert [line.config.seed for line in lines.values()] == [3, 4]
    assert "Model 1" in result.output and "0.500" in result.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "table-8.csv",
        "table-8.txt",
        "table-8-dice.png",
    }


def test_all_makes_every_one_and_epochs_go_where_they_belong(asked, tmp_path):
    result = call("all", "--epochs", "1", "--runs", str(tmp_path / "runs"))
    assert result.exit_code == 0 and [name for name, _, _ in asked] == list(NAMES)
    assert {name: options for name, _, options in asked if options} == {
        "figure-9": {"epochs": 1},
        "options": {"epochs": 1},
    }
    assert (tmp_path / "runs" / "synthetic-quick" / "reproduced" / "table-9.csv").exists()


def test_an_unknown_item_gets_the_nearest_names(asked):
    with pytest.raises(ConfigError, match="Unknown table or figure 'table8'. Did you mean table-8"):
        call("table8")
    assert asked == []


@pytest.mark.parametrize("text", ["a", "", "1,,2"])
def test_seeds_are_whole_numbers(text):
    with pytest.raises(ConfigError, match="expected whole numbers"):
        whole_numbers(text)


def test_a_missing_dataset_is_told_first(asked, tmp_path):
    from uslnet_core.errors import DataError

    with pytest.raises(DataError, match="isic2017"):
        call("table-8", "--dataset", "isic2017", "--data", str(tmp_path / "nowhere"), "--runs", str(tmp_path / "runs"))
    assert asked == []
