"""Dice by size and place of the lesion: of several seeds the mean, where all of them have scored the same images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from uslnet_core.data.masks import MaskSet
from uslnet_core.evaluation import counts, score
from uslnet_core.reproduce.parts import dice_by_lesion

IDS = ("a", "b", "c", "d")


@pytest.fixture
def truth() -> np.ndarray:
    """Lesions of 4, 9, 16 and 40 of 64 pixels; the last is cut by the frame."""
    masks = np.zeros((4, 8, 8), dtype=bool)
    for mask, side in zip(masks, (2, 3, 4), strict=False):
        mask[2 : 2 + side, 2 : 2 + side] = True
    masks[3, 3:] = True
    return masks


def scored(predicted: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """What a stage keeps of one model."""
    return pd.concat([score(predicted, truth), counts(predicted, truth)], axis=1).assign(model="m", id=IDS)


def test_seeds_that_scored_the_same_images_are_averaged(truth):
    masks = MaskSet(IDS, truth, np.ones(4, dtype=bool))
    nothing = np.zeros_like(truth)
    both = dice_by_lesion({0: scored(truth, truth), 1: scored(nothing, truth)}, masks).set_index("model")
    assert list(both.loc["m"]) == ["50.0"] * 6
    quarters = [name for name in both if "quarter" in name]
    assert quarters[0].endswith("(6% to 6%)") and len(quarters) == 4 and len(both.columns) == 6


def test_seeds_with_images_of_their_own_are_not(truth):
    masks = MaskSet(IDS, truth, np.ones(4, dtype=bool))
    other = truth.copy()
    other[0, 6, 6] = True
    alone = dice_by_lesion({0: scored(truth, truth), 1: scored(np.zeros_like(other), other)}, masks).set_index("model")
    assert list(alone.loc["m"]) == ["100.0"] * 6
