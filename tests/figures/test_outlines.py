"""Masks as outlines: where the line runs, and how little rounding moves it."""

import numpy as np
import pytest

from uslnet_core import figures
from uslnet_core.errors import DataError


def enclosed(line: np.ndarray) -> float:
    x, y = line.T
    return abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


def test_outline_of_a_square_runs_between_its_pixels_and_those_outside():
    mask = np.zeros((20, 30), bool)
    mask[4:12, 10:25] = True
    (line,) = figures.outline(mask)
    assert (line[0] == line[-1]).all()
    np.testing.assert_allclose(line.min(axis=0), [9.5, 3.5])
    np.testing.assert_allclose(line.max(axis=0), [24.5, 11.5])
    assert enclosed(line) == pytest.approx(8 * 15, abs=4)  # corners are rounded


def test_outline_follows_a_disc_more_closely_than_its_steps():
    y, x = np.mgrid[:64, :64]
    (line,) = figures.outline(np.hypot(y - 32, x - 32) < 20)
    radius = np.hypot(line[:, 0] - 32, line[:, 1] - 32)
    assert abs(radius - 20).max() < 0.75
    assert enclosed(line) == pytest.approx(np.pi * 20**2, rel=0.02)


def test_outlines_at_the_border_of_specks_holes_and_nothing():
    full = np.ones((6, 8), bool)
    (line,) = figures.outline(full)
    np.testing.assert_allclose([line.min(axis=0), line.max(axis=0)], [[-0.5, -0.5], [7.5, 5.5]])
    speck = np.zeros((6, 8), bool)
    speck[2, 3] = True
    (line,) = figures.outline(speck)
    np.testing.assert_allclose(line.mean(axis=0), [3, 2], atol=0.2)
    assert enclosed(line) == pytest.approx(0.5)
    ring = np.pad(np.zeros((4, 4), bool), 4, constant_values=True)
    assert len(figures.outline(ring)) == 2
    assert figures.outline(np.zeros((6, 8), bool)) == []
    with pytest.raises(DataError, match=r"\(1, 6, 8\)"):
        figures.outline(full[None])


def test_rounding_moves_no_point_by_half_a_pixel():
    from skimage.measure import find_contours

    masks = np.random.default_rng(0).random((20, 16, 16)) > 0.4
    for mask in masks:
        steps = find_contours(np.pad(mask, 1).astype(float), 0.5)
        smooth = figures.outline(mask)
        assert len(steps) == len(smooth)
        for one, other in zip(steps, smooth, strict=True):
            assert np.hypot(*(one[:, ::-1] - 1 - other).T).max() < 0.5


def test_outline_is_stretched_onto_an_image_of_another_size():
    mask = np.zeros((10, 10), bool)
    mask[2:8, 5:10] = True
    (line,) = figures.outline(mask, (20, 40))
    # pixel edges 5 and 10 of 10 are 20 and 40 of 40, minus the half pixel of the first centre
    np.testing.assert_allclose([line.min(axis=0), line.max(axis=0)], [[19.5, 3.5], [39.5, 15.5]])
