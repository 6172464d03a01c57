"""The record of a run: what is refused before anything is written, and that it tells what was measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from uslnet_core import pipeline
from uslnet_core.errors import DataError, RunError
from uslnet_core.record import record
from uslnet_core.runs import Run


def test_nothing_is_written_for_a_run_without_scores(tmp_path, trained_run):
    with pytest.raises(RunError, match="07-evaluation"):
        record(replace(trained_run, folder=tmp_path / "empty"), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_another_method_s_scores_stand_beside_no_number_of_the_paper(tmp_path, trained_run):
    config = trained_run.config.model_copy(update={"dataset": "isic2017", "method": "usl-plus"})
    run = replace(trained_run, config=config, folder=tmp_path / "isic2017-quick-usl-plus")
    with pytest.raises(DataError, match="is of usl-plus.*uslnet reproduce steps --dataset isic2017 --record"):
        record(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_synthetic_scores_are_not_recorded(tmp_path, trained_run):
    run = replace(trained_run, folder=tmp_path / "synthetic-quick")
    shutil.copytree(trained_run.folder, run.folder)
    pipeline.evaluate(run)
    with pytest.raises(DataError, match="synthetic"):
        record(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def scored_run(tiny, train, lay_out, tmp_path_factory):
    """A tiny run on images in the layout of ISIC 2017, scored on its validation part."""
    data = lay_out(tmp_path_factory.mktemp("data"), train=16, validation=6)
    run = Run(tmp_path_factory.mktemp("runs") / "isic2017-workshop", tiny("isic2017"), data)
    for split in ("train", "validation"):
        pipeline.prepare_images(run, split)
    train(run)
    pipeline.evaluate(run)
    return run


def test_a_record_says_what_was_measured_and_by_what(tmp_path, scored_run, names_place):
    folder = record(scored_run, tmp_path / "results")
    assert folder == tmp_path / "results" / "isic2017-workshop"
    per_image = pd.read_csv(folder / "per_image.csv", dtype={"size": str})
    assert per_image.groupby(["model", "size"]).size().eq(6).all() and set(per_image["size"]) == {"32", "native"}
    summary = pd.read_csv(folder / "summary.csv", dtype={"size": str})
    means = per_image.groupby(["model", "size"])["DIC"].mean()
    told = summary[summary["metric"] == "DIC"].set_index(["model", "size"])["mean"]
    assert np.allclose(told, means.loc[told.index], atol=1e-4)
    beside = pd.read_csv(folder / "comparison.csv")
    dice = beside[beside["model"] == "Model 1"].set_index("whose")["DIC"]
    assert dice["paper, isic2017-test"] == 52.9  # table 8
    assert dice["ours, isic2017-validation"] == pytest.approx(100 * means["Model 1", "32"], abs=0.06)
    assert dice["difference"] == pytest.approx(dice["ours, isic2017-validation"] - 52.9, abs=0.11)
    assert list(pd.read_csv(folder / "native.csv").columns) == ["model", "average", "DIC", "JAC"]
    frame = pd.read_csv(folder / "frame.csv").set_index("lesions")
    assert frame["images"].sum() == 6
    weighted = (frame["Model 4"] * frame["images"]).sum() / 6
    assert weighted == pytest.approx(100 * means["Model 4", "32"], abs=0.1)
    labels = pd.read_csv(folder / "labels.csv")
    assert list(labels["learns from"]) == ["CCAM", "iteration 0"] and "lesion right" in labels
    assert list(pd.read_csv(folder / "differences.csv")["model"]) == ["Model 4", "Model 5_1", "Model 5_1"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["train"] == "isic2017-train, without masks" and manifest["scored"] == "isic2017-validation"
    assert manifest["size"] == 32 and manifest["seed"] == 0
    assert manifest["stages"]["03-saliency/ccam-simclr/train"]["settings"]["saliency"]["epochs"] == 10
    about = pd.read_csv(folder / "about.csv").set_index("what")["this run"]
    assert about["trained on"] == "16 images of isic2017-train, without masks" and about["seeds"] == "one, 0"
    assert about["scored on"] == "6 images of isic2017-validation"
    whole = (folder / "manifest.json").read_text(encoding="utf-8")
    assert not any(names_place(whole, place) for place in (scored_run.folder.parent, scored_run.data))
    assert {path.name for path in folder.glob("*.png")} == {"examples.png", "dice.png", "labels.png", "split.png"}


def test_a_record_that_fails_leaves_the_one_before(tmp_path, scored_run, monkeypatch):
    folder = record(scored_run, tmp_path / "results")
    before = (folder / "scores.csv").read_bytes()

    def fails(*args):
        raise DataError("no ink")

    monkeypatch.setattr("uslnet_core.record.draw", fails)
    with pytest.raises(DataError, match="no ink"):
        record(scored_run, tmp_path / "results")
    assert (folder / "scores.csv").read_bytes() == before
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["isic2017-workshop"]


def test_a_record_tells_what_made_the_scores_and_not_what_lies_beside(tmp_path, scored_run):
    run = replace(scored_run, folder=tmp_path / "isic2017-workshop")
    shutil.copytree(scored_run.folder, run.folder)
    leftover = run.folder / "05-segmenter" / "iteration-7"
    shutil.copytree(run.folder / "05-segmenter" / "iteration-1", leftover)
    (leftover / "history.csv").write_text("edited")
    folder = record(run, tmp_path / "results")
    assert "05-segmenter/iteration-7" not in (folder / "stages.csv").read_text()
