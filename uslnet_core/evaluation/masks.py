"""Masks against masks, image by image (equations 4 to 10), and pseudo-labels against masks (figure 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError
from uslnet_core.evaluation.checks import as_array, as_mask, require_columns, require_same_shape

if TYPE_CHECKING:
    import torch

COUNTS = ("TP", "FP", "FN", "TN")
METRICS = ("ACC", "DIC", "JAC", "SEN", "SPE", "PRE")


def counts(prediction: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor) -> pd.DataFrame:
    """Count the four kinds of pixel in every image.

    Args:
        prediction: (B, H, W) bool, the mask to be judged, True on the lesion.
        truth: (B, H, W) bool, the expert's mask.

    Returns:
        One row per image; TP, FP, FN, TN as int64 numbers of pixels.

    Raises:
        DataError: Shapes differ or are not (B, H, W), an image has no pixel, or a mask is not bool.
    """
    prediction, truth = as_mask(prediction, "prediction"), as_mask(truth, "truth")
    require_same_shape("prediction", prediction, truth)
    positives, lesion = prediction.sum(axis=(1, 2)), truth.sum(axis=(1, 2))
    hits = (prediction & truth).sum(axis=(1, 2))
    pixels = prediction.shape[1] * prediction.shape[2]
    return pd.DataFrame(
        {"TP": hits, "FP": positives - hits, "FN": lesion - hits, "TN": pixels - positives - lesion + hits},
        dtype=np.int64,
    )


def score(prediction: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor) -> pd.DataFrame:
    """Score every image as the ISIC challenge's own scorer does (equations 4 to 10).

    The equations divide by zero on some masks. The challenge counts those as perfect, and so does this: DIC
    and JAC are 1 when both masks are empty, SEN is 1 when the truth is empty, SPE is 1 when the truth fills
    the image, PRE is 1 when the prediction is empty, be it right or wrong.

    Args:
        prediction: (B, H, W) bool, True on the lesion.
        truth: (B, H, W) bool, the expert's mask.

    Returns:
        One row per image; ACC, DIC, JAC, SEN, SPE, PRE as float64 in [0, 1].

    Raises:
        DataError: Shapes differ or are not (B, H, W), an image has no pixel, or a mask is not bool.
    """
    return metrics_of(counts(prediction, truth))


def metrics_of(counted: pd.DataFrame) -> pd.DataFrame:
    """Turn rows of TP, FP, FN, TN into rows of metrics, with the edge cases of `score`.

    Args:
        counted: One row per image, or per group of images summed, with columns TP, FP, FN, TN.

    Returns:
        A frame with the same index; ACC, DIC, JAC, SEN, SPE, PRE in [0, 1].
    """
    values = metric_values(require_columns(counted, COUNTS).to_numpy())
    return pd.DataFrame(values, index=counted.index, columns=list(METRICS))


def pooled(counted: pd.DataFrame) -> pd.Series:
    """Score all pixels of all images thrown together.

    Args:
        counted: One row per image with columns TP, FP, FN, TN; other columns are ignored.

    Returns:
        ACC, DIC, JAC, SEN, SPE, PRE in [0, 1].

    Raises:
        DataError: A column is missing, or there is no image.
    """
    values = require_columns(counted, COUNTS).to_numpy()
    if len(values) == 0:
        raise DataError("There are no images to pool: got 0 rows, expected at least 1.")
    return pd.Series(metric_values(values.sum(axis=0)), index=list(METRICS), name="pooled")


def label_accuracy(label: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor) -> pd.DataFrame:
    """Say how right a pseudo-label is where it commits itself (as figure 8 of the paper does).

    A score like the others: it is shown after the stage and feeds nothing.

    Args:
        label: (B, H, W) with 0 background, 0.5 uncertain, 1 foreground.
        truth: (B, H, W) bool, the expert's mask.

    Returns:
        One row per image, fractions in [0, 1]: certain, the share of pixels that are not uncertain; accuracy,
        of the certain pixels; foreground and background, of the pixels so labelled. NaN where there is no
        such pixel.

    Raises:
        DataError: Shapes differ, or a label is none of the three values.
    """
    label, truth = as_array(label), as_mask(truth, "truth")
    require_same_shape("label", label, truth)
    foreground, background = label == 1, label == 0
    if not (foreground | background | (label == 0.5)).all():
        wrong = label[~(foreground | background | (label == 0.5))].flat[0]
        raise DataError(f"A label holds {wrong}; expected 0 background, 0.5 uncertain or 1 foreground.")
    n_fg, n_bg = foreground.sum(axis=(1, 2)), background.sum(axis=(1, 2))
    right_fg, right_bg = (foreground & truth).sum(axis=(1, 2)), (background & ~truth).sum(axis=(1, 2))
    return pd.DataFrame(
        {
            "certain": (n_fg + n_bg) / (label.shape[1] * label.shape[2]),
            "accuracy": ratio(right_fg + right_bg, n_fg + n_bg, when_undefined=np.nan),
            "foreground": ratio(right_fg, n_fg, when_undefined=np.nan),
            "background": ratio(right_bg, n_bg, when_undefined=np.nan),
        }
    )


def cut_by_frame(truth: np.ndarray) -> np.ndarray:
    """Say of each lesion whether it reaches the border of its image.

    Args:
        truth: (N, H, W) bool.

    Returns:
        (N,) bool.
    """
    ring = np.ones(truth.shape[1:], dtype=bool)
    ring[1:-1, 1:-1] = False
    return truth[:, ring].any(axis=1)


def metric_values(counted: np.ndarray) -> np.ndarray:
    """(…, 4) counts in the order of COUNTS to (…, 6) metrics in the order of METRICS."""
    tp, fp, fn, tn = np.moveaxis(counted, -1, 0)
    return np.stack(
        [
            (tp + tn) / (tp + tn + fp + fn),
            ratio(2 * tp, 2 * tp + fp + fn, when_undefined=1.0),
            ratio(tp, tp + fp + fn, when_undefined=1.0),
            ratio(tp, tp + fn, when_undefined=1.0),
            ratio(tn, tn + fp, when_undefined=1.0),
            ratio(tp, tp + fp, when_undefined=1.0),
        ],
        axis=-1,
    )


def ratio(part: np.ndarray, whole: np.ndarray, *, when_undefined: float) -> np.ndarray:
    """Divide, with a value of its own where the whole is 0."""
    undefined = np.full(np.shape(whole), when_undefined, dtype=np.float64)
    return np.divide(part, whole, out=undefined, where=np.asarray(whole) != 0)
