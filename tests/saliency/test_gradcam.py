"""Gradient CAMs: by hand, against literal loops, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uslnet_core.compute import generator
from uslnet_core.data.augment import random_resized_crop
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError
from uslnet_core.saliency import ContrastiveLogit, GradientCAM, map_images
from uslnet_core.saliency.gradcam import KINDS

pytestmark = pytest.mark.usefixtures("one_thread")


def crop(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return random_resized_crop(images, images.shape[-1], (0.2, 0.6), rng)


def darker_red(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return images * torch.tensor([0.25, 1.0, 1.0]).view(1, 3, 1, 1)


def draw(count: int = 4, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=generator(seed))


@pytest.fixture
def head() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)).requires_grad_(False)


def hooks(module: nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules())


# --- by hand ---------------------------------------------------------------------------------------------------------


def by_hand(cells: np.ndarray, key: np.ndarray, kind: str) -> np.ndarray:
    """The map where pooled is the mean of the cells (3, h, w) and there is no head."""
    pooled = cells.mean((1, 2))
    length = np.linalg.norm(pooled)
    query = pooled / length
    slope = (key - query * (query @ key)) / length / cells[0].size  # of q·k⁺ by one cell's activation
    if kind == "grad_cam":
        weights = slope
    else:  # the gradient is the same at all cells: alpha is 1 / (2 + slope · sum of A)
        weights = cells[0].size * np.maximum(slope, 0) / (2 + slope * cells.sum((1, 2)))
    found = np.maximum((weights[:, None, None] * cells).sum(0), 0)
    return found / found.max()


@pytest.mark.parametrize("kind", ["grad_cam", "grad_cam_pp"])
def test_by_hand_without_a_network(plain, kind):
    images = draw(side=48)
    found = GradientCAM(plain(), None, kind, view=darker_red)(images)
    assert found.shape == (4, 3, 3) and not found.requires_grad
    for image, one in zip(images, found, strict=True):
        cells = F.avg_pool2d(image, 16).double().numpy()
        key = cells.mean((1, 2)) * [0.25, 1, 1]
        assert np.allclose(one.numpy(), by_hand(cells, key / np.linalg.norm(key), kind), atol=1e-4)


def literal(source: GradientCAM, images: torch.Tensor, copies: list[torch.Tensor], kind: str) -> torch.Tensor:
    """The formulas, one image, one channel and one cell at a time; the layer's output replaced to get gradients."""
    logit, encoder = source.logit, source.logit.encoder
    layer = encoder.target if hasattr(encoder, "target") else encoder.layer4
    to_grid = getattr(encoder, "to_grid", lambda cells: cells)
    streams = [source._stream(image) for image in images]
    keys = logit.embed(torch.cat([source.view(x, rng) for x, rng in zip(images.split(1), streams, strict=True)]))

    def look(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = []
        handle = layer.register_forward_hook(lambda _, __, output: kept.append(output))
        score = (logit.embed(batch) * keys.detach()).sum()
        handle.remove()
        return to_grid(kept[0]).detach(), to_grid(torch.autograd.grad(score, kept[0])[0])

    activations, own = look(images)
    gradients = [look(copy)[1] for copy in copies] or [own]
    out = torch.zeros(len(images), *activations.shape[2:])
    for b, maps in enumerate(activations):
        for k, channel in enumerate(maps):
            weight = 0.0
            for i in range(channel.shape[0]):
                for j in range(channel.shape[1]):
                    d1, d2, d3 = (sum(float(g[b, k, i, j]) ** n for g in gradients) / len(gradients) for n in (1, 2, 3))
                    if kind == "grad_cam":
                        weight += d1 / channel.numel()
                    elif d2:
                        weight += d2 / (2 * d2 + float(channel.sum()) * d3) * max(d1, 0)
            out[b] += weight * channel
    out = out.relu()
    return (out / out.amax((1, 2), keepdim=True)).nan_to_num(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["grid", "tokens"])
def test_equals_a_literal_loop(request, which, kind, head, monkeypatch):
    encoder = request.getfixturevalue(which)()
    images = draw()
    source = GradientCAM(encoder, head, kind, view=crop, std=0.5)
    noisy = [images + 0.5 * draw(seed=seed) for seed in (1, 2)] if kind == "smooth_grad_cam_pp" else []
    monkeypatch.setattr(source, "_copies", lambda images, streams: iter(noisy))
    found = source(images)
    assert found.shape == ((4, 4, 4) if which == "grid" else (4, 2, 2))
    assert torch.allclose(found, literal(source, images, noisy, kind), atol=1e-3)
    assert found.std() > 0.05


def test_smooth_without_noise_is_grad_cam_pp_and_noise_changes_it(grid):
    images = draw()
    plain_pp, none, much = (
        GradientCAM(grid(), None, kind, view=crop, std=std)(images)
        for kind, std in [("grad_cam_pp", 0.15), ("smooth_grad_cam_pp", 0.0), ("smooth_grad_cam_pp", 0.5)]
    )
    assert torch.allclose(plain_pp, none, atol=1e-5)
    assert (plain_pp - much).abs().max() > 1e-3


# --- the score -------------------------------------------------------------------------------------------------------


def slope(logit: ContrastiveLogit, images: torch.Tensor) -> float:
    images = images.clone().requires_grad_()
    return float(torch.autograd.grad(logit(images).sum(), images)[0].abs().max())


def test_the_score_is_the_cosine_with_a_key_held_fixed(grid, head):
    logit, images, others = ContrastiveLogit(grid(), head), draw(), draw(seed=1)
    logit.keys = logit.embed(others).detach()
    expected = F.cosine_similarity(*(head(logit.encoder(x)[0].mean((2, 3))) for x in (images, others)))
    assert torch.allclose(logit(images)[:, 0], expected, atol=1e-6) and logit(images).shape == (4, 1)
    assert slope(logit, images) > 1e-2
    logit.keys = logit.embed(images).detach()  # cos(z, z.detach()) is at its maximum
    assert slope(logit, images) < 1e-6


def test_pooled_of_a_transformer_is_its_own(tokens):
    encoder = tokens()
    assert torch.equal(ContrastiveLogit(encoder).embed(draw()), F.normalize(encoder.pooled(draw()), dim=1))


def test_the_key_is_that_of_a_view_and_has_no_gradient(grid):
    seen = []

    def view(images, rng):
        seen.append(images)
        return 1 - images

    source, images = GradientCAM(grid(), None, "grad_cam", view=view), draw()
    source(images)
    assert torch.equal(torch.cat(seen), images) and all(len(each) == 1 for each in seen)
    assert torch.allclose(source.logit.keys, source.logit.embed(1 - images), atol=1e-6)
    assert not source.logit.keys.requires_grad


# --- what must not change a map --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grad_cam", "smooth_grad_cam_pp"])
def test_batches_and_order_do_not_matter(grid, cpu, pictures, kind):
    source = GradientCAM(grid(), None, kind, view=crop, samples=2)
    whole = map_images(source, pictures, cpu)
    assert whole.shape == (16, 8, 8) and whole.dtype == np.float32
    assert np.allclose(whole.max((1, 2)), 1) and whole.min() >= 0
    # Sums in another order show: a cosine's gradient is orthogonal to the embedding, so Grad-CAM's channels cancel.
    rounding, other = 1e-3, map_images(GradientCAM(grid(), None, kind, view=crop, samples=2, seed=1), pictures, cpu)
    assert np.median(np.abs(other - whole).max((1, 2))) > 50 * rounding
    for size in (1, 5):
        assert np.allclose(map_images(source, pictures, cpu, batch_size=size), whole, atol=rounding)
    order = np.random.default_rng(0).permutation(16)
    turned = ImageSet([pictures.ids[i] for i in order], np.asarray(pictures.images)[order])
    assert np.allclose(map_images(source, turned, cpu, batch_size=7), whole[order], atol=rounding)


def test_a_seed_gives_the_same_bytes_and_leaves_torch_s_own_stream_alone(grid, cpu, pictures):
    first, again, other = (
        GradientCAM(grid(), None, "smooth_grad_cam_pp", view=crop, samples=2, seed=seed) for seed in (0, 0, 1)
    )
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = map_images(first, pictures, cpu)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert map_images(again, pictures, cpu).tobytes() == found.tobytes()
    assert map_images(first, pictures, cpu).tobytes() == found.tobytes()
    assert not np.allclose(map_images(other, pictures, cpu), found, atol=1e-3)


def test_a_frozen_encoder_gives_the_same_and_each_is_handed_back_as_it_was(grid):
    images, maps = draw(), []
    for frozen in (False, True):
        source = GradientCAM(
            grid().requires_grad_(not frozen), nn.Linear(6, 4, bias=False), "smooth_grad_cam_pp", view=crop, samples=2
        )
        nn.init.eye_(source.logit.head.weight)
        source.logit.encoder.train(frozen)
        maps.append(source(images))
        assert source.logit.encoder.training is frozen
        assert all(p.requires_grad is not frozen and p.grad is None for p in source.logit.encoder.parameters())
        assert source.logit.head.weight.requires_grad
        assert hooks(source) == 0
    assert torch.equal(*maps)


def test_batch_norm_is_in_evaluation_mode(grid):
    encoder = grid()
    encoder.layer4.append(nn.BatchNorm2d(6))
    before = encoder.layer4[2].running_mean.clone()
    source = GradientCAM(encoder.train(), None, "grad_cam_pp", view=crop)
    together, alone = source(draw()), torch.cat([source(image) for image in draw().split(1)])
    assert torch.allclose(together, alone, atol=1e-5) and torch.equal(encoder.layer4[2].running_mean, before)


def test_autocast_and_no_grad_around_it_do_not_matter(grid):
    source = GradientCAM(grid(), None, "smooth_grad_cam_pp", view=crop, samples=2)
    outside = source(draw())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(source(draw()), outside)


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 2, 3])  # in the key, in the score, in a noisy copy
@pytest.mark.parametrize("kind", KINDS)
def test_hooks_are_removed_after_an_error(grid, kind, calls):
    class Fails(nn.Module):
        left = calls

        def forward(self, pooled):
            self.left -= 1
            if not self.left:
                raise ZeroDivisionError
            return pooled

    source = GradientCAM(grid(), Fails(), kind, view=crop, samples=2)
    if calls == 3 and kind != "smooth_grad_cam_pp":
        source(draw())
    else:
        with pytest.raises(ZeroDivisionError):
            source(draw())
    assert hooks(source) == 0 and torch.is_grad_enabled()
    assert all(p.requires_grad for p in source.logit.encoder.parameters())


