"""Augmentation: each sample for itself, seeded, in range, and exact where it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as T
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from uslnet_core.compute import generator
from uslnet_core.config import configure
from uslnet_core.contrastive.views import random_view
from uslnet_core.data import augment
from uslnet_core.data.augment import (
    colour_jitter,
    dihedral,
    gaussian_blur,
    random_dihedral,
    random_grey,
    random_resized_crop,
)

ALL_TURNS = torch.arange(4).repeat(2)
ALL_MIRRORS = torch.tensor([False] * 4 + [True] * 4)


def noise(count: int = 4, side: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def same(count: int = 16, side: int = 12) -> torch.Tensor:
    """One image many times."""
    return noise(1, side).expand(count, -1, -1, -1).clone()


def jitter(images, rng, amount: float = 0.4, hue: float = 0.08, **options):
    return colour_jitter(images, rng, brightness=amount, contrast=amount, saturation=amount, hue=hue, **options)


def all_differ(batch: torch.Tensor) -> bool:
    return all(not torch.equal(a, b) for i, a in enumerate(batch) for b in batch[:i])


@pytest.fixture
def largest(monkeypatch):
    """Let every uniform draw give its upper end."""
    monkeypatch.setattr(augment, "uniform", lambda shape, low, high, rng: torch.full(shape, float(high)))


OPERATIONS = {
    "crop": lambda images, rng: random_resized_crop(images, 8, (0.2, 1.0), rng),
    "colour": lambda images, rng: jitter(images, rng),
    "grey": lambda images, rng: random_grey(images, 0.5, rng),
    "blur": lambda images, rng: gaussian_blur(images, rng, share=1.0, most=40.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_seed_gives_the_same_again_and_another_seed_does_not(name):
    images = noise(8)
    first, second, other = (OPERATIONS[name](images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_images_are_not_changed(name):
    images = noise(8)
    before = images.clone()
    OPERATIONS[name](images, generator(0))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["crop", "colour", "blur"])
def test_each_sample_has_parameters_of_its_own(name):
    assert all_differ(OPERATIONS[name](same(), generator(0)))


@given(st.integers(0, 1000), st.sampled_from(list(OPERATIONS)), st.sampled_from([0.0, 1.0, None]))
def test_values_stay_in_range(seed, name, flat):
    images = noise(4, seed=seed) if flat is None else torch.full((4, 3, 12, 12), flat)
    out = OPERATIONS[name](images, generator(seed))
    assert out.min() >= 0 and out.max() <= 1 and out.dtype == torch.float32


def test_full_strength_stays_in_range():
    out = colour_jitter(noise(64), generator(0), brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_a_few_at_a_time_or_all_together_is_the_same_to_the_last_bit(monkeypatch, name, count):
    images = noise(count, side=16)
    together = OPERATIONS[name](images, generator(0))
    monkeypatch.setattr(augment, "CACHE", 1)
    parts = [part.stop - part.start for part in augment.parts_of(images)]
    assert sum(parts) == count and (count == 1 or min(parts) >= 2) and max(parts) <= 3
    assert torch.equal(OPERATIONS[name](images, generator(0)), together)


@pytest.mark.parametrize("method", ["simclr", "moco_v2"])
@pytest.mark.parametrize("cache", [1, augment.CACHE])
def test_a_view_is_its_steps_one_after_the_other(monkeypatch, method, cache):
    monkeypatch.setattr(augment, "CACHE", cache)
    recipe, images = configure("quick").recipe(method), noise(9, side=72)
    amounts = {name: getattr(recipe, name) for name in ("brightness", "contrast", "saturation", "hue")}
    once, apart = generator(5), generator(5)
    expected = random_resized_crop(images, recipe.crop, recipe.crop_area, apart)
    expected = colour_jitter(expected, apart, share=recipe.jitter, **amounts)
    expected = random_grey(expected, recipe.grey, apart)
    if recipe.blur:
        expected = gaussian_blur(expected, apart, share=recipe.blur)
    assert torch.equal(random_view(images, recipe, once), expected)
    assert torch.equal(once.get_state(), apart.get_state()), "and as many numbers are drawn"


# --- crop ------------------------------------------------------------------------------------------------------------


def slopes(size: int = 32, area: tuple[float, float] = (0.2, 0.5)) -> tuple[torch.Tensor, ...]:
    """Signed width and height of 200 crops as shares of the image, and their centres, read off a ramp."""
    side = 64
    ramp = (torch.arange(side) + 0.5) / side
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side)])
    out = random_resized_crop(images.expand(200, -1, -1, -1), size, area, generator(0))
    middle = size // 2
    width = (out[:, 0, middle, middle] - out[:, 0, middle, middle - 1]) * size
    height = (out[:, 1, middle, middle] - out[:, 1, middle - 1, middle]) * size
    centre = [out[:, c, middle - 1 : middle + 1, middle - 1 : middle + 1].mean((1, 2)) for c in (0, 1)]
    return width, height, *centre


def test_crops_have_the_area_and_the_aspect_that_were_asked_for():
    width, height, *_ = slopes()
    area, ratio = (width * height).abs(), (width / height).abs()
    assert area.min() >= 0.2 - 1e-3 and area.max() <= 0.5 + 1e-3
    assert area.min() < 0.23 and area.max() > 0.47, "the whole range is used"
    assert ratio.min() >= 3 / 4 - 1e-2 and ratio.max() <= 4 / 3 + 1e-2


def test_crops_lie_inside_and_reach_everywhere():
    width, height, x, y = slopes()
    for extent, centre in ((width.abs(), x), (height.abs(), y)):
        assert (centre - extent / 2).min() >= -1e-3 and (centre + extent / 2).max() <= 1 + 1e-3
        assert (centre - extent / 2).min() < 0.02 and (centre + extent / 2).max() > 0.98


def test_crops_are_flipped_both_ways_by_halves():
    width, height, *_ = slopes()
    for flipped in (width < 0, height < 0, (width < 0) & (height > 0)):
        assert 0.1 < flipped.float().mean() < 0.65
    assert 0.35 < (width < 0).float().mean() < 0.65


def test_a_crop_has_the_size_asked_for_and_leaves_a_flat_image_flat():
    out = random_resized_crop(torch.full((3, 3, 40, 40), 0.25), 24, (0.2, 1.0), generator(0))
    assert out.shape == (3, 3, 24, 24)
    assert torch.allclose(out, torch.tensor(0.25), atol=1e-6)


def test_the_whole_image_uncropped_is_itself(monkeypatch):
    # area 1, aspect exp(0) = 1; what is left is the flips
    monkeypatch.setattr(augment, "uniform", lambda shape, low, high, rng: torch.full(shape, (low + high) / 2))
    images = noise(16)
    out = random_resized_crop(images, 12, (1.0, 1.0), generator(0))
    for image, found in zip(images, out, strict=True):
        flips = [image, image.flip(-1), image.flip(-2), image.flip(-1, -2)]
        assert min(float((flip - found).abs().max()) for flip in flips) < 1e-5


# --- colour ----------------------------------------------------------------------------------------------------------


def test_no_change_asked_for_is_no_change():
    images = noise()
    assert torch.allclose(jitter(images, generator(0), amount=0.0, hue=0.0), images, atol=1e-6)
    assert torch.allclose(jitter(images, generator(0), share=0.0), images, atol=1e-6)
    assert torch.equal(random_grey(images, 0.0, generator(0)), images)


def test_a_share_of_the_images_is_changed():
    images = noise(400, side=2)
    changed = ((jitter(images, generator(0), share=0.3) - images).abs().amax((1, 2, 3)) > 1e-5).float().mean()
    assert 0.2 < changed < 0.4


@pytest.mark.parametrize("amount", [0.3, 0.8])
@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation"])
def test_colour_equals_torchvision(largest, what, amount):
    images = noise() * 0.5 + 0.2
    amounts = dict.fromkeys(("brightness", "contrast", "saturation"), 0.0) | {what: amount}
    found = colour_jitter(images, generator(0), **amounts)
    expected = torch.stack([getattr(T, f"adjust_{what}")(image, 1 + amount) for image in images])
    assert torch.allclose(found, expected, atol=1e-3)  # torchvision's grey is 0.2989, 0.587, 0.114


def test_a_third_of_a_turn_of_hue_passes_red_to_green_to_blue(largest):
    images = noise()
    out = colour_jitter(images, generator(0), brightness=0, contrast=0, saturation=0, hue=1 / 3)
    assert torch.allclose(out, images.roll(1, dims=1), atol=1e-5)


def test_hue_and_saturation_leave_grey_alone():
    grey = noise()[:, :1].expand(-1, 3, -1, -1)
    out = colour_jitter(grey, generator(0), brightness=0, contrast=0, saturation=0.8, hue=0.3)
    assert torch.allclose(out, grey, atol=1e-5)


def test_contrast_is_around_the_mean_grey(largest):
    flat = torch.full((2, 3, 4, 4), 0.4)
    out = colour_jitter(flat, generator(0), brightness=0, contrast=0.9, saturation=0)
    assert torch.allclose(out, flat, atol=1e-6)


def test_grey_by_hand():
    out = random_grey(torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1), 1.0, generator(0))
    assert out.flatten().tolist() == pytest.approx([0.299 + 0.2935 + 0.0285] * 3)


def test_grey_takes_its_share():
    grey = random_grey(noise(400, side=2), 0.2, generator(0))
    assert 0.12 < (grey[:, 0] == grey[:, 1]).all(1).all(1).float().mean() < 0.28


# --- quarter turns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.int64])
@pytest.mark.parametrize("shape", [(5, 5), (3, 6, 6)])
def test_quarter_turns_equal_numpys(kind, shape):
    batch = (torch.arange(8 * math.prod(shape)).view(8, *shape) % 251).to(kind)
    found = dihedral(batch, ALL_TURNS, ALL_MIRRORS)
    assert found.dtype == kind
    for image, turn, mirror, out in zip(batch.numpy(), ALL_TURNS.tolist(), ALL_MIRRORS.tolist(), found, strict=True):
        expected = np.rot90(image, turn, axes=(-2, -1))
        assert np.array_equal(out.numpy(), expected[..., ::-1] if mirror else expected)


def test_the_eight_are_different_and_the_first_is_identity():
    batch = same(8)
    out = dihedral(batch, ALL_TURNS, ALL_MIRRORS)
    assert all_differ(out) and torch.equal(out[0], batch[0])


def test_mirroring_and_turning_back_undoes_it():
    batch = noise(8)
    there = dihedral(batch, ALL_TURNS, ALL_MIRRORS)
    back = dihedral(dihedral(there, torch.zeros(8, dtype=torch.int64), ALL_MIRRORS), -ALL_TURNS, ALL_MIRRORS & False)
    assert torch.equal(back, batch)


@given(st.integers(0, 1000))
def test_images_and_labels_turn_together(seed):
    images = noise(6, seed=seed)
    labels = (images[:, 0] > 0.5).to(torch.uint8)
    turn = random_dihedral(6, generator(seed))
    assert torch.equal(dihedral(labels, *turn), (dihedral(images, *turn)[:, 0] > 0.5).to(torch.uint8))


def test_all_eight_are_drawn_about_equally_often():
    turns, mirrored = random_dihedral(800, generator(0))
    counts = torch.bincount(turns * 2 + mirrored, minlength=8)
    assert counts.shape == (8,) and counts.min() > 60 and counts.max() < 140
    again = random_dihedral(800, generator(0))
    assert torch.equal(turns, again[0]) and torch.equal(mirrored, again[1])


# --- blur ------------------------------------------------------------------------------------------------------------


def test_blur_is_a_gaussian_of_its_width():
    images = noise(3, side=40)
    out = gaussian_blur(images, generator(0), share=1.0, least=1.5, most=1.5, at=40)
    expected = gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5), mode="mirror", truncate=5 / 1.5)
    assert np.allclose(out.numpy(), expected, atol=1e-6)


def test_blur_shrinks_with_the_image_and_takes_its_share():
    images = torch.zeros(400, 3, 28, 28)
    images[:, :, 14, 14] = 1
    out = gaussian_blur(images, generator(0), share=0.25, least=8.0, most=8.0, at=224)  # 1 pixel of 28
    peaks = out[:, 0, 14, 14]
    blurred = peaks < 1
    assert 0.18 < blurred.float().mean() < 0.32
    assert torch.allclose(peaks[blurred], torch.tensor(1 / (2 * math.pi)), atol=0.01), "a Gaussian of one pixel"
    assert torch.allclose(out.sum((1, 2, 3)), torch.full((400,), 3.0), atol=1e-4)
