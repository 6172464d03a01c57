"""Are these maps a saliency at all? Answered without a single label (paper 3.3)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uslnet_core.data.storage import forget
from uslnet_core.errors import TrainingError

FLAT = 1e-3  # a map whose values lie this close together is constant; a cell this close to 0 or 1 is saturated
AT_ONCE = 1024  # maps that are looked at together: of a memory map, no more than these stand in memory
ONE_SIDE = 0.99  # more than this share of all cells at one end: everything is lesion, or everything skin


def map_health(maps: np.ndarray) -> dict[str, float]:
    """Say how many maps and cells are of no use.

    Args:
        maps: (N, h, w) float32 in [0, 1].

    Returns:
        constant: share of the maps that do not vary; skin and lesion: share of all cells at 0 and at 1 (within 1e-3);
        spread: the largest difference inside one map.
    """
    parts = [maps[first : first + AT_ONCE] for first in range(0, len(maps), AT_ONCE)]
    spread, skin, lesion = [], 0, 0
    for part in parts:
        spread.append(np.ptp(part, axis=(1, 2)))
        skin += np.count_nonzero(part <= FLAT)
        lesion += np.count_nonzero(part >= 1 - FLAT)
        forget(maps)
    spread = np.concatenate(spread)
    return {
        "constant": float((spread < FLAT).mean()),
        "skin": skin / maps.size,
        "lesion": lesion / maps.size,
        "spread": float(spread.max()),
    }


def check_maps(maps: np.ndarray, source: str = "CCAM") -> np.ndarray:
    """Refuse maps that cannot be a saliency.

    Three things are wrong: a value that is not a number; no map that varies; and more than 99 % of all cells saturated
    on one side, so that everything is lesion or everything skin. Maps that are sharp, with cells at 0 and at 1, are
    sound, and so are a few constant maps among others.

    Args:
        maps: (N, h, w) float32.
        source: whose maps these are, for the message.

    Returns:
        The same maps.

    Raises:
        TrainingError: which of the three it is, and what to change.
    """
    parts = [maps[first : first + AT_ONCE] for first in range(0, len(maps), AT_ONCE)]
    bad = ~np.concatenate([np.isfinite(part).all(axis=(1, 2)) for part in parts])
    if bad.any():
        raise TrainingError(
            f"{source}: a saliency map is not a number, in {int(bad.sum())} of {len(maps)} images, first in image "
            f"{int(bad.argmax())}. Check the encoder's health; for CCAM, lower saliency.learning_rate (chapter "
            "3, -p learning_rate=…)."
        )
    found = map_health(maps)
    if found["spread"] < FLAT:
        raise TrainingError(
            f"{source}: every saliency map is constant (largest spread {found['spread']:.1e}, expected above {FLAT}). "
            "Train the encoder longer (chapter 2, -p epochs=…); for CCAM, the head, too (chapter 3, -p epochs=…)."
        )
    for side, end in (("lesion", 1), ("skin", 0)):
        if found[side] > ONE_SIDE:
            raise TrainingError(
                f"{source}: the maps are saturated, {found[side]:.1%} of all cells are at {end}: everything is {side}. "
                f"Expected at most {ONE_SIDE:.0%}. For CCAM, lower saliency.learning_rate or train for fewer epochs "
                "(chapter 3, -p learning_rate=… or -p epochs=…); for other sources, change their threshold or scale."
            )
    return maps


def check_clamp(history: pd.DataFrame) -> None:
    """Refuse a CCAM that could not learn, because its two sides stayed the same vector.

    Args:
        history: a row an epoch, with the columns ``clamped`` (share of the pairs from which no gradient came though
            their sides are not told apart) and ``apart``.

    Raises:
        TrainingError: it was every pair, for the whole last epoch.
    """
    last = history.iloc[-1]
    if last["clamped"] >= 1:
        raise TrainingError(
            f"CCAM is dead: in the whole last epoch every pair of a lesion side and a skin side was at the clamp "
            f"(clamped {last['clamped']:.0%}, apart term {last['apart']:.2f}), where no gradient flows: the two sides "
            "are one and the same, or one is empty. The features differ too little within an image: train the encoder "
            "longer (chapter 2, -p epochs=…), or lower saliency.learning_rate (chapter 3, -p learning_rate=…)."
        )
