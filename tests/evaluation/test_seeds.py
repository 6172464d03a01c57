"""Means and spreads over seeds, by hand and against the summary of a single training."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uslnet_core.errors import DataError
from uslnet_core.evaluation import (
    COUNTS,
    METRICS,
    bootstrap_interval,
    counts,
    metrics_of,
    over_seeds,
    pooled,
    scores_by_seed,
    seed_average,
    spread_text,
    summarise,
)


def training(seed: int, models=("zeta", "alpha"), n: int = 12, truth_seed: int = 0) -> pd.DataFrame:
    """One seed's rows: the same lesions, other mistakes."""
    truth = np.random.default_rng(truth_seed).random((n, 7, 7)) < 0.4
    parts = []
    for place, model in enumerate(models):
        wrong = np.random.default_rng([seed, place]).random(truth.shape) < 0.1 * (1 + place)
        counted = counts(truth ^ wrong, truth)
        rows = pd.concat([metrics_of(counted), counted], axis=1)
        parts.append(rows.assign(model=model, id=[f"i{k:02d}" for k in range(n)]))
    return pd.concat(parts, ignore_index=True)


def row_of(frame: pd.DataFrame, model: str, metric: str = "DIC") -> pd.Series:
    return frame[(frame["model"] == model) & (frame["metric"] == metric)].iloc[0]


def two_images(dice: list[float]) -> pd.DataFrame:
    """Rows whose Dice is as given; the counts are of two images of 10 pixels."""
    rows = pd.DataFrame({"model": "m", "id": ["a", "b"], **dict.fromkeys(METRICS, 0.5)})
    return rows.assign(DIC=dice, TP=2, FP=1, FN=2, TN=5)


