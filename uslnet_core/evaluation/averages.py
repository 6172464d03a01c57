"""From a row per image to a row per model: means, pooled scores, and intervals over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError
from uslnet_core.evaluation.checks import require_columns, require_no_repeat
from uslnet_core.evaluation.masks import COUNTS, METRICS, metric_values, pooled

_QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
JOINED = "\u2060–\u2060"  # a dash at which no line is broken


class Interval(NamedTuple):
    """The two ends of a bootstrap interval."""

    low: float
    high: float


def bootstrap_interval(
    values: np.ndarray | pd.Series | pd.DataFrame,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    of_pooled: bool = False,
) -> Interval | pd.DataFrame:
    """Say how far a mean would move had other images of the same kind been drawn.

    Images, not pixels, are drawn again with replacement (percentile bootstrap); pixels of one image are not
    independent. The interval knows nothing of other seeds or trainings. With one image it has no width.

    Args:
        values: Scores, one per image: (N,) array or Series, or a frame with a column per score. With
            `of_pooled`, a frame of TP, FP, FN, TN.
        confidence: Share of resampled values between the two ends, in (0, 1).
        resamples: How many sets of N images are drawn.
        seed: Of the drawing. The same seed and N draw the same images.
        of_pooled: Score the pooled pixels of each drawn set instead of averaging the images' scores.

    Returns:
        `Interval(low, high)` for one score; a frame with columns low and high, a row per score, for a frame.

    Raises:
        DataError: No image, a missing value, or a setting out of range.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise DataError(
            f"Got confidence {confidence} and resamples {resamples}; expected 0 < confidence < 1 and resamples ≥ 1."
        )
    frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame({"value": np.asarray(values)})
    table = (require_columns(frame, COUNTS) if of_pooled else frame).to_numpy(dtype=np.float64)
    if len(table) == 0 or np.isnan(table).any():
        raise DataError(
            f"Cannot resample {len(table)} images with {int(np.isnan(table).sum())} missing values; expected "
            "at least one image and a score for each. An image that failed must not silently leave the mean."
        )
    sums = resampled_sums(table, resamples, seed)
    ends = quantiles(metric_values(sums) if of_pooled else sums / len(table), confidence)
    if not isinstance(values, pd.DataFrame):
        return Interval(float(ends[0, 0]), float(ends[1, 0]))
    names = list(METRICS) if of_pooled else list(frame.columns)
    return pd.DataFrame(ends.T, index=names, columns=["low", "high"])


