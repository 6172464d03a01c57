"""Scores against the challenge's own scorer, against torchmetrics, and by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from isic_challenge_scoring import metrics as challenge
from isic_challenge_scoring.confusion import create_binary_confusion_matrix
from isic_challenge_scoring.segmentation import SegmentationScore

from uslnet_core import evaluation
from uslnet_core.errors import DataError
from uslnet_core.evaluation import COUNTS, METRICS, bootstrap_interval, counts, score, summarise, wide

CHALLENGE = {
    "ACC": challenge.binary_accuracy,
    "DIC": challenge.binary_dice,
    "JAC": challenge.binary_jaccard,
    "SEN": challenge.binary_sensitivity,
    "SPE": challenge.binary_specificity,
    "PRE": challenge.binary_ppv,
}


def random_masks(n: int = 20, size: int = 17, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random masks of every density; among them each pairing of empty, full and random."""
    rng = np.random.default_rng(seed)
    prediction, truth = (rng.random((n, size, size)) < rng.random((n, 1, 1)) for _ in range(2))
    kinds = [np.zeros((size, size), bool), np.ones((size, size), bool), prediction[0]]
    pairs = [(a, b) for a in kinds for b in kinds]
    return (
        np.concatenate([prediction, [a for a, _ in pairs]]),
        np.concatenate([truth, [b for _, b in pairs]]),
    )


def per_image_frame(seed: int = 0) -> pd.DataFrame:
    parts = []
    for place, model in enumerate(("zeta", "alpha")):
        prediction, truth = random_masks(seed=seed)
        prediction = prediction ^ (np.random.default_rng(place).random(prediction.shape) < 0.1 * place)
        counted = evaluation.counts(prediction, truth)
        rows = pd.concat([evaluation.metrics_of(counted), counted], axis=1)
        parts.append(rows.assign(model=model, id=[f"image-{i:02d}" for i in range(len(rows))]))
    return pd.concat(parts, ignore_index=True)


# counts and scores


def test_counts_and_scores_of_a_mask_worked_by_hand():
    prediction = np.array([[[1, 1, 0, 0], [1, 0, 0, 0]]], bool)
    truth = np.array([[[1, 0, 0, 0], [1, 1, 0, 0]]], bool)
    assert evaluation.counts(prediction, truth).loc[0].to_dict() == {"TP": 2, "FP": 1, "FN": 1, "TN": 4}
    assert score(prediction, truth).loc[0].to_dict() == {
        "ACC": 6 / 8,
        "DIC": 4 / 6,
        "JAC": 2 / 4,
        "SEN": 2 / 3,
        "SPE": 4 / 5,
        "PRE": 2 / 3,
    }


def test_every_metric_equals_the_challenge_scorer_to_the_last_digit():
    prediction, truth = random_masks()
    ours = score(prediction, truth)
    for i in range(len(truth)):
        matrix = create_binary_confusion_matrix(truth[i], prediction[i])
        assert evaluation.counts(prediction, truth).loc[i].to_dict() == matrix[list(COUNTS)].to_dict()
        assert ours.loc[i].to_dict() == {name: metric(matrix) for name, metric in CHALLENGE.items()}


def test_mean_equals_the_challenge_leader_board_on_mask_files():
    prediction, truth = random_masks()
    # The challenge reads 8-bit files and cuts them at > 128.
    files = [prediction * np.uint8(255), truth * np.uint8(255)]
    pairs = [
        SimpleNamespace(image_id=str(i), prediction_image=p, truth_image=t)
        for i, (p, t) in enumerate(zip(*files, strict=True))
    ]
    theirs = SegmentationScore(pairs).macro_average
    ours = score(prediction, truth).mean()
    names = {"ACC": "accuracy", "DIC": "dice", "JAC": "jaccard", "SEN": "sensitivity", "SPE": "specificity"}
    for name, theirs_name in names.items():
        assert ours[name] == theirs[theirs_name]


def test_metrics_equal_torchmetrics_where_defined():
    from torchmetrics.functional import classification as peer

    prediction, truth = random_masks(n=12)
    prediction, truth = prediction[:12], truth[:12]
    ours = score(prediction, truth)
    peers = {
        "ACC": peer.binary_accuracy,
        "DIC": peer.binary_f1_score,
        "JAC": peer.binary_jaccard_index,
        "SEN": peer.binary_recall,
        "SPE": peer.binary_specificity,
        "PRE": peer.binary_precision,
    }
    for i in range(12):
        for name, metric in peers.items():
            theirs = metric(torch.from_numpy(prediction[i]).int(), torch.from_numpy(truth[i]).int())
            # torchmetrics divides in float32
            assert np.float32(ours.at[i, name]) == pytest.approx(theirs.item(), rel=2e-7)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (False, False, {"ACC": 1, "DIC": 1, "JAC": 1, "SEN": 1, "SPE": 1, "PRE": 1}),
        (True, True, {"ACC": 1, "DIC": 1, "JAC": 1, "SEN": 1, "SPE": 1, "PRE": 1}),
        (True, False, {"ACC": 0, "DIC": 0, "JAC": 0, "SEN": 1, "SPE": 0, "PRE": 0}),
        (False, True, {"ACC": 0, "DIC": 0, "JAC": 0, "SEN": 0, "SPE": 1, "PRE": 1}),
    ],
)
def test_empty_and_full_masks(prediction, truth, expected):
    shape = (1, 3, 5)
    assert score(np.full(shape, prediction), np.full(shape, truth)).loc[0].to_dict() == expected


