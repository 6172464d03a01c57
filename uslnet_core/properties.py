"""What may make an image hard, measured on the image and a mask of its lesion: hair, gel, contrast, size, the frame.

The mask is a prediction, so that all of this can be known where no expert drew an outline. No number here says how
good a mask is, and none feeds anything that trains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from uslnet_core.artefacts import find_charts, find_frame, find_hair, to_lab
from uslnet_core.errors import DataError
from uslnet_core.skin import find_skin, typology_angle, widened

BATCH = 64  # images at a time, so that thousands take no more memory than these
LIGHTER, PALER = 12.0, 8.0  # CIE Lab: what is so much lighter and paler than the skin around mirrors the light
RING = 1 / 16  # share of the side: width of the ring of skin that a lesion is compared with

# A group of images: which property it is made by, whether its members have much of it, and how many are in it.
QUARTERS = {
    "much hair": ("hair", True),
    "gel and bubbles": ("gel", True),
    "low contrast": ("contrast", False),
    "small": ("area", False),
    "large": ("area", True),
}
PRESENT = {"at the border": "border", "dark corners": "corners", "chart or ink": "charts"}


def measure(images: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    """Measure images and the lesions that masks show in them.

    Args:
        images: (N, S, S, 3) uint8.
        masks: (N, S, S) bool, the lesions, as predicted.

    Returns:
        A row an image: hair, share of the image around the lesion that is hair or ruler; gel, share of the image
        that mirrors the light, as gel and bubbles do (single bubbles are often missed); contrast, CIE Lab distance
        between the median colour inside the mask and that of the skin around it (NaN where one of them is not there);
        area, the mask's share of the image; border, its share of the image's edge; corners and charts, shares of the
        image; tone, the individual typology angle of the skin in degrees.

    Raises:
        DataError: there are not as many masks as images, or their sizes differ.
    """
    if masks.shape != images.shape[:3]:
        raise DataError(f"Masks of shape {masks.shape} for images of {images.shape}: expected a mask for each image.")
    rows = [_measure(images[k : k + BATCH], np.asarray(masks[k : k + BATCH])) for k in range(0, len(images), BATCH)]
    return pd.concat(rows, ignore_index=True)


def _measure(images: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    lab = to_lab(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255)
    hair, frame, charts = find_hair(lab), find_frame(lab), find_charts(lab)
    skin, foreign = find_skin(lab, masks), frame | charts
    beside = ~widened(masks, _half_ring(masks)) & ~foreign  # a lesion has dark lines of its own
    edge = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    return pd.DataFrame(
        {
            "hair": (hair & beside).sum((1, 2)) / np.maximum(beside.sum((1, 2)), 1),
            "gel": _mirrors(lab, skin, foreign).mean((1, 2)),
            "contrast": _contrast(lab, masks, ~(foreign | hair)),
            "area": masks.mean((1, 2)),
            "border": edge.mean(1),
            "corners": frame.mean((1, 2)),
            "charts": charts.mean((1, 2)),
            "tone": typology_angle(lab, skin),
        }
    )


def _mirrors(lab: np.ndarray, skin: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Find what is much lighter and paler than the skin of the same image: (B, S, S) bool."""
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    found = np.zeros(skin.shape, dtype=bool)
    for row, usual in enumerate(skin):
        usual = usual if usual.any() else ~foreign[row]
        if usual.any():
            lighter = lab[row, ..., 0] > np.median(lab[row, ..., 0][usual]) + LIGHTER
            found[row] = lighter & (chroma[row] < np.median(chroma[row][usual]) - PALER) & ~foreign[row]
    return found


def _contrast(lab: np.ndarray, masks: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Measure how far the median colour of a lesion lies from that of a ring of skin around it: (B,) CIE Lab."""
    near = widened(masks, _half_ring(masks))
    ring = widened(near, _half_ring(masks)) & ~near & clear
    inside, found = masks & clear, np.full(len(lab), np.nan)
    for row in np.flatnonzero(inside.any((1, 2)) & ring.any((1, 2))):
        colours = [np.median(lab[row][part[row]], axis=0) for part in (inside, ring)]
        found[row] = np.linalg.norm(colours[0] - colours[1])
    return found


def _half_ring(masks: np.ndarray) -> int:
    """Give half the width of a ring of skin in pixels of (B, S, S) masks."""
    return max(1, round(RING * masks.shape[1] / 2))


def groups_of(measured: pd.DataFrame) -> pd.DataFrame:
    """Sort images into groups by rule: the quarter with most, or least, of a property, or whatever has any of it.

    An image may be in several groups or in none.

    Args:
        measured: as :func:`measure` gives it.

    Returns:
        (N rows) bool, a column a group: ``much hair``, ``gel and bubbles`` and ``large`` are the quarter with the
        highest values, ``low contrast`` and ``small`` that with the lowest; ``at the border``, ``dark corners`` and
        ``chart or ink`` are images with any; in ``nothing found`` the mask is empty.
    """
    groups = {}
    for name, (column, most) in QUARTERS.items():
        values = measured[column]
        groups[name] = values > values.quantile(0.75) if most else values < values.quantile(0.25)
    groups |= {name: measured[column] > 0 for name, column in PRESENT.items()}
    return pd.DataFrame(groups | {"nothing found": measured["area"] == 0})


def disagreement(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Say how far the last iteration's mask is from those of the iterations before: a doubt that needs no truth.

    Args:
        masks: two iterations or more, in order, (N, S, S) bool each.

    Returns:
        (N,) float64 in [0, 1]: 1 less the mean Dice between the last mask and each earlier one; two empty masks agree.

    Raises:
        DataError: there are fewer than two iterations.
    """
    if len(masks) < 2:
        raise DataError(f"Got the masks of {len(masks)} iterations, but it takes 2 or more to disagree.")
    *before, last = (np.asarray(each) for each in masks)
    shared = [2 * (last & each).sum((1, 2)) for each in before]
    either = [last.sum((1, 2)) + each.sum((1, 2)) for each in before]
    dice = [np.where(b > 0, a / np.maximum(b, 1), 1.0) for a, b in zip(shared, either, strict=True)]
    return 1 - np.mean(dice, axis=0)
