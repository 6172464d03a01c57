"""InfoNCE against a plain loop, and against lightly's NT-Xent, to the last digits of float32."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from uslnet_core.contrastive.infonce import alignment, info_nce, simclr_loss, top1, uniform_level, uniformity
from uslnet_core.errors import ConfigError

BATCHES, TEMPERATURES = [2, 3, 8, 17], [0.07, 0.2, 1.0]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def nce_loop(query, key, negatives, temperature) -> float:
    total = 0.0
    for i in range(len(query)):
        own = negatives[i] if negatives.ndim == 3 else negatives
        positive = math.exp(dot(query[i], key[i]) / temperature)
        rest = sum(math.exp(dot(query[i], n) / temperature) for n in own)
        total -= math.log(positive / (positive + rest))
    return total / len(query)


def simclr_loop(first, second, temperature) -> float:
    views = [*first, *second]
    count, total = len(first), 0.0
    for i, view in enumerate(views):
        partner = (i + count) % (2 * count)
        shares = [math.exp(dot(view, other) / temperature) for j, other in enumerate(views) if j != i]
        total -= math.log(math.exp(dot(view, views[partner]) / temperature) / sum(shares))
    return total / (2 * count)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_simclr_equals_a_loop_and_lightly(batch, temperature):
    from lightly.loss import NTXentLoss

    first, second = unit(batch, 16, seed=1), unit(batch, 16, seed=2)
    ours = float(simclr_loss(first, second, temperature))
    assert ours == pytest.approx(simclr_loop(first, second, temperature), rel=1e-5)
    assert ours == pytest.approx(float(NTXentLoss(temperature=temperature)(first, second)), rel=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_simclr_has_the_gradient_of_lightly(temperature):
    from lightly.loss import NTXentLoss

    grads = []
    for loss in (lambda a, b: simclr_loss(a, b, temperature), NTXentLoss(temperature=temperature)):
        first, second = unit(5, 8, seed=1).requires_grad_(), unit(5, 8, seed=2).requires_grad_()
        loss(F.normalize(first, dim=1), F.normalize(second, dim=1)).backward()
        assert (first.grad != 0).any() and (second.grad != 0).any()
        grads.append(torch.cat([first.grad, second.grad]))
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", [1, 5, 32, 160])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_info_nce_equals_a_loop_and_lightly_with_a_queue(batch, length, temperature):
    from lightly.loss import NTXentLoss

    query, key, queue = unit(batch, 16, seed=1), unit(batch, 16, seed=2), unit(length, 16, seed=3)
    ours = float(info_nce(query, key, queue, temperature))
    assert ours == pytest.approx(nce_loop(query, key, queue, temperature), rel=1e-5)
    theirs = NTXentLoss(temperature=temperature, memory_bank_size=(length, 16))
    theirs(query, key)  # the first call makes the bank
    theirs.memory_bank.bank = queue
    assert ours == pytest.approx(float(theirs(query, key)), rel=1e-6)


def test_info_nce_with_negatives_of_its_own_for_each_query():
    query, key, negatives = unit(4, 8, seed=1), unit(4, 8, seed=2), unit(4, 6, 8, seed=3)
    assert float(info_nce(query, key, negatives, 0.2)) == pytest.approx(nce_loop(query, key, negatives, 0.2), rel=1e-5)


def test_simclr_is_info_nce_with_the_other_views_as_negatives():
    first, second = unit(4, 8, seed=1), unit(4, 8, seed=2)
    views = torch.cat([first, second])
    negatives = torch.stack([torch.stack([v for j, v in enumerate(views) if j % 4 != i % 4]) for i in range(8)])
    expected = info_nce(views, torch.cat([second, first]), negatives, 0.2)
    assert float(simclr_loss(first, second, 0.2)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_network_that_knows_nothing_scores_the_uniform_level(batch, temperature):
    same = unit(1, 16).expand(batch, 16)
    assert float(simclr_loss(same, same, temperature)) == pytest.approx(uniform_level(2 * batch - 2), rel=1e-5)
    assert float(info_nce(same, same, same, temperature)) == pytest.approx(math.log(1 + batch), rel=1e-5)


def test_perfect_pairs_far_from_all_others_lose_nothing():
    first = torch.eye(4)
    assert float(simclr_loss(first, first, 0.01)) < 1e-6


def test_order_and_names_of_the_views_do_not_matter():
    first, second = unit(6, 8, seed=1), unit(6, 8, seed=2)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = float(simclr_loss(first, second, 0.2))
    assert float(simclr_loss(second, first, 0.2)) == pytest.approx(loss, rel=1e-6)
    assert float(simclr_loss(first[order], second[order], 0.2)) == pytest.approx(loss, rel=1e-6)
    assert float(simclr_loss(first[order], second, 0.2)) != pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.0, -0.1, float("nan")])
def test_a_temperature_not_above_zero_is_refused(temperature):
    one = unit(2, 4)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        simclr_loss(one, one, temperature)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        info_nce(one, one, one, temperature)


def test_one_image_has_no_negatives():
    with pytest.raises(ConfigError, match="at least 2 images"):
        simclr_loss(unit(1, 4), unit(1, 4), 0.2)


def test_top1_by_hand():
    first = torch.eye(3)
    assert float(top1(first, first)) == 1
    assert float(top1(first, first[[0, 2, 1]])) == pytest.approx(1 / 3)
    assert float(top1(torch.ones(4, 2), torch.ones(4, 2))) == 0.25, "all are one point: no better than guessing"


def test_alignment_by_hand():
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(alignment(first, second)) == pytest.approx(1.0)  # 0 and 2


def test_uniformity_by_hand():
    corners = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # squared distance 4
    assert float(uniformity(corners)) == pytest.approx(-8.0)
    assert float(uniformity(unit(1, 8).expand(5, 8))) == pytest.approx(0.0, abs=1e-6)
