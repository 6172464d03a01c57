"""The figure of a sweep: a panel a measure, a dot a cell where its numbers are."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from uslnet_core import figures
from uslnet_core.errors import DataError

GRID = pd.DataFrame(
    [
        {"high": high, "rule": rule, "seed": seed, "DIC": high / 2 + seed / 10, "kept": 4.0 + seed, "words": "a"}
        for high in (0.5, 0.6, 0.8)
        for rule in ("mean", "sum")
        for seed in (0, 1)
    ]
)


def test_dots_are_where_the_numbers_are_and_lines_go_through_their_means():
    figure = figures.sweep_plot(GRID, ["rule", "seed", "high"], ["DIC", "kept"])
    assert not plt.get_fignums() and len(figure.axes) == 2
    dice, kept = figure.axes
    assert (dice.get_xlabel(), dice.get_title(), kept.get_title()) == ("high", "Dice (%)", "kept")
    lines = [line for line in dice.lines if line.get_label() in ("mean", "sum")]
    assert len(lines) == 2  # a colour a rule; seeds are dots over one another
    for line in lines:
        np.testing.assert_allclose(line.get_xdata(), [0.5, 0.6, 0.8])
        np.testing.assert_allclose(line.get_ydata(), [30, 35, 45])
    dots = [line for line in dice.lines if line.get_linestyle() == "None"]
    assert sorted(dots[0].get_ydata()) == pytest.approx([25, 30, 35, 40, 40, 50])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "sum"]


def test_words_stand_side_by_side_and_a_missing_value_draws_no_dot():
    frame = GRID[GRID["high"] == 0.5].copy()
    frame.loc[frame["rule"] == "sum", "DIC"] = np.nan
    (ax,) = figures.sweep_plot(frame, ["rule"], ["DIC"]).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["mean", "sum"]
    assert list(ax.lines[0].get_xdata()) == [0]


def test_a_seed_alone_goes_along_the_axis_and_six_panels_are_the_most():
    frame = pd.DataFrame({"seed": [0, 1]} | {f"m{k}": [1.0, 2.0] for k in range(8)})
    figure = figures.sweep_plot(frame, ["seed"], [f"m{k}" for k in range(8)])
    assert len(figure.axes) == 6 and figure.axes[0].get_xlabel() == "seed" and not figure.legends


@pytest.mark.parametrize(
    ("parameters", "measures", "said"),
    [([], ["DIC"], "needs parameters"), (["high"], [], "needs parameters"), (["low"], ["DIC"], r"missing: \['low'\]")],
)
def test_what_cannot_be_drawn_is_refused(parameters, measures, said):
    with pytest.raises(DataError, match=said):
        figures.sweep_plot(GRID, parameters, measures)


def test_more_values_than_colours_are_refused():
    frame = pd.DataFrame([{"a": a, "b": str(b), "m": 1.0} for a in range(9) for b in range(8)])
    with pytest.raises(DataError, match="b has 8 values, but there are 7 colours"):
        figures.sweep_plot(frame, ["a", "b"], ["m"])