def resampled_sums(table: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw sets of N images with replacement and sum each one's rows: (N, k) float64 to (resamples, k)."""
    n = len(table)
    # How often each image is drawn, (resamples, N): one matrix product then gives every resampled sum.
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn.astype(np.float64) @ table


def quantiles(resampled: np.ndarray, confidence: float) -> np.ndarray:
    """Cut the middle share out of (resamples, k) values: (2, k), the low ends and the high ones."""
    return np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def summarise(
    per_image: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Average the images of each model, both ways, with intervals.

    Args:
        per_image: One row per model and image: model, id, ACC … PRE, TP … TN.
        confidence: As in `bootstrap_interval`.
        resamples: As in `bootstrap_interval`.
        seed: As in `bootstrap_interval`.

    Returns:
        Tidy, one row per model and metric, models in order of appearance: model, metric, mean, low, high,
        pooled, pooled_low, pooled_high in [0, 1], and n_images.

    Raises:
        DataError: A column is missing, a score is missing, or a model scores one image twice.
    """
    require_columns(per_image, ("model", "id", *METRICS, *COUNTS))
    require_no_repeat(per_image)
    settings = {"confidence": confidence, "resamples": resamples, "seed": seed}
    parts = []
    for model, rows in per_image.groupby("model", sort=False):
        scores = rows[list(METRICS)]
        ends = bootstrap_interval(scores, **settings)
        pooled_ends = bootstrap_interval(rows, of_pooled=True, **settings)
        parts.append(
            pd.DataFrame(
                {
                    "model": model,
                    "metric": list(METRICS),
                    "mean": scores.mean().to_numpy(),
                    "low": ends["low"].to_numpy(),
                    "high": ends["high"].to_numpy(),
                    "pooled": pooled(rows).to_numpy(),
                    "pooled_low": pooled_ends["low"].to_numpy(),
                    "pooled_high": pooled_ends["high"].to_numpy(),
                    "n_images": len(rows),
                }
            )
        )
    if not parts:
        raise DataError("There is nothing to summarise: got 0 rows, expected one per model and image.")
    return pd.concat(parts, ignore_index=True)


def wide(summary: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Lay a summary out for reading: a row per model and average, a column per metric.

    Args:
        summary: What `summarise` returns, fractions.
        metrics: Which to show, in this order; by default all.

    Returns:
        model, average (``per image`` or ``pooled``) and the metrics in percent, each as ``62.4 (58–67)``: the mean and
        its interval.

    Raises:
        DataError: A column is missing.
    """
    require_columns(summary, ("model", "metric", "mean", "low", "high", "pooled", "pooled_low", "pooled_high"))
    averages = {"per image": ["mean", "low", "high"], "pooled": ["pooled", "pooled_low", "pooled_high"]}
    rows = []
    for model, part in summary.groupby("model", sort=False):
        values = part.set_index("metric")
        for average, columns in averages.items():
            cells = {}
            for metric in metrics or values.index:
                middle, low, high = 100 * values.loc[metric, columns].astype(float)
                cells[metric] = f"{middle:.1f} ({low:.0f}{JOINED}{high:.0f})"
            rows.append({"model": model, "average": average, **cells})
    return pd.DataFrame(rows)


def paired_difference(
    per_image: pd.DataFrame,
    model_a: str,
    model_b: str,
    metric: str = "DIC",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.Series:
    """Compare two models on the same images.

    Both models find the same images hard. Resampling their differences leaves that shared part out, so the
    interval can be much narrower than the gap between two separate ones suggests.

    Args:
        per_image: One row per model and image: model, id and the metric.
        model_a: Name of the one.
        model_b: Name of the other, subtracted.
        metric: A metric's column.
        confidence: As in `bootstrap_interval`.
        resamples: As in `bootstrap_interval`.
        seed: As in `bootstrap_interval`.

    Returns:
        difference (mean of a minus mean of b), low, high, and n_images.

    Raises:
        DataError: A model is unknown, or the two were not scored on the same images.
    """
    require_columns(per_image, ("model", "id", metric))
    require_no_repeat(per_image)
    known = list(per_image["model"].unique())
    for model in (model_a, model_b):
        if model not in known:
            raise DataError(f"No model {model!r} among the scores; expected one of {known}.")
    a, b = (per_image[per_image["model"] == model].set_index("id")[metric] for model in (model_a, model_b))
    if set(a.index) != set(b.index):
        alone = len(set(a.index) ^ set(b.index))
        raise DataError(
            f"{model_a!r} has {len(a)} images and {model_b!r} has {len(b)}, {alone} of them in one alone; "
            "a paired difference needs the same images. Score both on the same split."
        )
    difference = a - b.loc[a.index]
    low, high = bootstrap_interval(difference, confidence=confidence, resamples=resamples, seed=seed)
    return pd.Series({"difference": difference.mean(), "low": low, "high": high, "n_images": len(difference)})


def by_size(
    per_image: pd.DataFrame, truth_area: Mapping[str, float] | pd.Series | None = None, metric: str = "DIC"
) -> pd.DataFrame:
    """Average a metric over quarters of the images, from small lesions to large ones.

    Args:
        per_image: One row per model and image: model, id and the metric.
        truth_area: For every id the lesion's share of the image in [0, 1]; taken from the counts if left out.
            Ties are put in order of the id.
        metric: A metric's column.

    Returns:
        One row per model and quarter: model, size, area_low, area_high, mean, n_images.

    Raises:
        DataError: An image has no area.
    """
    require_columns(per_image, ("model", "id", metric))
    require_no_repeat(per_image)
    if truth_area is None:
        counted = require_columns(per_image, COUNTS)
        area = (counted["TP"] + counted["FN"]) / counted.sum(axis=1)
        truth_area = pd.Series(area.to_numpy(), index=per_image["id"]).groupby(level=0).first()
    areas = pd.Series(truth_area, dtype=np.float64).reindex(sorted(per_image["id"].unique()))
    if areas.isna().any():
        missing = list(areas.index[areas.isna()])
        raise DataError(f"{len(missing)} images have no lesion area, {missing[0]!r} first; expected one each.")
    quarter = (areas.rank(method="first").sub(1) * 4 // len(areas)).astype(int)
    rows = per_image[["model", "id", metric]].assign(
        quarter=per_image["id"].map(quarter), area=per_image["id"].map(areas)
    )
    table = rows.groupby(["model", "quarter"], sort=False).agg(
        area_low=("area", "min"), area_high=("area", "max"), mean=(metric, "mean"), n_images=("id", "size")
    )
    table = _by_model(table, per_image, "quarter")
    table.insert(1, "size", [_QUARTERS[q] for q in table.pop("quarter")])
    return table.reset_index(drop=True)


def by_frame(per_image: pd.DataFrame, cut: Mapping[str, bool], metric: str = "DIC") -> pd.DataFrame:
    """Average a metric over the lesions that lie inside the image, and over those that its frame cuts.

    Args:
        per_image: One row per model and image: model, id and the metric.
        cut: For every id whether the frame cuts its lesion, as `cut_by_frame` finds.
        metric: A metric's column.

    Returns:
        One row per model and place that there is: model, place (``inside``, then ``cut by the frame``), mean, n_images.

    Raises:
        DataError: It is not known of an image whether its lesion is cut.
    """
    require_columns(per_image, ("model", "id", metric))
    require_no_repeat(per_image)
    if unknown := sorted(set(per_image["id"]) - set(cut)):
        raise DataError(f"{len(unknown)} images have no place, {unknown[0]!r} first; expected one each.")
    rows = per_image.assign(cut=per_image["id"].map(dict(cut)).astype(bool))
    table = rows.groupby(["model", "cut"], sort=False).agg(mean=(metric, "mean"), n_images=("id", "size"))
    table = _by_model(table, per_image, "cut")
    table.insert(1, "place", np.where(table.pop("cut"), "cut by the frame", "inside"))
    return table.reset_index(drop=True)


def _by_model(table: pd.DataFrame, per_image: pd.DataFrame, then: str) -> pd.DataFrame:
    """Sort a table's rows by model, in the order of the scores, and then by another column."""
    order = {model: place for place, model in enumerate(per_image["model"].unique())}
    return table.reset_index().sort_values(["model", then], key=lambda c: c.map(order) if c.name == "model" else c)
