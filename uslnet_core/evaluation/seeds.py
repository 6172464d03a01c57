"""Several trainings of the same models: the mean over their seeds, and how far one training may lie from it.

Two things move a score. Other images would: the bootstrap interval says how far. Another seed would, with the
same images: the spread says how far. Neither contains the other, so tables show both, and a single training
says that it is single.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError
from uslnet_core.evaluation.averages import bootstrap_interval, quantiles, resampled_sums
from uslnet_core.evaluation.checks import require_columns, require_no_repeat
from uslnet_core.evaluation.masks import COUNTS, METRICS, metric_values, pooled


def scores_by_seed(per_image_by_seed: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Average the images of each model, both ways, training by training.

    Args:
        per_image_by_seed: Seed to its rows, one per model and image: model, id, ACC … PRE, TP … TN. A model may
            be missing from some seeds.

    Returns:
        Tidy, one row per model, metric and seed: model, metric, seed, mean, pooled in [0, 1], and n_images. Models
        in order of appearance.

    Raises:
        DataError: No seed, a column is missing, or a model scores one image twice or other images than with
            another seed.
    """
    rows = []
    for model, trainings in _by_model(per_image_by_seed).items():
        for seed, images in trainings.items():
            means, together = images[list(METRICS)].mean(), pooled(images)
            rows += [
                {
                    "model": model,
                    "metric": metric,
                    "seed": seed,
                    "mean": means[metric],
                    "pooled": together[metric],
                    "n_images": len(images),
                }
                for metric in METRICS
            ]
    return pd.DataFrame(rows)


