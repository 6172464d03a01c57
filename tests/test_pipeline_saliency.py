"""Saliency stages: one a source and part, a reader's own among them, and one that labels are made of."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.contrastive import health
from uslnet_core.errors import ConfigError, DataError, RunError, TrainingError
from uslnet_core.runs import Run
from uslnet_core.saliency import agreement, ccam, mean_maps, weighed_maps


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """Two encoders, and images to score."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "STUCK", 9.0)
        run = Run(tmp_path_factory.mktemp("saliency") / "synthetic-quick", tiny())
        run = replace(run, config=run.config.model_copy(update={"encoders": ("simclr", "moco_v1")}))
        for part in ("train", "validation"):
            pipeline.prepare_images(run, part)
        pipeline.learn_features(run, "simclr")
        pipeline.learn_features(run, "moco_v1")
        yield run


def with_saliency(run, **changes):
    saliency = run.config.saliency.model_copy(update=changes)
    return replace(run, config=run.config.model_copy(update={"saliency": saliency}))


def test_main_maps_are_the_mean_of_the_oriented_ones(run):
    stage = pipeline.make_saliency(run)
    assert stage.manifest.facts["source"] == "ccam-fused" and stage.manifest.facts["encoders"] == ["simclr", "moco_v1"]
    assert set(stage.manifest.facts["orientation"]) == {"simclr", "moco_v1"}
    parts = [np.load(run.open(f"03-saliency/ccam-{who}/train") / "maps.npy") for who in run.config.encoders]
    assert np.allclose(np.load(stage / "maps.npy"), (parts[0] + parts[1]) / 2)
    assert set(pipeline.heads_of(run)) == {"simclr", "moco_v1"}


@pytest.mark.parametrize("weigh", ["evenly", "by_sureness"])
def test_sources_beside_each_other_are_blended(run, tmp_path, weigh):
    here = Run(tmp_path / "synthetic-quick", run.config)
    for stage in run.whole().values():
        here.adopt(stage)
    blended = with_saliency(here, also=("colour_clusters",), weigh=weigh)
    stage, kind = pipeline.make_saliency(blended), {"evenly": "blend", "by_sureness": "sure_blend"}[weigh]
    assert stage.manifest.facts["source"] == f"{kind}-ccam-fused+colour_clusters"
    assert set(stage.manifest.facts["orientation"]) == set(pipeline.heads_of(blended)) == {"simclr", "moco_v1"}
    assert pipeline.source_title(stage.manifest.facts["source"]).startswith("CCAM, fused with colour clusters")
    size = pipeline.image_size(run)
    for part in ("train", "validation"):
        found = pipeline.main_maps(here, part)  # whatever the configuration says now
        names = ("ccam-fused", "colour_clusters")
        maps = [pipeline.load_maps(here.open(f"03-saliency/{name}/{part}"), size) for name in names]
        fused = {"evenly": mean_maps, "by_sureness": weighed_maps}[weigh](maps)
        assert np.array_equal(np.load(found / "maps.npy"), fused)
        assert found.manifest.facts["agreement"] == pytest.approx(agreement(maps).mean(), abs=1e-6)
    again = pipeline.make_saliency(here)
    assert again.manifest.facts["source"] == "ccam-fused", "and the paper's way is as it was"


def test_a_source_is_not_blended_with_itself(run):
    with pytest.raises(ConfigError, match="also must name sources other than cam"):
        configure(saliency={"also": ("ccam",)})


def test_heads_do_not_share_their_random_numbers(run):
    streams = [run.open(f"03-saliency/ccam-{who}/train").manifest.settings["stream"] for who in run.config.encoders]
    assert streams == [run.config.stream(who) for who in run.config.encoders] == [0, 1]


def test_the_same_head_maps_images_that_it_has_not_seen(run):
    other = pipeline.map_part(run, "validation", "ccam", "moco_v1")
    model = pipeline.load_ccam(run.open("03-saliency/ccam-moco_v1/train"))
    images = pipeline.load_images(run, "validation").batch(range(4))
    with torch.no_grad():
        assert np.allclose(model(images).numpy(), np.load(other / "maps.npy")[:4], atol=1e-6)
    assert set(other.manifest.inputs) == {"01-data/images/validation", "03-saliency/ccam-moco_v1/train"}


def test_one_head_on_the_features_of_both(run):
    stage = pipeline.map_part(with_saliency(run, fusion="concatenated"), "train")
    assert stage.name == "03-saliency/ccam-concatenated/train"
    model = pipeline.load_ccam(stage)
    channels = 2 * (256 + 512)
    assert model.head[0].weight.shape[1] == channels
    assert list(stage.manifest.settings["encoders"]) == ["simclr", "moco_v1"]
    assert pipeline.map_part(run, "validation", "ccam", "concatenated").manifest.inputs[stage.name]


