"""SimCLR's views and network."""

from __future__ import annotations

import math

import pytest
import torch

from uslnet_core.compute import generator
from uslnet_core.contrastive.infonce import simclr_loss
from uslnet_core.contrastive.simclr import SimCLR
from uslnet_core.contrastive.views import random_view
from uslnet_core.encoder import Encoder


@pytest.fixture(scope="module")
def model(tiny) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(Encoder("resnet18", 2), tiny().recipe("simclr"), 16)


def test_views_have_the_crop_size_and_the_range(tiny, pictures):
    config = tiny(contrastive={"crop": 64, "jitter": 1.0, "grey": 0.5}).recipe("simclr")
    view = random_view(pictures.batch(range(8)), config, generator(0))
    assert view.shape == (8, 3, 64, 64) and view.dtype == torch.float32
    assert view.min() >= 0 and view.max() <= 1


def test_two_views_differ_and_a_seed_gives_the_same_again(tiny, pictures):
    config, images = tiny(contrastive={"jitter": 1.0}).recipe("simclr"), pictures.batch(range(4))
    rng = generator(3)
    first, second = random_view(images, config, rng), random_view(images, config, rng)
    assert all((a - b).abs().max() > 0.01 for a, b in zip(first, second, strict=True))
    assert torch.equal(first, random_view(images, config, generator(3)))


def test_the_images_are_not_changed(tiny, pictures):
    images = pictures.batch(range(4))
    before = images.clone()
    random_view(images, tiny().recipe("simclr"), generator(0))
    assert torch.equal(images, before)


def test_embeddings_have_unit_length(model, pictures):
    out = model(pictures.batch(range(4)))
    assert out.shape == (4, 128)
    assert torch.allclose(out.norm(dim=1), torch.ones(4), atol=1e-6)


def test_loss_compares_two_views_and_reaches_every_weight(model, pictures):
    loss, first, second = model.loss(pictures.batch(range(4)), generator(0))
    assert not first.requires_grad and not second.requires_grad
    assert loss.item() == pytest.approx(float(simclr_loss(first, second, model.recipe.temperature)), rel=1e-5)
    assert not torch.equal(first, second)
    model.zero_grad()
    loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Batch norm takes the mean away: a bias before it, and none else, may have no gradient.
    assert without == []


def test_uniform_level_counts_both_views_of_all_other_images(model):
    assert model.uniform_level(8) == pytest.approx(math.log(15))
