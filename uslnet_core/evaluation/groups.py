"""Scores of groups of images: with hair and without, by skin tone; and whether a doubt finds the failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from uslnet_core.errors import DataError
from uslnet_core.evaluation.averages import bootstrap_interval, quantiles, resampled_sums

FEW = 10  # images; a group of fewer has its mean shown, and is compared with nothing


def compare_groups(
    values: pd.Series, groups: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Hold the images of each group against all others.

    Args:
        values: (N,) a score in [0, 1] an image.
        groups: (N rows, the same index) bool, a column a group, as `uslnet_core.properties.groups_of` gives it.
        confidence: Share of resampled values between the two ends, in (0, 1).
        resamples: How often the images of both sides are drawn again, each side by itself.
        seed: Of the drawing.

    Returns:
        One row per group that has an image, the one that lacks most first: group, n_images, mean, rest (mean of all
        others), difference, low, high. The last three are NaN where either side has fewer than ten images.

    Raises:
        DataError: The rows differ, or a value is missing.
    """
    if not values.index.equals(groups.index) or values.isna().any():
        raise DataError(
            f"Got {len(values)} scores, {int(values.isna().sum())} of them missing, for {len(groups)} images in "
            "groups; expected one each, in the same order."
        )
    rows = []
    for name in groups:
        inside, outside = (values[chosen].to_numpy(np.float64) for chosen in (groups[name], ~groups[name]))
        if not len(inside):
            continue
        row = {"group": name, "n_images": len(inside), "mean": inside.mean()}
        row |= {"rest": outside.mean() if len(outside) else np.nan}
        if min(len(inside), len(outside)) >= FEW:
            drawn = [
                resampled_sums(side[:, None], resamples, seed + k) / len(side)
                for k, side in enumerate((inside, outside))
            ]
            low, high = quantiles(drawn[0] - drawn[1], confidence)[:, 0]
            row |= {"difference": row["mean"] - row["rest"], "low": low, "high": high}
        rows.append(row)
    columns = ["group", "n_images", "mean", "rest", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns).sort_values("difference", kind="stable", ignore_index=True)


def by_tone(values: pd.Series, tones: Sequence[str], order: Sequence[str], *, resamples: int = 2000) -> pd.DataFrame:
    """Average a score over groups of skin tone, with intervals.

    Args:
        values: (N,) a score in [0, 1] an image.
        tones: (N,) the group of each image, empty where it is not known.
        order: The groups, light to dark; those without an image have their row, too.
        resamples: Bootstrap resamples behind each interval.

    Returns:
        One row per group: tone, n_images, mean, low, high. The interval is NaN for fewer than ten images.
    """
    tones, rows = np.asarray(tones), []
    for name in order:
        inside = values[tones == name]
        row = {"tone": name, "n_images": len(inside), "mean": inside.mean() if len(inside) else np.nan}
        if len(inside) >= FEW:
            row |= bootstrap_interval(inside, resamples=resamples)._asdict()
        rows.append(row)
    return pd.DataFrame(rows, columns=["tone", "n_images", "mean", "low", "high"])


def finds_failures(doubt: np.ndarray, scores: np.ndarray, share: float = 0.2) -> dict[str, float]:
    """Say how well a doubt, which needs no mask, points to the images that score worst.

    Args:
        doubt: (N,) the higher, the more doubtful.
        scores: (N,) the score of each image.
        share: Of the images that are called doubtful, and that are called worst.

    Returns:
        correlation, Spearman's, of doubt with score: −1 if the order is just the reverse, NaN where one of them
        is the same for all; caught, the share of the worst images that are among the most doubtful; by_chance, what
        drawing as many blindly would catch.

    Raises:
        DataError: There is no image, or not a doubt for each score.
    """
    doubt, scores = np.asarray(doubt, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if doubt.shape != scores.shape or not len(scores):
        raise DataError(f"Got {doubt.shape} doubts for {scores.shape} scores; expected one each, and at least one.")
    number = max(1, round(share * len(scores)))
    worst, doubtful = np.argsort(scores, kind="stable")[:number], np.argsort(-doubt, kind="stable")[:number]
    varies = np.ptp(doubt) > 0 and np.ptp(scores) > 0
    return {
        "correlation": float(spearmanr(doubt, scores).statistic) if varies else np.nan,
        "caught": len(set(worst) & set(doubtful)) / number,
        "by_chance": number / len(scores),
    }
