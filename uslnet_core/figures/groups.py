"""Figures of groups of images: how each scores beside all others, and scores along the tone of the skin."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core.errors import DataError
from uslnet_core.figures.plots import whiskers
from uslnet_core.figures.style import PREDICTION, REFERENCE, TEXT_WIDTH, drawn
from uslnet_core.skin import TONES

_ENDS = (90.0, *TONES.values())  # degrees: each group lies between two of them


@drawn
def group_plot(groups: pd.DataFrame, *, name: str = "Dice") -> Figure:
    """Show how far the images of each group lie from all others.

    Notice which intervals stay on one side of zero, and how few images most of them have. A group left of zero is
    harder, which does not say why: a small lesion may have hair on it, too.

    Args:
        groups: What `uslnet_core.evaluation.compare_groups` returns, fractions.
        name: Of the score.

    Returns:
        A figure with one axes, in points of the score; groups too small to be compared have no mark.

    Raises:
        DataError: There is no group.
    """
    if groups.empty:
        raise DataError("There is no group to draw: got 0 rows, expected one a group.")
    figure, ax = plt.subplots(figsize=(0.85 * TEXT_WIDTH, 0.9 + 0.32 * len(groups)))
    places = np.arange(len(groups))
    columns = ("difference", "low", "high")
    whiskers(ax, groups, columns, places, "o", PREDICTION, "")
    ax.axvline(0, color=REFERENCE, linestyle="--", linewidth=1)
    few = groups["difference"].isna()
    labels = [f"{row.group} ({row.n_images})" for row in groups.itertuples()]
    ax.set_yticks(places, [f"{label}, too few" if lacks else label for label, lacks in zip(labels, few, strict=True)])
    ax.set(
        xlabel=f"difference from all other images, points of {name}, with 95 % interval", ylim=(len(groups) - 0.5, -0.5)
    )
    ax.grid(axis="y", visible=False)
    return figure


@drawn
def tone_plot(angles: np.ndarray, scores: np.ndarray, tones: pd.DataFrame, *, name: str = "Dice") -> Figure:
    """Show every image's score by the tone of its skin, and each group's mean with its interval.

    Notice first where there are no points: of skin that is not in the data, nothing can be said. Then whether the
    intervals of the groups overlap, and that the light of each camera moves points to the side.

    Args:
        angles: (N,) individual typology angles in degrees; NaN for images that are left out.
        scores: (N,) in [0, 1].
        tones: What `uslnet_core.evaluation.by_tone` returns, groups from light to dark.
        name: Of the score.

    Returns:
        A figure with one axes, light skin at the left, in percent.

    Raises:
        DataError: There are not as many scores as angles.
    """
    angles, scores = np.asarray(angles, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if angles.shape != scores.shape:
        raise DataError(f"Got {angles.shape} angles for {scores.shape} scores; expected one each.")
    figure, ax = plt.subplots(figsize=(TEXT_WIDTH, 3.2))
    ax.plot(angles, 100 * scores, "o", color="#666666", markersize=3, alpha=0.6, label="an image")
    for end in _ENDS[1:-1]:
        ax.axvline(end, color="#BBBBBB", linewidth=0.8)
    known = tones.assign(middle=[(above + below) / 2 for above, below in zip(_ENDS, _ENDS[1:], strict=False)])
    known = known.dropna(subset=["low"])
    middles, means = known["middle"], 100 * known["mean"]
    error = 100 * np.clip([known["mean"] - known["low"], known["high"] - known["mean"]], 0, None)
    shape = {"fmt": "D", "markerfacecolor": PREDICTION, "markeredgecolor": "#222222", "ecolor": "#222222"}
    ax.errorbar(middles, means, yerr=error, **shape, capsize=3, label="mean of a group, 95 % interval")
    for (above, below), row in zip(zip(_ENDS, _ENDS[1:], strict=False), tones.itertuples(), strict=True):
        text = f"{row.tone}\n{row.n_images}".replace("very ", "very\n")
        ax.text(
            (above + below) / 2, 1.02, text, ha="center", va="bottom", fontsize=8, transform=ax.get_xaxis_transform()
        )
    ax.set(xlim=(_ENDS[0], _ENDS[-1]), ylim=(-2, 102), xlabel="individual typology angle of the skin (°)")
    ax.set_ylabel(f"{name} (%)")
    ax.grid(axis="x", visible=False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
