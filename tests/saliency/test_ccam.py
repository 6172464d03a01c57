"""CCAM: its loss against a literal loop, its orientation, its maps."""

from __future__ import annotations

import math
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save

from uslnet_core.compute import generator
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError
from uslnet_core.saliency.ccam import (
    CCAM,
    border_mean,
    ccam_loss,
    check_maps,
    orient,
    saliency_maps,
    together,
    train_ccam,
    upsample,
)

LEAST, MOST = 5e-4, 0.9995


# --- the loss, written out -------------------------------------------------------------------------------------------


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    value = product / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))
    return min(max(value, LEAST), MOST)


def gather(features: torch.Tensor, weight: torch.Tensor) -> list[list[float]]:
    """F · P, cell by cell."""
    out = []
    for image, share in zip(features.flatten(2).tolist(), weight.flatten(1).tolist(), strict=True):
        out.append([sum(f * p for f, p in zip(channel, share, strict=True)) for channel in image])
    return out


def loop_apart(first: list, second: list) -> float:
    terms = [-math.log(1 - cosine(b, f)) for b in second for f in first]
    return sum(terms) / len(terms)


def loop_together(vectors: list, alpha: float) -> float:
    lost = weights = 0.0
    for i, own in enumerate(vectors):
        nearest_first = sorted((cosine(own, other) for j, other in enumerate(vectors) if j != i), reverse=True)
        for rank, similarity in enumerate(nearest_first):
            lost -= math.exp(-alpha * rank) * math.log(similarity)
            weights += math.exp(-alpha * rank)
    return lost / weights


def draw(batch: int, seed: int = 0, signed: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 6, 3, 4, generator=rng)
    return features if signed else features.relu(), torch.rand(batch, 1, 3, 4, generator=rng)


@pytest.mark.parametrize("batch", [2, 3, 7])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 2.0])
@pytest.mark.parametrize("signed", [False, True])
def test_loss_equals_a_literal_loop(batch, alpha, signed):
    features, side = draw(batch, seed=batch, signed=signed)
    first, second = gather(features, side), gather(features, 1 - side)
    expected = [loop_together(first, alpha), loop_apart(first, second), loop_together(second, alpha)]
    assert [float(t) for t in ccam_loss(features, side, alpha)] == pytest.approx(expected, rel=1e-4)


def test_together_by_hand():
    # cosines: 0–1 0.8, 0–2 0.6, 1–2 0.96
    vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    near, far = 1.0, math.exp(-0.25)
    lost = -(near * (math.log(0.8) + 2 * math.log(0.96)) + far * (2 * math.log(0.6) + math.log(0.8)))
    assert float(together(vectors, 0.25)) == pytest.approx(lost / (3 * (near + far)), rel=1e-5)


def test_together_does_not_hang_on_the_batch_size():
    angles = torch.tensor([0.0, 1.0])
    pair = torch.stack([angles.cos(), angles.sin()], 1)
    four = torch.eye(4) * (1 - 0.5) ** 0.5
    four = torch.cat([four, torch.full((4, 1), 0.5**0.5)], 1)  # unit length, all cosines 0.5
    assert float(together(four, 0.25)) == pytest.approx(-math.log(0.5), rel=1e-5)
    assert float(together(four[:2], 0.25)) == pytest.approx(-math.log(0.5), rel=1e-5)
    assert float(together(pair, 0.25)) == pytest.approx(-math.log(math.cos(1.0)), rel=1e-5)


def test_the_sides_are_named_in_order_and_may_be_exchanged():
    features, side = draw(5)
    one, apart, other = ccam_loss(features, side, 0.25)
    other_way = ccam_loss(features, 1 - side, 0.25)
    assert [float(t) for t in other_way] == pytest.approx([float(other), float(apart), float(one)], rel=1e-5)
    assert float(one) != pytest.approx(float(other), rel=1e-3)


def test_the_order_of_the_images_does_not_matter():
    features, side = draw(6)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    terms, again = ccam_loss(features, side, 0.25), ccam_loss(features[order], side[order], 0.25)
    assert [float(t) for t in again] == pytest.approx([float(t) for t in terms], rel=1e-5)


