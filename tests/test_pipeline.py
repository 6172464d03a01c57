"""Stages end to end: what each writes, what makes it anew, and how it is scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.data import synthetic
from uslnet_core.data.masks import read_mask
from uslnet_core.evaluation import score
from uslnet_core.runs import Run
from uslnet_core.saliency.ccam import upsample
from uslnet_core.segmenter import predict
from uslnet_core.stages import list_stages, read_stage
from uslnet_core.uncertainty import UncertaintyModule


def beside(run: Run, name: str, config=None) -> Run:
    """A run in the same folder of runs: it takes over what still holds."""
    return Run(run.folder.parent / f"synthetic-quick-{name}", config or run.config)


def stage_names(folder: Path) -> list[str]:
    return [path.parent.relative_to(folder).as_posix() for path in list_stages(folder)]


@pytest.fixture(scope="module")
def scored_run(trained_run) -> Run:
    """The trained run once more, with its evaluation."""
    run = beside(trained_run, "scored")
    for split in ("train", "validation"):
        pipeline.prepare_images(run, split)
    for make in (pipeline.learn_features, pipeline.make_saliency, pipeline.make_labels):
        make(run)
    pipeline.train_iteration(run, 0)
    pipeline.refine(run)
    pipeline.evaluate(run)
    return run


# --- what is there afterwards ----------------------------------------------------------------------------------------


CCAM = "03-saliency/ccam-simclr/train"


def load_ccam(run: Run):
    return pipeline.load_ccam(run.open(CCAM))


def test_every_stage_is_there_with_its_files(scored_run):
    files = {name: set(read_stage(scored_run.folder, name).manifest.files) for name in stage_names(scored_run.folder)}
    labels = {"labels.npy", "keep.npy", "images.csv", "regions.csv"}
    assert files == {
        "01-data/images/train": {"images.npy", "index.csv", "skipped.csv"},
        "01-data/images/validation": {"images.npy", "index.csv", "skipped.csv"},
        "01-data/masks/validation": {"masks.npy", "index.csv", "skipped.csv"},
        "02-contrastive/simclr": {"encoder.safetensors", "head.safetensors", "history.csv"},
        "03-saliency/ccam-simclr/train": {"ccam.safetensors", "maps.npy", "history.csv"},
        "03-saliency/ccam-simclr/validation": {"maps.npy"},
        "03-saliency/main": {"maps.npy"},
        "04-labels": labels,
        "05-segmenter/iteration-0": {"segmenter.safetensors", "history.csv"},
        "05-segmenter/iteration-1": {"segmenter.safetensors", "history.csv"} | labels,
        "07-evaluation/validation": {"predictions.npy", "models.csv", "per_image.csv", "summary.csv"},
    }


def test_training_reads_no_masks_of_its_own_part(scored_run):
    assert not (scored_run.folder / "01-data/masks/train").exists()
    for name in ("02-contrastive/simclr", "03-saliency/main", "04-labels", "05-segmenter/iteration-1"):
        assert not any("masks" in read for read in scored_run.open(name).manifest.inputs)


def test_no_file_of_a_run_names_a_folder_of_this_machine(scored_run, names_place):
    for path in scored_run.folder.rglob("*"):
        if path.suffix in (".csv", ".json"):
            text = path.read_text(encoding="utf-8")
            assert not any(names_place(text, place) for place in (scored_run.folder.parent, Path.home())), path.name


def test_facts(scored_run):
    facts = {name: scored_run.open(name).manifest.facts for name in stage_names(scored_run.folder)}
    assert facts["01-data/images/train"] == {"images": 16, "skipped": 0}
    assert facts["02-contrastive/simclr"]["health"]["verdict"] == "healthy"
    assert facts["03-saliency/main"]["orientation"]["simclr"]["sign"] in (1.0, -1.0)
    assert facts["04-labels"]["kept"] == 16 and 0 < facts["04-labels"]["certain"] <= 1
    assert facts["07-evaluation/validation"] == {"scored": 64}


def test_everything_is_reused_the_second_time(scored_run):
    stages = [pipeline.prepare_images(scored_run, "train"), pipeline.prepare_masks(scored_run, "validation")]
    stages += [f(scored_run) for f in (pipeline.learn_features, pipeline.make_saliency, pipeline.make_labels)]
    stages += [pipeline.train_iteration(scored_run, 0), *pipeline.refine(scored_run), pipeline.evaluate(scored_run)]
    assert {stage.origin for stage in stages} == {"reused"}


def test_a_run_beside_took_over_what_was_trained(trained_run, scored_run):
    weights = "05-segmenter/iteration-1/segmenter.safetensors"
    assert (scored_run.folder / weights).samefile(trained_run.folder / weights)


# --- each stage's result ---------------------------------------------------------------------------------------------


def test_images_are_the_generators(scored_run):
    images = pipeline.load_images(scored_run)
    assert images.ids == tuple(synthetic.ids("train", 16)) and images.size == 32
    assert np.array_equal(images.images[3], synthetic.image(synthetic.index_of(images.ids[3]), size=32, seed=0))


def test_saliency_is_the_models_and_is_upsampled(scored_run, cpu):
    maps = np.load(scored_run.open("03-saliency/main") / "maps.npy")
    with torch.no_grad():
        found = load_ccam(scored_run)(pipeline.load_images(scored_run).batch(range(16))).numpy()
    assert np.abs(found - maps).max() < 1e-5
    assert pipeline.load_saliency(scored_run).shape == (16, 32, 32)
    assert np.array_equal(pipeline.load_saliency(scored_run, 64), upsample(torch.from_numpy(maps), 64).numpy())


def test_labels_are_the_modules(scored_run):
    stage = scored_run.open("04-labels")
    labels, keep = pipeline.load_labels(stage)
    module = UncertaintyModule(**scored_run.config.uncertainty.model_dump())
    out = module(torch.from_numpy(pipeline.load_saliency(scored_run)))
    assert np.array_equal(labels / 2, out.label.numpy()) and np.array_equal(keep, out.keep.numpy())
    table = pd.read_csv(stage / "images.csv")
    assert list(table.columns) == ["image", "keep", "reason", "certain", "foreground"] and len(table) == 16
    assert table["certain"].to_numpy() == pytest.approx((labels != 1).mean((1, 2)))


def test_labels_go_in_batches_and_regions_count_on(tmp_path, monkeypatch):
    saliency = np.random.default_rng(0).random((10, 16, 16)).astype(np.float32)
    config = configure(uncertainty={"min_area": 0.0}).uncertainty
    tables = []
    for size in (3, 64):
        monkeypatch.setattr(pipeline.training, "LABEL_BATCH", size)
        folder = tmp_path / str(size)
        folder.mkdir()
        pipeline.write_labels(saliency, config, folder)
        tables.append(
            [(folder / name).read_bytes() for name in ("labels.npy", "keep.npy", "images.csv", "regions.csv")]
        )
    assert tables[0] == tables[1]
    assert set(pd.read_csv(tmp_path / "3" / "regions.csv")["image"]) == set(range(10))


def test_a_later_iteration_learns_from_the_segmenter_before(scored_run, cpu):
    before = pipeline.load_segmenter(scored_run.open("05-segmenter/iteration-0"))
    probability = predict(before, pipeline.load_images(scored_run), cpu)
    out = UncertaintyModule(**scored_run.config.uncertainty.model_dump())(torch.from_numpy(probability))
    labels, keep = pipeline.load_labels(scored_run.open("05-segmenter/iteration-1"))
    assert (labels == out.label.numpy() * 2).mean() > 0.999 and np.array_equal(keep, out.keep.numpy())


def test_what_learnt_with_a_stride_is_read_dilated_at_every_stage(scored_run):
    assert scored_run.config.contrastive.last_stride == 2
    segmenter = pipeline.load_segmenter(scored_run.open("05-segmenter/iteration-0"))
    for encoder in (pipeline.load_encoder(scored_run), load_ccam(scored_run).encoder, segmenter.encoder):
        strided, later = encoder.layer4[0].conv1, encoder.layer4[1].conv1
        assert strided.stride == (1, 1) and later.dilation == later.padding == (2, 2)


def test_segmenters_start_from_the_contrastive_encoder(scored_run):
    encoder = pipeline.load_encoder(scored_run).state_dict()
    first, second = (pipeline.fresh_segmenter(scored_run, k) for k in (0, 1))
    assert all(torch.equal(v, encoder[k]) for k, v in first.encoder.state_dict().items())
    assert not torch.equal(first.readout.weight, second.readout.weight), "each iteration draws a decoder of its own"
    again = pipeline.fresh_segmenter(scored_run, 0)
    assert torch.equal(first.readout.weight, again.readout.weight)


# --- the score -------------------------------------------------------------------------------------------------------


def test_predictions_are_each_models_cut_at_the_threshold(scored_run, cpu):
    stage = scored_run.open("07-evaluation/validation")
    predictions = np.load(stage / "predictions.npy")
    assert predictions.shape == (3, 64, 32, 32) and predictions.dtype == bool
    assert pd.read_csv(stage / "models.csv")["model"].tolist() == ["Model 1", "Model 4", "Model 5_1"]
    images = pipeline.load_images(scored_run, "validation")
    for k in (0, 1):
        model = pipeline.load_segmenter(scored_run.open(f"05-segmenter/iteration-{k}"))
        assert ((predict(model, images, cpu) > 0.5) == predictions[k + 1]).mean() > 0.999
    with torch.no_grad():
        coarse = load_ccam(scored_run)(images.batch(range(64)))
    assert ((upsample(coarse, 32).numpy() > 0.5) == predictions[0]).mean() > 0.999


def test_scores_are_those_of_the_predictions(scored_run):
    stage = scored_run.open("07-evaluation/validation")
    table, masks = pd.read_csv(stage / "per_image.csv"), pipeline.load_masks(scored_run, "validation")
    truth = masks.select(masks.scored_ids)
    assert len(table) == 3 * 64 and set(table["size"].astype(str)) == {"32"}
    for name, prediction in zip(["Model 1", "Model 4", "Model 5_1"], np.load(stage / "predictions.npy"), strict=True):
        rows = table[table["model"] == name]
        assert rows["id"].tolist() == list(masks.scored_ids)
        expected = score(prediction, truth)
        assert np.allclose(rows[list(expected.columns)], expected)
        summary = pd.read_csv(stage / "summary.csv").set_index(["model", "metric"])
        assert summary.loc[(name, "DIC"), "mean"] == pytest.approx(expected["DIC"].mean())


def test_without_masks_there_are_predictions_and_no_scores(scored_run, monkeypatch):
    monkeypatch.setattr(pipeline.scoring, "prepare_masks", lambda run, split: None)
    before = scored_run.open("07-evaluation/validation")
    run = beside(scored_run, "blind")
    shutil.copytree(scored_run.folder, run.folder, copy_function=shutil.copy)
    shutil.rmtree(run.folder / "07-evaluation")
    stage = pipeline.evaluate(run)
    assert set(stage.manifest.files) == {"predictions.npy", "models.csv"} and stage.manifest.facts == {"scored": 0}
    assert (stage / "predictions.npy").read_bytes() == (before / "predictions.npy").read_bytes()
    shutil.rmtree(run.folder)


def test_bad_masks_are_left_out_of_both_scores(folder_run):
    masks = pipeline.load_masks(folder_run, "all")
    assert masks.scored_ids == ("0", "1", "2", "3", "4")
    images = pipeline.load_images(folder_run)
    maps = {"M": np.random.default_rng(0).random((8, 32, 32)).astype(np.float32)}
    assert pipeline.score_at_size(maps, masks, images, 0.5)["id"].tolist() == list(masks.scored_ids)
    native = pipeline.score_native(folder_run, "all", maps, images, masks)
    assert native["id"].tolist() == list(masks.scored_ids) and set(native["size"]) == {"native"}


def test_the_native_score_is_at_the_masks_own_size(folder_run):
    masks, images = pipeline.load_masks(folder_run, "all"), pipeline.load_images(folder_run)
    maps = {"M": np.random.default_rng(0).random((8, 32, 32)).astype(np.float32)}
    native = pipeline.score_native(folder_run, "all", maps, images, masks).set_index("id")
    truth = read_mask(folder_run.data / "3_mask.png")
    assert truth.shape == (40, 63)
    large = torch.nn.functional.interpolate(torch.from_numpy(maps["M"][3])[None, None], (40, 63), mode="bilinear")
    expected = score((large[0] > 0.5).numpy(), truth[None])
    assert native.loc["3", "DIC"] == pytest.approx(expected["DIC"][0])
    assert native.loc["3", ["TP", "FP", "FN", "TN"]].sum() == 40 * 63


# --- what makes a stage anew -----------------------------------------------------------------------------------------

STAGES = ["02-contrastive/simclr", CCAM, "03-saliency/main", "04-labels", "05-segmenter/iteration-0"]
STAGES += ["05-segmenter/iteration-1", "07-evaluation/validation"]


@pytest.fixture(scope="module")
def changed(scored_run, train):
    """Which stages a change of the configuration would make anew, their inputs being the same."""
    stages = {name: scored_run.open(name) for name in stage_names(scored_run.folder)}  # their files are hashed once

    def settings_of(config) -> dict[str, dict]:
        found = {}

        def note(self, name, compute, *, settings, inputs=(), device="cpu", keeper=None, together=False):
            found[name] = settings
            return stages[name]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "make", note)
            patch.setattr(Run, "open", lambda self, name: stages[name])
            run = Run(scored_run.folder, config)
            train(run)
            pipeline.evaluate(run)
        return json.loads(json.dumps(found))

    before = settings_of(scored_run.config)

    def compare(config) -> set[str]:
        after = settings_of(config)
        return {name for name in STAGES if before[name] != after[name]}

    return compare


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"contrastive": {"epochs": 2}}, ["02-contrastive/simclr"]),
        ({"saliency": {"alpha": 0.5}}, [CCAM]),
        ({"uncertainty": {"high": 0.6}}, ["04-labels", "05-segmenter/iteration-1"]),
        ({"segmenter": {"literal": True}}, ["05-segmenter/iteration-0", "05-segmenter/iteration-1"]),
        ({"refinement": {"first_epochs": 2}}, ["05-segmenter/iteration-0"]),
        ({"refinement": {"epochs": 2}}, ["05-segmenter/iteration-1"]),
        ({"refinement": {"warm_start": True}}, ["05-segmenter/iteration-1"]),
        ({"evaluation": {"threshold": 0.4}}, ["07-evaluation/validation"]),
        ({"seed": 1}, [n for n in STAGES if n not in ("04-labels", "07-evaluation/validation")]),
    ],
    ids=str,
)
def test_a_change_makes_anew_what_it_concerns_and_nothing_else(changed, tiny, change, expected):
    assert changed(tiny(**change)) == set(expected)


# --- parts and names --------------------------------------------------------------------------------------------------


def test_test_parts_stay_sealed_unless_asked_for(scored_run, tiny):
    assert pipeline.train_split(scored_run) == "train" and pipeline.score_split(scored_run) == "validation"
    asked = Run(scored_run.folder, tiny(evaluation={"split": "test"}))
    assert pipeline.score_split(asked) == "test"
    assert not (scored_run.folder / "01-data/images/test").exists()


def test_the_last_segmenter_is_the_last_by_number(trained_run, tmp_path):
    first = trained_run.folder / "05-segmenter/iteration-0"
    for k in (2, 10):
        shutil.copytree(first, tmp_path / f"run/05-segmenter/iteration-{k}", copy_function=shutil.copy)
    assert pipeline.last_segmenter(tmp_path / "run")[1].name == "05-segmenter/iteration-10"


def test_names_of_models():
    assert [pipeline.model_name(k) for k in range(3)] == ["Model 4", "Model 5_1", "Model 5_2"]