@settings(max_examples=50, deadline=None)
@given(arrays(bool, (2, 3, 4, 5)))
def test_properties_of_scores(masks):
    prediction, truth = masks
    one, other = score(prediction, truth), score(truth, prediction)
    assert one.to_numpy().min() >= 0 and one.to_numpy().max() <= 1
    for symmetric in ("ACC", "DIC", "JAC"):
        assert (one[symmetric] == other[symmetric]).all()
    np.testing.assert_allclose(one["DIC"], 2 * one["JAC"] / (1 + one["JAC"]))
    counted = evaluation.counts(prediction, truth)
    assert (counted.sum(axis=1) == 20).all()
    inverse = evaluation.counts(~prediction, ~truth)
    assert (inverse[["TN", "FN", "FP", "TP"]].to_numpy() == counted[["TP", "FP", "FN", "TN"]].to_numpy()).all()


def test_tensors_score_as_arrays_and_no_image_gives_no_row():
    prediction, truth = random_masks()
    tensors = score(torch.from_numpy(prediction), torch.from_numpy(truth))
    pd.testing.assert_frame_equal(tensors, score(prediction, truth), check_exact=True)
    assert score(prediction[:0], truth[:0]).shape == (0, 6)


def test_bad_masks_are_refused_with_the_remedy():
    mask = np.zeros((2, 4, 4), bool)
    for wrong in (mask[:1], mask[0], mask[:, :2]):
        with pytest.raises(DataError, match="shape"):
            score(wrong, mask)
    with pytest.raises(DataError, match=r"mask\[None\]"):
        score(mask[0], mask[0])
    with pytest.raises(DataError, match="> 0.5"):
        score(mask.astype(np.float32), mask)
    with pytest.raises(DataError, match="truth is uint8"):
        score(mask, mask.astype(np.uint8))


def test_pooled_is_the_score_of_all_pixels_laid_side_by_side():
    prediction, truth = random_masks()
    wide = score(np.hstack(list(prediction))[None], np.hstack(list(truth))[None]).loc[0]
    pooled = evaluation.pooled(evaluation.counts(prediction, truth))
    assert pooled.to_dict() == wide.to_dict()
    assert abs(pooled["DIC"] - score(prediction, truth)["DIC"].mean()) > 0.01  # the two averages do differ


# intervals


def test_interval_equals_a_literal_bootstrap():
    values = np.random.default_rng(3).random(25)
    # The literal one: draw 25 images with replacement, average, many times over.
    rng = np.random.default_rng(4)
    means = [rng.choice(values, 25).mean() for _ in range(20_000)]
    low, high = bootstrap_interval(values, resamples=20_000)
    assert low == pytest.approx(np.quantile(means, 0.025), abs=0.004)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=0.004)
    assert low < values.mean() < high


def test_pooled_interval_equals_a_literal_bootstrap():
    counted = evaluation.counts(*random_masks())
    rng = np.random.default_rng(5)
    literal = pd.DataFrame(
        [evaluation.pooled(counted.iloc[rng.integers(len(counted), size=len(counted))]) for _ in range(1000)]
    )
    ours = bootstrap_interval(counted, of_pooled=True, resamples=20_000)
    np.testing.assert_allclose(ours["low"], literal.quantile(0.025), atol=0.015)
    np.testing.assert_allclose(ours["high"], literal.quantile(0.975), atol=0.015)


