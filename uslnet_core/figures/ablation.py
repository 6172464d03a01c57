"""Figures of the ablations: scores model by model, iteration by iteration, and labels along their thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uslnet_core.errors import DataError
from uslnet_core.evaluation import CURVES
from uslnet_core.figures.plots import METRIC_NAMES
from uslnet_core.figures.style import PREDICTION, REFERENCE, SERIES, drawn

_WIDTH = 5.2  # inches: narrower than the page, so that a phone shrinks the text less
_DARK = "#222222"
_GREY = "#666666"
_NOT_OURS = "not computed here"

# Colour and line of each curve of figure 8; the paper's are blue, green and red, too
_CURVE_LINES = dict(
    zip(CURVES, ((SERIES[0], "--"), (SERIES[2], "-."), (SERIES[1], ":"), (SERIES[1], "-")), strict=True)
)


@drawn
def ablation_plot(
    summary: pd.DataFrame,
    metric: str = "DIC",
    *,
    comparison: pd.DataFrame | None = None,
    by_seed: pd.DataFrame | None = None,
    order: Sequence[str] = (),
    nothing: float | None = None,
) -> Figure:
    """Show what each model of an ablation scores: ours with its interval, each seed, and the paper's beside it.

    Notice which steps carry the whole: where the dots jump, and whether the paper's diamonds jump at the same
    steps, even where they stand elsewhere; other images and another recipe shift all of them together. A step
    smaller than the small dots lie apart is within what another seed does.

    Args:
        summary: What `uslnet_core.evaluation.over_seeds` or `summarise` returns, fractions.
        metric: Which to show.
        comparison: What `uslnet_core.evaluation.comparison` makes of the same summary; its column paper, in percent, is
            drawn as open diamonds. A model that it has without ours is shown with the paper's value alone. It cannot
            be made from scores on synthetic images.
        by_seed: What `uslnet_core.evaluation.scores_by_seed` returns, drawn as small dots.
        order: Models from top to bottom; as in the comparison and then in the summary if left out.
        nothing: The score of a mask that calls every pixel lesion, a fraction: a dashed line.

    Returns:
        A figure with one axes, models from top to bottom, in percent.

    Raises:
        DataError: The metric or a model is missing, or the comparison is one of other scores.
    """
    ours, paper = _ours_and_paper(summary, metric, comparison)
    models = list(order) or list(dict.fromkeys([*paper.index, *ours.index]))
    _require_models(models, ours, paper)
    figure, ax = plt.subplots(figsize=(_WIDTH, 1.2 + 0.36 * len(models)))
    places = np.arange(len(models))
    theirs = paper["paper"].reindex(models) if len(paper) else None
    _draw_scores(ax, places, ours.reindex(models), theirs, _names(ours, paper), upright=False)
    _draw_seeds(ax, models, by_seed, metric, upright=False)
    for place, model in zip(places, models, strict=True):
        if model not in ours.index:
            note = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "color": _GREY, "fontsize": 8}
            ax.annotate(_NOT_OURS, (theirs[model], place), **note)
    if nothing is not None:
        look = {"color": REFERENCE, "linestyle": "--", "linewidth": 1, "zorder": 1}
        ax.axvline(100 * nothing, label="every pixel called lesion", **look)
    ax.set(xlabel=f"{METRIC_NAMES.get(metric, metric)} (%)", ylim=(len(models) - 0.4, -0.6))
    ax.set_yticks(places, models)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10), integer=True))
    ax.grid(axis="y", visible=False)
    _legend_below(figure, ax)
    return figure


@drawn
def iteration_plot(
    summary: pd.DataFrame,
    metric: str = "DIC",
    *,
    comparison: pd.DataFrame | None = None,
    by_seed: pd.DataFrame | None = None,
    certain: Mapping[str, float] | None = None,
    order: Sequence[str] = (),
) -> Figure:
    """Show how the score goes on from iteration to iteration (table 10 of the paper).

    Notice where the curve flattens. From there on, each iteration learns from labels that the one before is
    already sure of: the certain share still rises, the score no longer does.

    Args:
        summary: As in `ablation_plot`, with a model per iteration, the first one first.
        metric: Which to show.
        comparison: As in `ablation_plot`.
        by_seed: As in `ablation_plot`.
        certain: Model to the share of certain pixels in the labels it learnt from, in [0, 1]; a second panel.
        order: Models from left to right; as in `ablation_plot` if left out.

    Returns:
        A figure with an axes for the score and, if given, one for the certain share; both in percent.

    Raises:
        DataError: As in `ablation_plot`, or a share lies outside [0, 1].
    """
    ours, paper = _ours_and_paper(summary, metric, comparison)
    models = list(order) or list(dict.fromkeys([*paper.index, *ours.index]))
    _require_models(models, ours, paper)
    shares = pd.Series(dict(certain or {}), dtype=float)
    if not shares.between(0, 1).all() or not set(shares.index) <= set(models):
        raise DataError(f"The certain shares are {dict(shares)}; expected one in [0, 1] for some of {models}.")
    panels = 2 if len(shares) else 1
    heights = [2.6, 1.0][:panels]
    size = (max(3.2, min(_WIDTH, 1.2 + 0.9 * len(models))), sum(heights) + 0.9)
    figure, axes = plt.subplots(panels, 1, figsize=size, sharex=True, squeeze=False, height_ratios=heights)
    ax, places = axes[0, 0], np.arange(len(models))
    theirs = paper["paper"].reindex(models) if len(paper) else None
    shown = ours.reindex(models)
    ax.plot(places, 100 * shown["mean"], color=PREDICTION, zorder=1)
    if theirs is not None:
        ax.plot(places, theirs, color=REFERENCE, linewidth=0.8, linestyle=":", zorder=1)
    _draw_scores(ax, places, shown, theirs, _names(ours, paper), upright=True)
    _draw_seeds(ax, models, by_seed, metric, upright=True)
    ax.set(ylabel=f"{METRIC_NAMES.get(metric, metric)} (%)", xlim=(-0.5, len(models) - 0.5))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10), integer=True))
    if panels == 2:
        below = axes[1, 0]
        below.plot(places, 100 * shares.reindex(models), "o-", color=_GREY, markersize=4)
        below.set(ylabel="certain (%)")
        below.yaxis.set_major_locator(MaxNLocator(3, steps=(1, 2, 5, 10), integer=True))
        below.margins(y=0.25)
    for each in axes[:, 0]:
        each.grid(axis="x", visible=False)
    axes[-1, 0].set_xticks(places, models)
    _legend_below(figure, ax)
    return figure


@drawn
def threshold_plot(curves: pd.DataFrame) -> Figure:
    """Show how right labels are along the threshold x, cut plainly or by the uncertainty module (figure 8).

    Notice in the lower panel what the solid curve pays for its height: where x is small the module is right because
    it hardly says anything. Its gain over the plain cuts is worth reading where most pixels are certain and most
    images kept. Towards x = 0.5 the plain cuts and the mere split become one and the same; what the module is still
    ahead there is the images it leaves out and the regions it doubts.

    Args:
        curves: What `uslnet_core.evaluation.threshold_curves` returns, fractions.

    Returns:
        A figure with an axes for the accuracy and a flat one for what is certain and kept; in percent.

    Raises:
        DataError: A column or a curve is missing.
    """
    columns = ("x", "curve", "accuracy", "certain", "images", "n_images")
    missing = [column for column in columns if column not in curves.columns]
    if missing or curves.empty or not set(curves["curve"]) <= set(CURVES):
        raise DataError(
            f"Cannot draw the curves: columns missing {missing}, {len(curves)} rows, expected some of {list(CURVES)}."
        )
    figure, axes = plt.subplots(2, 1, figsize=(_WIDTH, 4.6), sharex=True, height_ratios=[2.8, 1])
    drawn_curves = (100 * curves.pivot(index="x", columns="curve", values="accuracy")).sort_index()
    marker = "." if len(drawn_curves) < 20 else ""
    for name in (name for name in CURVES if name in drawn_curves):
        colour, line = _CURVE_LINES[name]
        axes[0].plot(drawn_curves.index, drawn_curves[name], marker + line, color=colour, label=name)
    axes[0].set(ylabel="accuracy of what is certain (%)")
    _label_curves(axes[0], drawn_curves)
    rows = curves[curves["curve"] == "UM"].sort_values("x")
    axes[1].plot(
        rows["x"], 100 * rows["certain"], marker + "-", color=SERIES[1], label="pixels certain, of images kept"
    )
    axes[1].plot(rows["x"], 100 * rows["images"] / rows["n_images"], marker + "--", color=_GREY, label="images kept")
    axes[1].set(ylabel="UM (%)", xlabel="threshold x (saliency, 0 to 0.5)", ylim=(-5, 105), xlim=(0, 0.5))
    axes[1].legend(loc="lower right", borderaxespad=0)
    return figure


def _ours_and_paper(
    summary: pd.DataFrame, metric: str, comparison: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take one metric's rows by model; refuse a comparison that was made of other scores."""
    ours = summary[summary["metric"] == metric].set_index("model")
    if ours.empty:
        raise DataError(f"The summary has no {metric!r}; it has {sorted(set(summary['metric']))}.")
    if comparison is None:
        return ours, pd.DataFrame(columns=["paper"])
    paper = comparison[comparison["metric"] == metric].set_index("model")
    compared = paper["ours"].dropna()
    if not np.allclose(compared, 100 * ours["mean"].reindex(compared.index).astype(float)):
        raise DataError(
            f"The comparison's own {metric} is {compared.round(2).to_dict()}, the summary's is "
            f"{(100 * ours['mean']).round(2).to_dict()}: the paper's numbers belong beside the scores they were "
            "compared with. Make both from one summary."
        )
    return ours, paper


