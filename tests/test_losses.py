"""The uncertainty loss, against a loop over pixels and against equation 3 as it is printed, mended."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uslnet_core.errors import DataError
from uslnet_core.losses import uncertainty_loss


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=rng), torch.randint(3, shape, generator=rng) / 2


def pixel_loop(logits: torch.Tensor, label: torch.Tensor) -> float:
    total = 0.0
    for image, truth in zip(logits.tolist(), label.tolist(), strict=True):
        lost, certain = 0.0, 0
        for row, wanted in zip(image, truth, strict=True):
            for z, wish in zip(row, wanted, strict=True):
                if wish == 0.5:
                    continue
                p = 1 / (1 + math.exp(-z))
                lost -= math.log(p) if wish == 1 else math.log(1 - p)
                certain += 1
        total += lost / certain if certain else 0.0
    return total / len(logits)


def equation_3(logits: torch.Tensor, label: torch.Tensor) -> float:
    """The printed formula for one image, its first logarithm mended."""
    p, wish = torch.sigmoid(logits.double()), label.double()
    weighted = (wish - 0.5) ** 2 * (wish * p.log() + (1 - wish) * (1 - p).log())
    return float(-weighted.sum() / (wish.numel() - 4 * (wish * (1 - wish)).sum()))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (3, 8, 8), (4, 1, 9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_a_loop_over_pixels(shape, seed):
    logits, label = draw(shape, seed)
    assert float(uncertainty_loss(logits, label)) == pytest.approx(pixel_loop(logits, label), rel=1e-5, abs=1e-7)


def test_literal_equals_the_printed_formula():
    logits, label = draw((1, 6, 6))
    assert float(uncertainty_loss(logits, label, literal=True)) == pytest.approx(
        equation_3(logits[0], label[0]), rel=1e-5
    )


def test_literal_is_a_quarter():
    logits, label = draw((3, 8, 8))
    assert float(uncertainty_loss(logits, label, literal=True)) == float(uncertainty_loss(logits, label)) / 4


def test_four_by_four_by_hand():
    logits = torch.full((1, 4, 4), math.log(3))  # p = 3/4
    logits[0, 2:] = 50.0  # uncertain: may say what it likes
    label = torch.tensor([[[1.0] * 4, [0.0] * 4, [0.5] * 4, [0.5] * 4]])
    # four pixels lose ln 4/3, four lose ln 4, eight do not count
    assert float(uncertainty_loss(logits, label)) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-6)


def test_no_gradient_on_uncertain_pixels_and_one_on_every_certain_pixel():
    logits, label = draw((2, 6, 6))
    logits.requires_grad_()
    uncertainty_loss(logits, label).backward()
    assert (logits.grad[label == 0.5] == 0).all()
    assert (logits.grad[label != 0.5] != 0).all()
    certain = label == 1
    assert (logits.grad[certain] < 0).all(), "on foreground the loss must fall as the logit grows"


def test_an_image_without_certain_pixels_contributes_nothing():
    logits, label = draw((2, 4, 4))
    label[1] = 0.5
    logits.requires_grad_()
    loss = uncertainty_loss(logits, label)
    loss.backward()
    alone = uncertainty_loss(logits[:1], label[:1])
    assert loss.item() == pytest.approx(alone.item() / 2, rel=1e-6)
    assert (logits.grad[1] == 0).all()


def test_a_batch_without_certain_pixels_is_zero_with_zero_gradient():
    logits = torch.randn(2, 4, 4, requires_grad=True)
    loss = uncertainty_loss(logits, torch.full((2, 4, 4), 0.5))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_each_image_weighs_the_same_however_many_certain_pixels_it_has():
    logits = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), -1.0)])
    label = torch.ones(2, 4, 4)
    full = float(uncertainty_loss(logits, label))
    label[1] = 0.5
    label[1, 0, 0] = 1.0
    assert float(uncertainty_loss(logits, label)) == pytest.approx(full, rel=1e-6)


def test_extreme_logits_stay_finite():
    logits, label = torch.tensor([[[1000.0, -1000.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert float(uncertainty_loss(logits, label)) == pytest.approx(1000.0)


def test_takes_a_channel_axis():
    logits, label = draw((2, 5, 5))
    assert uncertainty_loss(logits[:, None], label[:, None]) == uncertainty_loss(logits, label)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 6))
def test_foreground_and_background_are_alike_and_the_loss_is_never_negative(seed, batch, side):
    logits, label = draw((batch, side, side), seed)
    loss = float(uncertainty_loss(logits, label))
    assert loss >= 0
    assert float(uncertainty_loss(-logits, 1 - label)) == pytest.approx(loss, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("first", "second"), [((2, 4, 4), (2, 4, 5)), ((2, 4, 4), (2, 1, 4, 4)), ((4, 4), (4, 4))])
def test_shapes_that_differ_are_refused(first, second):
    with pytest.raises(DataError, match=r"same shape \(B, H, W\)"):
        uncertainty_loss(torch.zeros(first), torch.zeros(second))
