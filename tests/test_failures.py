"""What fails is found by rule: the worst first, with masks or without, and every fate counted once."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest

from uslnet_core.data import synthetic
from uslnet_core.errors import DataError
from uslnet_core.properties import measure
from uslnet_core.reproduce.failures import beginnings, failures_of, laid_out

SIZE, N = 48, 24


@pytest.fixture(scope="module")
def scenes():
    """Images with three answers: a poor one, a fair one, and one that misses the first four lesions."""
    images = np.stack([synthetic.image(i, size=SIZE, seed=3) for i in range(N)])
    truth = np.stack([synthetic.mask(i, size=SIZE, seed=3) for i in range(N)])
    last = np.roll(truth, 1, axis=1)
    last[:4] = np.roll(last[:4], SIZE // 2, axis=2)
    masks = {"maps": np.roll(truth, 8, axis=1), "iteration 0": np.roll(truth, 3, axis=2), "iteration 1": last}
    return images, [f"im{k}" for k in range(N)], masks, truth


def test_the_worst_stand_first_and_tables_are_of_all(scenes):
    images, ids, masks, truth = scenes
    found = failures_of(images, ids, masks, truth)
    table = found.tables["images"]
    assert set(table["id"]) == set(ids) and table["DIC"].is_monotonic_increasing
    assert set(table["id"][:4]) == {"im0", "im1", "im2", "im3"}
    toned = measure(images, masks["iteration 1"])["tone"].notna().sum()
    assert found.tables["beginnings"]["images"].sum() == N and found.tables["tones"]["n_images"].sum() == toned
    assert set(found.figures) == {"worst", "doubtful", "groups", "tones"}
    assert len(found.figures["worst"].axes) == 8
    read = laid_out(found.tables["groups"])
    assert list(read) == ["group", "images", "Dice, %", "all others, %", "difference, points"]
    assert list(laid_out(found.tables["tones"])) == ["tone", "images", "Dice, %", "from, %", "to, %"]


def test_without_masks_it_goes_by_disagreement_and_reads_none(scenes):
    images, ids, masks, _ = scenes
    found = failures_of(images, ids, masks)
    table = found.tables["images"]
    assert "DIC" not in table and table["disagreement"].is_monotonic_decreasing
    assert not {"doubts", "beginnings", "groups by truth"} & set(found.tables)


def test_a_doubt_that_sees_the_failures_says_so(scenes):
    images, ids, masks, truth = scenes
    doubts = failures_of(images, ids, masks, truth).tables["doubts"].set_index("doubt")
    row = doubts.loc["disagreement between iterations"]
    assert float(row["caught"].rstrip("%")) > float(row["by chance"].rstrip("%"))


def test_one_model_or_no_image_is_refused(scenes):
    images, ids, masks, _ = scenes
    with pytest.raises(DataError, match="1 models"):
        failures_of(images, ids, {"maps": masks["maps"]})
    with pytest.raises(DataError, match="0 images"):
        failures_of(images[:0], [], {name: each[:0] for name, each in masks.items()})


def test_fates_by_hand():
    table = beginnings(np.array([0.9, 0.1, 0.2, 0.8, 0.5]), np.array([0.9, 0.9, 0.3, 0.4, 0.5]))
    assert list(table["images"]) == [2, 1, 1, 1] and list(table["share"]) == ["40%", "20%", "20%", "20%"]
