"""The picture of a second look: where the window lies, what is seen in it, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from uslnet_core.figures.outlines import as_images, as_maps, draw_outline
from uslnet_core.figures.panels import grid, name_rows, outline_legend, require_number, show_image, show_saliency
from uslnet_core.figures.style import HALO, PREDICTION, TRUTH, drawn

if TYPE_CHECKING:
    from uslnet_core.figures.outlines import Images


@drawn
def second_look(
    images: Images,
    windows: np.ndarray,
    crops: Images,
    maps: Mapping[str, Images],
    found: Images,
    *,
    truth: Images | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Show a second look step by step, a row an image: the window, what is seen in it, its maps, and the mask.

    Notice how coarse the first map of a small lesion is and how fine the last; and, where the lesion has a pale margin,
    which of the maps gives it to the lesion.

    Args:
        images: N images, as in `images_with_outlines`.
        windows: (N, 3): left edge, top edge and side of each window, in pixels of the images.
        crops: what is seen in them, as images.
        maps: Name to (N, h, w) maps of the windows in [0, 1], in order.
        found: (N, H, W) bool, the masks in the end, outlined on the images.
        truth: (N, H, W) bool, outlined on the images.
        names: One per row.

    Returns:
        A figure with N rows, an axes for the image, the window and each map.

    Raises:
        DataError: Numbers of images, windows, maps and names differ.
    """
    pictures, seen = as_images(images), as_images(crops)
    n = len(pictures)
    for given, what in ((windows, "windows"), (seen, "crops"), (names, "names")):
        require_number(given, n, what)
    shown = {name: as_maps(each, n, name) for name, each in maps.items()}
    masks = [(as_maps(found, n, "masks"), PREDICTION)]
    masks += [(as_maps(truth, n, "truth"), TRUTH)] if truth is not None else []
    figure, axes = grid(n, 2 + len(shown), pictures, titled=1, legend=1, named=1 if names is not None else 0)
    for i, row in enumerate(axes):
        show_image(row[0], pictures[i], "image and window" if i == 0 else None)
        for each, colour in masks:
            draw_outline(row[0], each[i], colour, shape=pictures[i].shape[:2])
        left, top, side = windows[i]
        for colour, width in ((HALO, 2.4), ("white", 1.0)):
            row[0].add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=colour, lw=width))
        show_image(row[1], seen[i], "what is seen" if i == 0 else None)
        for ax, (name, each) in zip(row[2:], shown.items(), strict=True):
            show_image(ax, seen[i].mean(axis=-1), name if i == 0 else None)
            show_saliency(ax, each[i], seen[i].shape[:2])
    if names is not None:
        name_rows(axes, names)
    entries = [(PREDICTION, "prediction")] + ([(TRUTH, "truth (shown, never used)")] if truth is not None else [])
    outline_legend(figure, entries)
    return figure
