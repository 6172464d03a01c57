"""What a terminal shows while a sweep runs."""

from __future__ import annotations

import io
import json

import pandas as pd
from rich.console import Console

from uslnet_core.cli_sweep import as_texts
from uslnet_core.terminal import SweepView, as_rows


def written(*things) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(*things)
    return console.file.getvalue()


def test_steps_under_way_say_how_far_they_are(tmp_path, capsys):
    files = {key: tmp_path / f"{key}.json" for key in "abc"}
    files["a"].write_text(json.dumps({"what": "CCAM", "done": 3, "total": 40}))
    files["b"].write_text('{"what": "half writ')
    with SweepView({"a": "03  high=0.6", "b": "04  high=0.7", "c": "04  high=0.8"}, files, total=5) as view:
        shown = written(view.render())
        assert "2 of 5 notebooks" in shown and "03  high=0.6  CCAM: 3 of 40" in shown
        assert "high=0.7" not in shown and "high=0.8" not in shown  # being written; not begun
        view.ended("a", "03  high=0.6  4.0 s", True)
        view.ended("c", "04  high=0.8  failed", False)
        shown = written(view.render())
    assert "4 of 5 notebooks, 1 failed" in shown and "high=0.6" not in shown and "min left" in shown
    assert capsys.readouterr().out == "03  high=0.6  4.0 s  (3 of 5)\n04  high=0.8  failed  (4 of 5)\n"


def test_of_many_rows_the_first_are_shown():
    table, rest = as_rows([(str(k), "[x]") for k in range(70)], ("cell", "state"))
    assert "[x]" in written(table) and rest == "… and 10 rows more."
    assert len(as_rows([("a", "b")], ("cell", "state"))) == 1


def test_columns_are_written_as_what_they_hold():
    assert as_texts(pd.Series(["done", "failed"])) == ["done", "failed"]
    assert as_texts(pd.Series([240.0, None])) == ["240", ""]  # a count that a failed cell lacks
    assert as_texts(pd.Series([1.0, 0.89, None])) == ["1.000", "0.890", ""]
    assert as_texts(pd.Series([3, 4])) == ["3", "4"]
