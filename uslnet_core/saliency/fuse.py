"""Fusion: what several encoders see, in one map (paper 3.2, 3.3); and, past the paper, what several sources see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uslnet_core.errors import DataError


def mean_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Average the oriented maps of several encoders, cell by cell.

    Args:
        maps: one (N, h, w) float32 array in [0, 1] an encoder, of the same images in the same order.

    Returns:
        (N, h, w) float32 in [0, 1]; the order of the encoders does not matter.

    Raises:
        DataError: no maps, or maps of different shapes.
    """
    return np.mean(stacked(maps), axis=0, dtype=np.float64).astype(np.float32)  # float64: sums in any order agree


def weighed_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Average maps pixel by pixel, each weighed by how sure it is there: its distance from one half.

    A source that says 0.5 has nothing to say, and is not heard beside one that does. Where none has, the result is 0.5.

    Args:
        maps: one (N, h, w) float32 array in [0, 1] a source, of the same images in the same order.

    Returns:
        (N, h, w) float32 in [0, 1].

    Raises:
        DataError: no maps, or maps of different shapes.
    """
    together = stacked(maps).astype(np.float64)
    sure = np.abs(together - 0.5)
    total = sure.sum(axis=0)
    mean = (sure * together).sum(axis=0) / np.maximum(total, np.finfo(np.float64).tiny)
    return np.where(total > 0, mean, 0.5).astype(np.float32)


def agreement(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Say how far sources agree, pixel by pixel: 1 less the distance between the highest and the lowest of them.

    Args:
        maps: one (N, h, w) float32 array in [0, 1] a source, of the same images in the same order.

    Returns:
        (N, h, w) float32 in [0, 1]: 1 where all say the same, 0 where one says lesion and another skin.

    Raises:
        DataError: no maps, or maps of different shapes.
    """
    together = stacked(maps)
    return (1 - (together.max(axis=0) - together.min(axis=0))).astype(np.float32)


def stacked(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Stack maps of the same images, (sources, N, h, w).

    Raises:
        DataError: no maps, or maps of different shapes.
    """
    shapes = [np.shape(each) for each in maps]
    if not shapes or len(set(shapes)) > 1 or len(shapes[0]) != 3:
        raise DataError(
            f"Cannot average maps of the shapes {shapes}; expected one (N, h, w) for all. Map the same images with "
            "every encoder, and bring maps of other sizes to one size first (upsample)."
        )
    return np.stack(maps)
