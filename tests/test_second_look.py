"""A second look: windows hold what they are laid around, crops come back where they were, turns cancel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uslnet_core.config import UncertaintyConfig
from uslnet_core.errors import DataError
from uslnet_core.labels import select_component
from uslnet_core.second_look import SecondLook, alone, crop, eightfold, put_back, windows_around

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


def test_eight_views_make_a_prediction_that_turns_with_its_image():
    weight = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def predict(images: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid((images * weight).sum(1) - 1)  # knows up from down, and left from right

    fair, images = eightfold(predict), smooth(count=2)
    plain = fair(images)
    assert plain.shape == (2, SIDE, SIDE) and plain.dtype == torch.float32
    assert not torch.allclose(predict(images.flip(-1)).flip(-1), predict(images), atol=1e-3)
    for turn in range(4):
        turned = torch.rot90(images, turn, (-2, -1))
        assert torch.allclose(fair(turned), torch.rot90(plain, turn, (-2, -1)), atol=1e-6)
        assert torch.allclose(fair(turned.flip(-1)), torch.rot90(plain, turn, (-2, -1)).flip(-1), atol=1e-6)
    assert torch.allclose(eightfold(lambda x: x[:, 0])(images), images[:, 0]), "what turns already stays"
    assert plain.min() >= 0 and plain.max() <= 1


def central(probability: torch.Tensor) -> torch.Tensor:
    rules = UncertaintyConfig(min_area=0.0)
    return torch.from_numpy(select_component(probability.numpy(), 0.5, rules))


def test_other_pieces_are_taken_out_and_the_outline_stays():
    probability = smooth(channels=1)[:, 0]
    chosen = central(probability)
    out = alone(probability, chosen)
    assert torch.equal(out > 0.5, chosen) and torch.equal(out[probability <= 0.5], probability[probability <= 0.5])


def small_lesion(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """An image of a dark disc of five pixels and a darker bar in the corner, and where the disc is."""
    y, x = torch.meshgrid(*2 * [torch.arange(side) + 0.5], indexing="ij")
    disc = (y - 0.45 * side).square() + (x - 0.55 * side).square() < 25
    image = torch.ones(1, 3, side, side) - 0.6 * disc
    image[:, :, :8, :20] = 0
    return image, disc[None]


def blurred_darkness(images: torch.Tensor) -> torch.Tensor:
    """A network with cells of eight pixels, like ours: it cannot draw what is smaller."""
    cells = F.avg_pool2d(1 - images.mean(1, keepdim=True), 8)
    return F.interpolate(cells, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0].mul(1.2).clamp(0, 1)


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("beside", [None, lambda windows: (1.6 * (1 - windows.mean(1))).clamp(0, 1)])
def test_a_second_look_draws_what_the_first_can_only_place(beside):
    image, disc = small_lesion()
    look = SecondLook(blurred_darkness, central, beside)
    once, twice = look.first(image) > 0.5, look(image) > 0.5
    assert dice(once, disc) < 0.3 < 0.8 < dice(twice, disc)
    assert not twice[0, :8, :20].any(), "the bar in the corner is not central"


def test_nothing_found_is_looked_at_whole():
    image = torch.ones(1, 3, SIDE, SIDE)
    assert not (SecondLook(blurred_darkness, central)(image) > 0).any()
