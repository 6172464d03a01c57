"""Figure 8 and the open choices, against slow readings of the algorithm."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from uslnet_core.errors import ConfigError, DataError
from uslnet_core.evaluation import CURVES, OPEN_CHOICES, label_variants, labels, threshold_curves

SMALL = {"min_area": 0.05, "exclusion": 0.4}


def maps(n: int = 9, size: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth maps with several blobs each, and lesions that are near some of them."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((n, size, size)), (0, 1.2, 1.2))
    saliency = (0.5 + 0.45 * noise / np.abs(noise).max(axis=(1, 2), keepdims=True)).astype(np.float32)
    return saliency, saliency + 0.2 * rng.standard_normal(saliency.shape) > 0.6


def literal_label(one: np.ndarray, low: float, high: float, **changes) -> tuple[np.ndarray, bool]:
    """One map's label and whether it is kept, pixel by pixel, as the method's page says."""
    setting = {"min_area": 500 / 224**2, "neighbours": 8, "rule": "mean", "exclusion": 1 / 3} | changes
    low, high = np.float32(low), np.float32(high)
    height, width = one.shape
    label = np.full(one.shape, 0.5)
    label[one < low] = 0
    numbered, count = ndimage.label(one > high, np.ones((3, 3)) if setting["neighbours"] == 8 else None)
    best, chosen = math.inf, None
    for k in range(1, count + 1):  # numbered by their first pixel
        ys, xs = np.nonzero(numbered == k)
        distances = [math.hypot(y - height / 2, x - width / 2) for y, x in zip(ys, xs, strict=True)]
        weight = math.fsum(distances) / (len(ys) if setting["rule"] == "mean" else 1)
        if len(ys) >= round(setting["min_area"] * height * width) and weight < best:
            best, chosen = weight, (ys, xs)
    if chosen is None:
        return label, False
    label[chosen] = 1
    away = math.hypot(chosen[0].mean() - height / 2, chosen[1].mean() - width / 2)
    return label, away <= min(height, width) * setting["exclusion"]


def slow_accuracy(label: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """(certain pixels that are right, certain pixels) of one image."""
    right = certain = 0
    for y in range(label.shape[0]):
        for x in range(label.shape[1]):
            if label[y, x] != 0.5:
                certain += 1
                right += bool(label[y, x]) == bool(truth[y, x])
    return right, certain


def literal_curve(curve: str, saliency, truth, x: float, **changes) -> dict[str, float]:
    found = []
    for one, mask in zip(saliency, truth, strict=True):
        if curve == "UM":
            label, keep = literal_label(one, x, 1 - x, **changes)
        elif curve == "split only":
            label, keep = np.full(one.shape, 0.5), True
            label[one < np.float32(x)] = 0
            label[one > np.float32(1 - x)] = 1
        else:
            label, keep = (one > np.float32(x if curve == "threshold x" else 1 - x)).astype(float), True
        right, certain = slow_accuracy(label, mask)
        if keep and certain:
            found.append((right, certain))
    pixels = saliency[0].size
    nothing = {"accuracy": np.nan, "pooled": np.nan, "certain": np.nan, "images": 0}
    return nothing if not found else {
        "accuracy": np.mean([r / c for r, c in found]),
        "pooled": sum(r for r, _ in found) / sum(c for _, c in found),
        "certain": np.mean([c / pixels for _, c in found]),
        "images": len(found),
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{}, SMALL, {"rule": "sum", "neighbours": 4, **SMALL}])
def test_curves_equal_a_slow_reading(changes):
    saliency, truth = maps()
    xs = [0.0, 0.2, 0.35, 0.45]
    table = threshold_curves(saliency, truth, xs, changes)
    assert list(table["curve"][:4]) == list(CURVES) and len(table) == 16 and (table["n_images"] == 9).all()
    for _, row in table.iterrows():
        expected = literal_curve(row["curve"], saliency, truth, row["x"], **changes)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), (row["curve"], row["x"], name)


def test_curves_by_hand():
    saliency = np.array([[[0.1, 0.1, 0.1, 0.1], [0.1, 0.9, 0.9, 0.4], [0.1, 0.9, 0.9, 0.9], [0.1, 0.1, 0.6, 0.1]]])
    truth = saliency > 0.5
    truth[0, 0, 0] = True  # a lesion that no threshold finds
    table = threshold_curves(saliency, truth, [0.35], {"exclusion": 1.0}).set_index("curve")
    assert table.loc["threshold x", "accuracy"] == 14 / 16
    assert table.loc["threshold 1 − x", "accuracy"] == 14 / 16
    assert table.loc["UM", ["accuracy", "certain"]].tolist() == [13 / 14, 14 / 16]
    assert table.loc["UM", "pooled"] == pytest.approx(13 / 14)
    assert (table["images"] == 1).all()


def test_nothing_kept_is_not_a_number_and_no_warning():
    saliency, truth = np.full((2, 6, 6), 0.5, np.float32), np.zeros((2, 6, 6), bool)
    table = threshold_curves(saliency, truth, [0.0, 0.3]).set_index(["curve", "x"])
    for curve in ("UM", "split only"):
        row = table.loc[(curve, 0.3)]
        assert row["images"] == 0 and row[["accuracy", "pooled", "certain"]].isna().all()
    assert table.loc[("threshold 1 − x", 0.3), "accuracy"] == 1
    variants = label_variants(saliency, truth)
    assert (variants["kept"] == 0).all() and (variants["differs"] == 0).all()
    assert variants[["certain", "accuracy", "foreground", "background", "touches"]].isna().all(axis=None)


def test_groups_of_images_change_nothing(monkeypatch):
    saliency, truth = maps()
    whole = threshold_curves(saliency, truth, [0.3], SMALL), label_variants(saliency, truth, base=SMALL)
    monkeypatch.setattr(labels, "_GROUP", 2)
    parts = threshold_curves(torch.from_numpy(saliency), torch.from_numpy(truth), [0.3], SMALL)
    pd.testing.assert_frame_equal(whole[0], parts, check_exact=True)
    pd.testing.assert_frame_equal(whole[1], label_variants(saliency, truth, base=SMALL), check_exact=True)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.01, 0.49))
def test_properties_of_the_curves(seed, x):
    saliency, truth = maps(n=3, seed=seed)
    table = threshold_curves(saliency, truth, [x], SMALL).set_index("curve")
    plain = table.loc[["threshold x", "threshold 1 − x"]]
    assert (plain["certain"] == 1).all() and (plain["images"] == 3).all()
    np.testing.assert_allclose(plain["accuracy"], plain["pooled"])  # every image has as many pixels
    # Where lesion and skin change places, so do the two thresholds (but for values that equal one)
    other = threshold_curves(1 - saliency.astype(np.float64), ~truth, [x], SMALL).set_index("curve")
    assert other.loc["threshold x", "accuracy"] == pytest.approx(plain.loc["threshold 1 − x", "accuracy"])
    assert table.loc["UM", "images"] <= 3
    split = threshold_curves(saliency, saliency > 0.5, [x], SMALL).set_index("curve").loc["split only"]
    assert split["images"] == 0 or split["accuracy"] == 1  # right wherever a threshold of one half is


def test_variants_equal_a_slow_reading():
    saliency, truth = maps(n=14, seed=3)
    base = {"low": 0.4, "high": 0.6, **SMALL}
    variants = {"as it is": {}, "sum": {"rule": "sum"}, "4": {"neighbours": 4}, "all": {"exclusion": math.inf},
                "large": {"min_area": 0.2}, "strict": {"low": 0.3, "high": 0.75}}  # fmt: skip
    table = label_variants(saliency, truth, variants, base).set_index("variant")
    assert list(table.index) == list(variants)
    usual = [literal_label(one, **base)[0] == 1 for one in saliency]
    for name, changes in variants.items():
        row = table.loc[name]
        found = [literal_label(one, **{**base, **changes}) for one in saliency]
        kept = [(label, mask) for (label, keep), mask in zip(found, truth, strict=True) if keep]
        assert (row["kept"], row["n_images"]) == (len(kept), 14)
        assert row["differs"] == sum(
            (label == 1).tolist() != u.tolist() for (label, _), u in zip(found, usual, strict=True)
        )
        assert row["certain"] == pytest.approx(np.mean([(label != 0.5).mean() for label, _ in kept]))
        pairs = [slow_accuracy(label, mask) for label, mask in kept]
        assert row["accuracy"] == pytest.approx(np.mean([r / c for r, c in pairs if c]))
        assert row["foreground"] == pytest.approx(np.mean([mask[label == 1].mean() for label, mask in kept]))
        below = [(~mask)[label == 0].mean() for label, mask in kept if (label == 0).any()]
        assert row["background"] == pytest.approx(np.mean(below))
        assert row["touches"] == pytest.approx(np.mean([mask[label == 1].any() for label, mask in kept]))
    assert table.loc["as it is", "differs"] == 0 and table.loc["sum", "differs"] > 0
    assert table.loc["all", "kept"] >= table.loc["as it is", "kept"]


def test_the_open_choices_are_the_modules_and_the_first_is_the_usual():
    saliency, truth = maps(n=4)
    table = label_variants(saliency, truth)
    assert list(table["variant"]) == list(OPEN_CHOICES) and table["differs"][0] == 0
    before = {name: dict(changes) for name, changes in OPEN_CHOICES.items()}
    label_variants(saliency, truth, base={"high": 0.7})
    assert before == OPEN_CHOICES


def test_bad_input_is_named():
    saliency, truth = maps(n=2)
    with pytest.raises(DataError, match="shape"):
        threshold_curves(saliency[:, ::2], truth, [0.3])
    with pytest.raises(DataError, match="> 0.5"):
        threshold_curves(saliency, truth.astype(float), [0.3])
    with pytest.raises(DataError, match="0 maps"):
        label_variants(saliency[:0], truth[:0])
    for bad in ([], [0.5], [-0.1], [0.3, math.nan]):
        with pytest.raises(DataError, match=r"\[0, 0.5\)"):
            threshold_curves(saliency, truth, bad)
    with pytest.raises(DataError, match="no variants"):
        label_variants(saliency, truth, {})
    with pytest.raises(DataError, match=r"in \[0, 1\]"):
        threshold_curves(saliency * 255, truth, [0.3])
    with pytest.raises(ConfigError, match="which x gives"):
        threshold_curves(saliency, truth, [0.3], {"low": 0.2})
    with pytest.raises(ConfigError, match=r"\['neighbors'\]"):
        label_variants(saliency, truth, {"typo": {"neighbors": 4}})
    with pytest.raises(ConfigError, match="rule"):
        label_variants(saliency, truth, {"typo": {"rule": "median"}})
