"""FreqCAM on made-up features, by hand and against scipy's and the uncertainty module's components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from uslnet_core.components import find_runs, pixels_of
from uslnet_core.errors import ConfigError
from uslnet_core.saliency import FreqCAM, map_images
from uslnet_core.saliency.freqcam import channel_frequency, largest_regions


class Fixed(nn.Module):
    """An encoder that gives the features it was made with."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor, stages: tuple[int, ...]) -> list[torch.Tensor]:
        return [self.features for _ in stages]


def counted(rows: list[list[int]]) -> torch.Tensor:
    """Features (1, 4, h, w) of four channels, as many of them active at each cell as the table says."""
    table = torch.tensor(rows)
    return torch.stack([(table > channel).float() * (channel + 1) for channel in range(4)])[None]


def test_frequency_by_hand():
    assert torch.equal(channel_frequency(counted([[0, 1, 2], [4, 3, 0]])) * 4, torch.tensor([[[0, 1, 2], [4, 3, 0]]]))
    same = torch.full((1, 4, 2, 2), 3.0)
    assert channel_frequency(same).max() == 0  # a channel that is the same everywhere tells nothing


def test_keeps_the_largest_region_and_its_frequency():
    features = counted(
        [[4, 0, 0, 2], [0, 0, 2, 0], [0, 0, 3, 3], [1, 1, 0, 0]]
    )  # two regions of 2 and more: 1 and 4 cells
    found = FreqCAM(Fixed(features), 0.5)(torch.rand(1, 3, 32, 32))
    expected = torch.tensor([[0, 0, 0, 2], [0, 0, 2, 0], [0, 0, 3, 3], [0, 0, 0, 0]]) / 4
    assert torch.equal(found[0], expected)
    assert torch.equal(FreqCAM(Fixed(features), 0.8)(torch.rand(1, 3, 32, 32))[0].nonzero(), torch.tensor([[0, 0]]))


def test_frequency_is_scaled_to_each_image():
    features = counted([[2, 3], [2, 2]])  # two channels are active everywhere, so they tell nothing
    assert torch.equal(FreqCAM(Fixed(features))(torch.rand(1, 3, 8, 8)), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))


def test_an_image_without_any_difference_gets_zeros():
    assert FreqCAM(Fixed(torch.ones(1, 4, 2, 2)), 0.0)(torch.rand(1, 3, 8, 8)).abs().max() == 0


def test_among_equal_regions_the_first_in_raster_order():
    mask = torch.tensor([[[0, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0]]]).bool()
    assert largest_regions(mask)[0].nonzero().tolist() == [[0, 3], [1, 3]]


@given(arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))))
def test_largest_region_agrees_with_the_uncertainty_module_s_components(masks):
    found = largest_regions(torch.from_numpy(masks))
    runs = find_runs(torch.from_numpy(masks).float(), 0.5, 8)
    for image in range(len(masks)):
        best, area = torch.zeros(masks.shape[1:], dtype=torch.bool), 0
        for component in range(runs.components):
            pixels = pixels_of(runs, torch.arange(runs.components) == component)[image]
            if int(pixels.sum()) > area:
                best, area = pixels, int(pixels.sum())
        assert torch.equal(found[image], best)


@pytest.mark.parametrize("frequency", [-0.1, 1.1])
def test_a_frequency_out_of_range_is_refused(frequency):
    with pytest.raises(ConfigError, match=f"frequency is {frequency}"):
        FreqCAM(Fixed(torch.ones(1)), frequency)


@pytest.mark.parametrize("which", ["grid", "tokens"])
def test_maps_of_an_encoder(request, which, cpu, pictures):
    source = FreqCAM(request.getfixturevalue(which)())
    found = map_images(source, pictures, cpu, batch_size=5)
    assert found.shape == ((16, 8, 8) if which == "grid" else (16, 4, 4))
    assert np.array_equal(found, map_images(source, pictures, cpu, batch_size=1))
    assert ((found == 0) | (found >= 0.5)).all() and (found.max((1, 2)) == 1).any()
