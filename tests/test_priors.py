"""Gentle terms: each moves a map the way it says, and a weight of nothing moves nothing."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from skimage.color import lab2rgb

from uslnet_core.data import synthetic
from uslnet_core.priors import compact, darker_or_redder, filled, without_hair

SIDE = 64


def disc(radius: float = 16, hole: float = 0) -> torch.Tensor:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    away = np.hypot(y, x)
    return torch.from_numpy((away < radius) & (away >= hole))[None]


def image_of(lab: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(lab2rgb(lab)).permute(2, 0, 1)[None].float()


def test_holes_are_filled_and_bays_are_not():
    ring = 0.1 + 0.8 * disc(hole=8).float()
    found = filled(ring)
    assert torch.equal(found > 0.5, disc()) and torch.allclose(found[disc(8)], torch.tensor(0.9))
    bay = ring.clone()
    bay[0, 32, 32:] = 0.1  # a way out
    assert torch.equal(filled(bay), bay)
    unsure = torch.where(disc(8), 0.5, ring)
    assert torch.equal(filled(unsure) > 0.5, disc()), "a hole at the threshold itself is filled, too"
    assert filled(ring[:0]).shape == (0, SIDE, SIDE)


def test_fringes_go_and_the_body_stays():
    body = disc().numpy()[0]
    fringed = body.copy()
    fringed[31:33, 50:] = True  # a hair that the lesion holds on to
    maps = torch.from_numpy(0.1 + 0.8 * fringed).float()[None]
    found = compact(maps, 1 / 32)[0].numpy() > 0.5
    assert (found[:, 54:].sum()) == 0 and (found & body).sum() > 0.97 * body.sum()
    assert ndimage.label(found)[1] == 1
    assert torch.allclose(compact(maps, 0.0), maps, atol=1e-6)


def test_darker_and_redder_pixels_are_believed_more():
    lab = np.full((SIDE, SIDE, 3), (70.0, 15.0, 20.0))
    lab[10:20, 10:20] = (45, 15, 20)  # darker
    lab[40:50, 40:50] = (70, 40, 20)  # redder
    lab[10:20, 40:50] = (85, 5, 20)  # lighter and paler
    image, maps = image_of(lab), torch.full((1, SIDE, SIDE), 0.3)
    found = darker_or_redder(image, maps, 2.0)[0]
    assert found[15, 15] > 0.6 and found[45, 45] > 0.6 and found[15, 45] < 0.15
    assert abs(found[32, 5] - 0.3) < 0.1, "skin is neither"
    assert torch.allclose(darker_or_redder(image, maps, 0.0), maps, atol=1e-6)


def test_hair_is_painted_over_and_nothing_else_is_touched():
    image = torch.from_numpy(synthetic.image(3, size=SIDE, seed=0)).permute(2, 0, 1)[None].float() / 255
    plain = image_of(np.full((SIDE, SIDE, 3), (70.0, 15.0, 20.0)))
    hairy = plain.clone()
    hairy[:, :, :, 20:21] = 0.1
    shaved = without_hair(hairy)
    assert (shaved - plain).abs().max() < 0.02
    assert torch.equal(without_hair(plain), plain)
    assert shaved.shape == image.shape and without_hair(image).dtype == torch.float32
