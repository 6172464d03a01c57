"""Tables for the book's pages, readable on a light page and on a dark one."""

from __future__ import annotations

import hashlib

import pandas as pd
from pandas.io.formats.style import Styler

from uslnet_core.errors import DataError
from uslnet_core.evaluation import METRICS

_SCORES = (
    *METRICS, "mean", "low", "high", "spread", "least", "most",
    "rest", "pooled", "pooled_low", "pooled_high", "pooled_spread", "pooled_least", "pooled_most",
)  # fmt: skip
_LABEL_SCORES = ("certain", "accuracy", "foreground", "background", "touches", "area_low", "area_high")
_PERCENTS = ("paper", "ours", "ours_pooled")
_HEADINGS = {
    "mean": "per image",
    "n_images": "images",
    "rest": "all others",
    "n_seeds": "seeds",
    "pooled_low": "pooled low",
    "pooled_high": "pooled high",
    "pooled_spread": "pooled spread",
    "pooled_least": "pooled least",
    "pooled_most": "pooled most",
    "ours_pooled": "ours, pooled",
    "difference_pooled": "difference, pooled",
    "paper_scored_on": "paper scored on",
    "ours_scored_on": "ours scored on",
    "paper_ref": "reference",
    "area_low": "area from",
    "area_high": "area to",
}


def table(frame: pd.DataFrame, caption: str, *, percent: bool = False, index: bool = False) -> Styler:
    """Format a frame of scores for a page: percent with one decimal, differences with their sign.

    It sets no background and takes the page's own text colour, so it can be read in both themes.

    Args:
        frame: What `summarise`, `over_seeds`, `comparison`, `ablation_table`, `reported`, `by_size`, `label_accuracy`,
            `label_variants`, `consecutive_differences`, `order_holds` or `paired_difference` (as a frame) return.
            Columns that hold scores are known by their names; texts stay as they are.
        caption: Names train set, test set, size, profile, seeds, device and date.
        percent: The scores are percent already, as those of `comparison` and `reported` are.
        index: Show the frame's index.

    Returns:
        A Styler: the last value of a notebook's cell, or `.to_html()`.

    Raises:
        DataError: Scores given as fractions exceed 1, so they are percent.
    """
    scores = [c for c in frame.columns if c in (*_SCORES, *_LABEL_SCORES, *_PERCENTS)]
    differences = [c for c in frame.columns if str(c).startswith("difference")]
    if differences and "ours" not in frame.columns:
        # A paired difference: its interval's ends are differences too
        differences += [c for c in ("low", "high") if c in frame.columns]
        scores = [c for c in scores if c not in differences]
    scores, differences = (
        [c for c in names if pd.api.types.is_numeric_dtype(frame[c])] for names in (scores, differences)
    )
    shown = frame.copy()
    if not percent:
        largest = shown[scores + differences].abs().max().max()
        if largest > 1:
            raise DataError(f"A score is {largest}; expected fractions up to 1. For percent pass `percent=True`.")
        shown[scores + differences] = 100 * shown[scores + differences]
    shown = shown.rename(columns=_HEADINGS)
    scores, differences = ([_HEADINGS.get(c, c) for c in names] for names in (scores, differences))
    # No hyphen for minus, so that it is as wide as the plus sign
    formats = {c: "{:.1f}" for c in scores} | {c: lambda v: f"{v:+.1f}".replace("-", "−") for c in differences}
    styler = shown.style.format(formats, na_rep="–").set_caption(caption)
    numbers = [c for c in shown.columns if pd.api.types.is_numeric_dtype(shown[c])]
    styler = styler.set_properties(subset=numbers, **{"text-align": "right", "font-variant-numeric": "tabular-nums"})
    # pandas draws a random name for every table; the page should not change when its numbers do not
    styler = styler.set_uuid(hashlib.sha256(f"{caption}{list(shown.columns)}".encode()).hexdigest()[:10])
    if not index:
        styler = styler.hide(axis="index")
    styler = styler.set_table_styles(
        [
            {
                "selector": "caption",
                "props": "caption-side: top; text-align: left; color: inherit; padding: 0.4em 0",
            },
            {"selector": "", "props": "border-collapse: collapse; background: transparent; color: inherit"},
            {"selector": "th, td", "props": "padding: 0.2em 0.7em; background: transparent; color: inherit"},
            {"selector": "thead th", "props": "border-bottom: 1px solid currentColor; text-align: right"},
            {"selector": "tbody tr", "props": "background: transparent"},
        ],
        overwrite=False,
    )
    # A heading stands over its column: texts begin at the left
    texts = [c for c in shown.columns if c not in numbers]
    left = {c: [{"selector": "th.col_heading", "props": "text-align: left"}] for c in texts}
    if "from" in left:  # a sentence among numbers: as many lines as they have, not one word a line
        left["from"] += [{"selector": "td", "props": "min-width: 8em"}]
    return styler.set_table_styles(left, overwrite=False)
