"""What masks add and what they miss, drawn on the images (figures 7 and 9 of the paper)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from uslnet_core.errors import DataError
from uslnet_core.figures.outlines import as_images, as_maps, draw_outline
from uslnet_core.figures.panels import extent, grid, name_rows, outline_handle, require_number, show_image
from uslnet_core.figures.style import OVER, TRUTH, UNDER, drawn

if TYPE_CHECKING:
    from uslnet_core.figures.outlines import Images

_NARROW_CELL = 1.45  # inches: three images fit a phone, and the text beside them can be read there
_ROW = 105  # letters that fit above a row of panels


@drawn
def over_under(
    images: Images,
    prediction: Images | Mapping[str, Images],
    truth: Images,
    titles: Sequence[str] | None = None,
    *,
    with_truth: bool = False,
    turned: bool = False,
) -> Figure:
    """Show what a prediction adds and what it misses (figures 7 and 9 of the paper).

    Notice the ring shapes: an orange-red ring is a mask too wide all round, a green one too tight. Patches
    away from the lesion are something else taken for it. From column to column, see whether a step mends what
    the one before got wrong, or makes the same mistake with a smoother outline.

    Args:
        images: N images, (N, H, W, 3) uint8 or (N, 3, H, W) float in [0, 1].
        prediction: (N, H, W) bool; or model's name to its (N, H, W) bool, for a column per model.
        truth: (N, H, W) bool, the same size as the predictions.
        titles: One per image.
        with_truth: Put the image with nothing but the true outline before the models.
        turned: A row per model and a column per image instead: for many models and few images, and large enough to
            be read on a phone.

    Returns:
        A figure with an axes per image for one prediction; for several, a row per image and a column per
        model, or turned.

    Raises:
        DataError: Numbers or sizes differ, there is no model, or one prediction was to be shown as several.
    """
    pictures = as_images(images)
    n = len(pictures)
    masks = as_maps(truth, n, "truth")
    require_number(titles, n, "titles")
    if isinstance(prediction, Mapping):
        if not prediction:
            raise DataError("There are no predictions to show: got 0 models, expected at least 1.")
        columns = {name: as_maps(predicted, n, f"prediction of {name!r}") for name, predicted in prediction.items()}
        figure, axes = _model_grid(pictures, ["truth"] * with_truth + list(columns), titles, turned)
        for i in range(n if with_truth else 0):
            _show_errors(axes[i, 0], pictures[i], masks[i], masks[i])
        for j, predicted in enumerate(columns.values(), start=int(with_truth)):
            for i in range(n):
                _show_errors(axes[i, j], pictures[i], predicted[i], masks[i])
    elif with_truth or turned:
        raise DataError(
            "One prediction has no columns: for `with_truth` or `turned` give it a name, {'Model 5': masks}."
        )
    else:
        width = min(4, n)
        figure, axes = grid(-(-n // width), width, pictures, titled=titles is not None, legend=True)
        for ax in axes.flat[n:]:
            ax.remove()
        for i, one in enumerate(as_maps(prediction, n, "prediction")):
            _show_errors(axes.flat[i], pictures[i], one, masks[i])
        for ax, title in zip(axes.flat, titles if titles is not None else (), strict=False):
            ax.set_title(title, fontsize=8, pad=3)
    narrow = isinstance(prediction, Mapping) and turned
    patches = [Patch(facecolor=OVER, label="too much (over-segmented)")]
    patches += [Patch(facecolor=UNDER, label="too little (under-segmented)"), outline_handle(TRUTH, "truth")]
    figure.legend(handles=patches, loc="outside lower center", ncols=2 if narrow else 3)
    return figure


def _model_grid(
    pictures: list[np.ndarray], names: list[str], titles: Sequence[str] | None, turned: bool
) -> tuple[Figure, np.ndarray]:
    """Lay out panels [image, model] with both named, whichever way round they stand."""
    n = len(pictures)
    # "worst: Dice 12.3 %" takes two lines beside a panel or above it, where there is no room for one
    beside = [title.replace(": ", "\n") for title in titles] if titles is not None else None
    if turned:
        lines = 2 if beside is not None else 0
        figure, axes = grid(len(names), n, pictures, titled=lines, legend=2, named=1, widest=_NARROW_CELL)
        name_rows(axes, names)
        for ax, title in zip(axes[0], beside or (), strict=False):
            ax.set_title(title, fontsize=8, pad=3)
        return figure, axes.T
    many = len(names) > 4
    lines = 0 if beside is None else 2 if many else 1
    above = [textwrap.fill(name, _ROW // len(names)) if many else name for name in names]
    deep = 1 + max(name.count("\n") for name in above)
    figure, axes = grid(n, len(names), pictures, titled=deep, legend=True, named=lines)
    if titles is not None:
        name_rows(axes, beside if many else titles)
    for ax, name in zip(axes[0], above, strict=True):
        ax.set_title(name, fontsize=8, pad=3)
    return figure, axes


def _show_errors(ax: Axes, picture: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> None:
    if predicted.shape != truth.shape:
        raise DataError(f"A prediction has shape {predicted.shape} and its truth {truth.shape}; expected the same.")
    shape = picture.shape[:2]
    show_image(ax, picture)
    predicted, lesion = predicted > 0.5, truth > 0.5
    for wrong, colour in ((predicted & ~lesion, OVER), (lesion & ~predicted, UNDER)):
        layer = np.zeros((*wrong.shape, 4))
        layer[wrong] = (*to_rgb(colour), 0.6)
        ax.imshow(layer, extent=extent(shape), interpolation="nearest")
    draw_outline(ax, truth, TRUTH, shape=shape, width=0.8)
