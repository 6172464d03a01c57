"""Distances of the uncertainty module are summed exactly: no order, size or rounding moves the last bit."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import ndimage
from uncertainty_oracle import smooth_maps

from uslnet_core import components
from uslnet_core.errors import DataError
from uslnet_core.uncertainty import UncertaintyModule


def test_distances_are_summed_exactly():
    # A sum in raster order ends elsewhere in the last bits: the case is not one where every order agrees.
    saliency = smooth_maps(8, 96, 96, np.random.default_rng(0))
    out = UncertaintyModule(min_area=0)(saliency)
    table, naive = out.regions, 0
    y, x = np.mgrid[:96, :96] - 48.0
    for image in range(8):
        labels, count = ndimage.label(saliency[image].numpy() > np.float32(0.65), np.ones((3, 3)))
        distance = np.sqrt(y * y + x * x)
        exact = [math.fsum(distance[labels == k]) / (labels == k).sum() for k in range(1, count + 1)]
        assert table.mean_distance[table.image == image].tolist() == exact
        naive += (np.bincount(labels.ravel(), distance.ravel())[1:] / np.bincount(labels.ravel())[1:] != exact).sum()
    assert naive > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4000), (4000, 3), (700, 900), (2, 500_000)])
def test_exact_sums_at_any_size(height, width):
    out = UncertaintyModule(min_area=0)(torch.ones(1, height, width))
    y, x = np.arange(height) - height / 2, np.arange(width) - width / 2
    distance = np.sqrt((y * y)[:, None] + (x * x)[None, :])
    assert out.regions.mean_distance.item() == math.fsum(distance.ravel()) / (height * width)


def test_the_two_parts_of_a_sum_are_rounded_once():
    # Just above a tie, by one part in 2^58: rounding the fine part by itself first would lose that part.
    runs = components.find_runs(torch.ones(1, 2, 500_000), 0.65, 8)
    shift = components.distance_table(2, 500_000, torch.device("cpu"))[1]
    coarse, fine = 1 << (37 + shift), (1 << 57) + (1 << 37) + 1
    parts = iter([torch.tensor([coarse]), torch.tensor([fine])])
    expected = float(Fraction(coarse, 1 << shift) + Fraction(fine, 1 << 53))
    assert expected != coarse / (1 << shift) + fine / (1 << 53)
    assert components.distance_sums(runs, lambda _: next(parts)).item() == expected


def test_too_large_for_exact_sums():
    with pytest.raises(DataError, match=r"1 × 4194304 are too large .* Resize"):
        UncertaintyModule()(torch.zeros(1, 1, 1 << 22))


@pytest.mark.parametrize("shape", [(64, 224, 224), (1, 256, 256), (2, 100, 300), (1, 1, 64), (3, 512, 512)])
@pytest.mark.parametrize("neighbours", [4, 8])
def test_a_pixel_in_the_last_row_at_any_place(shape, neighbours):
    images, height, width = shape
    for x in {0, width // 2, (2 * width) // 3, width - 2, width - 1}:
        maps = torch.zeros(shape)
        maps[-1, -1, x] = 1
        found = [components.find_runs(maps, 0.5, neighbours, on_device) for on_device in (False, True)]
        for runs in found:
            assert runs.components == 1 and [int(runs.image), int(runs.y), int(runs.x)] == [images - 1, height - 1, x]
