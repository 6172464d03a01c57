"""Larger runs: each is trained whole with one thing larger, and scored at the run's own size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from uslnet_core import pipeline, reproduce
from uslnet_core.config import configure
from uslnet_core.pipeline import larger
from uslnet_core.runs import Run
from uslnet_core.saliency.source import upsample

ROWS = ["iteration 1", "images of 64 pixels", "contrastive learning 3 times as long"]


@pytest.fixture(scope="module")
def run(tiny, train, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("larger") / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    return run


def test_each_row_is_a_whole_run_with_one_thing_larger(run):
    assert pipeline.larger_runs(run, complete=False) is None
    stage = pipeline.larger_runs(run)
    rows = stage.manifest.facts["rows"]
    assert list(rows) == ROWS, "ResNet-50 is for a GPU"
    plus = pipeline.plus_of(run)
    varied = {name: run.folder.with_name(rows[name]["run"]) for name in ROWS[1:]}
    assert [folder.name.rpartition("~")[2] for folder in varied.values()] == [
        larger.label_of(name) for name in ROWS[1:]
    ]
    theirs = {name: made.manifest.fingerprint for name, made in plus.whole().items()}
    ways = {name: changes for name, (_, changes) in pipeline.larger_ways(plus.config).items() if name in varied}
    made = {name: pipeline.vary(plus, larger.label_of(name), (), **changes) for name, changes in ways.items()}
    for name, each in made.items():
        own = {there: stage.manifest.fingerprint for there, stage in each.whole().items()}
        for trained in ("02-contrastive/simclr", "04-labels", "05-segmenter/iteration-0", "05-segmenter/iteration-1"):
            assert own[trained] != theirs[trained], (name, trained)
        assert (own["01-data/images/train"] == theirs["01-data/images/train"]) == (name != ROWS[1])
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    finer = made[ROWS[1]]
    maps = pipeline.look_over(finer, "validation", pipeline.load_segmenter(finer.open("05-segmenter/iteration-1")))
    assert maps.shape[1:] == (64, 64)
    assert np.array_equal(masks[ROWS[1]], upsample(torch.from_numpy(maps), 32).numpy() > 0.5)
    assert pipeline.larger_runs(run, complete=False).manifest == stage.manifest


def test_its_table_stands_beside_the_run_itself(run):
    pipeline.larger_runs(run)
    found = reproduce.larger({run.config.seed: run})
    gains = found.table("differences")
    assert dict(gains[["model", "minus"]].to_numpy()) == dict.fromkeys(ROWS[1:], ROWS[0])
    assert list(found.table("by lesion")["model"]) == ROWS


@pytest.mark.parametrize(("profile", "size", "crop"), [("workshop", 160, 120), ("paper", 288, 288)])
def test_what_is_larger_follows_the_profile(profile, size, crop):
    ways = pipeline.larger_ways(configure(profile, method="usl-plus"))
    _, changes = ways[f"images of {size} pixels"]
    assert changes == {"images": {"size": size}, "contrastive": {"crop": crop}}
    assert ("ResNet-50" in ways) == (profile == "workshop")