def _require_models(models: Sequence[str], ours: pd.DataFrame, paper: pd.DataFrame) -> None:
    known = [*ours.index, *paper.index]
    if unknown := [model for model in models if model not in known]:
        raise DataError(f"There is no score of {unknown}; expected some of {list(dict.fromkeys(known))}.")


def _names(ours: pd.DataFrame, paper: pd.DataFrame) -> tuple[str, str]:
    """Name ours and the paper's in the legend: on which images, and the mean of how many runs."""
    counted = sorted({int(n) for n in ours["n_seeds"]}) if "n_seeds" in ours else [1]
    if counted == [1]:
        how_often = "single run"
    else:
        how_often = f"mean of {' or '.join(str(n) for n in counted)} seeds"
    if paper.empty:
        return f"ours, {how_often}, 95 % interval over images", ""
    where = paper[["ours_scored_on", "paper_scored_on"]].iloc[0]
    return f"ours on {where.iloc[0]}, {how_often}, 95 % interval over images", f"paper, on {where.iloc[1]}"


def _draw_scores(
    ax: Axes,
    places: np.ndarray,
    ours: pd.DataFrame,
    theirs: pd.Series | None,
    names: tuple[str, str],
    *,
    upright: bool,
) -> None:
    """Draw ours with intervals and the paper's as open diamonds, along the horizontal axis or upright."""
    centre, low, high = (100 * ours[column].to_numpy(dtype=float) for column in ("mean", "low", "high"))
    # A percentile interval need not hold the mean of few images: its short side is then none, not negative
    error = np.clip([centre - low, high - centre], 0, None)
    look = {"fmt": "o", "markerfacecolor": PREDICTION, "markeredgecolor": _DARK, "ecolor": _DARK}
    look |= {"elinewidth": 1, "capsize": 2.5, "markersize": 6, "label": names[0], "zorder": 3}
    if upright:
        ax.errorbar(places, centre, yerr=error, **look)
    else:
        ax.errorbar(centre, places, xerr=error, **look)
    if theirs is not None:
        x, y = (places, theirs) if upright else (theirs, places)
        # Open and larger than ours: where both fall together, both are seen
        look = {"markerfacecolor": "none", "markeredgecolor": REFERENCE, "markeredgewidth": 1.2, "markersize": 7.5}
        ax.plot(x, y, "D", linestyle="none", label=names[1], zorder=4, **look)


