"""What the scores refuse: other shapes, other types, missing columns, images counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError

if TYPE_CHECKING:
    import torch


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Bring an array or a tensor of any device to numpy."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def as_mask(mask: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Bring a mask to numpy; refuse anything but bool, since 0/255 or a probability would count wrongly."""
    array = as_array(mask)
    if array.dtype != np.bool_:
        raise DataError(
            f"The {name} is {array.dtype}, expected bool. Cut a probability with `> 0.5`, a mask file with `> 128`."
        )
    return array


def require_same_shape(name: str, array: np.ndarray, truth: np.ndarray) -> None:
    """Refuse arrays that are not the same (B, H, W)."""
    if array.shape != truth.shape or truth.ndim != 3 or 0 in truth.shape[1:]:
        raise DataError(
            f"The {name} has shape {array.shape} and the truth {truth.shape}; expected the same "
            "(B, H, W) with H, W ≥ 1. Resize the prediction to the mask; a single mask needs `mask[None]`."
        )


def require_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Take the named columns, or say which are missing."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(f"The table lacks the columns {missing}; it has {list(frame.columns)}.")
    return frame[list(names)]


def require_no_repeat(per_image: pd.DataFrame) -> None:
    """Refuse an image that a model has two rows for: it would count double in the mean."""
    repeated = per_image[per_image.duplicated(["model", "id"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise DataError(
            f"{len(repeated)} rows repeat an image of the same model, first {first['model']!r} on "
            f"{first['id']!r}; expected each image once per model."
        )
