"""Tables of the ablations: ours beside the paper's, what each step gains, whether the order holds (section 4.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError
from uslnet_core.evaluation.averages import JOINED, paired_difference
from uslnet_core.evaluation.checks import require_columns
from uslnet_core.evaluation.paper import row_of_paper

#: The order that table 8 of the paper prints; what stands in one pair of brackets is not compared.
PAPER_ORDER = ("Baseline", "Model 1", "Model 2", ("Model 3", "Model 4"), "Model 5")

_DASH = "–"
_BESIDE = "\u00a0±\u00a0"  # no line is broken at it


def ablation_table(
    summary: pd.DataFrame,
    table: int,
    mapping: Mapping[str, str | Mapping[str, str] | None],
    *,
    scored_on: str,
    runs: Mapping[str, str | tuple[str, str]],
    needs: Mapping[str, str] | None = None,
    metrics: Sequence[str] = ("DIC", "JAC", "ACC", "SEN", "SPE"),
    with_paper: bool = True,
) -> pd.DataFrame:
    """Lay out an ablation for a page: a block of rows per metric, a row per model, and where its numbers are from.

    Down a block one reads what each step gains, along a row how far ours is from the paper's. Cells break before
    their interval, so a narrow window shows the table, too; for a phone one metric makes a short one.

    Args:
        summary: What `over_seeds` or `summarise` returns, fractions.
        table: Which of the paper's tables.
        mapping: Our model's name, in the order of the page, to the paper's row as in `comparison`, or to None for
            a variant that the paper does not print.
        scored_on: Data set and split of our numbers, such as ``isic2017-validation``.
        runs: Our model's name to the run it was scored in; or to the run and the model's name in that run's
            own table, where it is another.
        needs: Models of the mapping that could not be computed, to what they need: ``the weights of DINO``.
        metrics: Blocks, in this order.
        with_paper: Whether the paper's numbers and the differences are shown. On synthetic images they must not.

    Returns:
        Texts, a dash where there is no number: metric; model; paper on its set; ours on our set, the mean of the
        images, and minus paper; ours, pooled, and pooled minus paper; and from: our run, the row of its table and how
        many seeds it is the mean of, and the paper's row where it is called otherwise, or what the model needs. It
        stands in the first block and holds for all. Scores are percent, ``62.4 (58–67)`` with the 95 % interval,
        ``62.4 ± 0.6 (58–67)`` with the spread where there are several seeds.

    Raises:
        DataError: A model is neither in the summary nor in `needs`, or has no run; a metric is missing; the paper
            was asked for beside synthetic scores.
    """
    require_columns(summary, ("model", "metric", "mean", "low", "high", "pooled", "pooled_low", "pooled_high"))
    if with_paper and scored_on.startswith("synthetic"):
        raise DataError(
            f"Scores on {scored_on!r} cannot stand beside the paper's. Show them alone with `with_paper=False`."
        )
    if wrong := [metric for metric in metrics if metric not in set(summary["metric"])]:
        raise DataError(f"The summary has no {wrong}; it has {sorted(set(summary['metric']))}.")
    scored = list(summary["model"].unique())
    paper = {model: row_of_paper(table, wanted) for model, wanted in mapping.items() if with_paper and wanted}
    sources = {
        model: _source(model, wanted, scored, runs, needs or {}, summary, with_paper)
        for model, wanted in mapping.items()
    }
    values = summary.set_index(["model", "metric"])
    on = " and ".join(dict.fromkeys(theirs["test"] for theirs in paper.values()))
    rows = []
    for metric in metrics:
        for model in mapping:
            theirs = float(paper[model][metric]) if model in paper else np.nan
            ours = values.loc[(model, metric)] if model in scored else pd.Series(dtype=float)
            row = {"metric": metric, "model": model}
            if with_paper:
                row[f"paper on {on}" if on else "paper"] = _DASH if pd.isna(theirs) else f"{theirs:.1f}"
            row[f"ours on {scored_on}"] = _with_interval(ours, "mean", "low", "high", "spread")
            if with_paper:
                row["minus paper"] = _signed(100 * ours.get("mean", np.nan) - theirs)
            row["ours, pooled"] = _with_interval(ours, "pooled", "pooled_low", "pooled_high", "pooled_spread")
            if with_paper:
                row["pooled minus paper"] = _signed(100 * ours.get("pooled", np.nan) - theirs)
            rows.append({**row, "from": sources[model] if metric == metrics[0] else ""})
    return pd.DataFrame(rows)


def consecutive_differences(
    per_image: pd.DataFrame,
    models: Sequence[str],
    metric: str = "DIC",
    *,
    ends: bool = True,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Say what each model gains over the one before it, image by image.

    Args:
        per_image: One row per model and image: model, id and the metric. Of several seeds: `seed_average`.
        models: In the order of the steps.
        metric: A metric's column.
        ends: Whether the last row is the last model against the first.
        confidence: As in `bootstrap_interval`.
        resamples: As in `bootstrap_interval`.
        seed: As in `bootstrap_interval`.

    Returns:
        One row per pair: model, minus, metric, difference (mean of the first minus mean of the second), low, high in
        [−1, 1], and n_images. `difference_text` writes a row as text.

    Raises:
        DataError: Fewer than two models, one is unknown or named twice, or they were not scored on the same images.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise DataError(f"Got the models {list(models)}; a difference needs at least two, each named once.")
    pairs = list(zip(models[1:], models[:-1], strict=True))
    if ends and len(models) > 2:
        pairs.append((models[-1], models[0]))
    settings = {"confidence": confidence, "resamples": resamples, "seed": seed}
    rows = [
        {"model": new, "minus": old, "metric": metric, **paired_difference(per_image, new, old, metric, **settings)}
        for new, old in pairs
    ]
    return pd.DataFrame(rows).astype({"n_images": int})


def order_holds(
    per_image: pd.DataFrame,
    order: Sequence[str | Sequence[str]] = PAPER_ORDER,
    metric: str = "DIC",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Say for each step of an expected order whether ours goes the same way.

    The interval is over images: ``yes`` says that other images of this kind would show the same, not that
    another seed would.

    Args:
        per_image: As in `consecutive_differences`.
        order: Models, worst first, as the paper has them. Several in brackets share a place: each is compared with the
            places before and after, not with each other.
        metric: A metric's column.
        confidence: As in `bootstrap_interval`.
        resamples: As in `bootstrap_interval`.
        seed: As in `bootstrap_interval`.

    Returns:
        One row per neighbouring pair: lower and higher (as expected), metric, difference (higher minus lower), low,
        high, n_images, and holds: ``yes`` (the whole interval is above 0), ``no`` (below 0), ``within chance`` (it
        holds 0), ``too few images`` (one has no interval), or ``not scored`` where a model has no row; its numbers are
        NaN then, of 0 images.

    Raises:
        DataError: The order has fewer than two places, or no model of it was scored; or as in `paired_difference`.
    """
    require_columns(per_image, ("model", "id", metric))
    places = [(place,) if isinstance(place, str) else tuple(place) for place in order]
    known = set(per_image["model"])
    if len(places) < 2 or not known & {model for place in places for model in place}:
        raise DataError(
            f"Cannot check the order {list(order)} of scores of {sorted(known)}; expected two places or more, and "
            "the same names."
        )
    rows = []
    for before, after in zip(places[:-1], places[1:], strict=True):
        for lower, higher in ((one, other) for other in after for one in before):
            row = {"lower": lower, "higher": higher, "metric": metric, "difference": float("nan")}
            row |= {"low": float("nan"), "high": float("nan"), "n_images": 0, "holds": "not scored"}
            if {lower, higher} <= known:
                settings = {"confidence": confidence, "resamples": resamples, "seed": seed}
                row |= paired_difference(per_image, higher, lower, metric, **settings)
                row["holds"] = verdict(row)
            rows.append(row)
    return pd.DataFrame(rows).astype({"n_images": int})