def _draw_seeds(ax: Axes, models: Sequence[str], by_seed: pd.DataFrame | None, metric: str, *, upright: bool) -> None:
    """Draw each seed as a small dot beside its model."""
    if by_seed is None:
        return
    rows = by_seed[(by_seed["metric"] == metric) & by_seed["model"].isin(models)]
    beside = np.array([models.index(model) for model in rows["model"]]) + (0.13 if upright else 0.25)
    values = 100 * rows["mean"].to_numpy()
    x, y = (beside, values) if upright else (values, beside)
    ax.plot(x, y, ".", color=_GREY, markersize=4, linestyle="none", label="each seed", zorder=3)


def _legend_below(figure: Figure, ax: Axes) -> None:
    """Explain the marks below the axes, ours first."""
    handles, labels = ax.get_legend_handles_labels()
    entries = sorted(zip(labels, handles, strict=True), key=lambda entry: not entry[0].startswith("ours"))
    figure.legend(*reversed(list(zip(*entries, strict=True))), loc="outside lower center", ncols=1)


def _label_curves(ax: Axes, curves: pd.DataFrame) -> None:
    """Write each curve's name to the right of its end, names apart from each other where the ends are not."""
    ends = {name: values.dropna() for name, values in curves.items() if values.notna().any()}
    low, high = ax.get_ylim()
    least = 0.065 * (high - low)  # a line of text
    floor = low
    for name, values in sorted(ends.items(), key=lambda item: item[1].iloc[-1]):
        end = values.iloc[-1]
        # Centred on the bundle that it belongs to: half of those above and at the end push it down
        crowd = sum(0 <= other.iloc[-1] - end < least * len(ends) for other in ends.values()) - 1
        floor = max(floor + least, end - crowd * least / 2)
        line = {"arrowstyle": "-", "color": _CURVE_LINES[name][0], "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2}
        ax.annotate(
            name,
            (values.index[-1], end),
            xytext=(0.515, floor),
            color=_CURVE_LINES[name][0],
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops=line,
        )
