"""Public checkpoints inside a run: as the start of a training, as they are, and under saliency maps."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uslnet_core import pipeline, reproduce
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.runs import Run
from uslnet_core.weights import CHECKPOINTS


@pytest.fixture
def run(tiny, tmp_path):
    run = Run(tmp_path / "runs" / "synthetic-quick", tiny(), weights=tmp_path / "weights")
    pipeline.prepare_images(run, "train")
    return run


def changed(run, **sections):
    fields = run.config.model_dump()
    for name, value in sections.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    return replace(run, config=type(run.config)(**fields))


def test_a_local_file_is_where_a_training_starts(run, save, originals):
    start = changed(run, contrastive={"init": str(save("moco", "resnet18")), "epochs": 0})
    stage = pipeline.learn_features(start)
    encoder = pipeline.load_encoder(start)
    assert torch.equal(encoder.layer4[1].conv2.weight, originals["resnet18"].layer4[1].conv2.weight)
    facts = stage.manifest.facts["start"]
    assert facts["layout"] == "moco" and facts["architecture"] == "resnet18" and 0 < facts["fraction"] < 1
    assert stage.manifest.settings["contrastive"]["init"] == "file.pth" == stage.manifest.config["contrastive"]["init"]
    assert encoder.layer4[1].conv2.dilation == (2, 2), "it learnt with stride 2, whatever the profile says"
    further = pipeline.learn_features(changed(start, contrastive={"epochs": 1}))
    assert further.origin == "made" and "health" in further.manifest.facts
    assert not torch.equal(pipeline.load_encoder(start).layer4[1].conv2.weight, encoder.layer4[1].conv2.weight)


def test_another_file_is_another_start(run, save):
    first = changed(run, contrastive={"init": str(save("moco", "resnet18")), "epochs": 0})
    before = pipeline.learn_features(first).manifest

    def double(content):
        for name in content["state_dict"]:
            if name.endswith("encoder_q.conv1.weight"):
                content["state_dict"][name] = 2 * content["state_dict"][name]

    save("moco", "resnet18", change=double)  # the same name
    after = pipeline.learn_features(first)
    assert after.origin == "made" and after.manifest.settings["init"] != before.settings["init"]


def test_another_backbone_is_refused_with_the_parameter_to_change(run, save):
    with pytest.raises(ConfigError, match=r"a resnet50, but the run's backbone is resnet18.*-p backbone=resnet50"):
        pipeline.learn_features(changed(run, contrastive={"init": str(save("dino", "resnet50")), "epochs": 0}))


def test_a_transformer_cannot_go_on_learning(run, save):
    with pytest.raises(ConfigError, match="a transformer. Only a ResNet can go on learning"):
        pipeline.learn_features(changed(run, contrastive={"init": str(save("dino", "vit_s16")), "epochs": 1}))


def test_a_public_encoder_as_it_is_and_its_maps(run, save, originals, monkeypatch):
    known = CHECKPOINTS["dino_vits16"]
    monkeypatch.setitem(CHECKPOINTS, "dino_vits16", replace(known, checksum=None))
    run.weights.mkdir()
    save("dino", "vit_s16").rename(run.weights / known.file)
    public = changed(run, encoders=("dino_vits16",))
    stage = pipeline.learn_features(public)
    assert set(stage.manifest.files) == {"encoder.safetensors"} and stage.manifest.inputs == {}
    assert stage.manifest.facts["start"]["fraction"] == 1
    images = pipeline.load_images(public).batch(range(2))
    with torch.no_grad():
        maps = pipeline.load_encoder(public)(images)[0]
    assert maps.shape == (2, 384, 2, 2) and pipeline.load_head(public) is None
    for cam in ("smooth_grad_cam_pp", "freq_cam", "ccam"):
        found = np.load(pipeline.map_part(public, "train", cam) / "maps.npy")
        assert found.shape == (16, 2, 2) and 0 <= found.min() <= found.max() <= 1
    pipeline.make_saliency(public)
    pipeline.make_labels(public)
    with pytest.raises(ConfigError, match=r"but dino_vits16 is a vit_s16. .*-p encoders=dino_vits16,simclr"):
        pipeline.train_iteration(public, 0)
    (run.weights / known.file).unlink()


def test_a_checkpoint_that_is_not_there_says_how_to_get_it(run):
    with pytest.raises(DataError, match="uslnet weights fetch moco_v2_800"):
        pipeline.learn_features(changed(run, encoders=("moco_v2_800",)))


def test_an_unknown_encoder_gets_the_nearest_names(run):
    with pytest.raises(ConfigError, match=r"Unknown encoder 'moco_v4'. Did you mean moco_v"):
        pipeline.learn_features(changed(run, encoders=("moco_v4",)))


def test_images_in_0_1_stay_so_through_the_run(run, save):
    file = save("simclr", "resnet50", name="simclr.pth")
    start = changed(run, backbone="resnet50", contrastive={"init": f"simclr_r50:{file}", "epochs": 0})
    pipeline.learn_features(start)
    assert float(pipeline.load_encoder(start).mean.abs().sum()) == 0
    pipeline.make_saliency(start)
    ccam = pipeline.load_ccam(start.open("03-saliency/ccam-simclr/train"))
    assert float(ccam.encoder.mean.abs().sum()) == 0 and float((ccam.encoder.std - 1).abs().sum()) == 0


def test_a_transformer_whose_file_is_there_has_its_row_in_table_9(run, save, monkeypatch, train):
    known = CHECKPOINTS["dino_vits16"]
    monkeypatch.setitem(CHECKPOINTS, "dino_vits16", replace(known, checksum=None))
    train(run)
    lacking = reproduce.table_9({0: run}).tables["table 9"]
    assert "smooth_grad_cam_pp-dino_vits16" not in pipeline.table_9(run).manifest.facts["rows"]
    assert not lacking["model"].str.contains("dino").any(), "on synthetic images nothing is named that is not there"
    run.weights.mkdir()
    save("dino", "vit_s16").rename(run.weights / known.file)
    stage = pipeline.table_9(run)
    assert stage.manifest.facts["rows"]["smooth_grad_cam_pp-dino_vits16"]["run"] == run.folder.name
    shown = reproduce.table_9({0: run}).tables["table 9"]
    assert "Smooth Grad-CAM++, dino_vits16" in set(shown["model"])
    (run.weights / known.file).unlink()


def test_public_encoders_stand_for_their_methods(run, monkeypatch):
    names = ("simclr_r50", "moco_v1_200", "moco_v2_800")
    monkeypatch.setattr(pipeline.training, "backbone_of", lambda run, name: "resnet50")
    facts = SimpleNamespace(manifest=SimpleNamespace(facts={"encoders": list(names)}))
    monkeypatch.setattr(Run, "open", lambda self, name: facts)
    assert pipeline.starting_encoder(run) == "moco_v2_800", "the paper's strongest"
    assert [pipeline.method_of(name) for name in (*names, "moco_v3_r50_100", "dino_r50", "moco_v2")] == [
        *("simclr", "moco_v1", "moco_v2"),
        *(None, None, "moco_v2"),
    ]


def test_the_ablations_of_a_public_run_are_about_its_own_encoders(run):
    public = changed(run, encoders=("moco_v2_800",))
    real = replace(public, config=public.config.model_copy(update={"profile": "workshop"}))
    for each in (public, real):
        assert reproduce.usual_encoders(each) == reproduce.usual_encoders(each, every=True) == ("moco_v2_800",)
    trained = replace(run, config=run.config.model_copy(update={"profile": "workshop"}))
    assert reproduce.usual_encoders(trained) == ("simclr", "moco_v1", "moco_v2")
    assert reproduce.usual_encoders(run) == ("simclr",)
    assert reproduce.usual_encoders(run, every=True) == ("simclr", "moco_v1", "moco_v2")
