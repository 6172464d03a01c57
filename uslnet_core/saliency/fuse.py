"""Fusion: what several encoders see, in one map (paper 3.2, 3.3)."""

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
    shapes = [np.shape(each) for each in maps]
    if not shapes or len(set(shapes)) > 1 or len(shapes[0]) != 3:
        raise DataError(
            f"Cannot average maps of the shapes {shapes}; expected one (N, h, w) for all. Map the same images with "
            "every encoder, and bring maps of other sizes to one size first (upsample)."
        )
    return np.mean(np.stack(maps), axis=0, dtype=np.float64).astype(np.float32)  # float64: sums in any order agree
