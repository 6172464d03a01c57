"""Frames, charts and hair, drawn by hand: found where they are, and nothing else is taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from uslnet_core.artefacts import find_charts, find_frame, find_hair, to_lab
from uslnet_core.data import synthetic

SIDE = 64
SKIN = (70.0, 15.0, 20.0)


@pytest.fixture
def skin() -> np.ndarray:
    return np.full((1, SIDE, SIDE, 3), SKIN, dtype=np.float32)


def test_a_black_bar_and_a_black_corner_are_frames(skin):
    skin[0, :5] = (2, 0, 0)
    skin[0, 50:, 50:] = (2, 0, 0)
    found = find_frame(skin)[0]
    assert found[:5].all() and found[51:, 51:].all() and not found[10:45].any()


@pytest.mark.parametrize("colour", [(2, 0, 0), (2, 20, 10)])
def test_what_is_black_inside_or_has_a_colour_is_no_frame(skin, colour):
    skin[0, 20:40, 20:40] = (2, 0, 0)
    skin[0, :, :8] = colour
    found = find_frame(skin)[0]
    assert not found[:, 20:].any()
    assert found[:, :8].all() == (colour == (2, 0, 0))


def test_a_hair_that_touches_the_border_is_a_hair_and_no_frame(skin):
    skin[0, 30] = (5, 0, 0)
    assert not find_frame(skin).any()
    assert find_hair(skin)[0, 30, 5:-5].all() and find_hair(skin).sum() <= SIDE


def test_a_lesion_is_no_hair(skin):
    skin[0, 20:40, 20:40] = (30, 15, 15)
    assert not find_hair(skin)[0, 22:38, 22:38].any()


@pytest.mark.parametrize("colour", [(80, 5, 80), (60, -5, -30), (60, -40, 10)], ids=["yellow", "blue", "green"])
def test_charts_are_found_at_the_border_alone(skin, colour):
    skin[0, 10:40, 54:] = colour
    skin[0, 20:30, 20:30] = colour
    found = find_charts(skin)[0]
    assert found[12:38, 56:].all() and not found[:, :45].any()


def test_a_tint_of_the_whole_image_is_no_chart(skin):
    skin[:] = (70, 0, -20)
    assert not find_charts(skin).any()


def test_no_image_hangs_on_its_neighbour_in_the_batch(skin):
    black = np.full_like(skin, 0)
    both = np.concatenate([black, skin, black])
    assert find_frame(both)[0].all() and not find_frame(both)[1].any()
    assert not find_hair(both).any() and not find_charts(both).any()


def test_black_corners_of_synthetic_images_are_found():
    """The recipe says which images have them; the rule looks at colours alone."""
    import torch

    rows = range(60)
    told = [synthetic.describe(i, seed=0) for i in rows]
    images = torch.from_numpy(np.stack([synthetic.image(i, size=96, seed=0) for i in rows]))
    found = find_frame(to_lab(images.permute(0, 3, 1, 2).float() / 255)).any((1, 2))
    cornered = np.array([each["corners"] for each in told])
    assert cornered.any() and (found == cornered).mean() > 0.9, told[0]
