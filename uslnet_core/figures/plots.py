"""Figures made of numbers: curves, scores with their intervals, spreads, the histogram of saliency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from uslnet_core.errors import DataError
from uslnet_core.figures.outlines import as_numpy
from uslnet_core.figures.style import (
    BACKGROUND,
    FOREGROUND,
    PREDICTION,
    REFERENCE,
    TEXT_WIDTH,
    UNCERTAIN,
    drawn,
)

if TYPE_CHECKING:
    import torch

#: What the metrics' short names stand for.
METRIC_NAMES = {
    "ACC": "accuracy",
    "DIC": "Dice",
    "JAC": "Jaccard",
    "SEN": "sensitivity",
    "SPE": "specificity",
    "PRE": "precision",
}
_LINES = ("-", "--", ":", "-.")


@drawn
def training_curves(
    history: pd.DataFrame,
    panels: Mapping[str, Sequence[str]] | None = None,
    *,
    x: str = "epoch",
    references: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:
    """Show how a training went, a panel for each quantity.

    Notice whether a curve has flattened or was still falling when training ended, and, where a reference line
    is drawn, whether the loss ever left it: a contrastive loss at its uniform level has learnt nothing.

    Args:
        history: A row per epoch or step.
        panels: Axis label with its unit to the columns drawn in that panel; every numeric column by itself if
            left out.
        x: Column of the horizontal axis.
        references: Axis label to the level of a line in that panel and what it says.

    Returns:
        A figure with an axes per panel.

    Raises:
        DataError: A column or panel is missing, or there is no row.
    """
    if panels is None:
        panels = {name: [name] for name in history.select_dtypes("number").columns if name != x}
    references = references or {}
    missing = [c for c in (x, *(c for columns in panels.values() for c in columns)) if c not in history.columns]
    missing += [name for name in references if name not in panels]
    if missing or history.empty or not panels:
        raise DataError(
            f"Cannot draw {missing or 'an empty history'}: the history has {len(history)} rows and the columns "
            f"{list(history.columns)}, the panels are {list(panels)}."
        )
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width = TEXT_WIDTH if columns > 1 else 0.65 * TEXT_WIDTH
    figure, axes = plt.subplots(rows, columns, figsize=(width, 2.4 * rows), squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (label, names) in zip(axes.flat, panels.items(), strict=False):
        _curves(ax, history, x, label, names, references.get(label))
    return figure


@drawn
def loss_curve(
    history: pd.DataFrame,
    *,
    loss: str = "loss",
    x: str = "epoch",
    label: str = "loss (nats)",
    reference: float | None = None,
    reference_name: str = "uniform level",
) -> Figure:
    """Show one loss against the level of a model that knows nothing.

    Notice the gap below the dashed line: it is what was learnt. No gap is a failed training, whatever the
    picture's slope looks like.

    Args:
        history: A row per epoch or step.
        loss: Its column.
        x: Column of the horizontal axis.
        label: Of the vertical axis, with the unit.
        reference: Level of the line, for InfoNCE ln(1 + K).
        reference_name: What the line says.

    Returns:
        A figure with one axes.

    Raises:
        DataError: A column is missing, or there is no row.
    """
    references = None if reference is None else {label: (reference, reference_name)}
    return training_curves.__wrapped__(history, {label: [loss]}, x=x, references=references)


@drawn
def summary_plot(
    summary: pd.DataFrame,
    metrics: Sequence[str] = ("DIC", "JAC", "SEN", "SPE"),
    comparison: pd.DataFrame | None = None,
) -> Figure:
    """Show each model's scores with their intervals, and the paper's beside them.

    Notice first how wide the whiskers are: a gap narrower than they are may be other images' luck. Then
    whether dot (mean of the images) and square (all pixels pooled) tell the same story; where they part,
    large and small lesions fare differently.

    Args:
        summary: What `uslnet_core.evaluation.summarise` returns, fractions.
        metrics: A panel each.
        comparison: What `uslnet_core.evaluation.comparison` returns; its column paper, in percent, is drawn
            as black diamonds.

    Returns:
        A figure with an axes per metric, models from top to bottom, in percent.

    Raises:
        DataError: A metric is not in the summary.
    """
    missing = [metric for metric in metrics if metric not in set(summary["metric"])]
    if missing or not metrics:
        raise DataError(f"The summary has no {missing or 'metric'}; it has {sorted(set(summary['metric']))}.")
    models = list(summary["model"].unique())
    height = 0.9 + 0.42 * len(models)
    figure, axes = plt.subplots(1, len(metrics), figsize=(TEXT_WIDTH, height), sharey=True, squeeze=False)
    places = np.arange(len(models))
    for ax, metric in zip(axes[0], metrics, strict=True):
        rows = summary[summary["metric"] == metric].set_index("model").loc[models]
        whiskers(ax, rows, ("mean", "low", "high"), places - 0.13, "o", PREDICTION, "ours, mean of images")
        pooled = ("pooled", "pooled_low", "pooled_high")
        whiskers(ax, rows, pooled, places + 0.13, "s", "white", "ours, pixels pooled")
        if comparison is not None:
            theirs = comparison[comparison["metric"] == metric].set_index("model")["paper"].reindex(models)
            ax.plot(theirs, places, "D", color=REFERENCE, markersize=5, linestyle="none", label="paper")
        ax.set(xlabel=f"{METRIC_NAMES.get(metric, metric)} (%)", ylim=(len(models) - 0.5, -0.5))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(places, models)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@drawn
def spread_plot(
    per_image: pd.DataFrame,
    metric: str = "DIC",
    *,
    summary: pd.DataFrame | None = None,
    order: Sequence[str] = (),
) -> Figure:
    """Show every image's score under every model or iteration, and the mean.

    Notice the lower end: a mean rises by making good masks a little better or by saving the failures, and
    only the points say which. A cloud at zero is lesions that were missed altogether.

    Args:
        per_image: One row per model and image: model, id and the metric in [0, 1].
        metric: Its column.
        summary: What `uslnet_core.evaluation.summarise` returns, for the interval of the mean.
        order: Models from left to right; as they appear if left out.

    Returns:
        A figure with one axes, in percent.

    Raises:
        DataError: The metric is missing, or a model has no row.
    """
    if metric not in per_image.columns:
        raise DataError(f"There is no column {metric!r}; expected one of {list(per_image.columns)}.")
    models = list(order) or list(per_image["model"].unique())
    figure, ax = plt.subplots(figsize=(min(TEXT_WIDTH, 1.6 + 1.1 * len(models)), 3.2))
    for place, model in enumerate(models):
        values = 100 * per_image.loc[per_image["model"] == model, metric].to_numpy()
        if len(values) == 0:
            raise DataError(f"There is no score of {model!r}; expected one of {list(per_image['model'].unique())}.")
        # Side by side in a fixed pattern, so that the same scores make the same picture
        aside = place + 0.3 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)
        ax.plot(aside, values, "o", color=PREDICTION, markersize=3.2, markeredgecolor="#222222", markeredgewidth=0.25)
        ax.boxplot(
            values,
            positions=[place],
            widths=0.5,
            whis=0,
            showcaps=False,
            showfliers=False,
            manage_ticks=False,
            boxprops={"color": "#444444"},
            medianprops={"color": "#444444"},
            zorder=3,
        )
        error = None
        if summary is not None:
            row = summary[(summary["model"] == model) & (summary["metric"] == metric)]
            error = 100 * np.abs(row[["low", "high"]].to_numpy().T - row["mean"].to_numpy())
        ax.errorbar(place, values.mean(), error, fmt="D", color=REFERENCE, markersize=5, capsize=3, zorder=4)
    ax.set_xticks(range(len(models)), [f"{m}" for m in models])
    ax.set(ylabel=f"{METRIC_NAMES.get(metric, metric)} (%)", ylim=(-3, 103))
    ax.grid(axis="x", visible=False)
    ax.set_title("points: images · box: middle half, median · diamond: mean", fontsize=8, color="#444444")
    return figure


@drawn
def saliency_histogram(
    saliency: np.ndarray | torch.Tensor, low: float = 0.35, high: float = 0.65, *, bins: int = 50
) -> Figure:
    """Show how saliency is spread, and what the two thresholds make of it.

    Notice how much lies between the thresholds: two separate humps need hardly any grey, one broad hump is
    cut in the middle of nothing, and moving a threshold then moves many pixels.

    Args:
        saliency: Any shape, in [0, 1].
        low: Below it is background.
        high: Above it is a candidate for foreground.
        bins: Of the histogram.

    Returns:
        A figure with one axes.

    Raises:
        DataError: There is no value, or one lies outside [0, 1].
    """
    values = as_numpy(saliency).astype(np.float32).ravel()
    if values.size == 0 or not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"Got {values.size} saliency values"
            + (f" from {values.min()} to {values.max()}" if values.size else "")
            + "; expected at least one and all in [0, 1]."
        )
    figure, ax = plt.subplots(figsize=(0.75 * TEXT_WIDTH, 2.6))
    heights, edges = np.histogram(values, bins=bins, range=(0, 1))
    heights = 100 * heights / values.size
    centres = (edges[:-1] + edges[1:]) / 2
    parts = (
        (values < low, centres < low, BACKGROUND, "background"),
        (values > high, centres > high, FOREGROUND, "candidate"),
        ((values >= low) & (values <= high), (centres >= low) & (centres <= high), UNCERTAIN, "uncertain"),
    )
    handles = []
    for pixels, chosen, colour, name in (parts[0], parts[2], parts[1]):
        ax.bar(centres[chosen], heights[chosen], 1 / bins, color=colour, edgecolor="#444444", linewidth=0.4)
        handles.append(Patch(facecolor=colour, edgecolor="#444444", label=f"{name} {100 * pixels.mean():.0f} %"))
    for threshold in (low, high):
        ax.axvline(threshold, color=REFERENCE, linestyle="--", linewidth=1)
    ax.set(xlabel="saliency (0 to 1)", ylabel="pixels (%)", xlim=(0, 1))
    ax.grid(axis="x", visible=False)
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _curves(
    ax: Axes,
    history: pd.DataFrame,
    x: str,
    label: str,
    names: Sequence[str],
    reference: tuple[float, str] | None,
) -> None:
    marker = "o" if len(history) < 12 else None
    for name, line in zip(names, _LINES * len(names), strict=False):
        ax.plot(history[x], history[name], line, marker=marker, markersize=3, label=name)
    if reference is not None:
        ax.axhline(reference[0], color=REFERENCE, linestyle="--", linewidth=1, label=reference[1])
    ax.set(xlabel=x, ylabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(names) > 1 or reference is not None:
        ax.legend()


def whiskers(
    ax: Axes,
    rows: pd.DataFrame,
    columns: tuple[str, str, str],
    places: np.ndarray,
    marker: str,
    colour: str,
    label: str,
) -> None:
    """Draw a row of scores, given as fractions, as marks with horizontal intervals, in percent."""
    centre, low, high = (100 * rows[column].to_numpy(dtype=float) for column in columns)
    # A percentile interval need not hold the mean of few images: its short side is then none, not negative
    error = np.clip([centre - low, high - centre], 0, None)
    ax.errorbar(
        centre,
        places,
        xerr=error,
        fmt=marker,
        markerfacecolor=colour,
        markeredgecolor="#222222",
        ecolor="#222222",
        elinewidth=1,
        capsize=2,
        markersize=5.5,
        label=label,
    )