def test_stays_finite_where_cosines_are_0_and_1():
    features = torch.zeros(2, 2, 1, 2)
    features[:, 0, 0, 0] = features[:, 1, 0, 1] = 1.0  # two cells, orthogonal
    sharp = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(2, -1, -1, -1)
    assert [float(t) for t in ccam_loss(features, sharp, 0.25)] == pytest.approx(
        [-math.log(MOST), -math.log(1 - LEAST), -math.log(MOST)], rel=1e-3
    )
    blurred = torch.full((2, 1, 1, 2), 0.5)
    assert float(ccam_loss(features, blurred, 0.25)[1]) == pytest.approx(-math.log(1 - MOST), rel=1e-2)


# --- orientation -----------------------------------------------------------------------------------------------------


def test_border_mean_by_hand():
    maps = torch.zeros(1, 3, 4)
    maps[0, 1, 1:3] = 1.0  # the two inner cells
    assert border_mean(maps) == 0.0
    maps[0, 0, 0] = 1.0  # one of ten in the ring
    assert border_mean(maps) == pytest.approx(0.1)
    assert border_mean(torch.full((2, 1, 1), 0.3)) == pytest.approx(0.3)


def frame(border: float, inside: float, count: int = 4, side: int = 6) -> np.ndarray:
    maps = np.full((count, side, side), border, dtype=np.float32)
    maps[:, 1:-1, 1:-1] = inside
    return maps


@pytest.mark.parametrize(
    ("border", "inside", "sign"), [(0.9, 0.1, -1.0), (0.51, 0.9, -1.0), (0.49, 0.1, 1.0), (0.1, 0.9, 1.0)]
)
def test_flips_exactly_when_the_border_says(border, inside, sign):
    model = CCAM(Encoder("resnet18"))
    found = orient(model, frame(border, inside))
    assert found["sign"] == sign and float(model.sign) == sign
    assert found["border_mean"] == pytest.approx(border, abs=1e-6)
    assert found["margin"] == pytest.approx(abs(2 * border - 1), abs=1e-6)


@pytest.mark.parametrize(("border", "warned"), [(0.5, True), (0.54, True), (0.46, True), (0.56, False), (0.44, False)])
def test_a_border_that_hardly_tells_is_warned_of(border, warned):
    found = orient(CCAM(Encoder("resnet18")), frame(border, 0.9 if border <= 0.5 else 0.1))
    assert bool(found["warning"]) is warned and not found["about_position"]
    if warned:
        assert "may be swapped" in found["warning"]


@pytest.mark.parametrize(
    ("border", "inside", "position"), [(0.3, 0.1, True), (0.7, 0.9, True), (0.3, 0.31, False), (0.7, 0.69, False)]
)
def test_maps_that_mark_the_frame_are_about_position(border, inside, position):
    """The side with less of the border is the lesion, and yet most of it may lie there: a column, a corner."""
    found = orient(CCAM(Encoder("resnet18")), frame(border, inside))
    assert found["about_position"] is position
    assert ("not what it shows" in found["warning"]) is position
    assert orient(CCAM(Encoder("resnet18")), np.full((3, 2, 2), 0.3, np.float32))["about_position"] is False


def test_decided_over_the_whole_set_not_by_its_first_image():
    maps = np.concatenate([frame(0.9, 0.1, count=1), frame(0.1, 0.9, count=3)])
    assert orient(CCAM(Encoder("resnet18")), maps)["sign"] == 1.0


# --- maps ------------------------------------------------------------------------------------------------------------


def test_maps_that_cannot_be_saliency_are_refused():
    good = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    assert check_maps(good) is good
    bad = good.copy()
    bad[1, 2, 2] = np.nan
    with pytest.raises(TrainingError, match="not a number"):
        check_maps(bad)
    with pytest.raises(TrainingError, match="constant"):
        check_maps(np.linspace(0, 1, 3, dtype=np.float32)[:, None, None].repeat(4, 1).repeat(4, 2))
    one_varies = np.full((3, 4, 4), 0.5, dtype=np.float32)
    one_varies[2, 0, 0] = 0.6
    check_maps(one_varies)


@pytest.mark.parametrize(("cells", "size"), [(2, 32), (6, 96), (14, 224), (7, 7)])
def test_upsample_keeps_the_range_and_the_corners(cells, size):
    maps = torch.rand(3, cells, cells, generator=generator(0))
    maps[0, 0, 0], maps[1, -1, -1] = 0.0, 1.0
    out = upsample(maps, size)
    assert out.shape == (3, size, size)
    assert out.min() >= 0 and out.max() <= 1
    assert out[0, 0, 0] == 0 and out[1, -1, -1] == 1
    assert torch.allclose(upsample(torch.full((1, cells, cells), 0.3), size), torch.tensor(0.3))


