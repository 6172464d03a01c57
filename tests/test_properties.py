"""Measured properties: by hand on drawn squares, and against what the generator of the synthetic images knows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr
from skimage.color import lab2rgb

from uslnet_core.data import synthetic
from uslnet_core.errors import DataError
from uslnet_core.properties import BATCH, disagreement, groups_of, measure

SIDE, COUNT, SIZE = 64, 80, 96
SKIN, LESION = (70.0, 12.0, 20.0), (40.0, 16.0, 20.0)


def picture(**painted) -> tuple[np.ndarray, np.ndarray]:
    """Skin with a square lesion in the middle, and whatever is painted over: (1, S, S, 3) and its mask."""
    lab, mask = np.full((SIDE, SIDE, 3), SKIN), np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, 24:40, 24:40] = True
    lab[mask[0]] = LESION
    for place, colour in painted.values():
        lab[place] = colour
    return np.rint(255 * lab2rgb(lab))[None].astype(np.uint8), mask


def test_a_plain_lesion_by_hand():
    row = measure(*picture()).iloc[0]
    assert row["area"] == pytest.approx(16 * 16 / SIDE**2)
    assert row["contrast"] == pytest.approx(np.hypot(30, 4), abs=1)  # 8 bits round colours
    assert row["tone"] == pytest.approx(45, abs=1.5)
    assert not row[["hair", "gel", "border", "corners", "charts"]].any()


def test_each_thing_that_is_painted_is_measured_as_what_it_is():
    bare = measure(*picture()).iloc[0]
    painted = {
        "hair": (slice(5, 60, 9), (5, 0, 0)),
        "gel": ((slice(4, 10), slice(4, 10)), (97, 0, 2)),
        "corners": ((slice(52, None), slice(52, None)), (2, 0, 0)),
        "charts": ((slice(0, 12), slice(0, 12)), (60, -5, -40)),
    }
    for name, (place, colour) in painted.items():
        row = measure(*picture(it=(place, colour))).iloc[0]
        assert row[name] > bare[name], name
        others = [each for each in painted if each != name]
        assert row[others].max() < 0.001, f"{name} is taken for something else: {row[others].to_dict()}"
        assert row["contrast"] == pytest.approx(bare["contrast"], abs=1), name


def test_the_mask_says_where_the_lesion_is():
    image, mask = picture()
    mask = np.roll(mask, 24, axis=2)  # on the skin, and at the edge
    row = measure(image, mask).iloc[0]
    assert row["contrast"] < 1 and row["border"] == pytest.approx(16 / (4 * SIDE))


def test_an_empty_mask_and_a_full_one_have_no_contrast():
    image, mask = picture()
    rows = [measure(image, each).iloc[0] for each in (np.zeros_like(mask), np.ones_like(mask))]
    assert all(np.isnan(row["contrast"]) for row in rows)
    assert rows[0]["area"] == 0 and np.isnan(rows[1]["tone"]) and rows[1]["border"] == 1


def test_no_image_hangs_on_another():
    image, mask = picture(hair=(slice(5, 60, 9), (5, 0, 0)))
    other, _ = picture(gel=((slice(4, 10), slice(4, 10)), (97, 0, 2)))
    many = np.concatenate([image, other] * (BATCH // 2 + 1))
    rows = measure(many, np.repeat(mask, len(many), axis=0))
    assert len(rows) == BATCH + 2
    pd.testing.assert_series_equal(rows.iloc[0], measure(image, mask).iloc[0], check_names=False)
    pd.testing.assert_series_equal(rows.iloc[-1], rows.iloc[1], check_names=False)


def test_masks_of_another_size_are_refused():
    image, mask = picture()
    with pytest.raises(DataError, match="a mask for each image"):
        measure(image, mask[:, :32, :32])


@pytest.fixture(scope="module")
def scenes():
    rows = range(COUNT)
    images = np.stack([synthetic.image(i, size=SIZE, seed=1) for i in rows])
    masks = np.stack([synthetic.mask(i, size=SIZE, seed=1) for i in rows])
    return measure(images, masks), pd.DataFrame([synthetic.describe(i, seed=1) for i in rows])


def told_apart(measured: pd.Series, there: pd.Series) -> float:
    """The chance that an image with the thing is measured above one without it (area under the ROC curve)."""
    ranks, number = rankdata(measured), there.sum()
    return (ranks[there].sum() - number * (number + 1) / 2) / (number * (~there).sum())


def test_what_the_generator_drew_is_found(scenes):
    measured, told = scenes
    assert told_apart(measured["hair"], (told["hair"] + told["stubble"]) > 0) > 0.85
    assert told_apart(measured["gel"], told["glare"] | (told["bubbles"] > 0)) > 0.75
    assert told_apart(measured["corners"], told["corners"]) > 0.95
    assert told_apart(measured["charts"], told["sticker"]) > 0.9
    assert told_apart(-measured["contrast"], told["faint"]) > 0.8
    assert spearmanr(measured["area"], told["area_fraction"]).statistic > 0.98
    assert ((measured["border"] > 0) == told["border"]).mean() > 0.95


def test_groups_are_quarters_or_what_there_is(scenes):
    measured, _ = scenes
    groups = groups_of(measured)
    for name in ("much hair", "low contrast", "small", "large"):
        assert groups[name].sum() == pytest.approx(COUNT / 4, abs=1), name
    assert not (groups["small"] & groups["large"]).any()
    assert (groups["at the border"] == (measured["border"] > 0)).all()
    none = groups_of(measured.assign(hair=0.0, area=0.0))
    assert not none["much hair"].any() and none["nothing found"].all()


def test_disagreement_by_hand():
    last = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], dtype=bool)
    first = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=bool)
    assert disagreement([first, last]) == pytest.approx([1 - 2 / 3, 0, 1])
    assert disagreement([first, last, last]) == pytest.approx([(1 - 2 / 3) / 2, 0, 0.5])
    with pytest.raises(DataError, match="2 or more"):
        disagreement([last])
