"""``uslnet reproduce``: options reach the item, files and tables come out, mistakes are told before work begins."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from typer.testing import CliRunner

from uslnet_core import reproduce
from uslnet_core.cli import app
from uslnet_core.cli_reproduce import BEYOND, MOST_ROWS, NAMES, as_tables, whole_numbers
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


@pytest.mark.parametrize(
    ("item", "option"), [("parts", "--epochs"), ("table-8", "--epochs"), ("steps", "--iterations")]
)
def test_an_option_that_would_do_nothing_is_refused(asked, item, option):
    with pytest.raises(ConfigError, match=f"{option} is for .*{item} has"):
        call(item, option, "2")
    assert asked == []


def printed(tables, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_a_wide_table_is_told_in_parts_and_nothing_is_cut():
    frame = pd.DataFrame([[f"model {k}", *(0.123 + np.arange(9))] for k in range(3)]).set_axis(
        ["model", *(f"quite a long heading {k}" for k in range(9))], axis=1
    )
    tables = as_tables("wide", frame, 80)
    text = printed(tables, 80)
    assert len(tables) > 1 and "…" not in text and max(map(len, text.splitlines())) <= 80
    assert all(f"quite a long heading {k}" in text and f"{k}.123" in text for k in range(9))
    assert text.count("model 2") == len(tables) and text.count("wide") == 1
    assert len(as_tables("wide", frame, 400)) == 1


def test_a_long_table_shows_its_first_rows_and_says_so():
    tables = as_tables("long", pd.DataFrame({"id": range(MOST_ROWS + 5)}), 80)
    assert tables[-1] == "… and 5 rows more, in the file." and tables[0].row_count == MOST_ROWS
