"""The paper's numbers, and ours beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import resources

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError
from uslnet_core.evaluation.checks import require_columns
from uslnet_core.evaluation.masks import METRICS


def reported(table: int | None = None) -> pd.DataFrame:
    """Read the numbers that the paper's tables print.

    Args:
        table: 1 to 10; all of them if left out.

    Returns:
        table, train, test, group, method, paper_ref, and ACC … PRE **in percent**; NaN where the paper prints
        none.

    Raises:
        DataError: There is no such table.
    """
    with resources.files("uslnet_core").joinpath("reported_results.csv").open(encoding="utf-8") as file:
        frame = pd.read_csv(file, dtype={"paper_ref": "Int64"})
    if table is None:
        return frame
    if table not in set(frame["table"]):
        raise DataError(f"The paper has no table {table!r}; expected one of {sorted(set(frame['table']))}.")
    return frame[frame["table"] == table].reset_index(drop=True)


def row_of_paper(table: int, wanted: str | Mapping[str, str]) -> pd.Series:
    """Take one row of a table of the paper.

    Args:
        table: 1 to 10.
        wanted: The method; or several columns where the method's name alone is not unique:
            `{"method": "SimCLR", "group": "ResNet50, CCAM"}`.

    Returns:
        The row as `reported` gives it, **in percent**.

    Raises:
        DataError: There is no such table or column, or no row or several fit.
    """
    paper = reported(table)
    wanted = {"method": wanted} if isinstance(wanted, str) else dict(wanted)
    require_columns(paper, list(wanted))
    found = paper[np.logical_and.reduce([paper[column] == value for column, value in wanted.items()])]
    if len(found) != 1:
        rows_there = paper[["test", "group", "method"]].agg(" | ".join, axis=1).tolist()
        raise DataError(
            f"Table {table} has {len(found)} rows with {wanted}, expected 1. Its rows, as test | group | "
            f"method, are {rows_there}."
        )
    return found.iloc[0]


def comparison(
    summary: pd.DataFrame,
    table: int,
    mapping: Mapping[str, str | Mapping[str, str]],
    *,
    scored_on: str,
    metrics: Sequence[str] = METRICS,
    unscored: Collection[str] = (),
) -> pd.DataFrame:
    """Put our numbers beside the paper's, and say on which images each was measured.

    The paper scores the test split; our recorded runs score the validation split. A difference then compares
    methods *and* images, and the two columns of split names stay with the numbers to say so. Scores on
    synthetic images measure something else altogether and are refused.

    Args:
        summary: What `summarise` returns, fractions.
        table: Which of the paper's tables.
        mapping: Our model's name to the paper's method, or to several columns where the method's name alone
            is not unique: `{"method": "SimCLR", "group": "ResNet50, CCAM"}`.
        scored_on: Data set and split of our numbers, such as `"isic2017-validation"`.
        metrics: Which to compare; those the paper leaves out of the row are skipped.
        unscored: Models of the mapping that may be missing from the summary, since they need what is not
            there. Where they are, the paper's number stands alone: ours is NaN, of 0 images.

    Returns:
        One row per model and metric: model, method, metric, paper, ours (per image), low, high, difference
        (ours minus paper), ours_pooled, difference_pooled, all **in percent**, n_images, paper_scored_on,
        ours_scored_on.

    Raises:
        DataError: A model or method is unknown or not unique, or ours were scored on synthetic images.
    """
    if scored_on.startswith("synthetic"):
        raise DataError(
            f"Scores on {scored_on!r} cannot stand beside the paper's: expected real images, such as "
            "'isic2017-validation'. Show them alone with `summarise`."
        )
    require_columns(summary, ("model", "metric", "mean", "low", "high", "pooled", "n_images"))
    rows = []
    for model, wanted in mapping.items():
        theirs = row_of_paper(table, wanted)
        ours = summary[summary["model"] == model].set_index("metric")
        if ours.empty and model not in unscored:
            raise DataError(f"No model {model!r} in the summary; expected one of {list(summary['model'].unique())}.")
        for metric in metrics:
            if pd.isna(theirs[metric]):
                continue
            values = dict.fromkeys(("mean", "low", "high", "pooled"), np.nan)
            if not ours.empty:
                values = (100 * ours.loc[metric, list(values)].astype(float)).to_dict()
            rows.append(
                {
                    "model": model,
                    "method": theirs["method"],
                    "metric": metric,
                    "paper": theirs[metric],
                    "ours": values["mean"],
                    "low": values["low"],
                    "high": values["high"],
                    "difference": values["mean"] - theirs[metric],
                    "ours_pooled": values["pooled"],
                    "difference_pooled": values["pooled"] - theirs[metric],
                    "n_images": 0 if ours.empty else int(ours.loc[metric, "n_images"]),
                    "paper_scored_on": theirs["test"],
                    "ours_scored_on": scored_on,
                }
            )
    return pd.DataFrame(rows)