def test_mean_spread_least_and_most_by_hand():
    table = over_seeds({0: two_images([0.2, 0.4]), 1: two_images([0.4, 0.6]), 7: two_images([0.4, 1.0])}, resamples=50)
    dice = row_of(table, "m")
    # Seeds: 0.3, 0.5, 0.7
    assert dice["mean"] == pytest.approx(0.5)
    assert dice["spread"] == pytest.approx(0.2)
    assert (dice["least"], dice["most"]) == (pytest.approx(0.3), pytest.approx(0.7))
    assert (dice["n_seeds"], dice["n_images"]) == (3, 2)
    # Images averaged over the seeds: 1/3 and 2/3; a bootstrap of two images reaches both
    assert (dice["low"], dice["high"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert dice["pooled"] == pytest.approx(2 * 4 / (2 * 4 + 2 + 4))
    assert dice["pooled_spread"] == pytest.approx(0) and dice["same_images"]
    assert spread_text(dice) == "50.0 ± 20.0 (3 seeds)"
    assert spread_text(dice, average="pooled") == "57.1 ± 0.0 (3 seeds)"


def test_one_seed_is_the_summary_and_says_that_it_is_single():
    frame = training(0)
    table = over_seeds({0: frame}, resamples=200)
    expected = summarise(frame, resamples=200)
    pd.testing.assert_frame_equal(table[expected.columns], expected, check_exact=True)
    assert (table["n_seeds"] == 1).all()
    assert table[["spread", "pooled_spread"]].isna().all(axis=None)
    assert (table["least"] == table["mean"]).all() and (table["pooled_most"] == table["pooled"]).all()
    dice = row_of(table, "zeta")
    assert spread_text(dice) == f"{100 * dice['mean']:.1f} (single run)"
    assert spread_text(row_of(expected, "zeta")) == spread_text(dice)  # a plain summary is of one training, too


def test_one_image_has_a_spread_and_no_width():
    table = over_seeds({seed: training(seed, n=1) for seed in range(3)}, resamples=20)
    assert (table["low"] == table["high"]).all() and (table["n_images"] == 1).all()
    assert row_of(table, "alpha")["spread"] > 0


def test_intervals_are_those_of_the_averaged_scores_and_pooled_against_a_literal_bootstrap():
    trainings = {seed: training(seed) for seed in range(3)}
    table = over_seeds(trainings, resamples=4000)
    average = seed_average(trainings)
    scores = average[average["model"] == "alpha"]["DIC"]
    dice = row_of(table, "alpha")
    assert (dice["low"], dice["high"]) == pytest.approx(bootstrap_interval(scores, resamples=4000))
    # Literal: draw images, pool each seed's pixels, average the seeds
    rng = np.random.default_rng(9)
    of_alpha = [frame[frame["model"] == "alpha"][list(COUNTS)] for frame in trainings.values()]
    literal = []
    for _ in range(400):
        drawn = rng.integers(12, size=12)
        literal.append(np.mean([pooled(rows.iloc[drawn])["DIC"] for rows in of_alpha]))
    assert dice["pooled_low"] == pytest.approx(np.quantile(literal, 0.025), abs=0.012)
    assert dice["pooled_high"] == pytest.approx(np.quantile(literal, 0.975), abs=0.012)


def test_seed_average_is_the_mean_image_by_image_whatever_the_order_of_rows():
    trainings = {0: training(0), 1: training(1).iloc[::-1]}
    average = seed_average(trainings)
    assert list(average["model"].unique()) == ["zeta", "alpha"]
    for _, row in average.iterrows():
        same = [f[(f["model"] == row["model"]) & (f["id"] == row["id"])]["JAC"].item() for f in trainings.values()]
        assert row["JAC"] == pytest.approx(np.mean(same))
    pd.testing.assert_frame_equal(
        over_seeds(trainings, resamples=20), over_seeds({0: training(0), 1: training(1)}, resamples=20)
    )


def test_scores_by_seed_has_a_row_per_training():
    table = scores_by_seed({3: training(3), 5: training(5, models=("zeta",))})
    assert len(table) == (2 + 1) * len(METRICS)
    assert list(table[table["model"] == "zeta"]["seed"].unique()) == [3, 5]
    one = table[(table["model"] == "zeta") & (table["seed"] == 5) & (table["metric"] == "SEN")].iloc[0]
    rows = training(5, models=("zeta",))
    assert one["mean"] == rows["SEN"].mean() and one["pooled"] == pooled(rows)["SEN"]


def test_a_model_missing_from_a_seed_is_the_mean_of_fewer_and_says_so():
    table = over_seeds({0: training(0), 1: training(1, models=("zeta",))}, resamples=20)
    assert row_of(table, "zeta")["n_seeds"] == 2
    assert spread_text(row_of(table, "alpha")).endswith("(single run)")


def test_images_of_their_own_are_told():
    table = over_seeds({0: training(0), 1: training(1, truth_seed=1)}, resamples=20)
    assert not table["same_images"].any()
    assert spread_text(table.iloc[0]).endswith("(2 seeds, each on its own images)")


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(DataError, match="1 of them in one alone"):
        over_seeds({0: training(0), 1: training(1, models=("zeta",)).iloc[1:]})
    with pytest.raises(DataError, match="0 seeds"):
        over_seeds({})
    with pytest.raises(DataError, match="0 rows"):
        over_seeds({0: training(0).iloc[:0]})
    with pytest.raises(DataError, match="repeat"):
        scores_by_seed({0: pd.concat([training(0)] * 2)})
    with pytest.raises(DataError, match="TP"):
        seed_average({0: training(0).drop(columns="TP")})
    failed = training(0)
    failed.loc[2, "DIC"] = np.nan
    with pytest.raises(DataError, match="1 missing"):
        over_seeds({0: failed})
    with pytest.raises(DataError, match="'median'"):
        spread_text(over_seeds({0: training(0)}, resamples=5).iloc[0], average="median")


@settings(max_examples=25)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=2, max_size=4))
def test_the_mean_lies_between_the_seeds_and_the_order_of_seeds_is_nothing(dice):
    trainings = {seed: two_images(values) for seed, values in enumerate(dice)}
    one = row_of(over_seeds(trainings, resamples=10), "m")
    other = row_of(over_seeds(dict(reversed(trainings.items())), resamples=10), "m")
    assert one["least"] - 1e-12 <= one["mean"] <= one["most"] + 1e-12
    assert 0 <= one["spread"] <= one["most"] - one["least"] + 1e-12
    for name in ("mean", "spread", "low", "high"):
        assert one[name] == pytest.approx(other[name])
