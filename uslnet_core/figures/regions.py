"""The uncertainty module's choice, drawn: every candidate region with its number and what became of it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.figure import Figure

from uslnet_core.errors import DataError
from uslnet_core.figures.outlines import as_numpy, draw_outline
from uslnet_core.figures.panels import extent, label_legend, show_image, show_label, show_saliency
from uslnet_core.figures.style import REFERENCE, TEXT_WIDTH, drawn

_MOST_LISTED = 9


@drawn
def region_picture(
    label: np.ndarray,
    regions: pd.DataFrame,
    saliency: np.ndarray | None = None,
    *,
    high: float = 0.65,
    exclusion: float = 1 / 3,
) -> Figure:
    """Show how one image's foreground was chosen among its candidates (Algorithm 1 of the paper).

    Notice that the largest region need not win, nor the most salient one: the one nearest to the cross does.
    What loses turns grey, not blue, since it may be lesion all the same.

    Args:
        label: (H, W) 0, 0.5, 1.
        regions: This image's rows of `UncertaintyOutput.regions_frame()`: area, centroid_y, centroid_x,
            mean_distance, chosen, reason.
        saliency: (H, W) in [0, 1], the map the regions were cut from; drawn to the left with the candidates'
            outlines.
        high: The threshold of candidates.
        exclusion: Radius of the dotted circle, as a fraction of the shorter side. An image whose chosen
            centroid lies outside is left out of training.

    Returns:
        A figure with an axes for the saliency (if given), the label, and the list of regions.

    Raises:
        DataError: A column is missing, or the arrays are not one image's.
    """
    label = as_numpy(label)
    missing = [c for c in ("area", "centroid_y", "centroid_x", "mean_distance", "reason") if c not in regions.columns]
    if missing or label.ndim != 2:
        raise DataError(
            f"Cannot draw regions: columns missing {missing}, label of shape {label.shape}. Expected one image's "
            "(H, W) and its rows of `regions_frame()`."
        )
    maps = 1 if saliency is None else 2
    size = 2.5
    figure, axes = plt.subplots(
        1,
        maps + 1,
        figsize=(min(TEXT_WIDTH, size * maps + 2.4), size + 0.4),
        width_ratios=[1] * maps + [0.95],
    )
    shape = label.shape
    if saliency is not None:
        saliency = as_numpy(saliency)
        show_image(axes[0], np.zeros(shape), f"saliency, candidates above {high:g}")
        show_saliency(axes[0], saliency, shape)
        draw_outline(axes[0], saliency > high, REFERENCE, shape=shape)
    show_label(axes[maps - 1], label, shape, "label")
    text = {"color": "white", "fontsize": 8, "ha": "center", "va": "center", "fontweight": "bold"}
    halo = [patheffects.withStroke(linewidth=2, foreground="black")]
    for ax in axes[:maps]:
        ax.set(xlim=extent(shape)[:2], ylim=extent(shape)[2:])
        ax.plot(shape[1] / 2, shape[0] / 2, "+", color="white", markersize=9, path_effects=halo)
        for number, row in enumerate(regions.head(_MOST_LISTED).itertuples(), start=1):
            ax.text(row.centroid_x, row.centroid_y, str(number), path_effects=halo, **text)
    circle = plt.Circle(
        (shape[1] / 2, shape[0] / 2),
        exclusion * min(shape),
        fill=False,
        color="white",
        linestyle=":",
        linewidth=1,
    )
    axes[maps - 1].add_patch(circle)
    _list_regions(axes[-1], regions)
    label_legend(figure, with_truth=False)
    return figure


def _list_regions(ax: plt.Axes, regions: pd.DataFrame) -> None:
    ax.axis("off")
    lines = ["     area   distance"]
    for number, row in enumerate(regions.head(_MOST_LISTED).itertuples(), start=1):
        lines.append(f"{number}  {row.area:5.0f} px  {row.mean_distance:5.1f} px\n   {row.reason}")
    if len(regions) > _MOST_LISTED:
        lines.append(f"and {len(regions) - _MOST_LISTED} more")
    if len(regions) == 0:
        lines = ["no region is salient enough"]
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=7, family="monospace", transform=ax.transAxes)
