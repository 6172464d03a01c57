"""Windows: they hold what they are laid around, and what is cut out comes back where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uslnet_core.errors import DataError
from uslnet_core.windows import crop, cutting_windows, put_back, random_windows, windows_around

SIDE = 32


def box(top: int, left: int, height: int, width: int, side: int = SIDE) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[0, top : top + height, left : left + width] = True
    return mask


def smooth(side: int = SIDE, count: int = 1, channels: int = 3) -> torch.Tensor:
    """Images that no bilinear step can harm much."""
    rng = torch.Generator().manual_seed(3)
    small = torch.rand(count, channels, 4, 4, generator=rng)
    return F.interpolate(small, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)


def test_windows_by_hand():
    masks = torch.cat([box(10, 12, 8, 4), box(0, 30, 4, 2), box(16, 16, 1, 1), box(0, 0, 32, 32), box(0, 0, 0, 0)])
    wide, corner, dot, full, empty = windows_around(masks, 1.5).tolist()
    assert wide == [14 - 6, 14 - 6, 12]
    assert corner == [SIDE - 6, 0, 6], "moved inside"
    assert dot == [14.5, 14.5, 4], "an eighth of the image at least"
    assert full == empty == [0, 0, SIDE]


@given(st.integers(0, 31), st.integers(0, 31), st.integers(1, 32), st.integers(1, 32), st.floats(1, 3), st.booleans())
def test_a_window_lies_inside_and_holds_all(top, left, height, width, widen, second):
    mask = box(top, left, height, width)
    mask[0, 5, 7] |= second
    x, y, side = windows_around(mask, widen)[0].tolist()
    assert 0 <= x <= x + side <= SIDE + 1e-9 and 0 <= y <= y + side <= SIDE + 1e-9
    rows, columns = (ends.nonzero().flatten() for ends in (mask[0].any(1), mask[0].any(0)))
    assert y <= rows[0] and rows[-1] + 1 <= y + side + 1e-9 and x <= columns[0] and columns[-1] + 1 <= x + side + 1e-9


@pytest.mark.parametrize(("masks", "widen"), [(torch.zeros(1, 4, 5, dtype=torch.bool), 1.5), (box(0, 0, 1, 1), 0.9)])
def test_what_no_window_can_be_laid_around_is_refused(masks, widen):
    with pytest.raises(DataError, match="Windows are laid|widen is 0.9"):
        windows_around(masks, widen)


def test_a_crop_is_the_pixels_that_it_names():
    images = smooth(count=2)
    windows = torch.tensor([[8.0, 4.0, 16.0], [0.0, 0.0, 32.0]])
    found = crop(images, windows, 16, SIDE)
    assert torch.allclose(found[0], images[0, :, 4:20, 8:24], atol=1e-5)
    assert torch.allclose(found[1], F.avg_pool2d(images[1], 2), atol=1e-5), "the whole image at half the size"


def test_finer_images_give_finer_crops():
    fine = smooth(2 * SIDE)
    found = crop(fine, torch.tensor([[8.0, 4.0, 16.0]]), 32, SIDE)
    assert torch.allclose(found[0], fine[0, :, 8:40, 16:48], atol=1e-5)


def test_no_image_is_no_mistake():
    none = torch.zeros(0, SIDE, SIDE)
    windows = windows_around(none.bool())
    assert crop(none[:, None].expand(0, 3, SIDE, SIDE), windows, 16, SIDE).shape == (0, 3, 16, 16)
    assert put_back(torch.zeros(0, 16, 16), windows, none).shape == none.shape


@given(st.integers(0, 20), st.integers(0, 20), st.integers(6, 12), st.integers(6, 12))
def test_what_is_cut_out_comes_back_where_it_was(top, left, height, width):
    map_ = smooth(channels=1)[:, 0]
    windows = windows_around(box(top, left, height, width))
    cut = crop(map_[:, None], windows, 4 * SIDE, SIDE)[:, 0]
    back = put_back(cut, windows, torch.full_like(map_, -1))
    x, y, side = windows[0].tolist()
    centres = np.arange(SIDE) + 0.5
    inside = ((centres >= y) & (centres <= y + side))[:, None] & (centres >= x) & (centres <= x + side)
    edge = (abs(centres - y) < 1e-3) | (abs(centres - y - side) < 1e-3)  # on the very edge either may stand
    edge = edge[:, None] | (abs(centres - x) < 1e-3) | (abs(centres - x - side) < 1e-3)
    assert ((back[0].numpy() == -1) == ~inside)[~edge].all()
    assert abs(back - map_)[back != -1].max() < 0.05


def test_random_windows_hold_what_is_set_and_are_drawn_from_the_seed():
    masks = torch.cat([box(10, 12, 8, 4), box(0, 30, 4, 2), box(0, 0, 32, 32), box(0, 0, 0, 0)]).repeat(50, 1, 1)
    drawn = random_windows(masks, torch.Generator().manual_seed(1))
    again = random_windows(masks, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)
    left, top, side = drawn.T
    assert (left >= 0).all() and (top >= 0).all() and (torch.maximum(left, top) + side <= SIDE + 1e-9).all()
    first = drawn[0::4]
    assert (first[:, 0] <= 12).all() and (first[:, :1] + first[:, 2:] >= 16).all()
    assert (first[:, 1] <= 10).all() and (first[:, 1] + first[:, 2] >= 18).all()
    whole = first[:, 2] == SIDE
    assert 10 <= whole.sum() <= 40, "about half of them"
    assert (first[~whole, 2] >= 10 - 1e-9).all() and first[~whole, 2].min() < 16
    assert (drawn[2::4, 2] == SIDE).all() and (drawn[3::4, 2] == SIDE).all(), "nothing larger, and nothing set"


def test_cutting_windows_lie_around_a_pixel_that_is_set_and_mostly_cut():
    masks = torch.cat([box(10, 12, 8, 4), box(0, 30, 4, 2), box(0, 0, 32, 32), box(0, 0, 0, 0)]).repeat(200, 1, 1)
    drawn = cutting_windows(masks, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, cutting_windows(masks, torch.Generator().manual_seed(1)))
    left, top, side = drawn.T
    assert (left >= 0).all() and (top >= 0).all() and (torch.maximum(left, top) + side <= SIDE + 1e-9).all()
    assert ((side >= SIDE / 8) & (side <= SIDE)).all()
    left, top, side = drawn[0::4].T  # lesion: rows 10 to 17, columns 12 to 15
    assert side.min() >= 6 - 1e-9 and side.min() < 6.5 and 11.5 < side.max() <= 12
    middle = torch.stack([top + side / 2, left + side / 2])
    assert ((middle[0] > 10) & (middle[0] < 18) & (middle[1] > 12) & (middle[1] < 16)).all(), "on the lesion"
    assert len(set((middle[0] - 0.5).round().tolist())) == 8 and len(set((middle[1] - 0.5).round().tolist())) == 4
    cut = (left > 12) | (left + side < 16) | (top > 10) | (top + side < 18)
    assert 0.5 < cut.double().mean() < 1


def test_a_share_of_random_windows_cut():
    masks = box(10, 12, 8, 4).repeat(400, 1, 1)

    def held(windows):
        left, top, side = windows.T
        inside = (left <= 12) & (left + side >= 16) & (top <= 10) & (top + side >= 18)
        return inside.double().mean()

    seldom = held(cutting_windows(masks, torch.Generator().manual_seed(3)))
    assert seldom < 0.5
    for cut in (0.0, 0.25, 0.5):
        drawn = random_windows(masks, torch.Generator().manual_seed(2), cut=cut)
        assert abs(held(drawn) - (1 - cut + cut * seldom)) < 0.05, cut
        side = drawn[:, 2]
        assert abs((side == SIDE).double().mean() - 0.5) < 0.06
    with pytest.raises(DataError, match="whole is 0.5 and cut 0.6: expected shares"):
        random_windows(masks, torch.Generator(), cut=0.6)


def test_labels_are_cut_out_without_values_between():
    labels = box(8, 8, 9, 9).float()[:, None] * 2
    found = crop(labels, torch.tensor([[3.3, 5.7, 20.1]]), SIDE, SIDE, mode="nearest")
    assert set(found.unique().tolist()) == {0.0, 2.0}
