"""Figures made of images: outlines, saliency, labels, views. They take arrays and read no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from uslnet_core.errors import DataError
from uslnet_core.figures.outlines import as_images, as_maps, draw_outline
from uslnet_core.figures.panels import (
    grid,
    label_legend,
    name_rows,
    note,
    outline_legend,
    require_number,
    show_image,
    show_label,
    show_saliency,
)
from uslnet_core.figures.style import PREDICTION, TRUTH, drawn

if TYPE_CHECKING:
    from uslnet_core.figures.outlines import Images


@drawn
def images_with_outlines(
    images: Images,
    truth: Images | None = None,
    prediction: Images | None = None,
    titles: Sequence[str] | None = None,
    columns: int = 4,
) -> Figure:
    """Show images with the expert's outline and the predicted one.

    Notice where the two lines part: at faint borders, at hair and ink, in dark corners; and whether the
    predicted one is too wide or too tight all round.

    Args:
        images: N images, (N, H, W, 3) uint8 or (N, 3, H, W) float in [0, 1].
        truth: (N, H, W) bool, drawn white; any size, stretched onto the image.
        prediction: (N, H, W) bool, drawn blue.
        titles: One per image.
        columns: Images in a row.

    Returns:
        A figure with an axes per image.

    Raises:
        DataError: Numbers of images, masks and titles differ.
    """
    pictures = as_images(images)
    n = len(pictures)
    require_number(titles, n, "titles")
    columns = min(columns, n)
    rows = -(-n // columns)
    figure, axes = grid(rows, columns, pictures, titled=titles is not None, legend=True)
    kinds = [(truth, TRUTH, "truth"), (prediction, PREDICTION, "prediction")]
    shown = [(as_maps(masks, n, name), colour, name) for masks, colour, name in kinds if masks is not None]
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.remove()
            continue
        show_image(ax, pictures[i], titles[i] if titles is not None else None)
        for masks, colour, _ in shown:
            draw_outline(ax, masks[i], colour, shape=pictures[i].shape[:2])
    outline_legend(figure, [(colour, name) for _, colour, name in shown])
    return figure


@drawn
def saliency_over(
    images: Images,
    saliency: Images | Mapping[str, Images],
    titles: Sequence[str] | None = None,
    truth: Images | None = None,
) -> Figure:
    """Show where an encoder looks: the image above, its saliency laid over the same image in grey below.

    Notice whether the yellow lies on the lesion or on hair, ink and corners, and how soft its border is: a
    map of few cells knows the place better than the shape.

    Args:
        images: N images, as in `images_with_outlines`.
        saliency: (N, h, w) in [0, 1], any size; or several kinds of map by name, for a row each.
        titles: One per image.
        truth: (N, H, W) bool, drawn white on the images.

    Returns:
        A figure with a row for the images and one for each kind of map, N axes each, and the colour bar's.

    Raises:
        DataError: Numbers differ.
    """
    pictures = as_images(images)
    n = len(pictures)
    kinds = saliency if isinstance(saliency, Mapping) else {"saliency": saliency}
    maps = {name: as_maps(each, n, name) for name, each in kinds.items()}
    require_number(titles, n, "titles")
    outlines = as_maps(truth, n, "truth") if truth is not None else None
    beside = [in_two_lines(name) for name in kinds]
    named = 1 + any("\n" in name for name in beside)
    small = {"widest": 1.4} if len(kinds) > 2 else {}
    figure, axes = grid(1 + len(kinds), n, pictures, titled=titles is not None, named=named, bar=True, **small)
    for i in range(n):
        show_image(axes[0, i], pictures[i], titles[i] if titles is not None else None)
        if outlines is not None:
            draw_outline(axes[0, i], outlines[i], TRUTH, shape=pictures[i].shape[:2])
        for ax, each in zip(axes[1:, i], maps.values(), strict=True):
            # Grey underneath: then colour can only mean saliency
            show_image(ax, pictures[i].astype(np.float32).mean(axis=2))
            shown = show_saliency(ax, each[i], pictures[i].shape[:2], alpha=0.65)
    name_rows(axes, ["image", *beside])
    figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.01, aspect=30, label="saliency (0 to 1)")
    return figure


def in_two_lines(name: str) -> str:
    """Break a name for the narrow space beside a row: ``CCAM, MoCo v2`` at its comma, ``ccam-moco_v2`` at its dash."""
    return name.replace(", ", ",\n", 1) if ", " in name else name.replace("-", "\n", 1)


@drawn
def three_way(
    images: Images,
    saliency: Images,
    labels: Images,
    *,
    titles: Sequence[str] | None = None,
    thresholds: tuple[float, float] | None = None,
    keep: Sequence[bool] | np.ndarray | None = None,
    truth: Images | None = None,
) -> Figure:
    """Show the step the book is named for: image, saliency, and its split into three (figures 1 and 5).

    Notice the grey: a belt around the lesion, and whole blobs that are salient but not central. The segmenter
    learns nothing from it. Yellow should lie within the lesion and blue outside; the width of the grey is the
    price.

    Args:
        images: N images, as in `images_with_outlines`.
        saliency: (N, h, w) in [0, 1].
        labels: (N, H, W) 0, 0.5, 1; or integers 0, 1, 2 as stored.
        titles: One per image.
        thresholds: Low and high, marked on the colour bar.
        keep: (N,) bool; images left out of training are marked so.
        truth: (N, H, W) bool, outlined on the labels for judging them.

    Returns:
        A figure with three rows of N axes, and the colour bar's.

    Raises:
        DataError: Numbers differ.
    """
    pictures = as_images(images)
    n = len(pictures)
    maps, split = as_maps(saliency, n, "saliency"), as_maps(labels, n, "labels")
    outlines = as_maps(truth, n, "truth") if truth is not None else None
    for given, name in ((titles, "titles"), (keep, "keep flags")):
        require_number(given, n, name)
    figure, axes = grid(3, n, pictures, titled=titles is not None, legend=True, named=True, bar=True)
    for i in range(n):
        shape = pictures[i].shape[:2]
        show_image(axes[0, i], pictures[i], titles[i] if titles is not None else None)
        show_image(axes[1, i], np.zeros(shape))
        shown = show_saliency(axes[1, i], maps[i], shape)
        show_label(axes[2, i], split[i], shape)
        if outlines is not None:
            draw_outline(axes[2, i], outlines[i], TRUTH, shape=shape)
        if keep is not None and not keep[i]:
            note(axes[2, i], "left out")
    name_rows(axes, ["image", "saliency", "three-way split"])
    bar = figure.colorbar(shown, ax=axes[1, :], fraction=0.04, pad=0.01, aspect=14, label="saliency (0 to 1)")
    if thresholds is not None:
        bar.set_ticks([0, *thresholds, 1])
        bar.ax.hlines(thresholds, 0, 1, colors="white", linewidth=1)
    label_legend(figure, with_truth=truth is not None)
    return figure


@drawn
def label_iterations(images: Images, labels_by_iteration: Mapping[str, Images], truth: Images | None = None) -> Figure:
    """Show how the labels of the same images change from iteration to iteration (section 3.6 of the paper).

    Notice grey giving way to yellow and blue, and the yellow taking the outline's shape; and where an early
    mistake stays, because every iteration learns from the one before.

    Args:
        images: N images, one row each, as in `images_with_outlines`.
        labels_by_iteration: Name of the iteration to its (N, H, W) labels 0, 0.5, 1, in order.
        truth: (N, H, W) bool, outlined on every panel.

    Returns:
        A figure with N rows, an axes for the image and for each iteration.

    Raises:
        DataError: Numbers differ, or no iteration.
    """
    pictures = as_images(images)
    n = len(pictures)
    if not labels_by_iteration:
        raise DataError("There are no labels to show: got 0 iterations, expected at least 1.")
    outlines = as_maps(truth, n, "truth") if truth is not None else None
    figure, axes = grid(n, 1 + len(labels_by_iteration), pictures, titled=True, legend=True)
    for i in range(n):
        show_image(axes[i, 0], pictures[i], "image" if i == 0 else None)
    for column, (name, labels) in enumerate(labels_by_iteration.items(), start=1):
        for i, label in enumerate(as_maps(labels, n, f"labels of {name!r}")):
            show_label(axes[i, column], label, pictures[i].shape[:2], name if i == 0 else None)
    if outlines is not None:
        for i, row in enumerate(axes):
            for ax in row:
                draw_outline(ax, outlines[i], TRUTH, shape=pictures[i].shape[:2])
    label_legend(figure, with_truth=truth is not None)
    return figure


@drawn
def augmentation_grid(images: Images, views: Sequence[Images], *, names: Sequence[str] | None = None) -> Figure:
    """Show images beside the random views that contrastive learning makes of them (section 3.2 of the paper).

    Notice what the views of one row still share: that is what the encoder can learn to see. What they do not
    share, colour cast and place, it learns to overlook.

    Args:
        images: N images, one row each, as in `images_with_outlines`.
        views: Batches of N views, a column each.
        names: One per row, for example the method whose views it shows.

    Returns:
        A figure with N rows, an axes for the image and for each view.

    Raises:
        DataError: Numbers differ, or no view.
    """
    pictures = as_images(images)
    batches = [as_images(batch) for batch in views]
    if not batches or any(len(batch) != len(pictures) for batch in batches):
        raise DataError(
            f"Got views of {[len(batch) for batch in batches]} images; expected batches of {len(pictures)}, one "
            "view for each image."
        )
    require_number(names, len(pictures), "names")
    figure, axes = grid(len(pictures), 1 + len(batches), pictures, titled=True, named=names is not None)
    for i, picture in enumerate(pictures):
        show_image(axes[i, 0], picture, "image" if i == 0 else None)
        for j, batch in enumerate(batches, start=1):
            show_image(axes[i, j], batch[i], f"view {j}" if i == 0 else None)
    if names is not None:
        name_rows(axes, names)
    return figure
