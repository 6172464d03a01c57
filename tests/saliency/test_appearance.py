"""The appearance of one lesion: two normal distributions of colours, begun from a map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from skimage.color import lab2rgb
from torch import Tensor

from uslnet_core.data import synthetic
from uslnet_core.errors import DataError
from uslnet_core.saliency import appearance, colour_clusters
from uslnet_core.saliency.appearance import MOST, NOISE, log_normal
from uslnet_core.saliency.clusters import even_colours

SIDE = 64
SKIN, MARGIN, CORE = (70.0, 15.0, 20.0), (62.0, 17.0, 21.0), (30.0, 15.0, 15.0)


def ringed() -> tuple[Tensor, Tensor, Tensor]:
    """A dark core in a pale margin on skin that hardly varies: an image (1, 3, S, S), the core and the whole lesion."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    away = np.hypot(y, x)
    lab = np.where((away < 0.12)[..., None], CORE, np.where((away < 0.25)[..., None], MARGIN, SKIN))
    lab = lab + np.random.default_rng(0).normal(0, 0.5, lab.shape)
    image = torch.from_numpy(lab2rgb(lab)).permute(2, 0, 1)[None].float()
    return image, torch.from_numpy(away < 0.12)[None], torch.from_numpy(away < 0.25)[None]


def dice(one: Tensor, other: Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_the_density_is_that_of_scipy():
    rng = np.random.default_rng(1)
    points, weight = rng.normal(0, 5, (2, 40, 3)), rng.uniform(0, 1, (2, 40))
    found = log_normal(torch.from_numpy(points), torch.from_numpy(weight)).numpy()
    for k in range(2):
        mean = np.average(points[k], axis=0, weights=weight[k])
        spread = np.cov(points[k].T, aweights=weight[k], ddof=0) + NOISE**2 * np.eye(3)
        expected = multivariate_normal(mean, spread).logpdf(points[k]) + 1.5 * np.log(2 * np.pi)
        assert np.allclose(found[k], expected)


def test_no_weight_is_no_error():
    points = torch.randn(1, 10, 3, dtype=torch.float64)
    assert torch.isfinite(log_normal(points, torch.zeros(1, 10, dtype=torch.float64))).all()


def test_the_pale_margin_is_told_from_skin_that_hardly_varies():
    image, core, lesion = ringed()
    maps = 0.1 + 0.8 * core.float()
    assert dice(colour_clusters(image) > 0.5, lesion) < 0.6, "two clusters of colour see the core alone"
    before = 0.0
    for rounds in (1, 3, 5, 10):
        found = dice(appearance(image, maps, rounds=rounds) > 0.5, lesion)
        assert found > before, "the map knew of the core alone, and every round learns some of the margin"
        before = found
    assert before > 0.9


def test_one_round_by_hand():
    image, core, _ = ringed()
    maps = 0.1 + 0.8 * core.float()
    colour, clear = even_colours(image)
    assert clear.all()
    points, chance = colour.flatten(1, 2), maps.flatten(1).double()
    told = (log_normal(points, chance) - log_normal(points, 1 - chance)).clamp(-MOST, MOST)
    expected = torch.sigmoid(0.5 * torch.logit(chance) + told).view(1, SIDE, SIDE).float()
    assert torch.allclose(appearance(image, maps, rounds=1), expected, atol=1e-6)


def test_where_all_is_of_one_colour_the_map_decides():
    image = torch.full((1, 3, SIDE, SIDE), 0.6)
    maps = torch.linspace(0.1, 0.9, SIDE).expand(1, SIDE, SIDE)
    found = appearance(image, maps)
    assert torch.equal(found > 0.5, maps > 0.5)
    assert torch.allclose(torch.logit(found), 0.5 * torch.logit(maps), atol=1e-3), "with the weight that it is trusted"


def test_each_image_is_judged_alone_and_turns_with_its_map():
    images = drawn(8)
    maps = colour_clusters(images)
    together = appearance(images, maps)
    assert together.shape == maps.shape and together.dtype == torch.float32
    assert 0 <= together.min() and together.max() <= 1
    assert torch.allclose(together[3:4], appearance(images[3:4], maps[3:4]), atol=1e-5)
    turned = appearance(images.flip(-1), maps.flip(-1)).flip(-1)
    assert ((turned > 0.5) == (together > 0.5)).float().mean() > 0.995


def drawn(count: int) -> Tensor:
    images = np.stack([synthetic.image(number, size=SIDE, seed=0) for number in range(count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def test_maps_of_other_images_are_refused():
    with pytest.raises(DataError, match=r"Images of shape \(1, 3, 64, 64\) need maps .* got \(2, 64, 64\)"):
        appearance(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(2, SIDE, SIDE))
