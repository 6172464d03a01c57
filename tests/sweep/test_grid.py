"""Grids: what is typed becomes cells with readable, safe names; what is wrong is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from uslnet_core.errors import ConfigError
from uslnet_core.sweep.grid import LONGEST, cell_name, read_grid, split_values, word

CELLS = {
    "02_a": "encoders: list[str] | None = None  # which\ninit: str | None = None  # start",
    "03_b": "encoders: list[str] | None = None  # which",
    "04_c": "high: float | None = None  # threshold\nrule: str | None = None  # rule\ncorners: bool = True  # corners",
    "06_d": "high: float | None = None  # threshold\niterations: int | None = None  # how many",
}


@pytest.fixture(scope="module")
def available(tmp_path_factory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("notebooks"), {}
    for name, source in CELLS.items():
        cell = nbformat.v4.new_code_cell(f"seed: int = 0  # seed\n{source}", metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
        found[name[:2]] = folder / f"{name}.ipynb"
    return found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.5", ["0.5"]),
        ("0.5, 0.6", ["0.5", "0.6"]),
        ("[a,b],[c]", ["[a,b]", "[c]"]),
        ("'a,b',c", ["a,b", "c"]),
        ('"a"', ["a"]),
        ("a,,b", ["a", "", "b"]),
        ("a,", ["a", ""]),
        (",a", ["", "a"]),
        ("", [""]),
    ],
)
def test_values_part_at_commas_outside_brackets_and_quotes(text, parts):
    assert split_values(text) == parts


def test_a_grid_of_two_by_two(available):
    cells = read_grid(["high=0.55,0.65", "seed=0,1"], ["04"], available)
    assert [cell.name for cell in cells] == [
        "high=0.55,seed=0",
        "high=0.55,seed=1",
        "high=0.65,seed=0",
        "high=0.65,seed=1",
    ]
    assert cells[1].values == {"high": 0.55, "seed": 1} and cells[1].seed == 1
    assert cells[1].extra == {"04": {"high": 0.55}}  # the seed is an option of the run, no value of one notebook


def test_each_notebook_gets_what_it_knows(available):
    (cell,) = read_grid(["high=0.7", "rule=sum", "iterations=2"], ["04", "06"], available, seed=3)
    assert cell.extra == {"04": {"high": 0.7, "rule": "sum"}, "06": {"high": 0.7, "iterations": 2}}
    assert cell.seed == 3 and cell.name == "high=0.7,rule=sum,iterations=2,seed=3"


def test_no_parameter_is_one_cell(available):
    (cell,) = read_grid([], ["04"], available)
    assert (cell.name, cell.values, cell.seed) == ("as-is", {}, 0)


def test_encoders_go_to_both_chapters_and_lists_stand_in_brackets(available):
    one, two = read_grid(["encoders=simclr,[simclr,moco_v2]"], ["03"], available)
    assert one.encoders == ("simclr",) and two.encoders == ("simclr", "moco_v2")
    assert two.extra["02"] == two.extra["03"] == {"encoders": ["simclr", "moco_v2"]}
    assert two.name == "encoders=simclr+moco_v2"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["hihg=0.5,0.6"], "Did you mean high"),
        (["high=0.5,many"], r"-p high=many: high of notebook 04 is float \| None"),
        (["high"], "expected name=value"),
        (["high=0.5,"], "a value is empty"),
        (["high="], "a value is empty"),
        (["high=1,1.0"], "the value 1.0 is there twice"),
        (["corners=true,True"], "the value True is there twice"),
        (["high=0.5", "high=0.6"], "high is given twice"),
        (["profile=quick,paper"], "--profile"),
        (["seed=0,one"], "seed of notebook 04 is int"),
    ],
)
def test_what_is_wrong_is_refused(available, texts, said):
    with pytest.raises(ConfigError, match=said):
        read_grid(texts, ["04"], available)


def test_unknown_notebooks_are_refused(available):
    with pytest.raises(ConfigError, match="Unknown notebook '05'"):
        read_grid([], ["05"], available)


def test_names_are_safe_on_every_file_system_and_tell_values_apart():
    odd = ["A/b", "a/b", "a b", "a:b", "a\\b", "a*", "ä", 'a"', "..a", "CON"]
    names = {cell_name({"init": value}) for value in odd}
    assert len({name.lower() for name in names}) == len(odd)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.=,+_-") for name in names)
    assert [word(v) for v in (0.65, 1e-05, -2, True, None, [1, 2], "mean")] == [
        *("0.65", "1e-05", "-2", "true", "none", "1+2", "mean")
    ]


def test_long_names_are_cut_and_still_tell_values_apart():
    names = {cell_name({f"parameter_{k}": 0.5 for k in range(20)} | {"last": last}) for last in (1, 2)}
    assert len(names) == 2 and all(len(name) == LONGEST for name in names)
