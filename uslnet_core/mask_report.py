"""What is said and drawn of one mask: its warnings, its pieces, and its outline on the image."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage.segmentation import find_boundaries

from uslnet_core.components import find_runs

GREY = 4  # of 255: colours that differ by no more are those of a grey picture that was compressed
BAND = 64  # rows that are looked at together for colour: most images show some in the first
OVERLAY_SIDE = 1024  # overlays are for looking at, so they are kept small
OUTLINE = (0, 114, 178)  # the book's prediction colour


def count_pieces(mask: np.ndarray) -> int:
    """Count the connected pieces of an (H, W) bool mask; pixels that touch at a corner are connected."""
    return find_runs(torch.from_numpy(mask.view(np.uint8))[None], 0, 8).components


def warn(mask: np.ndarray, pieces: int, uncertain: float) -> str:
    """Say what makes a mask doubtful: found nothing, very large, at the border, in pieces, uncertain. Empty if nothing.

    Args:
        mask: (H, W) bool.
        pieces: its connected pieces.
        uncertain: share of the pixels with a probability between 0.35 and 0.65.
    """
    if not mask.any():
        return "no lesion found"
    doubts, share = [], np.count_nonzero(mask) / mask.size
    if share > 0.8:
        doubts.append("covers almost the whole image")
    if share < 0.005:
        doubts.append("very small")
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if edge.mean() > 0.05:
        doubts.append("touches the border")
    if pieces > 1:
        doubts.append(f"{pieces} pieces")
    if uncertain > 0.1:
        doubts.append("uncertain")
    return "; ".join(doubts)


def warn_of_image(image: np.ndarray, size: int) -> str:
    """Say what makes an image unlike those that were learnt from: it is tiny, or grey. Empty if it is neither.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square that the segmenter sees, pixels.
    """
    height, width = image.shape[:2]
    doubts = [f"tiny, {width} × {height} pixels"] if min(height, width) < size // 2 else []
    if is_grey(image):
        doubts.append("grey, and colour was learnt")
    return "; ".join(doubts)


def is_grey(image: np.ndarray) -> bool:
    """Say whether no pixel of an (H, W, 3) uint8 image has colours that differ by more than ``GREY``."""
    for top in range(0, len(image), BAND):
        red, green, blue = np.moveaxis(image[top : top + BAND], 2, 0)
        # several times faster than the maximum and minimum over an axis of three
        span = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        if span.max() > GREY:
            return False
    return True


def draw_overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Draw the mask's outline, white beside blue so that it shows on any skin, on a copy of at most 1024 pixels."""
    scale = min(1.0, OVERLAY_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    line = find_boundaries(small, mode="inner")
    if wider := max(size) // 400:  # scipy takes 0 for "until nothing changes"
        line = ndimage.binary_dilation(line, iterations=wider)
    picture[ndimage.binary_dilation(line)] = (255, 255, 255)
    picture[line] = OUTLINE
    return Image.fromarray(picture)
