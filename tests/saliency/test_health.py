"""Health: each failure is made to happen, and sound maps pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from uslnet_core.errors import TrainingError
from uslnet_core.saliency import check_maps, map_health, train_ccam
from uslnet_core.saliency.health import check_clamp
from uslnet_core.saliency.loss import MOST, ccam_loss, clamped_share


def one_sided(value: float, others: int) -> np.ndarray:
    """Ten maps of 100 cells, all but ``others`` of the 1000 cells at one value."""
    maps = np.full(1000, value, dtype=np.float32)
    maps[:others] = 0.5
    return maps.reshape(10, 10, 10)


def test_figures_by_hand():
    maps = np.array([[[0, 1], [0.5, 0.5]], [[0.2, 0.2], [0.2, 0.2005]]], dtype=np.float32)
    found = map_health(maps)
    assert found == {"constant": 0.5, "skin": 0.125, "lesion": 0.125, "spread": 1.0}


@pytest.mark.parametrize(("value", "side"), [(1.0, "lesion"), (0.9995, "lesion"), (0.0, "skin"), (0.0005, "skin")])
def test_saturated_on_one_side(value, side):
    with pytest.raises(TrainingError, match=f"saturated, 99.1% of all cells .* everything is {side}.*Expected.*lower"):
        check_maps(one_sided(value, 9))
    check_maps(one_sided(value, 11))


def test_sharp_maps_are_sound():
    check_maps((np.random.default_rng(0).random((4, 8, 8)) > 0.8).astype(np.float32))


def test_one_map_of_zeros_among_others_is_sound():
    maps = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    maps[1] = 0
    assert check_maps(maps) is maps and map_health(maps)["constant"] == pytest.approx(1 / 3)


def test_not_a_number_says_where():
    maps = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32)
    maps[3, 1, 1], maps[4] = np.inf, np.nan
    with pytest.raises(TrainingError, match="^FreqCAM: .* in 2 of 5 images, first in image 3"):
        check_maps(maps, "FreqCAM")


# --- the clamp -------------------------------------------------------------------------------------------------------


def halves(left: list[list[float]], right: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of two cells with these features; P is 1 on the left and 0 on the right."""
    features = torch.stack([torch.tensor(left), torch.tensor(right)], -1)[:, :, None]  # (B, C, 1, 2)
    return features, torch.tensor([1.0, 0.0]).expand(len(left), 1, 1, 2)


def test_clamped_pairs_by_hand():
    east, north, almost = [1.0, 0.0], [0.0, 1.0], [1.0, 0.02]  # cosine 0.9998 with the first
    assert clamped_share(*halves([east, east], [north, north])) == 0  # as far apart as can be
    assert clamped_share(*halves([east, east], [almost, almost])) == 1
    assert clamped_share(*halves([east, north], [east, north])) == 0.5  # each with its own
    assert clamped_share(*halves([east, east], [[-1.0, 0.0]] * 2)) == 0  # below the lower clamp: told apart
    features, side = halves([east, east], [north, north])
    assert clamped_share(features, torch.ones_like(side)) == 1  # nothing is left on the other side


@pytest.mark.parametrize("angle", [0.02, 0.5])
def test_clamped_says_whether_a_gradient_flows(angle):
    features = torch.tensor([[1.0, 0.0], [np.cos(angle), np.sin(angle)]], dtype=torch.float32).T[None, :, None]
    features, side = features.expand(3, -1, -1, -1), torch.tensor([0.8, 0.1]).repeat(3, 1, 1, 1).requires_grad_()
    apart = ccam_loss(features, side, 0.25)[1]
    flows = bool(torch.autograd.grad(apart, side)[0].abs().max() > 0)
    assert flows is (angle == 0.5)
    assert clamped_share(features, side) == (0 if flows else 1)
    assert (float(torch.exp(-apart.detach())) < 1 - MOST + 1e-6) is not flows


def test_the_whole_last_epoch_counts():
    table = pd.DataFrame({"apart": [7.6, 7.0], "clamped": [1.0, 0.99]})
    check_clamp(table)
    with pytest.raises(TrainingError, match=r"dead.*clamped 100%, apart term 7\.60.*chapter 2, -p epochs=…"):
        check_clamp(table[::-1])


def test_features_that_differ_too_little_are_a_dead_ccam(plain, tiny, cpu, pictures):
    """Batch norm spreads the maps all the same, so that nothing else would show it."""
    from uslnet_core.saliency.ccam import CCAM, saliency_maps

    settings = tiny(saliency={"epochs": 20, "margin": 0})
    with pytest.raises(TrainingError, match="CCAM is dead"):
        train_ccam(pictures, plain(0.05, offset=1.0), settings, cpu)
    found = train_ccam(pictures, plain(), settings, cpu)
    assert found.history["clamped"].between(0, 1, inclusive="left").all()
    assert check_maps(saliency_maps(CCAM(plain(), margin=0), pictures, cpu)) is not None
