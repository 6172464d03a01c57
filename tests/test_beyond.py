"""Past the paper: each step is a row of one table, made from what the run has, and nothing of it reads a mask."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from uslnet_core import pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError
from uslnet_core.labels import select_component
from uslnet_core.pipeline import beyond
from uslnet_core.runs import Run
from uslnet_core.stages import peek

ROWS = ["CCAM", "colour clusters", "both", "segmenter that learnt both", *beyond.LOOKS]


@pytest.fixture(scope="module")
def run(tiny, train, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("beyond") / "synthetic-quick", tiny())
    pipeline.prepare_images(run, "train")
    train(run)
    return run


def test_every_step_has_its_row_and_is_what_it_says(run):
    before = {name: stage.manifest.key for name, stage in peek(run.folder).items()}
    assert pipeline.steps(run, complete=False) is None
    stage = pipeline.steps(run)
    assert list(stage.manifest.facts["rows"]) == ROWS
    masks = dict(zip(pd.read_csv(stage / "models.csv")["model"], np.load(stage / "predictions.npy"), strict=True))
    there = peek(run.folder.with_name("synthetic-quick~plus"))
    names = ("ccam-simclr", "colour_clusters", "blend-ccam-simclr+colour_clusters")
    ccam, colour, both = (pipeline.load_maps(there[f"03-saliency/{name}/validation"], 32) for name in names)
    assert np.allclose(both, (ccam + colour) / 2, atol=1e-6)
    assert np.array_equal(masks["both"], both > 0.5) and np.array_equal(masks["colour clusters"], colour > 0.5)
    rules = run.config.uncertainty.model_copy(update={"low": 0.4, "high": 0.6})
    whole = masks["eight views"].astype(np.float32)
    assert np.array_equal(masks["one piece"], select_component(whole, 0.5, rules))
    assert {name: made.manifest.key for name, made in peek(run.folder).items() if name in before} == before
    assert pipeline.steps(run, complete=False).manifest == stage.manifest


def test_nothing_that_is_trained_for_it_reads_a_mask(run):
    pipeline.steps(run)
    for name, stage in peek(run.folder.with_name("synthetic-quick~plus")).items():
        assert not any("masks" in read for read in stage.manifest.inputs) or name.startswith("tables"), name


def test_fine_images_are_the_same_images(run):
    pipeline.prepare_images(run, "validation")
    fine = ImageSet.open(pipeline.prepare_fine_images(run, "validation").folder)
    images = ImageSet.open(run.open("01-data/images/validation").folder)
    assert fine.size == 2 * images.size and fine.ids == images.ids
    halved = torch.nn.functional.avg_pool2d(fine.batch(range(4)), 2)
    assert (halved - images.batch(range(4))).abs().mean() < 0.05


def test_images_that_changed_since_are_told(tiny, lay_out, tmp_path):
    data = lay_out(tmp_path / "data", train=4, validation=3)
    run = Run(tmp_path / "runs" / "isic2017-quick", tiny("isic2017"), data)
    pipeline.prepare_images(run, "validation")
    next(iter(sorted((data / "isic2017").rglob("*Validation_Data*/*.jpg")))).unlink()
    with pytest.raises(DataError, match="The validation images of isic2017-quick have changed since"):
        pipeline.prepare_fine_images(run, "validation")
