"""MoCo: its queue, its slow key encoder, and a batch norm that gives nothing away."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from uslnet_core.compute import generator
from uslnet_core.contrastive import pretrain as contrastive
from uslnet_core.contrastive.heads import embed, projection_head
from uslnet_core.contrastive.infonce import info_nce, uniform_level
from uslnet_core.contrastive.moco import MoCo, _cut, queue_length
from uslnet_core.contrastive.views import random_view
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")


def build(tiny, method: str = "moco_v2", images: int = 16, **changes) -> MoCo:
    torch.manual_seed(0)
    return MoCo(Encoder("resnet18", 2), tiny(contrastive=changes).recipe(method), images).train()


def test_heads_are_those_of_the_methods(tiny):
    layers = {
        method: [type(layer).__name__ for layer in projection_head(512, tiny().recipe(method))]
        for method in ("simclr", "moco_v1", "moco_v2")
    }
    assert layers == {
        "simclr": ["Linear", "BatchNorm1d", "ReLU", "Linear"],
        "moco_v1": ["Linear"],
        "moco_v2": ["Linear", "ReLU", "Linear"],
    }


@pytest.mark.parametrize("method", ["moco_v1", "moco_v2"])
def test_loss_is_info_nce_against_the_queue_and_no_gradient_reaches_the_keys(tiny, pictures, method):
    model = build(tiny, method)
    queue = model.queue.clone()
    loss, query, key = model.loss(pictures.batch(range(8)), generator(0))
    assert loss.item() == pytest.approx(float(info_nce(query, key, queue, model.recipe.temperature)), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    keys = [*model.key_encoder.parameters(), *model.key_head.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in keys)


def test_keys_come_from_the_second_view_in_its_own_order(tiny, pictures):
    """In evaluation mode batch norm sees no batch, so groups and their order must leave no trace."""
    model = build(tiny).eval()
    images, before = pictures.batch(range(8)), copy.deepcopy(model)
    _, query, key = model.loss(images, generator(5))
    rng = generator(5)
    first, second = random_view(images, model.recipe, rng), random_view(images, model.recipe, rng)
    assert torch.allclose(query, before(first), atol=1e-5)
    assert torch.allclose(key, embed(before.key_encoder, before.key_head, second), atol=1e-5)


def test_a_key_hangs_on_its_own_group_alone_and_groups_are_drawn_anew(tiny, pictures):
    """What batch norm could leak: that a key was normalised beside the other images of its query's group."""
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, views):
            seen.append(views[:, 0, 0, 0].tolist())
            return torch.zeros(len(views), 512)

    model = build(tiny, groups=4)
    model.encoder.forward = lambda views: [Spy()(views)[..., None, None]]
    model.key_encoder.forward = model.encoder.forward
    model.recipe = model.recipe.model_copy(update={"momentum": 1.0, "crop_area": (1.0, 1.0)})
    images = pictures.batch(range(16))
    orders = []
    for seed in range(2):
        seen.clear()
        model.loss(images, generator(seed))
        queries, keys = seen[:4], seen[4:]
        assert [len(group) for group in seen] == [4] * 8
        rng = generator(seed)
        views = [random_view(images, model.recipe, rng)[:, 0, 0, 0].tolist() for _ in range(2)]
        assert sum(queries, []) == views[0], "queries stay in order"
        assert sorted(sum(keys, [])) == sorted(views[1]) and sum(keys, []) != views[1], "keys do not"
        orders.append([views[1].index(value) for value in sum(keys, [])])
    assert orders[0] != orders[1]


def test_the_queue_is_first_in_first_out(tiny):
    model = build(tiny, images=12)  # a queue of 6
    start = model.queue.clone()
    keys = [F.normalize(torch.randn(4, 128, generator=generator(k)), dim=1) for k in range(2)]
    model._enqueue(keys[0])
    assert torch.equal(model.queue, torch.cat([keys[0], start[4:]])) and int(model.pointer) == 4
    model._enqueue(keys[1])  # runs over the end
    assert torch.equal(model.queue, torch.cat([keys[1][2:], keys[0][2:], keys[1][:2]])) and int(model.pointer) == 2
    many = F.normalize(torch.randn(9, 128, generator=generator(9)), dim=1)
    model._enqueue(many)
    assert {tuple(row) for row in model.queue.tolist()} == {tuple(row) for row in many[-6:].tolist()}


def test_the_key_encoder_follows_by_the_momentum(tiny, pictures):
    model = build(tiny, momentum=0.9)
    assert all(
        torch.equal(a, b) for a, b in zip(model.encoder.parameters(), model.key_encoder.parameters(), strict=True)
    )
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in model.key_encoder.parameters()]
    model.loss(pictures.batch(range(8)), generator(0))
    for old, new in zip(before, model.key_encoder.parameters(), strict=True):
        assert torch.allclose(new - old, torch.full_like(new, 0.1), atol=1e-5)


def test_everything_that_the_next_step_needs_is_in_the_state(tiny):
    state = build(tiny).state_dict()
    assert {"queue", "pointer", "key_encoder.stem.0.weight", "key_head.0.weight", "head.0.weight"} <= set(state)


@pytest.mark.parametrize(
    ("images", "asked", "length"), [(16, None, 8), (17, None, 8), (3, None, 1), (10**6, None, 65536)]
)
def test_the_queue_is_half_the_images_at_most(tiny, images, asked, length):
    assert queue_length(tiny(contrastive={"queue": asked}).recipe("moco_v2"), images) == length


def test_a_queue_longer_than_half_the_images_is_refused(tiny):
    assert queue_length(tiny(contrastive={"queue": 8}).recipe("moco_v2"), 16) == 8
    with pytest.raises(ConfigError, match=r"queue is 9, but there are 16 images.*Take 8 or fewer"):
        build(tiny, queue=9)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 10, 13, 17])
def test_no_group_has_one_image_alone(tiny, count):
    groups = _cut(torch.zeros(count, 3, 4, 4), build(tiny, groups=4).groups(count))
    assert sum(map(len, groups)) == count and min(map(len, groups)) >= 2


def test_encoders_start_and_draw_apart(tiny, pictures):
    config = tiny()
    numbers = [config.stream(name) for name in ("simclr", "moco_v1", "moco_v2", "fused", "dino_vits16")]
    assert numbers[:3] == [0, 1, 2] and len(set(numbers)) == 5
    weights = [contrastive.build(pictures, config, config.recipe(m), None).encoder for m in ("moco_v1", "moco_v2")]
    assert not torch.equal(*(encoder.stem[0].weight for encoder in weights))


def test_uniform_level_hangs_on_the_queue(tiny):
    assert build(tiny).uniform_level(99) == uniform_level(8)