@torch.no_grad()
def test_features_are_stages_3_and_4_side_by_side():
    model = CCAM(Encoder("resnet18"), margin=0).eval()
    images = torch.rand(1, 3, 224, 224)
    features = model.features(images)
    assert features.shape == (1, 256 + 512, 14, 14)
    assert torch.equal(features, torch.cat(model.encoder(images, (3, 4)), 1))
    maps = model(images)
    assert maps.shape == (1, 14, 14) and maps.min() >= 0 and maps.max() <= 1


@torch.no_grad()
@pytest.mark.parametrize(("side", "rim"), [(96, 2), (32, 1)])
def test_the_image_is_mirrored_outwards_and_the_rim_cut_off_again(side, rim):
    model = CCAM(Encoder("resnet18"), margin=32).eval()
    images = torch.rand(2, 3, side, side, generator=generator(0))
    wide = np.pad(images.numpy(), [(0, 0), (0, 0), *[(16 * rim, 16 * rim)] * 2], mode="reflect")
    expected = torch.cat(model.encoder(torch.from_numpy(wide), (3, 4)), 1)[..., rim:-rim, rim:-rim]
    found = model.features(images)
    assert found.shape[-2:] == (side // 16, side // 16)
    assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_the_sign_exchanges_the_sides():
    model = CCAM(Encoder("resnet18")).eval()
    images = torch.rand(2, 3, 64, 64)
    before = model(images)
    model.sign.fill_(-1.0)
    assert torch.allclose(model(images), 1 - before, atol=1e-6)


@torch.no_grad()
def test_stages_of_other_sizes_are_brought_to_a_sixteenth():
    assert CCAM(Encoder("resnet18"), (2, 3, 4)).eval().features(torch.rand(1, 3, 64, 64)).shape == (1, 896, 4, 4)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("resnet18").eval()


def as_bytes(module: torch.nn.Module) -> str:  # a hash: pytest would compare megabytes letter by letter
    return sha256(save({k: v.contiguous() for k, v in module.state_dict().items()})).hexdigest()


def test_training_repeats_and_leaves_a_frozen_encoder_alone(encoder, tiny, cpu, pictures, one_thread):
    before, calls = as_bytes(encoder), []
    first = train_ccam(pictures, encoder, tiny(saliency={"epochs": 2}), cpu, lambda *call: calls.append(call))
    assert as_bytes(first.model.encoder) == before
    assert [call for call in calls if call[0] == "CCAM"] == [("CCAM", step, 4) for step in range(1, 5)]
    torch.manual_seed(99)
    again = train_ccam(pictures, encoder, tiny(saliency={"epochs": 2}), cpu)
    assert as_bytes(again.model) == as_bytes(first.model)
    assert np.array_equal(again.maps, first.maps) and again.history.equals(first.history)
    assert first.maps.shape == (16, 2, 2) and first.maps.dtype == np.float32
    assert first.maps.min() >= 0 and first.maps.max() <= 1
    assert list(first.history["epoch"]) == [1, 2]


def test_training_along_changes_the_encoder(encoder, tiny, cpu, pictures):
    before = as_bytes(encoder)
    out = train_ccam(pictures, encoder, tiny(saliency={"train_encoder": True, "epochs": 1}), cpu)
    assert as_bytes(out.model.encoder) != before


def test_the_model_handed_on_gives_the_maps_handed_on(encoder, tiny, cpu, pictures):
    for seed in range(2):  # among the seeds are both signs, or one; the maps fit either way
        out = train_ccam(pictures, encoder, tiny(seed=seed), cpu)
        assert np.abs(saliency_maps(out.model, pictures, cpu, batch_size=5) - out.maps).max() < 1e-5
        assert float(out.model.sign) == out.orientation["sign"]
        assert border_mean(torch.from_numpy(out.maps)) <= 0.5


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_history_names_the_sides_as_they_were_oriented(encoder, tiny, cpu, pictures, monkeypatch, sign):
    import uslnet_core.saliency.ccam as module

    monkeypatch.setattr(module, "ccam_loss", lambda f, p, a: (p.mean() * 0 + 1, p.mean() * 0 + 2, p.mean() * 0 + 3))
    monkeypatch.setattr(module, "orient", lambda model, maps: {"sign": sign})
    monkeypatch.setattr(module, "check_maps", lambda maps: maps)
    row = train_ccam(pictures, encoder, tiny(), cpu).history.iloc[0]
    assert row["loss"] == 6 and row["apart"] == 2
    assert (row["together_foreground"], row["together_background"]) == ((1, 3) if sign > 0 else (3, 1))


def test_one_image_is_refused(encoder, tiny, cpu, pictures):
    with pytest.raises(TrainingError, match="at least 2, got 1"):
        train_ccam(ImageSet(pictures.ids[:1], pictures.images[:1]), encoder, tiny(), cpu)


def test_an_encoder_that_diverged_is_an_error(encoder, tiny, cpu, pictures):
    with torch.no_grad():
        encoder.layer3[0].conv1.weight[0] = torch.nan
    with pytest.raises(TrainingError, match="not a number"):
        train_ccam(pictures, encoder, tiny(), cpu)


def test_images_that_are_all_alike_give_no_saliency(encoder, tiny, cpu):
    black = ImageSet([str(i) for i in range(8)], np.zeros((8, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        for p in encoder.parameters():
            p.zero_()  # no feature at all
    with pytest.raises(TrainingError, match="constant"):
        train_ccam(black, encoder, tiny(), cpu)


# --- several encoders, transformers ----------------------------------------------------------------------------------


def test_one_encoder_in_a_list_is_that_encoder(encoder, tiny, cpu, pictures, one_thread):
    alone = train_ccam(pictures, encoder, tiny(saliency={"epochs": 2}), cpu)
    listed = train_ccam(pictures, [encoder], tiny(saliency={"epochs": 2}), cpu)
    assert list(listed.model.state_dict()) == list(alone.model.state_dict())
    assert {key.split(".")[0] for key in alone.model.state_dict()} == {"encoder", "head", "sign"}
    assert as_bytes(listed.model) == as_bytes(alone.model)
    assert listed.maps.tobytes() == alone.maps.tobytes() and listed.history.equals(alone.history)


@torch.no_grad()
def test_features_of_several_encoders_stand_side_by_side(grid):
    several = [grid(seed) for seed in range(3)]
    model = CCAM(several, margin=8).eval()
    images = torch.rand(2, 3, 32, 32, generator=generator(0))
    expected = torch.cat([CCAM(each, margin=8).features(images) for each in several], 1)
    assert expected.shape == (2, 3 * 12, 8, 8) and torch.equal(model.features(images), expected)
    assert model.head[0].weight.shape[1] == 36
    assert {key.rsplit(".", 2)[0] for key in model.state_dict() if "stem" in key} == {f"encoder.{i}" for i in range(3)}


@pytest.mark.parametrize("along", [False, True])
def test_several_encoders_train_one_head(grid, tokens, tiny, cpu, pictures, along, one_thread):
    several = [grid(), tokens()]
    before = [as_bytes(each) for each in several]
    settings = tiny(saliency={"epochs": 3, "train_encoder": along, "encoder_learning_rate": 1e-2})
    out = train_ccam(pictures, several, settings, cpu)
    assert out.maps.shape == (16, 8, 8)  # the first encoder's cells
    assert np.abs(saliency_maps(out.model, pictures, cpu, batch_size=5) - out.maps).max() < 1e-5
    after = [as_bytes(each) for each in out.model.encoder]
    assert all((a != b) is along for a, b in zip(after, before, strict=True))


def test_no_encoder_is_refused():
    with pytest.raises(ConfigError, match="needs an encoder"):
        CCAM([])


def test_streams_give_heads_of_their_own(grid, tiny, cpu, pictures, one_thread):
    heads = [train_ccam(pictures, grid(), tiny(), cpu, stream=stream).model.head for stream in (0, 1, 1, 2)]
    first, second, again, third = (as_bytes(head) for head in heads)
    assert second == again and len({first, second, third}) == 3
    assert as_bytes(train_ccam(pictures, grid(), tiny(), cpu).model.head) == first


@torch.no_grad()
@pytest.mark.parametrize(("cell", "margin", "rim"), [(8, 32, 3), (8, 20, 2), (8, 7, 0), (4, 8, 2), (16, 32, 1)])
def test_the_rim_is_of_whole_cells_of_the_encoder(tokens, cell, margin, rim):
    seen = []
    encoder = tokens(cell=cell)
    encoder.patches.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[-1]))
    found = CCAM(encoder, (4,), margin).features(torch.rand(2, 3, 32, 32, generator=generator(0)))
    assert found.shape == (2, 6, 32 // cell, 32 // cell)
    assert seen == [32 + 2 * rim * cell]
