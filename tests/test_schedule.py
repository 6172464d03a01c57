"""Hours of a run from the time of its steps: a case worked by hand, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from uslnet_core.compute import batches, generator
from uslnet_core.config import configure
from uslnet_core.errors import ConfigError
from uslnet_core.schedule import plan

STEPS = pd.DataFrame(
    [
        ("simclr", 256, 1.0),
        ("moco_v1", 256, 1.5),
        ("moco_v2", 128, 0.75),
        ("features", 64, 0.2),
        ("ccam", 64, 0.01),
        ("segmenter", 64, 0.5),
        ("prediction", 32, 0.05),
    ],
    columns=["step", "images", "seconds"],
)


def test_the_papers_schedule_by_hand():
    """2000 images: 7 batches of 256, or 31 of 64, are full."""
    table = plan(STEPS, configure("paper"), 2000).set_index("part")
    assert table.loc["encoder, simclr", ["epochs", "steps", "images a step"]].tolist() == [200, 1400, 256]
    assert table.loc["encoder, simclr", "s an epoch"] == pytest.approx(7.0)
    assert table.loc["encoder, simclr", "hours"] == pytest.approx(1400 / 3600)
    assert table.loc["encoder, moco_v2", "hours"] == table.loc["encoder, moco_v1", "hours"]
    assert table.loc["features, moco_v1", ["steps", "s an epoch"]].tolist() == [32, pytest.approx(2000 * 0.2 / 64)]
    assert table.loc["CCAM's head, simclr", "hours"] == pytest.approx(20 * 31 * 0.01 / 3600)
    rounds = [f"segmenter, iteration {k}" for k in range(5)]
    assert table.loc[rounds, "hours"].tolist() == pytest.approx([300 * 31 * 0.5 / 3600] * 5)
    assert table.loc["labels for iteration 4", "hours"] == pytest.approx(2000 / 32 * 0.05 / 3600)
    assert "labels for iteration 0" not in table.index
    assert table["hours"].sum() == pytest.approx((1400 * 4 + 3 * (6.25 + 6.2) + 5 * 4650 + 4 * 3.125) / 3600)


@pytest.mark.parametrize("images", [2, 63, 64, 65, 200])
def test_steps_are_those_that_training_takes(images):
    config = configure("quick")
    row = plan(STEPS, config, images).set_index("part").loc["encoder, simclr"]
    parts = batches(images, config.contrastive.batch_size, generator(0), drop_last=True)
    assert row["steps"] == config.contrastive.epochs * len(parts)
    assert row["s an epoch"] == pytest.approx(sum(map(len, parts)) / 256)


def test_a_public_encoder_is_not_trained():
    table = plan(STEPS, configure("quick", encoders=("moco_v2_800",), backbone="resnet50"), 100)
    assert table["part"].tolist()[:2] == ["features, moco_v2_800", "CCAM's head, moco_v2_800"]


@pytest.mark.parametrize(
    ("steps", "images", "said"),
    [
        (STEPS.drop(columns="seconds"), 100, "no column seconds"),
        (STEPS.iloc[1:], 100, "needs the time of the step 'simclr'"),
        (pd.concat([STEPS, STEPS.iloc[:1]]), 100, "measured twice: simclr"),
        (STEPS.assign(seconds=0.0), 100, "not above 0: simclr"),
        (STEPS.assign(seconds=float("nan")), 100, "not above 0: simclr"),
        (STEPS, 1, "expected at least 2"),
    ],
)
def test_refusals(steps, images, said):
    with pytest.raises(ConfigError, match=said):
        plan(steps, configure("quick"), images)
