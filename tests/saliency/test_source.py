"""The interface of all sources: what is a source, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError, TrainingError
from uslnet_core.saliency import ccam, map_images, source, upsample


def redness(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0]


def test_a_plain_function_is_a_source(cpu, pictures):
    calls = []
    found = map_images(redness, pictures, cpu, batch_size=5, progress=lambda *call: calls.append(call))
    assert found.dtype == np.float32
    assert np.array_equal(found, pictures.images[..., 0].astype(np.float32) / 255)
    assert calls == [("saliency maps", done, 16) for done in (5, 10, 15, 16)]


class Learnt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 1, 4, stride=4), nn.Dropout(0.5)
        self.conv.bias.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled() and not self.drop.training
        return self.drop(self.conv(images)).sigmoid()[:, 0]


def test_a_module_is_a_source_held_in_evaluation_mode_and_given_back(cpu, pictures):
    module = Learnt()
    module.conv.eval()
    found = map_images(module, pictures, cpu)
    assert found.shape == (16, 8, 8) and np.array_equal(found, map_images(module, pictures, cpu))
    assert module.training and module.drop.training and not module.conv.training
    assert module.conv.weight.requires_grad and not module.conv.bias.requires_grad


def test_a_module_is_given_back_after_an_error(cpu, pictures):
    module = Learnt()
    module.forward = lambda images: 1 / 0
    with pytest.raises(ZeroDivisionError):
        map_images(module, pictures, cpu)
    assert module.training and module.conv.weight.requires_grad


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x, r"shape \(16, 3, 32, 32\); expected \(16, h, w\)\. Drop the channel axis"),
        (lambda x: x[:1, 0], r"shape \(1, 32, 32\); expected \(16, h, w\)"),
        (lambda x: x[:, 0, 0], r"shape \(16, 32\)"),
        (lambda x: x[:, 0] > 0.5, "torch.bool; expected a float32 tensor"),
        (lambda x: x[:, 0].numpy(), "ndarray; expected a float32 tensor"),
        (lambda x: x[:, 0] * 255, r"from .* to .*; expected \[0, 1\]"),
        (lambda x: x[:, 0] - 1, r"from -.* expected \[0, 1\]"),
    ],
)
def test_what_are_not_maps_is_refused_by_name(cpu, pictures, wrong, message):
    wrong.__name__ = "my_source"
    with pytest.raises(DataError, match=f"^my_source gave .*{message}"):
        map_images(wrong, pictures, cpu)


def test_maps_of_two_sizes_are_refused(cpu, pictures):
    with pytest.raises(DataError, match=r"maps of \(32, 32\) and then of \(16, 16\)"):
        map_images(lambda x: x[:, 0] if len(x) > 1 else x[:, 0, ::2, ::2], pictures, cpu, batch_size=5)


def test_no_images_are_refused(cpu, pictures):
    with pytest.raises(DataError, match="redness got an empty set"):
        map_images(redness, ImageSet([], pictures.images[:0]), cpu)


def test_health_is_checked_unless_told_otherwise(cpu, pictures):
    def flat(images: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images[:, 0], 0.3)

    def broken(images: torch.Tensor) -> torch.Tensor:
        return images[:, 0] / 0 * 0

    with pytest.raises(TrainingError, match="^flat: every saliency map is constant"):
        map_images(flat, pictures, cpu)
    assert np.array_equal(map_images(flat, pictures, cpu, check=False), np.full((16, 32, 32), 0.3, np.float32))
    with pytest.raises(TrainingError, match="^broken: a saliency map is not a number, in 16 of 16"):
        map_images(broken, pictures, cpu)


def test_a_rounding_step_above_one_is_no_mistake(cpu, pictures):
    found = map_images(lambda x: x[:, 0] * 0.5 + 0.5 + 1e-7, pictures, cpu)
    assert found.max() <= 1


def test_the_old_name_of_upsample_stays():
    assert ccam.upsample is source.upsample is upsample
