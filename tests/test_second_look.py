"""A second look: turns cancel, what is small is drawn, and what is settled is settled on the window."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from uslnet_core.config import UncertaintyConfig
from uslnet_core.labels import select_component
from uslnet_core.second_look import SecondLook, alone, eightfold

SIDE = 32


def smooth(side: int = SIDE, count: int = 1, channels: int = 3) -> torch.Tensor:
    """Images that no bilinear step can harm much."""
    rng = torch.Generator().manual_seed(3)
    small = torch.rand(count, channels, 4, 4, generator=rng)
    return F.interpolate(small, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)


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
    once, twice = central(look.once(image)), look(image) > 0.5
    assert dice(once, disc) < 0.3 < 0.8 < dice(twice, disc)
    assert not twice[0, :8, :20].any(), "the bar in the corner is not central"


def test_nothing_found_is_looked_at_whole():
    image = torch.ones(1, 3, SIDE, SIDE)
    assert not (SecondLook(blurred_darkness, central)(image) > 0).any()


def test_the_window_is_settled_by_what_is_given_with_its_own_image():
    image, disc = small_lesion()
    given = []

    def settle(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        given.append((images, maps))
        return (images.mean(1) < 0.7).float()

    look = SecondLook(blurred_darkness, central, settle=settle)
    assert dice(look(image) > 0.5, disc) > 0.8
    (images, maps), *rest = given
    assert not rest and images.shape == image.shape and torch.equal(maps, blurred_darkness(images))


def test_maps_of_windows_are_put_back_at_any_size():
    image, disc = small_lesion()
    look = SecondLook(blurred_darkness, central)
    maps, windows = look.seen(image)
    large = look.whole(maps, windows, 128) > 0.5
    assert large.shape == (1, 128, 128)
    assert dice(large, disc.repeat_interleave(2, 1).repeat_interleave(2, 2)) > 0.8
    assert torch.equal(look.whole(maps, windows, 64), look(image))
