"""What the stages refuse, or take in part and say so: missing, damaged, stale, of another seed or size."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from uslnet_core import pipeline
from uslnet_core.config import configure
from uslnet_core.data import synthetic
from uslnet_core.data.images import ImageSet
from uslnet_core.data.masks import MaskSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, DataError, RunError
from uslnet_core.runs import Run


@pytest.mark.parametrize(
    ("make", "missing", "notebook"),
    [
        (pipeline.learn_features, "01-data/images/train", "01"),
        (pipeline.make_labels, "03-saliency/main", "03"),
        (pipeline.load_encoder, "02-contrastive/simclr", "02"),
        (pipeline.refine, "01-data/images/train", "01"),
    ],
)
def test_what_is_missing_is_named_with_its_notebook(tmp_path, tiny, make, missing, notebook):
    with pytest.raises(RunError, match=f"no {missing} yet. Notebook {notebook} makes it"):
        make(Run(tmp_path / "synthetic-quick", tiny()))
    assert not (tmp_path / "synthetic-quick").exists()


def test_an_image_that_cannot_be_read_is_left_out_or_fatal(tmp_path, tiny):
    data = tmp_path / "pictures"
    data.mkdir()
    for index in range(3):
        Image.fromarray(synthetic.image(index, size=32, seed=0)).save(data / f"{index}.png")
    (data / "1.png").write_text("no picture")
    run = Run(tmp_path / "runs" / "folder-quick", tiny("folder"), data)
    with pytest.raises(DataError, match="1.png is not an image"):
        pipeline.prepare_images(run, "all", strict=True)
    assert not (run.folder / "01-data").exists()
    stage = pipeline.prepare_images(run, "all")
    assert ImageSet.open(stage.folder).ids == ("0", "2") and stage.manifest.facts == {"images": 2, "skipped": 1}
    with pytest.raises(DataError, match="leaves out 1 files. The first: 1.png is not an image"):
        pipeline.prepare_images(run, "all", strict=True)  # also when the stage is there already


def test_bad_masks_are_fatal_when_strict(folder_run):
    with pytest.raises(DataError, match="5_mask.png is"):
        pipeline.prepare_masks(folder_run, "all", strict=True)
    assert MaskSet.open(pipeline.prepare_masks(folder_run, "all").folder).has_mask.sum() == 5
    with pytest.raises(DataError, match="leaves out 2 files"):
        pipeline.prepare_masks(folder_run, "all", strict=True)


def test_images_without_any_mask_have_no_mask_stage(tmp_path, tiny):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(synthetic.image(0, size=32, seed=0)).save(tmp_path / "pictures" / "a.png")
    run = Run(tmp_path / "runs" / "folder-quick", tiny("folder"), tmp_path / "pictures")
    pipeline.prepare_images(run, "all")
    assert pipeline.prepare_masks(run, "all") is None and pipeline.load_masks(run, "all") is None


def test_a_picture_replaced_makes_the_images_anew(folder_run):
    before = folder_run.open("01-data/images/all").manifest
    Image.fromarray(synthetic.image(50, size=64, seed=0)).save(folder_run.data / "0.png")
    after = pipeline.prepare_images(folder_run, "all")
    assert after.origin == "made" and after.manifest.fingerprint != before.fingerprint


def test_the_paper_profile_does_not_start_on_a_cpu_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="paper profile.*--profile workshop, or say --device cpu"):
        pipeline.fabric_of(Run(tmp_path, configure("paper")))
    assert pipeline.fabric_of(Run(tmp_path, configure("paper", compute={"device": "cpu"}))).device.type == "cpu"


def test_weights_are_loaded_whole_or_not_at_all(tmp_path):
    encoder = Encoder("resnet18")
    pipeline.save_weights(encoder, tmp_path / "encoder.safetensors")
    loaded = pipeline.load_weights(Encoder("resnet18"), tmp_path / "encoder.safetensors")
    assert not loaded.training
    assert all(torch.equal(v, encoder.state_dict()[k]) for k, v in loaded.state_dict().items())
    pipeline.save_weights(torch.nn.Sequential(encoder.layer1), tmp_path / "part.safetensors")
    with pytest.raises(DataError, match="part.safetensors does not fit a Encoder"):
        pipeline.load_weights(Encoder("resnet18"), tmp_path / "part.safetensors")


def test_a_stale_segmenter_is_not_handed_out(tmp_path, tiny, trained_run):
    folder = tmp_path / "synthetic-quick"
    shutil.copytree(trained_run.folder, folder)
    run = replace(trained_run, folder=folder, config=tiny(uncertainty={"low": 0.4}))
    pipeline.make_labels(run)
    with pytest.raises(RunError, match="stale"):
        pipeline.last_segmenter(folder)


def test_a_stage_of_another_seed_is_refused(tmp_path, tiny, trained_run):
    run = replace(trained_run, config=tiny(seed=1))
    with pytest.raises(RunError, match="--seed 0"):
        pipeline.load_encoder(run)


def test_a_sealed_part_is_decoded_when_it_is_asked_for(tmp_path, trained_run):
    folder = tmp_path / "synthetic-quick"
    shutil.copytree(trained_run.folder, folder)
    stage = pipeline.evaluate(replace(trained_run, folder=folder), "test")
    assert stage.name == "07-evaluation/test" and (folder / "01-data/images/test/images.npy").exists()


def test_images_of_another_size_than_the_trained_ones_are_not_scored(tmp_path, tiny, trained_run):
    run = replace(trained_run, folder=tmp_path / "synthetic-quick", config=tiny(images={"size": 64}))
    shutil.copytree(trained_run.folder, run.folder)
    assert pipeline.image_size(run) == 32
    stage = pipeline.evaluate(run, "test")  # decoded as the trained ones were, whatever the profile says
    assert np.load(stage / "predictions.npy", mmap_mode="r").shape[-1] == 32
    shutil.rmtree(run.folder / "01-data/images/test")
    pipeline.prepare_images(run, "test")
    with pytest.raises(RunError, match="trained on images of 32 pixels, but its test images have 64"):
        pipeline.evaluate(run, "test")
