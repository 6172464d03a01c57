"""Maps in one: means, plain and weighed, and agreement; and colour distance as an example of a source."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import lab2rgb

from uslnet_core.errors import DataError
from uslnet_core.saliency import agreement, colour_distance, map_images, mean_maps, weighed_maps

maps = arrays(np.float32, (2, 3, 3), elements=st.floats(0, 1, width=32))


@given(maps, maps, maps)
def test_the_mean_lies_between_and_no_encoder_comes_first(a, b, c):
    found = mean_maps([a, b, c])
    assert found.dtype == np.float32 and found.shape == a.shape
    assert (found >= np.minimum(np.minimum(a, b), c)).all() and (found <= np.maximum(np.maximum(a, b), c)).all()
    assert mean_maps([c, a, b]).tobytes() == found.tobytes()
    assert np.array_equal(mean_maps([a]), a) and np.array_equal(mean_maps([a, a, a]), a)


def test_the_mean_by_hand():
    assert mean_maps([np.full((1, 1, 1), value) for value in (0.2, 0.3, 1.0)]) == pytest.approx(0.5)


@given(maps, maps)
def test_who_is_surer_is_heard_more(a, b):
    found = weighed_maps([a, b])
    assert found.dtype == np.float32 and found.shape == a.shape
    assert (found >= np.minimum(a, b)).all() and (found <= np.maximum(a, b)).all() or np.allclose(found, 0.5)
    surer = np.where(abs(a - 0.5) >= abs(b - 0.5), a, b)
    assert (abs(found - surer) <= abs(mean_maps([a, b]) - surer) + 1e-6).all()
    assert np.array_equal(weighed_maps([b, a]), found)


def test_weighing_by_hand():
    low, high, silent = (np.full((1, 1, 1), value, dtype=np.float32) for value in (0.25, 1.0, 0.5))
    assert weighed_maps([low, high]) == pytest.approx((0.25 * 0.25 + 0.5 * 1.0) / 0.75)
    assert weighed_maps([low, silent]) == pytest.approx(0.25)
    assert weighed_maps([silent, silent]) == pytest.approx(0.5)


def test_agreement_by_hand():
    first, second, third = (
        np.array([[values]], dtype=np.float32) for values in ([0.2, 0, 1], [0.6, 0, 0], [0.3, 0, 1])
    )
    assert np.allclose(agreement([first, second, third]), [[[0.6, 1, 0]]])
    assert np.array_equal(agreement([first]), np.ones((1, 1, 3)))


@pytest.mark.parametrize("fuse", [mean_maps, weighed_maps, agreement])
@pytest.mark.parametrize("shapes", [[], [(2, 4, 4), (2, 8, 8)], [(2, 4, 4), (3, 4, 4)], [(4, 4), (4, 4)]])
def test_shapes_that_do_not_fit_are_refused(fuse, shapes):
    with pytest.raises(DataError, match="Cannot average maps of the shapes"):
        fuse([np.zeros(shape, dtype=np.float32) for shape in shapes])


# --- colour ----------------------------------------------------------------------------------------------------------


def disc(skin: tuple, lesion: tuple, side: int = 32) -> tuple[torch.Tensor, np.ndarray]:
    """An image (1, 3, S, S) of a disc of one colour on another, both in Lab, and where the disc is."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(y, x) < side / 4
    image = lab2rgb(np.where(inside[..., None], lesion, skin).astype(np.float64))
    return torch.from_numpy(image).permute(2, 0, 1)[None].float(), inside


@pytest.mark.parametrize(
    ("lesion", "expected"),
    [((50, 15, 20), 0.4), ((70, 15, 45), 0.5), ((67, 19, 20), 0.1), ((15, 15, 20), 1.0), ((70, 15, 20), 0.0)],
)
def test_distance_of_a_disc_by_hand(lesion, expected):
    image, inside = disc((70, 15, 20), lesion)
    found = colour_distance(image)[0].numpy()
    assert np.allclose(found[inside], expected, atol=5e-3) and np.allclose(found[~inside], 0, atol=5e-3)


def test_a_lesion_that_crosses_the_border_stays_the_lesion():
    image, _ = disc((70, 15, 20), (30, 15, 20))
    image[..., :16, 24:] = image[..., 16:17, 16:17]  # a corner of the frame, less than half of the border
    found = colour_distance(image)[0]
    assert found[0, 31] == pytest.approx(0.8, abs=5e-3) and found[31, 0] == pytest.approx(0, abs=5e-3)


def test_colour_is_a_source_of_maps(cpu, pictures):
    found = map_images(colour_distance, pictures, cpu, batch_size=5)
    assert found.shape == (16, 32, 32) and found.dtype == np.float32
    assert np.array_equal(found, map_images(colour_distance, pictures, cpu, batch_size=1))
    turned = colour_distance(pictures.batch(range(4)).rot90(1, (2, 3)))
    assert np.allclose(turned, np.rot90(found[:4], 1, (1, 2)), atol=1e-6)


def test_it_takes_ten_lines():
    lines = inspect.getsource(colour_distance).replace(colour_distance.__doc__, "").splitlines()
    assert len(lines) <= 10