@pytest.mark.parametrize("cam", ["grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "freq_cam"])
def test_every_source_has_a_map_for_every_image(run, cam):
    maps = np.load(pipeline.map_part(run, "train", cam, "simclr") / "maps.npy")
    assert maps.shape == (16, 2, 2) and maps.dtype == np.float32 and 0 <= maps.min() < maps.max() <= 1


def test_labels_can_be_made_of_another_source(run):
    coloured = with_saliency(run, cam="colour_distance")
    stage = pipeline.make_saliency(coloured)
    assert stage.manifest.facts["source"] == "colour_distance" and stage.manifest.facts["orientation"] == {}
    assert pipeline.heads_of(coloured) == {}
    assert pipeline.load_saliency(coloured).shape == (16, 32, 32)
    assert pipeline.main_maps(coloured, "validation").name == "03-saliency/colour_distance/validation"
    pipeline.make_saliency(run)  # back again


def test_a_source_of_the_readers_own(run):
    def redness(images):
        return (images[:, 0] - images[:, 1:].amax(1)).clamp(0, 1)

    stage = pipeline.map_with(run, "train", "redness", lambda: redness, {"version": 1}, "")
    assert stage.name == "03-saliency/redness/train" and np.load(stage / "maps.npy").shape == (16, 32, 32)
    assert pipeline.map_with(run, "train", "redness", lambda: redness, {"version": 1}, "").origin == "reused"
    assert pipeline.map_with(run, "train", "redness", lambda: redness, {"version": 2}, "").origin == "made"
    labels = pipeline.make_saliency(run, run.open("03-saliency/redness/train"))
    assert labels.manifest.facts["source"] == "redness"
    with pytest.raises(RunError, match="redness is a source of your own.*pipeline.map_with"):
        pipeline.main_maps(run, "validation")
    there = pipeline.map_with(run, "validation", "redness", lambda: redness, {"version": 2}, "")
    assert pipeline.main_maps(run, "validation").manifest == there.manifest
    pipeline.make_saliency(run)  # back again


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (lambda images: images, DataError, r"shape .* expected \(16, h, w\)"),
        (lambda images: 2 * images[:, 0], DataError, "expected"),
        (lambda images: images[:, 0] * 0 + 0.3, TrainingError, "constant"),
        (lambda images: images[:, 0] * float("nan"), TrainingError, "not a number"),
    ],
)
def test_what_is_no_saliency_is_refused_and_leaves_nothing(run, source, error, message):
    with pytest.raises(error, match=message):
        pipeline.map_with(run, "train", "wrong", lambda: source, {}, "")
    assert not (run.folder / "03-saliency/wrong").exists()


def test_an_unknown_kind_gets_the_nearest_names(run):
    with pytest.raises(ConfigError, match=r"Unknown kind of saliency 'grad_cams'. Did you mean grad_cam"):
        pipeline.build_source(run, "grad_cams", "simclr")


@pytest.mark.parametrize("about_position", [("moco_v1",), ("simclr", "moco_v1")])
def test_maps_about_position_are_left_out_of_the_fusion_unless_all_are(run, tmp_path, monkeypatch, about_position):
    folder = tmp_path / run.folder.name
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("03-saliency"))
    copy, orient, waiting = replace(run, folder=folder), ccam.orient, list(run.config.encoders)

    def judged(model, maps):
        who = waiting.pop(0)
        return orient(model, maps) | {"about_position": who in about_position, "warning": f"about {who}"}

    monkeypatch.setattr(ccam, "orient", judged)
    stage = pipeline.make_saliency(copy)
    fused = ["simclr"] if len(about_position) == 1 else list(run.config.encoders)
    left_out = [name for name in run.config.encoders if name not in fused]
    facts = stage.manifest.facts
    assert facts["left_out"] == left_out and set(facts["orientation"]) == set(run.config.encoders), "all are shown"
    for part in ("train", "validation"):
        maps = np.load(pipeline.map_part(copy, part) / "maps.npy")
        of_each = [np.load(pipeline.map_part(copy, part, "ccam", name) / "maps.npy") for name in fused]
        assert np.allclose(maps, np.mean(of_each, axis=0))
    read = set(pipeline.main_maps(copy, "validation").manifest.inputs)
    assert read == {f"03-saliency/ccam-{name}/validation" for name in fused}