def verdict(difference: Mapping[str, float]) -> str:
    """Say whether a difference, as `paired_difference` gives it, is above 0 by more than chance."""
    if difference["n_images"] < 2:
        return "too few images"
    return "yes" if difference["low"] > 0 else "no" if difference["high"] < 0 else "within chance"


def all_lesion(per_image: pd.DataFrame) -> float:
    """Give the Dice of a mask that calls every pixel lesion: what a model must beat to have found anything.

    Args:
        per_image: One row per model and image: id, and the counts TP, FP, FN, TN of any model.

    Returns:
        The mean over the images of 2a / (1 + a), where a is the lesion's share of the image, in [0, 1].

    Raises:
        DataError: A column is missing.
    """
    require_columns(per_image, ("id", "TP", "FP", "FN", "TN"))
    images = per_image.drop_duplicates("id")
    area = (images["TP"] + images["FN"]) / images[["TP", "FP", "FN", "TN"]].sum(axis=1)
    return float((2 * area / (1 + area)).mean())


def difference_text(row: pd.Series | Mapping[str, float]) -> str:
    """Write a difference with its interval in percentage points: ``+1.2 [−0.3, +2.7]``.

    Args:
        row: difference, low, high as fractions, such as a row of `consecutive_differences`.

    Returns:
        The text, a dash where there is no number.
    """
    if pd.isna(row["difference"]):
        return _DASH
    middle, low, high = (_signed(100 * row[name]) for name in ("difference", "low", "high"))
    return f"{middle} [{low}, {high}]"


def _signed(percent: float) -> str:
    # No hyphen for minus, so that it is as wide as the plus sign
    return _DASH if pd.isna(percent) else f"{round(percent, 1) + 0.0:+.1f}".replace("-", "−")


def _with_interval(row: pd.Series, *columns: str) -> str:
    """Write percent with the spread over seeds, if there are several, and the interval over images."""
    middle, low, high, spread = (100 * float(row.get(name, np.nan)) for name in columns)
    if pd.isna(middle):
        return _DASH
    over_seeds = "" if pd.isna(spread) else f"{_BESIDE}{spread:.1f}"
    return f"{middle:.1f}{over_seeds} ({low:.0f}{JOINED}{high:.0f})"


def _source(
    model: str,
    wanted: str | Mapping[str, str] | None,
    scored: Sequence[str],
    runs: Mapping[str, str | tuple[str, str]],
    needs: Mapping[str, str],
    summary: pd.DataFrame,
    with_paper: bool,
) -> str:
    """Say where a model's numbers are from: our run and row, the paper's row if it is named otherwise."""
    if model not in scored and model not in needs:
        raise DataError(
            f"No model {model!r} in the summary; expected one of {scored}. If it could not be computed, say in "
            "`needs` what it needs."
        )
    if model not in scored:
        said = f"needs: {needs[model]}"
    elif model not in runs:
        raise DataError(f"{model!r} has no run; expected a name for each of the scored models, got {dict(runs)}.")
    else:
        run, row = (runs[model], model) if isinstance(runs[model], str) else runs[model]
        first = summary[summary["model"] == model].iloc[0]
        seeds = int(first.get("n_seeds", 1))
        said = f"{run}, row {row}; " + ("single run" if seeds == 1 else f"mean of {seeds} seeds")
        if not first.get("same_images", True):
            said += ", each on its own images"
    theirs = wanted if isinstance(wanted, str) else ", ".join((wanted or {}).values())
    return f"{said}; paper: {theirs}" if with_paper and theirs not in ("", model) else said
