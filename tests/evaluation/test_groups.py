"""Groups of images held against the others; what is too small is not compared; and doubts that find failures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from uslnet_core.errors import DataError
from uslnet_core.evaluation.groups import FEW, by_tone, compare_groups, finds_failures


@pytest.fixture
def scores() -> pd.Series:
    return pd.Series(np.linspace(0.2, 0.99, 40), index=[f"im{k}" for k in range(40)])


def test_a_group_that_scores_worse_stands_first_with_its_interval(scores):
    groups = pd.DataFrame({"any": np.arange(40) % 2 == 0, "low": np.arange(40) < 20}, index=scores.index)
    table = compare_groups(scores, groups)
    assert list(table["group"]) == ["low", "any"]
    low = table.iloc[0]
    assert low["n_images"] == 20 and low["mean"] == pytest.approx(scores.iloc[:20].mean())
    assert low["difference"] == pytest.approx(scores.iloc[:20].mean() - scores.iloc[20:].mean())
    assert low["low"] < low["difference"] < low["high"] < 0 < table.iloc[1]["high"]
    pd.testing.assert_frame_equal(table, compare_groups(scores, groups))


def test_the_interval_is_that_of_two_independent_means(scores):
    """Of many images the bootstrap nears the normal interval of a difference of means."""
    values = pd.Series(np.tile(scores, 50))
    chosen = np.arange(len(values)) % 4 == 0
    row = compare_groups(values, pd.DataFrame({"a": chosen})).iloc[0]
    sides = values[chosen], values[~chosen]
    half = 1.96 * np.sqrt(sum(side.var() / len(side) for side in sides))
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.08)


def test_few_images_are_counted_and_compared_with_nothing(scores):
    groups = pd.DataFrame({"few": np.arange(40) < FEW - 1, "all": True, "none": False}, index=scores.index)
    table = compare_groups(scores, groups).set_index("group")
    assert set(table.index) == {"few", "all"}
    assert table.loc["few", "n_images"] == FEW - 1 and np.isnan(table.loc["few", ["difference", "low"]]).all()
    assert np.isnan(table.loc["all", "rest"])


def test_other_images_than_the_scores_are_refused(scores):
    groups = pd.DataFrame({"a": True}, index=scores.index)
    for wrong in (scores.iloc[::-1], scores.iloc[1:], scores.where(scores > 0.5)):
        with pytest.raises(DataError, match="one each"):
            compare_groups(wrong, groups)


def test_tones_keep_their_order_and_small_ones_have_no_interval(scores):
    tones = np.array(["light"] * 25 + ["dark"] * 5 + [""] * 10)
    table = by_tone(scores, tones, ["very light", "light", "dark"]).set_index("tone")
    assert list(table["n_images"]) == [0, 25, 5]
    assert table.loc["light", "low"] < table.loc["light", "mean"] < table.loc["light", "high"]
    assert np.isnan(table.loc["dark", "low"]) and table.loc["dark", "mean"] == pytest.approx(scores.iloc[25:30].mean())
    assert np.isnan(table.loc["very light", "mean"])


def test_a_doubt_that_knows_catches_all_and_one_that_does_not_catches_none(scores):
    knows = finds_failures(1 - scores.to_numpy(), scores.to_numpy())
    assert knows == {"correlation": pytest.approx(-1), "caught": 1.0, "by_chance": 0.2}
    assert finds_failures(scores.to_numpy(), scores.to_numpy())["caught"] == 0
    assert np.isnan(finds_failures(np.zeros(40), scores.to_numpy())["correlation"])
    with pytest.raises(DataError):
        finds_failures(np.zeros(3), scores.to_numpy())
