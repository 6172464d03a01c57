"""Masks as outlines: where a mask ends, as smooth lines that lie on the boundary between its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from skimage.measure import find_contours

from uslnet_core.errors import DataError
from uslnet_core.figures.style import HALO

if TYPE_CHECKING:
    import torch

    Images = np.ndarray | torch.Tensor | Sequence[np.ndarray]


def outline(mask: np.ndarray, shape: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Trace a mask's boundary.

    The line runs half-way between pixels inside and outside, along the image's edge where the mask touches
    it. Steps of single pixels are rounded off by less than half a pixel; outlines too short for that stay as
    they are, so no speck vanishes.

    Args:
        mask: (H, W) bool, or values cut at 0.5.
        shape: Height and width of the image that the line will lie on, if it has another size.

    Returns:
        Closed lines, each (n, 2) of x and y in pixels of that image, pixel centres at whole numbers.

    Raises:
        DataError: The mask is not (H, W).
    """
    mask = as_numpy(mask)
    if mask.ndim != 2:
        raise DataError(f"A mask to outline has shape {mask.shape}; expected (H, W). Take one of the batch.")
    height, width = shape or mask.shape
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    lines = []
    for line in find_contours(np.pad((mask > 0.5).astype(np.float64), 1), 0.5):
        points = line[:, ::-1] - 1
        if len(points) > 12:
            ring = points[:-1]
            for _ in range(2):
                ring = (np.roll(ring, 1, axis=0) + 2 * ring + np.roll(ring, -1, axis=0)) / 4
            points = np.concatenate([ring, ring[:1]])
        lines.append((points + 0.5) * scale - 0.5)
    return lines


def draw_outline(
    axes: Axes, mask: np.ndarray, colour: str, *, shape: tuple[int, int] | None = None, width: float = 1.1
) -> LineCollection:
    """Draw a mask's boundary with its halo.

    Args:
        axes: Where the image is shown.
        mask: (H, W) bool.
        colour: Of the line.
        shape: The image's height and width, if it has another size than the mask.
        width: In points.

    Returns:
        The lines; empty for an empty mask.
    """
    halo = [patheffects.Stroke(linewidth=width + 0.9, foreground=HALO), patheffects.Normal()]
    lines = LineCollection(outline(mask, shape), colors=colour, linewidths=width, path_effects=halo)
    axes.add_collection(lines, autolim=False)
    return lines


def as_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Bring an array, a list or a tensor of any device to numpy."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def as_images(images: Images) -> list[np.ndarray]:
    """Bring images to what matplotlib shows.

    Args:
        images: (N, H, W, 3) uint8, (N, 3, H, W) or (N, H, W, 3) float in [0, 1], array or tensor, or a list
            of images of different sizes.

    Returns:
        N images (H, W, 3), uint8 or float32 in [0, 1].

    Raises:
        DataError: The shape is none of these, or there is no image.
    """
    listed = [as_numpy(image) for image in images]
    if not listed:
        raise DataError("There is nothing to draw: got 0 images, expected at least 1.")
    shown = []
    for image in listed:
        if image.ndim == 3 and image.shape[-1] != 3 and image.shape[0] == 3:
            image = image.transpose(1, 2, 0)
        if image.ndim != 3 or image.shape[-1] != 3:
            raise DataError(
                f"An image has shape {image.shape}; expected (H, W, 3) or (3, H, W). "
                "A single image needs `image[None]`."
            )
        shown.append(image if image.dtype == np.uint8 else image.astype(np.float32).clip(0, 1))
    return shown


def as_maps(maps: Images, number: int, name: str) -> list[np.ndarray]:
    """Bring masks, saliency maps or labels to a list of (H, W), one for each of `number` images.

    Raises:
        DataError: There are fewer or more than images, or one is not (H, W).
    """
    listed = [as_numpy(one) for one in maps]
    if len(listed) != number or any(one.ndim != 2 for one in listed):
        raise DataError(
            f"The {name} has {len(listed)} entries of shape {listed[0].shape if listed else ()}; expected {number} of "
            "shape (H, W), one for each image."
        )
    return listed