def test_a_map_of_zeros_stays_so_and_is_counted(plain, cpu):
    images = draw(side=32)
    images[1] = 0
    source = GradientCAM(plain(), None, "grad_cam", view=darker_red)
    found = source(images)
    assert found[1].abs().max() == 0 and source.empty == 1
    assert found[[0, 2, 3]].amax((1, 2)).tolist() == [1, 1, 1]
    black = ImageSet(["a", "b"], np.zeros((2, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(TrainingError, match="GradientCAM: every saliency map is constant"):
        map_images(source, black, cpu)


def test_an_encoder_that_diverged_is_an_error(grid):
    encoder = grid()
    with torch.no_grad():
        encoder.stem.weight[0] = torch.nan
    with pytest.raises(TrainingError, match="not a number"):
        GradientCAM(encoder, None, "smooth_grad_cam_pp", view=crop)(draw())


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"kind": "grad_cam++"}, "grad_cam_pp"), ({"samples": 0}, "samples is 0"), ({"std": -0.1}, "std is -0.1")],
)
def test_settings_out_of_range_are_refused(grid, settings, named):
    with pytest.raises(ConfigError, match=named):
        GradientCAM(grid(), None, **({"kind": KINDS[0], "view": crop} | settings))


def test_a_resnet_is_explained_at_its_last_stage():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        source = GradientCAM(Encoder("resnet18", dilation=2), None, "smooth_grad_cam_pp", view=crop, samples=1)
    found = source(draw(2, 32))
    assert found.shape == (2, 2, 2) and found.amax((1, 2)).tolist() == [1, 1]
    assert all(p.grad is None for p in source.parameters())
