"""Which images to show: chosen by a rule, and the rule is stated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from uslnet_core.errors import DataError

_RULES = ("best", "median", "worst")


class Examples(NamedTuple):
    """Chosen images: their positions, a label each, and the rule in words for the caption."""

    indices: np.ndarray
    labels: list[str]
    rule: str


def choose_examples(
    scores: pd.Series | np.ndarray, kind: str = "best/median/worst", number: int = 1, name: str = "Dice"
) -> Examples:
    """Choose examples by their rank, so that nobody's taste comes in.

    Args:
        scores: (N,) in [0, 1], one per image, in the images' order.
        kind: "best", "median" or "worst", or several of them with a slash between.
        number: How many of each. Of few images, one that two rules name is shown once.
        name: Of the score, for the labels.

    Returns:
        `indices` into the images, `labels` such as "worst: Dice 12.3 %", and `rule`, a phrase for the
        caption.

    Raises:
        DataError: An unknown kind, no image, or a missing score.
    """
    values = np.asarray(scores, dtype=np.float64)
    kinds = kind.split("/")
    unknown = [one for one in kinds if one not in _RULES]
    if unknown or number < 1:
        raise DataError(f"Cannot choose {number} of {unknown or kinds}; expected at least 1 of {list(_RULES)}.")
    if values.ndim != 1 or len(values) == 0 or np.isnan(values).any():
        raise DataError(
            f"The scores have shape {values.shape} and {int(np.isnan(values).sum())} missing values; expected one "
            "score for each image."
        )
    order = np.argsort(-values, kind="stable")  # best first; equals in the images' order
    middle = max((len(values) - number) // 2, 0)
    ranks = {"best": order[:number], "median": order[middle : middle + number], "worst": order[::-1][:number]}
    chosen: dict[int, str] = {}
    for one in kinds:
        for index in ranks[one]:
            chosen.setdefault(int(index), f"{one}: {name} {100 * values[index]:.1f} %")
    counted = [one if number == 1 else f"{number} {one}" for one in kinds]
    listed = " and ".join([", ".join(counted[:-1]), counted[-1]] if len(counted) > 1 else counted)
    rule = f"the {listed} of {len(values)} images by {name}"
    return Examples(np.array(list(chosen)), list(chosen.values()), rule)
