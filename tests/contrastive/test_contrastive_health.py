"""Health: stuck, collapsed and overflown trainings are told, with what to change."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from uslnet_core.compute import generator
from uslnet_core.contrastive.health import check_health, check_running, spread
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.errors import TrainingError


def history(uniformity: list[float], loss: float = 2.0, top1: float = 0.5, chance: float = 1 / 64) -> pd.DataFrame:
    columns = {"loss": loss, "uniform_level": 3.0, "alignment": 1.0, "uniformity": uniformity, "spread": 0.1}
    columns |= {"top1": top1, "chance": chance}
    return pd.DataFrame(columns | {"epoch": range(1, len(uniformity) + 1)})


def test_spread_of_one_point_and_of_all_directions():
    assert float(spread(torch.ones(5, 4) / 2)) == 0
    both = torch.cat([torch.eye(4), -torch.eye(4)])
    assert float(spread(both)) == pytest.approx(1.0)
    some = F.normalize(torch.randn(200, 32, generator=generator(0)), dim=1)
    assert 0.98 < float(spread(some)) <= 1


def test_a_lasting_collapse_stops_the_training_halfway(tiny):
    recipe = tiny(contrastive={"epochs": 20, "warm_up": 0.1}).recipe("moco_v2")  # two epochs climb
    check_running(history([0.0] * 4), recipe)
    check_running(history([0.0] * 4 + [-1.0]), recipe)
    with pytest.raises(TrainingError, match=r"For 3 epochs, up to epoch 5, the embeddings of moco_v2 have collapsed"):
        check_running(history([0.0] * 5), recipe)


def test_a_collapse_is_not_trained_to_its_end(tiny, cpu, pictures):
    calls = []
    config = tiny(contrastive={"learning_rate": 1e-3, "weight_decay": 1e3, "epochs": 9, "warm_up": 0.0})
    with pytest.raises(TrainingError, match="For 3 epochs, up to epoch 4, .* collapsed"):
        pretrain(pictures, config, cpu, lambda *call: calls.append(call))
    assert len(calls) == 8, "four of nine epochs, of two steps each"


def test_a_training_that_is_stuck_for_half_its_epochs_stops_there(tiny):
    recipe = tiny(contrastive={"epochs": 12, "warm_up": 0.1}).recipe("simclr")
    check_running(history([-1.0] * 5, loss=2.99), recipe)
    learning = history([-1.0] * 6, loss=2.99)
    learning.loc[2, "loss"] = 2.9  # once it left its level
    check_running(learning, recipe)
    with pytest.raises(TrainingError, match=r"In all of its 6 epochs so far the .* simclr, 2\.990, is stuck"):
        check_running(history([-1.0] * 6, loss=2.99), recipe)
    short = tiny(contrastive={"epochs": 2, "warm_up": 0.1}).recipe("simclr")
    check_running(history([-1.0] * 2, loss=2.99), short)  # too few epochs to judge; the end does


def test_what_to_change_fits_the_method(tiny):
    with pytest.raises(TrainingError, match=r"moco_v1, 2\.990, is stuck .*-p momentum=…, now 0\.99"):
        check_health(history([-1.0], loss=2.99), tiny(contrastive={"momentum": 0.99}).recipe("moco_v1"))
    with pytest.raises(TrainingError) as error:
        check_health(history([-1.0], loss=2.99), tiny().recipe("simclr"))
    assert "momentum" not in str(error.value)


@pytest.mark.parametrize(
    ("top1", "batch", "stuck"),
    [(1 / 64, 64, True), (1.99 / 64, 64, True), (2 / 64, 64, False), (1 / 16, 16, True), (1 / 8, 8, False)],
)
def test_a_low_loss_does_not_hide_that_images_are_not_told_apart(top1, batch, stuck, tiny):
    found, recipe = history([-1.0], top1=top1, chance=1 / batch), tiny().recipe("moco_v2")
    if not stuck:
        assert check_health(found, recipe)["top1"] == top1
        return
    with pytest.raises(TrainingError, match=r"most like their own other view, and guessing gives \d+\.\d%: .*epochs"):
        check_health(found, recipe)


def test_a_momentum_of_one_never_teaches_the_keys_and_is_told(tiny, cpu, pictures):
    """A key encoder that never moves, at so high a temperature that nothing is learnt: stuck, by making it so."""
    config = tiny(contrastive={"momentum": 1.0, "temperature": 1e3})
    with pytest.raises(TrainingError, match="moco_v2.* is stuck at its uniform level"):
        pretrain(pictures, config, cpu, method="moco_v2")
