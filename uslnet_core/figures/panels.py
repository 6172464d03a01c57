"""What the picture figures share: the grid of panels, what fills one, the legends."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from uslnet_core.errors import DataError
from uslnet_core.figures.style import (
    HALO,
    LABEL_COLOURS,
    LABEL_NAMES,
    LABEL_NORM,
    SALIENCY_COLOURS,
    TEXT_WIDTH,
    TRUTH,
)

_WIDEST_CELL = 2.4  # inches: a few images should not fill the page


def grid(
    rows: int,
    columns: int,
    pictures: Sequence[np.ndarray],
    *,
    titled: int = 0,
    legend: int = 0,
    named: int = 0,
    bar: bool = False,
    widest: float = _WIDEST_CELL,
) -> tuple[Figure, np.ndarray]:
    """Lay out panels as wide as the page at most, and just as high as they, titles, names and legend need.

    Titles above, names beside and the legend below are given by how many lines of text each has.
    """
    beside = (0.1 + 0.15 * named) * (named > 0) + 0.85 * bar  # inches
    cell = min((TEXT_WIDTH - beside) / columns, widest)
    aspect = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    above, below = (0.07 + 0.15 * titled) * (titled > 0), (0.12 + 0.2 * legend) * (legend > 0)
    height = rows * (cell * min(aspect, 2) + 0.02) + above + below
    figure, axes = plt.subplots(
        rows, columns, figsize=(cell * columns + beside, height), squeeze=False, layout="compressed"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return figure, axes


def show_image(ax: Axes, image: np.ndarray, title: str | None = None) -> None:
    """Show an image, or a grey one."""
    ax.imshow(image, cmap="gray")
    bare(ax, title)


def show_saliency(ax: Axes, saliency: np.ndarray, shape: tuple[int, int], alpha: float = 1.0) -> AxesImage:
    """Show saliency in [0, 1], stretched over an image of another size."""
    return ax.imshow(
        saliency.astype(np.float32), cmap=SALIENCY_COLOURS, vmin=0, vmax=1, alpha=alpha, extent=extent(shape)
    )


def show_label(ax: Axes, label: np.ndarray, shape: tuple[int, int], title: str | None = None) -> None:
    """Show a pseudo-label in its three fixed colours, stretched over an image of another size."""
    values = label / 2 if np.issubdtype(label.dtype, np.integer) else label
    ax.imshow(values, cmap=LABEL_COLOURS, norm=LABEL_NORM, extent=extent(shape), interpolation="nearest")
    bare(ax, title)


def extent(shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Give the extent that stretches a map of another size over the image, pixel centres at whole numbers."""
    return (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)


def bare(ax: Axes, title: str | None) -> None:
    """Take ticks and frame from a panel that shows an image."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if title is not None:
        ax.set_title(title, fontsize=8, pad=3)


def note(ax: Axes, text: str) -> None:
    """Write a word on the lower edge of a panel."""
    box = {"facecolor": HALO, "edgecolor": "none", "pad": 2}
    ax.text(0.5, 0.04, text, transform=ax.transAxes, ha="center", va="bottom", color="white", fontsize=8, bbox=box)


def name_rows(axes: np.ndarray, names: Sequence[str]) -> None:
    """Write a name to the left of each row."""
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, fontsize=8)


def outline_handle(colour: str, name: str) -> Line2D:
    """Make a legend entry that looks like an outline with its halo."""
    halo = [patheffects.Stroke(linewidth=3.2, foreground=HALO), patheffects.Normal()]
    return Line2D([], [], color=colour, linewidth=2, label=name, path_effects=halo)


def outline_legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Explain the outlines below the panels."""
    if entries:
        handles = [outline_handle(colour, name) for colour, name in entries]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def label_legend(figure: Figure, *, with_truth: bool) -> None:
    """Explain the three labels below the panels."""
    handles: list[Patch | Line2D] = [
        Patch(facecolor=colour, edgecolor=HALO, linewidth=0.5, label=name)
        for colour, name in zip(LABEL_COLOURS.colors, LABEL_NAMES, strict=True)
    ]
    if with_truth:
        handles.append(outline_handle(TRUTH, "truth (shown, never used)"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def require_number(given: Sequence | np.ndarray | None, number: int, name: str) -> None:
    """Refuse a list that does not hold one entry for each image."""
    if given is not None and len(given) != number:
        raise DataError(f"Got {len(given)} {name} for {number} images; expected one for each.")
