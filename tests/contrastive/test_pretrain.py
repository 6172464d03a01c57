"""The contrastive loop: repeatable, and it says so when nothing was learnt."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save
from torch import nn

from uslnet_core.compute import generator, make_fabric
from uslnet_core.contrastive.health import check_health
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.contrastive.views import random_view
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, TrainingError

pytestmark = pytest.mark.usefixtures("one_thread")


def as_bytes(module: torch.nn.Module) -> str:  # a hash: pytest would compare megabytes letter by letter
    return sha256(save({k: v.contiguous() for k, v in module.state_dict().items()})).hexdigest()


@pytest.fixture(scope="module")
def trained(tiny, cpu, pictures):
    return pretrain(pictures, tiny(), cpu)


def test_same_seed_same_bytes_whatever_the_global_stream(tiny, cpu, pictures, trained):
    torch.manual_seed(123)
    np.random.seed(123)
    again = pretrain(pictures, tiny(), cpu)
    assert as_bytes(again.encoder) == as_bytes(trained.encoder)
    assert again.history.equals(trained.history)


def test_another_seed_gives_other_weights(tiny, cpu, pictures, trained):
    assert as_bytes(pretrain(pictures, tiny(seed=1), cpu).encoder) != as_bytes(trained.encoder)


def test_the_global_random_stream_is_left_alone(tiny, cpu, pictures):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pretrain(pictures, tiny(), cpu)
    assert torch.equal(torch.rand(3), expected)


def test_hands_on_an_encoder_that_keeps_its_resolution(trained):
    assert not trained.encoder.training
    with torch.no_grad():
        third, fourth = trained.encoder(torch.rand(1, 3, 64, 64), (3, 4))
    assert third.shape[-2:] == fourth.shape[-2:] == (4, 4)


def test_history_has_a_row_an_epoch_and_progress_a_call_a_step(tiny, cpu, pictures):
    calls = []
    out = pretrain(pictures, tiny(contrastive={"epochs": 2}), cpu, lambda *call: calls.append(call))
    assert calls == [("contrastive learning, simclr", step, 4) for step in range(1, 5)]
    assert list(out.history["epoch"]) == [1, 2]
    columns = ["epoch", "loss", "top1", "alignment", "uniformity", "spread", "uniform_level", "chance", "learning_rate"]
    assert list(out.history.columns) == columns
    assert out.history["loss"].iloc[1] < out.history["loss"].iloc[0], "it learns"
    assert out.health["verdict"] == "healthy"
    assert out.health["share"] == pytest.approx(out.history["loss"].iloc[-1] / np.log(15))


def test_a_set_smaller_than_a_batch_is_one_batch(tiny, cpu, pictures):
    few = ImageSet(pictures.ids[:5], pictures.images[:5])
    out = pretrain(few, tiny(contrastive={"batch_size": 64}), cpu)
    assert out.history["uniform_level"].iloc[0] == pytest.approx(np.log(9))


def test_one_image_is_refused(tiny, cpu, pictures):
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        pretrain(ImageSet(pictures.ids[:1], pictures.images[:1]), tiny(), cpu)


def test_a_loss_stuck_at_its_uniform_level_is_an_error(tiny, cpu, pictures):
    # So high a temperature makes all candidates look equally good.
    with pytest.raises(TrainingError, match="stuck at its uniform level 2.708"):
        pretrain(pictures, tiny(contrastive={"temperature": 1e3}), cpu)


def test_embeddings_that_collapse_are_an_error(tiny, cpu, pictures):
    # A weight decay of 1 / learning rate wipes the weights out at each step.
    with pytest.raises(TrainingError, match=r"collapsed: uniformity -?0\.0"):
        pretrain(pictures, tiny(contrastive={"learning_rate": 1e-3, "weight_decay": 1e3, "epochs": 2}), cpu)


def test_images_that_are_all_alike_collapse(tiny, cpu):
    grey = ImageSet([str(i) for i in range(8)], np.full((8, 32, 32, 3), 128, dtype=np.uint8))
    with pytest.raises(TrainingError, match="collapsed"):
        pretrain(grey, tiny(contrastive={"crop": 64}), cpu)


def test_a_loss_that_is_not_a_number_is_an_error(tiny, cpu, pictures):
    with pytest.raises(TrainingError, match=r"contrastive loss of simclr is (nan|inf) in epoch 1.*learning_rate"):
        pretrain(pictures, tiny(contrastive={"learning_rate": 1e30}), cpu)


@pytest.mark.parametrize(("precision", "expected"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
@pytest.mark.parametrize("method", ["simclr", "moco_v2"])
def test_networks_compute_in_the_precision_of_the_run_and_nothing_else_does(
    tiny, pictures, monkeypatch, method, precision, expected
):
    seen, compared = set(), set()
    followed = torch.nn.functional.cross_entropy

    def note(module, given, result):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            seen.add(result.dtype)

    def compare(logits, target):
        compared.add(logits.dtype)
        return followed(logits, target)

    monkeypatch.setattr("uslnet_core.contrastive.infonce.F.cross_entropy", compare)
    config = tiny(compute={"precision": precision}, contrastive={"momentum": 0.9})
    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        with suppress(TrainingError):  # what a few steps of MoCo teach is no matter here
            pretrain(pictures, config, make_fabric(config.compute), method=method)
    finally:
        hook.remove()
    assert (seen, compared) == ({expected}, {torch.float32})


def test_a_compiled_encoder_learns_the_same_and_is_handed_on_as_it_was(tiny, cpu, pictures, trained, monkeypatch):
    compiled = []

    def compile_without_code(module):  # traced, as it is on a GPU, but run by torch's own kernels
        compiled.append(type(module))
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_code)
    found = pretrain(pictures, tiny(compute={"compile": True}), cpu)
    assert compiled == [Encoder]
    assert found.encoder._compiled_call_impl is None
    assert found.encoder.state_dict().keys() == trained.encoder.state_dict().keys()
    assert found.history["loss"].tolist() == pytest.approx(trained.history["loss"].tolist(), rel=1e-5)


def test_views_are_the_same_within_a_run_of_fewer_bits(tiny, pictures):
    images, recipe = pictures.batch(range(8)), tiny(contrastive={"blur": 1.0, "jitter": 1.0}).recipe("simclr")
    plain = random_view(images, recipe, generator(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(random_view(images, recipe, generator(0)), plain)


@pytest.mark.parametrize(
    ("loss", "uniformity", "verdict"),
    [(2.0, -2.0, None), (2.94, -2.0, None), (2.95, -2.0, "stuck"), (2.0, -0.04, "collapsed"), (3.2, -2.0, "stuck")],
)
def test_health_by_its_limits(loss, uniformity, verdict, tiny):
    columns = {"epoch": [1, 2], "loss": [9.0, loss], "uniform_level": 3.0, "top1": 0.5, "chance": 0.1, "alignment": 1.0}
    history, recipe = pd.DataFrame(columns | {"uniformity": [0.0, uniformity], "spread": 0.5}), tiny().recipe("simclr")
    if verdict is None:
        assert check_health(history, recipe)["share"] == pytest.approx(loss / 3)
    else:
        with pytest.raises(TrainingError, match=verdict):
            check_health(history, recipe)
