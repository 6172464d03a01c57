"""The segmenter's decoder, written out once more, and prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uslnet_core.encoder import Encoder
from uslnet_core.segmenter import Segmenter, predict


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(Encoder("resnet18"), width=16).eval()


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 96])
def test_gives_logits_at_the_size_of_the_images(segmenter, side):
    logits = segmenter(torch.rand(2, 3, side, side))
    assert logits.shape == (2, side, side) and logits.dtype == torch.float32


@torch.no_grad()
def test_logits_are_no_probabilities(segmenter):
    before = segmenter.readout.bias.clone()
    segmenter.readout.bias.fill_(-50.0)
    assert segmenter(torch.rand(1, 3, 32, 32)).max() < -1
    segmenter.readout.bias.copy_(before)


@torch.no_grad()
def test_is_read_out_at_a_quarter_of_the_input(segmenter):
    sizes = []
    handle = segmenter.readout.register_forward_hook(lambda _, given, out: sizes.append((given[0].shape, out.shape)))
    segmenter(torch.rand(1, 3, 224, 224))
    handle.remove()
    assert sizes == [((1, 16, 56, 56), (1, 1, 56, 56))]


@torch.no_grad()
def test_sums_the_stages_as_the_paper_draws_it(segmenter):
    images = torch.rand(2, 3, 64, 64)
    total = torch.zeros(2, 16, 16, 16)
    for lateral, features in zip(segmenter.lateral, segmenter.encoder(images, (2, 3, 4)), strict=True):
        total += F.interpolate(lateral(features), (16, 16), mode="bilinear")
    logits = F.interpolate(segmenter.readout(total.relu()), (64, 64), mode="bilinear")[:, 0]
    assert torch.allclose(segmenter(images), logits, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("stages", [(1, 2, 3), (1, 2, 3, 4), (4,)])
def test_other_stages(stages):
    model = Segmenter(Encoder("resnet18"), stages, width=8).eval()
    assert len(model.lateral) == len(stages)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 64, 64)


def test_every_part_learns(segmenter):
    segmenter.zero_grad()
    segmenter(torch.rand(1, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in segmenter.parameters())
    segmenter.zero_grad()


def test_predict_is_the_sigmoid_of_the_model_whatever_the_batch_size(segmenter, cpu, pictures):
    calls = []
    found = predict(segmenter, pictures, cpu, batch_size=5, progress=lambda *call: calls.append(call))
    with torch.no_grad():
        expected = torch.sigmoid(segmenter(pictures.batch(range(16)))).numpy()
    assert found.shape == (16, 32, 32) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(found - expected).max() < 1e-5
    assert calls == [("prediction", done, 16) for done in (5, 10, 15, 16)]


def test_predict_leaves_batch_statistics_alone(segmenter, cpu, pictures):
    before = {k: v.clone() for k, v in segmenter.state_dict().items()}
    segmenter.train()
    predict(segmenter, pictures, cpu)
    assert all(torch.equal(v, before[k]) for k, v in segmenter.state_dict().items())
