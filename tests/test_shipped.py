"""The student that ships: small, whole, told about, and used where no run is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from uslnet_core import pipeline
from uslnet_core.book import project_root
from uslnet_core.cli import app
from uslnet_core.data import synthetic
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.pipeline.shipped import SHIPPED
from uslnet_core.runs import Run


def test_it_is_small_and_says_where_it_is_from():
    card = pipeline.read_card()
    assert (SHIPPED / "segmenter.safetensors").stat().st_size < 5_000_000
    assert card["trained on"].endswith("no masks") and "synthetic" not in card["trained on"]
    named = {"trained on", "profile", "method", "seed", "size", "threshold", "parameters", "made at", "fingerprint"}
    assert set(card) == named | {"versions"}
    recorded = json.loads((project_root() / "book/results/isic2017-workshop-usl-plus/steps.json").read_text())
    stages = recorded["seeds"][str(card["seed"])]["stages"]
    assert card["fingerprint"] in [each["fingerprint"] for name, each in stages.items() if name.endswith("/08-student")]
    assert not any(word in json.dumps(card) for word in ("/work", "/tmp", "/home"))


def test_it_finds_what_is_plainly_there(cpu):
    predictor = pipeline.shipped_predictor(cpu)
    dice = []
    for number in range(8):
        found = predictor.probability(synthetic.image(number, size=200, seed=0)) > 0.5
        truth = synthetic.mask(number, size=200, seed=0)
        dice.append(2 * (found & truth).sum() / max(1, found.sum() + truth.sum()))
    assert np.median(dice) > 0.6, "drawn lesions are not what it learnt from, but they are dark spots on skin"


def test_its_size_in_memory_is_its_file_in_float32(cpu):
    predictor = pipeline.shipped_predictor(cpu)
    assert all(value.dtype == torch.float32 for value in predictor.model.parameters())
    assert sum(value.numel() for value in predictor.model.parameters()) == pipeline.read_card()["parameters"]


def test_a_threshold_that_is_none_is_refused(cpu):
    with pytest.raises(ConfigError, match="threshold"):
        pipeline.shipped_predictor(cpu, 1.5)


def test_a_run_of_ones_own_comes_first_but_for_photographs_no_run_of_drawings(trained_run, cpu, tmp_path):
    predictor, told = pipeline.predictor_at_hand(trained_run.folder, cpu, drawn=True)
    assert "05-segmenter/iteration" in told and predictor.look is None
    for folder in (trained_run.folder, tmp_path / "nothing-here"):
        predictor, told = pipeline.predictor_at_hand(folder, cpu)
        assert told.startswith("the student that ships") and predictor.look is None


def test_segment_works_at_once(tmp_path, monkeypatch):
    Image.fromarray(synthetic.image(0, size=160, seed=0)).save(tmp_path / "spot.png")
    result = CliRunner().invoke(app, ["segment", str(tmp_path / "spot.png"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "1 of 1 images segmented with the student that ships" in " ".join(result.output.split())
    assert Image.open(tmp_path / "out" / "masks" / "spot.png").size == (160, 160)


@pytest.fixture
def with_student(tiny, lay_out, tmp_path):
    """A tiny run of USL-plus, of drawn images or of a set laid out as ISIC-2017 is: ``with_student("isic2017")``."""

    def make(dataset: str) -> Run:
        data = lay_out(tmp_path / "data", train=8, validation=3) if dataset == "isic2017" else None
        run = Run(tmp_path / "runs" / f"{dataset}-quick", tiny(dataset), data)
        pipeline.prepare_images(run, "train")
        pipeline.learn_features(run)
        plus = pipeline.plus_of(run)
        pipeline.make_saliency(plus)
        pipeline.make_labels(plus)
        pipeline.train_iteration(plus, 0)
        pipeline.train_iteration(plus, 1)
        pipeline.train_student(plus, epochs=1)
        return plus

    return make


def test_what_ships_is_the_run_s_own_and_its_card_says_what_it_was_made_with(with_student, tmp_path, cpu):
    run = with_student("isic2017")
    folder = pipeline.ship(run.folder, tmp_path / "shipped")
    card, stage = pipeline.read_card(folder), run.open("08-student")
    assert card["fingerprint"] == stage.manifest.fingerprint
    assert card["trained on"] == "8 images of isic2017-train, no masks"
    predictor, own = pipeline.shipped_predictor(cpu, folder=folder), pipeline.load_student(stage)
    assert all(torch.equal(a, b) for a, b in zip(predictor.model.parameters(), own.parameters(), strict=True))
    assert predictor.size == run.config.images.size


def test_students_of_drawn_images_and_runs_without_one_do_not_ship(with_student, trained_run, tmp_path):
    with pytest.raises(RunError, match="synthetic-quick has no student. `uslnet reproduce steps` trains one"):
        pipeline.ship(trained_run.folder, tmp_path / "shipped")
    with pytest.raises(RunError, match="synthetic-quick~plus has seen drawn images only"):
        pipeline.ship(with_student("synthetic").folder, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()