def seed_average(per_image_by_seed: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Average every image's scores over the seeds, for differences between models that no one seed decides.

    Args:
        per_image_by_seed: As in `scores_by_seed`.

    Returns:
        One row per model and image: model, id, ACC … PRE in [0, 1]. No counts: the mean of several counts is none.

    Raises:
        DataError: As in `scores_by_seed`.
    """
    parts = []
    for model, trainings in _by_model(per_image_by_seed).items():
        scores = _mean_scores(trainings)
        parts.append(scores.reset_index().assign(model=model)[["model", "id", *METRICS]])
    return pd.concat(parts, ignore_index=True)


def over_seeds(
    per_image_by_seed: Mapping[int, pd.DataFrame], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Average each model over its seeds, and say how far seeds and images would move the number.

    With one seed it is `summarise` with more columns, so one table serves both. Where the seed also draws the
    images, as it does for synthetic ones, the spread holds the change of images too; `same_images` tells.

    Args:
        per_image_by_seed: As in `scores_by_seed`.
        confidence: As in `bootstrap_interval`.
        resamples: As in `bootstrap_interval`.
        seed: As in `bootstrap_interval`.

    Returns:
        Tidy, one row per model and metric, models in order of appearance: model, metric; mean (over the seeds, of the
        mean of the images), low, high (bootstrap over images, of the scores averaged over the seeds); pooled,
        pooled_low, pooled_high (of the mean over the seeds of the pooled score); n_images; n_seeds; spread (standard
        deviation over seeds, one degree of freedom off; NaN of one seed), least, most, and the same of the
        pooled: pooled_spread, pooled_least, pooled_most; same_images. Fractions in [0, 1].

    Raises:
        DataError: As in `scores_by_seed`, or a score is missing.
    """
    settings = {"confidence": confidence, "resamples": resamples, "seed": seed}
    parts = []
    for model, trainings in _by_model(per_image_by_seed).items():
        scores = _mean_scores(trainings)
        ends = bootstrap_interval(scores, **settings)
        # The same images are drawn for every seed, then the seeds' pooled scores averaged
        counted = [rows[list(COUNTS)].to_numpy(dtype=np.float64) for rows in trainings.values()]
        drawn = [metric_values(resampled_sums(each, resamples, seed)) for each in counted]
        pooled_ends = quantiles(np.mean(drawn, axis=0), confidence)
        of_images = np.stack([rows[list(METRICS)].mean() for rows in trainings.values()])  # (seeds, metrics)
        of_pixels = np.stack([pooled(rows) for rows in trainings.values()])
        parts.append(
            pd.DataFrame(
                {
                    "model": model,
                    "metric": list(METRICS),
                    "mean": of_images.mean(axis=0),
                    "low": ends["low"].to_numpy(),
                    "high": ends["high"].to_numpy(),
                    "pooled": of_pixels.mean(axis=0),
                    "pooled_low": pooled_ends[0],
                    "pooled_high": pooled_ends[1],
                    "n_images": len(scores),
                    "n_seeds": len(trainings),
                    **_spread(of_images, ""),
                    **_spread(of_pixels, "pooled_"),
                    "same_images": _same_images(trainings),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def same_images(per_image_by_seed: Mapping[int, pd.DataFrame]) -> bool:
    """Tell whether every id means the same image with every seed; synthetic images are drawn by it.

    Args:
        per_image_by_seed: As in `scores_by_seed`.

    Raises:
        DataError: As in `scores_by_seed`.
    """
    return all(_same_images(trainings) for trainings in _by_model(per_image_by_seed).values())


def spread_text(row: pd.Series | Mapping[str, float], *, average: str = "mean") -> str:
    """Write a score with its spread over seeds, in percent: ``68.3 ± 0.6 (3 seeds)``.

    Args:
        row: A row of `over_seeds`, or of `summarise`, which is of one training.
        average: ``mean`` (of the images) or ``pooled``.

    Returns:
        The text; ``68.3 (single run)`` for one seed, and a remark where each seed had images of its own.

    Raises:
        DataError: There is no such average.
    """
    if average not in ("mean", "pooled"):
        raise DataError(f"There is no average {average!r}; expected 'mean' (of the images) or 'pooled'.")
    seeds = int(row.get("n_seeds", 1))
    if seeds == 1:
        return f"{100 * row[average]:.1f} (single run)"
    spread = row["spread" if average == "mean" else "pooled_spread"]
    other = "" if row.get("same_images", True) else ", each on its own images"
    return f"{100 * row[average]:.1f} ± {100 * spread:.1f} ({seeds} seeds{other})"


def _by_model(per_image_by_seed: Mapping[int, pd.DataFrame]) -> dict[str, dict[int, pd.DataFrame]]:
    """Sort rows into model, then seed, images in the same order everywhere; refuse what cannot be averaged."""
    trainings: dict[str, dict[int, pd.DataFrame]] = {}
    for seed, per_image in per_image_by_seed.items():
        require_columns(per_image, ("model", "id", *METRICS, *COUNTS))
        require_no_repeat(per_image)
        for model, rows in per_image.groupby("model", sort=False):
            trainings.setdefault(model, {})[seed] = rows.set_index("id")
    if not trainings:
        raise DataError(
            f"There is nothing to average: got {len(per_image_by_seed)} seeds with 0 rows, expected at least one seed "
            "with a row per model and image."
        )
    for model, by_seed in trainings.items():
        first_seed, first = next(iter(by_seed.items()))
        for seed, rows in by_seed.items():
            if set(rows.index) != set(first.index):
                raise DataError(
                    f"{model!r} was scored on {len(first)} images with seed {first_seed} and on {len(rows)} with seed "
                    f"{seed}, {len(set(first.index) ^ set(rows.index))} of them in one alone; expected the same "
                    "images. Score both on the same split."
                )
            by_seed[seed] = rows.loc[first.index]
    return trainings


def _mean_scores(trainings: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Average each image's scores over one model's seeds: a row per id, a column per metric."""
    first = next(iter(trainings.values()))
    scores = np.mean([rows[list(METRICS)].to_numpy(dtype=np.float64) for rows in trainings.values()], axis=0)
    return pd.DataFrame(scores, index=first.index, columns=list(METRICS))


def _spread(values: np.ndarray, prefix: str) -> dict[str, np.ndarray]:
    """Describe (seeds, metrics) by what lies between the seeds."""
    one = len(values) == 1
    return {
        f"{prefix}spread": np.full(values.shape[1], np.nan) if one else values.std(axis=0, ddof=1),
        f"{prefix}least": values.min(axis=0),
        f"{prefix}most": values.max(axis=0),
    }


def _same_images(trainings: Mapping[int, pd.DataFrame]) -> bool:
    """Tell whether an id means the same image with every seed: then its lesion has the same area."""
    truths = [rows[["TP", "FP"]].to_numpy() + rows[["FN", "TN"]].to_numpy() for rows in trainings.values()]
    return all(np.array_equal(truth, truths[0]) for truth in truths)
