"""The figure of a sweep: a small picture for each thing that was measured, along the parameter that was varied."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uslnet_core.errors import DataError
from uslnet_core.figures.plots import METRIC_NAMES
from uslnet_core.figures.style import SERIES, TEXT_WIDTH, drawn

_MOST = 6  # panels
_COLUMNS = 3
_MARKERS = "osD^vP*"


@drawn
def sweep_plot(frame: pd.DataFrame, parameters: Sequence[str], measures: Sequence[str]) -> Figure:
    """Show what a sweep measured: a panel a measure, a dot a cell, a line through the means.

    Along the axis goes the parameter with the most values (of several, the first; the seed only where nothing else
    is varied), in colour and mark the next. Whatever else is varied, seeds above all, makes several dots over one
    another: notice whether the lines lie farther apart than such dots do. If not, nothing was found.

    Args:
        frame: a row a cell, with a column for each parameter and each measure; a missing value draws no dot.
        parameters: what was varied, one or more.
        measures: columns to show, at most six are; scores as the package names them (``DIC``) are drawn in percent.

    Returns:
        A figure of up to three panels a row.

    Raises:
        DataError: no parameter, no measure, more than seven colours, or a column is missing.
    """
    along, colour = _choose_axes(frame, parameters, measures)
    groups = list(dict.fromkeys(frame[colour])) if colour else [None]
    if len(groups) > len(SERIES):
        raise DataError(
            f"{colour} has {len(groups)} values, but there are {len(SERIES)} colours. Sweep fewer values of it, "
            "or draw the table in another way."
        )
    kept = list(measures)[:_MOST]
    rows, columns = -(-len(kept) // _COLUMNS), min(_COLUMNS, len(kept))
    size = (max(3.4, TEXT_WIDTH * columns / _COLUMNS), 0.5 + 2.2 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[len(kept) :]:
        ax.remove()
    values = list(dict.fromkeys(frame[along]))
    numeric = pd.api.types.is_numeric_dtype(frame[along]) and not pd.api.types.is_bool_dtype(frame[along])
    places = {value: value if numeric else k for k, value in enumerate(values)}
    for ax, name in zip(axes.flat, kept, strict=False):
        for k, group in enumerate(groups):
            part = frame if colour is None else frame[frame[colour] == group]
            _draw_line(ax, part[along].map(places), part[name] * (100 if name in METRIC_NAMES else 1), k, group)
        label = f"{METRIC_NAMES[name]} (%)" if name in METRIC_NAMES else name
        ax.set(xlabel=along, title=label)
        ax.title.set_fontsize(8 if len(label) < 30 else 6.5)
        if numeric:
            whole = pd.api.types.is_integer_dtype(frame[along])
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
        else:
            ax.set_xticks(list(places.values()), [str(value) for value in places], rotation=20)
            ax.set_xlim(-0.5, len(values) - 0.5)
    if colour:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, title=colour, loc="outside lower center", ncols=min(4, len(groups)))
    return figure


def _choose_axes(frame: pd.DataFrame, parameters: Sequence[str], measures: Sequence[str]) -> tuple[str, str | None]:
    """Choose the parameter along the axis, and that in colour if another is varied."""
    missing = [name for name in (*parameters, *measures) if name not in frame]
    if missing or not parameters or not measures:
        raise DataError(
            f"A picture of a sweep needs parameters and measures that are columns of its table, but got parameters "
            f"{list(parameters)} and measures {list(measures)}; missing: {missing or 'none'}."
        )
    ranked = sorted(parameters, key=lambda name: (name == "seed", -frame[name].nunique()))
    others = [name for name in ranked[1:] if name != "seed"]
    return ranked[0], others[0] if others else None


def _draw_line(ax: Axes, places: pd.Series, values: pd.Series, k: int, group: object) -> None:
    """Draw the dots of one colour, and a line through their means."""
    there = values.notna()
    means = values[there].groupby(places[there]).mean()
    look = {"color": SERIES[k], "marker": _MARKERS[k]}
    ax.plot(means.index.to_numpy(), means.to_numpy(), **look, markersize=4, label=str(group))
    if there.sum() > len(means):
        ax.plot(np.asarray(places[there]), values[there].to_numpy(), **look, linestyle="", markersize=3, alpha=0.4)