def test_interval_edges_seed_and_width():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(pd.Series(values), seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    wide, narrow = bootstrap_interval(values, confidence=0.99), bootstrap_interval(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_interval(np.array([0.3])) == (0.3, 0.3)
    for bad in (np.array([]), np.array([0.1, np.nan])):
        with pytest.raises(DataError, match="missing"):
            bootstrap_interval(bad)
    with pytest.raises(DataError, match="confidence 95"):
        bootstrap_interval(values, confidence=95)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.beta(2, 2, size=60), resamples=400, seed=trial)
        hits += low <= 0.5 <= high
    assert 175 <= hits <= 199  # 190 expected; more or fewer would mean a wrong width


# tables


def test_summary_holds_both_averages_in_order_of_appearance():
    frame = per_image_frame()
    summary = evaluation.summarise(frame, resamples=200)
    assert list(summary.columns) == [
        "model", "metric", "mean", "low", "high", "pooled", "pooled_low", "pooled_high", "n_images",
    ]  # fmt: skip
    assert list(summary["model"].unique()) == ["zeta", "alpha"]
    assert list(summary["metric"]) == list(METRICS) * 2
    row = summary[(summary["model"] == "alpha") & (summary["metric"] == "DIC")].iloc[0]
    alpha = frame[frame["model"] == "alpha"]
    assert row["mean"] == alpha["DIC"].mean()
    assert row["pooled"] == evaluation.pooled(alpha)["DIC"]
    assert row["n_images"] == 29
    assert summary["mean"].between(summary["low"], summary["high"]).all()
    assert summary["pooled"].between(summary["pooled_low"], summary["pooled_high"]).all()


def test_summary_refuses_what_would_bend_the_mean():
    frame = per_image_frame()
    with pytest.raises(DataError, match="repeat"):
        evaluation.summarise(pd.concat([frame, frame.iloc[:1]]))
    failed = frame.copy()
    failed.loc[3, "DIC"] = np.nan
    with pytest.raises(DataError, match="1 missing"):
        evaluation.summarise(failed)
    with pytest.raises(DataError, match="TP"):
        evaluation.summarise(frame.drop(columns="TP"))
    with pytest.raises(DataError, match="0 rows"):
        evaluation.summarise(frame.iloc[:0])


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.random(50)
    frame = pd.DataFrame(
        {
            "model": ["a"] * 50 + ["b"] * 50,
            "id": [*range(50), *reversed(range(50))],
            "DIC": np.concatenate([hard + 0.02 + 0.01 * rng.random(50), hard[::-1]]),
        }
    )
    result = evaluation.paired_difference(frame, "a", "b")
    a, b = frame["DIC"][:50], frame["DIC"][50:]
    assert result["difference"] == pytest.approx(a.mean() - b.mean())
    assert 0 < result["low"] < result["difference"] < result["high"]
    assert bootstrap_interval(a).low < bootstrap_interval(b).high  # side by side they overlap
    assert evaluation.paired_difference(frame, "a", "a")[["difference", "low", "high"]].eq(0).all()
    with pytest.raises(DataError, match="'c'"):
        evaluation.paired_difference(frame, "a", "c")
    with pytest.raises(DataError, match="1 of them in one alone"):
        evaluation.paired_difference(frame.iloc[1:], "a", "b")


def test_quarters_by_lesion_size():
    ids = [f"i{k}" for k in range(8)]
    areas = dict(zip(ids, [0.8, 0.7, 0.6, 0.5, 0.1, 0.1, 0.1, 0.01], strict=True))
    frame = pd.DataFrame({"model": "m", "id": ids, "DIC": [0.9, 0.9, 0.8, 0.8, 0.4, 0.3, 0.2, 0.1]})
    table = evaluation.by_size(frame, areas)
    assert list(table["size"]) == ["smallest quarter", "second quarter", "third quarter", "largest quarter"]
    np.testing.assert_allclose(table["mean"], [0.25, 0.25, 0.8, 0.9])
    np.testing.assert_allclose(table["area_low"], [0.01, 0.1, 0.5, 0.7])
    assert list(table["n_images"]) == [2, 2, 2, 2]
    with pytest.raises(DataError, match="'i0' first"):
        evaluation.by_size(frame, {name: areas[name] for name in ids[1:]})


def test_sizes_come_from_the_counts_when_left_out():
    frame = per_image_frame()
    area = (frame["TP"] + frame["FN"]) / 17**2
    given_areas = pd.Series(area.to_numpy(), index=frame["id"])[:29]
    pd.testing.assert_frame_equal(evaluation.by_size(frame), evaluation.by_size(frame, given_areas))
    assert list(evaluation.by_size(frame)["model"].unique()) == ["zeta", "alpha"]


def test_by_frame_by_hand():
    truth = np.zeros((3, 4, 5), bool)
    truth[0, 1:3, 1:4] = True  # as large as it may be, inside
    truth[1, 3, 2] = truth[2, 1, 4] = True
    assert evaluation.cut_by_frame(truth).tolist() == [False, True, True]
    frame = pd.DataFrame({"model": ["z"] * 3 + ["a"] * 3, "id": ["p", "q", "r"] * 2, "DIC": np.arange(6) / 10})
    table = evaluation.by_frame(frame, {"p": False, "q": True, "r": True})
    assert table[["model", "place", "n_images"]].to_numpy().tolist() == [
        ["z", "inside", 1],
        ["z", "cut by the frame", 2],
        ["a", "inside", 1],
        ["a", "cut by the frame", 2],
    ]
    np.testing.assert_allclose(table["mean"], [0, 0.15, 0.3, 0.45])
    with pytest.raises(DataError, match="1 images have no place, 'q' first"):
        evaluation.by_frame(frame, {"p": False, "r": True})


def test_label_accuracy_by_hand():
    label = np.array([[[0, 0, 0.5, 1], [0, 0.5, 1, 1]], [[0.5] * 4] * 2])
    truth = np.array([[[0, 1, 1, 1], [0, 0, 0, 1]], [[1, 0, 1, 0]] * 2], bool)
    result = evaluation.label_accuracy(label.astype(np.float32), truth)
    assert result.loc[0].to_dict() == {
        "certain": 6 / 8, "accuracy": 4 / 6, "foreground": 2 / 3, "background": 2 / 3,
    }  # fmt: skip
    assert result.loc[1, "certain"] == 0
    assert result.loc[1, ["accuracy", "foreground", "background"]].isna().all()
    with pytest.raises(DataError, match=r"holds 0\.7"):
        evaluation.label_accuracy(np.full((1, 2, 2), 0.7), truth[:1, :, :2])
    with pytest.raises(DataError, match="shape"):
        evaluation.label_accuracy(label[:1], truth)


# the paper's numbers


def test_reported_holds_every_table_in_percent():
    everything = evaluation.reported()
    assert sorted(everything["table"].unique()) == list(range(1, 11))
    assert everything[list(METRICS)].max().max() > 1 and everything[list(METRICS)].max().max() <= 100
    model_5 = evaluation.reported(8).set_index("method").loc["Model 5"]
    assert (model_5["DIC"], model_5["JAC"]) == (80.5, 68.5)
    assert evaluation.reported(8)["PRE"].isna().all()
    with pytest.raises(DataError, match="no table 11"):
        evaluation.reported(11)


def test_comparison_names_both_splits_and_subtracts_percent_from_percent():
    summary = evaluation.summarise(per_image_frame(), resamples=100)
    table = evaluation.comparison(summary, 8, {"zeta": "Model 4", "alpha": "Model 5"}, scored_on="isic2017-validation")
    assert len(table) == 2 * 5  # the paper's table 8 prints no precision
    row = table[(table["model"] == "alpha") & (table["metric"] == "DIC")].iloc[0]
    ours = summary[(summary["model"] == "alpha") & (summary["metric"] == "DIC")].iloc[0]
    assert row["method"] == "Model 5" and row["paper"] == 80.5
    assert row["ours"] == pytest.approx(100 * ours["mean"])
    assert row["difference"] == pytest.approx(100 * ours["mean"] - 80.5)
    assert row["difference_pooled"] == pytest.approx(100 * ours["pooled"] - 80.5)
    assert (row["paper_scored_on"], row["ours_scored_on"]) == ("isic2017-test", "isic2017-validation")


def test_comparison_wants_one_row_of_the_paper_and_real_images():
    summary = evaluation.summarise(per_image_frame(), resamples=100)
    real = {"scored_on": "isic2017-validation"}
    with pytest.raises(DataError, match=r"2 rows .* ResNet50, CCAM \| SimCLR"):
        evaluation.comparison(summary, 9, {"zeta": "SimCLR"}, **real)
    one = {"zeta": {"method": "SimCLR", "group": "ResNet50, CCAM"}}
    assert evaluation.comparison(summary, 9, one, metrics=["DIC"], **real)["paper"].tolist() == [51.6]
    with pytest.raises(DataError, match="'beta'"):
        evaluation.comparison(summary, 8, {"beta": "Model 4"}, **real)
    with pytest.raises(DataError, match="cannot stand beside"):
        evaluation.comparison(summary, 8, {"zeta": "Model 4"}, scored_on="synthetic-validation")


def test_wide_table_shows_both_averages_of_each_model() -> None:
    rng = np.random.default_rng(3)
    truth, guess = rng.random((2, 6, 8, 8)) > 0.5
    frame = pd.concat([score(guess, truth), counts(guess, truth)], axis=1).assign(model="A", id=range(6))
    summary = summarise(frame, resamples=50)
    table = wide(summary)
    assert list(table["average"]) == ["per image", "pooled"]
    dice = summary.set_index("metric").loc["DIC"]
    cell = f"{100 * dice['mean']:.1f} ({100 * dice['low']:.0f}–{100 * dice['high']:.0f})"
    assert table["DIC"][0].replace("\u2060", "") == cell
    assert table["DIC"][1].startswith(f"{100 * dice['pooled']:.1f} ")
    assert list(wide(summary, ("JAC", "DIC")).columns) == ["model", "average", "JAC", "DIC"]
