"""The transformer's maps against a literal vision transformer, its grids, and gradients for the CAMs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from uslnet_core.encoder import MEAN, STD
from uslnet_core.errors import ConfigError
from uslnet_core.transformer import TRANSFORMERS, TransformerEncoder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def networks() -> dict[str, TransformerEncoder]:
    """All four, with weights large enough that each block and each head matters."""
    made = {}
    for seed, name in enumerate(TRANSFORMERS):
        torch.manual_seed(seed)
        made[name] = TransformerEncoder(name).eval()
        with torch.no_grad():
            for key, value in made[name].state_dict().items():
                if value.ndim == 1:
                    value.copy_(torch.rand_like(value) + (0.5 if key.endswith(("weight", "gamma")) else -0.5))
                else:
                    value.copy_(torch.randn_like(value) * 0.05)
    return made


def literal(weights: dict[str, torch.Tensor], images: torch.Tensor, patch: int, heads: int) -> list[torch.Tensor]:
    """A vision transformer as its papers write it, one step a line; normalised tokens after each block."""
    x = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    B, _, H, W = x.shape
    h, w = H // patch, W // patch
    # every patch as a vector (channel, row, column), times the matrix of the embedding
    patches = x.reshape(B, 3, h, patch, w, patch).permute(0, 2, 4, 1, 3, 5).reshape(B, h * w, -1)
    x = patches @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    x = torch.cat([weights["cls_token"].expand(B, 1, 384), x], dim=1) + weights["pos_embed"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    after = []
    for n in range(12):
        block = f"blocks.{n}"
        query, key, value = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").split(384, dim=-1)
        seen = []
        for head in range(heads):
            own = slice(head * 384 // heads, (head + 1) * 384 // heads)
            scores = query[..., own] @ key[..., own].transpose(1, 2) / (384 / heads) ** 0.5
            seen.append(scores.softmax(-1) @ value[..., own])
        added = linear(torch.cat(seen, dim=-1), f"{block}.attn.proj")
        x = x + added * weights.get(f"{block}.ls1.gamma", 1.0)
        added = linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
        x = x + added * weights.get(f"{block}.ls2.gamma", 1.0)
        after.append(norm(x, "norm"))
    return after


@torch.no_grad()
@pytest.mark.parametrize("name", list(TRANSFORMERS))
def test_is_the_literal_transformer(networks, name):
    network, known = networks[name], TRANSFORMERS[name]
    side = known.size if known.patch == 16 else known.patch * 5
    weights = network.vit.state_dict()
    images = torch.rand(1, 3, side, side)
    if side != known.size:  # resized position embeddings are timm's: give the oracle those of this grid
        grid = weights["pos_embed"][:, 1:].transpose(1, 2).unflatten(2, (known.size // known.patch,) * 2)
        small = F.interpolate(grid, size=(5, 5), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
        weights["pos_embed"] = torch.cat([weights["pos_embed"][:, :1], small], dim=1)
    expected = literal(weights, images, known.patch, known.heads)
    for stage, found in enumerate(network(images, (1, 2, 3, 4)), start=1):
        tokens = expected[3 * stage - 1]
        assert torch.allclose(found, network.to_grid(tokens), atol=1e-4), f"stage {stage}"
    assert torch.allclose(network.pooled(images), expected[-1][:, 0], atol=1e-4)


@torch.no_grad()
def test_the_number_of_heads_matters(networks):
    six, twelve = networks["vit_s16"], TransformerEncoder("vit_s16_h12").eval()
    twelve.load_state_dict(six.state_dict(), strict=True)  # nothing in the shapes tells
    images = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(six(images)[0], twelve(images)[0], atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("name", list(TRANSFORMERS))
def test_grids(networks, name):
    network = networks[name]
    cell = TRANSFORMERS[name].patch
    assert network.cell == cell and network.channels == (384,) * 4
    maps = network(torch.rand(2, 3, 3 * cell, 5 * cell), (4, 2))
    assert [tuple(m.shape) for m in maps] == [(2, 384, 3, 5)] * 2 and network.grid == (3, 5)
    assert network.pooled(torch.rand(2, 3, 4 * cell, 4 * cell)).shape == (2, 384) and network.grid == (4, 4)


@torch.no_grad()
def test_stages_come_in_the_order_asked_and_only_those(networks):
    network = networks["vit_s16"]
    images = torch.rand(1, 3, 64, 64)
    one, two, three, four = network(images, (1, 2, 3, 4))
    asked = network(images, (4, 2, 4))
    assert torch.equal(asked[0], four) and torch.equal(asked[1], two) and torch.equal(asked[2], four)
    calls = []
    handle = network.vit.blocks[6].register_forward_hook(lambda *_: calls.append(1))
    assert torch.equal(network(images, (2,))[0], two)
    handle.remove()
    assert calls == [], "a block that nobody asked for was computed"


@torch.no_grad()
def test_other_sides_are_resized_to_the_nearest_whole_patches(networks):
    network = networks["vit_s14"]
    images = torch.rand(1, 3, 96, 70)  # 6.86 and 5 patches
    resized = F.interpolate(images, size=(98, 70), mode="bilinear", antialias=True)
    assert torch.equal(network(images)[0], network(resized)[0])
    assert network(torch.rand(1, 3, 3, 3))[0].shape == (1, 384, 1, 1)


def test_gradients_reach_the_target_and_a_cam_is_laid_out(networks):
    from torchcam.methods import GradCAM

    network = networks["vit_s16"]

    class Scored(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = network

        def forward(self, images):
            return self.encoder.pooled(images)

    model = Scored()
    with GradCAM(model, network.target, reshape_transform=network.to_grid) as extract:
        scores = model(torch.rand(2, 3, 48, 80))
        (cam,) = extract(7, scores)
    assert cam.shape == (2, 3, 5) and cam.isfinite().all() and cam.std() > 0


def test_tokens_are_laid_out_row_by_row(networks):
    network = networks["vit_s16"]
    network.grid = (2, 3)
    tokens = torch.arange(7.0).view(1, 7, 1).expand(1, 7, 384)
    assert network.to_grid(tokens)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean vit_s16"):
        TransformerEncoder("vit-s16")
