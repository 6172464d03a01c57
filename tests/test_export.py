"""Segmenters as ONNX files: the same masks as torch's, in files that say what they are and name no one's folders."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from uslnet_core import export, pipeline
from uslnet_core.cli import app
from uslnet_core.data import synthetic
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, DataError, RunError
from uslnet_core.inference import Predictor
from uslnet_core.pipeline import exporting
from uslnet_core.segmenter import Segmenter


def test_without_the_extra_the_message_has_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name != "onnx" else object())
    with pytest.raises(
        ConfigError, match=r"needs onnxscript, onnxruntime, which are not installed(.|\n)*pip install -e"
    ):
        export.need_onnx()
    result = CliRunner().invoke(app, ["export", "--onnx", str(tmp_path / "a.onnx")])
    assert isinstance(result.exception, ConfigError) and not list(tmp_path.iterdir())


onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def predictor(cpu, pictures) -> Predictor:
    torch.manual_seed(0)
    model = Segmenter(Encoder("slim18"), width=8).eval()
    with torch.no_grad():  # so that there is lesion and skin
        model.readout.bias -= model(pictures.batch(range(16))).median()
    return Predictor(model, 32, cpu, 0.4)


@pytest.fixture(scope="module")
def exported(predictor):
    return export.to_onnx(predictor.model, predictor.size)


@pytest.fixture(scope="module")
def compared() -> exporting.Compared:
    return pipeline.images_to_compare("synthetic", None, 32)


def in_torch(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(predictor.model(torch.from_numpy(images))).numpy()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_it_gives_torch_s_probabilities_for_any_number_of_images(predictor, exported, compared, count):
    images = export.as_input(compared.squares[:count])
    found = export.runner(exported)(images)
    assert found.shape == (count, 32, 32) and found.dtype == np.float32
    assert np.abs(found - in_torch(predictor, images)).max() < 1e-5


def test_exporting_changes_nothing_in_the_model(predictor):
    before = {name: value.clone() for name, value in predictor.model.state_dict().items()}
    export.to_onnx(predictor.model, 32)
    assert all(torch.equal(value, before[name]) for name, value in predictor.model.state_dict().items())
    assert not predictor.model.training


def test_files_name_no_folder_and_carry_only_our_notes(exported, predictor):
    noted = export.with_notes(exported, {"size": 32, "notice": "Not a medical device."})
    assert {each.key: each.value for each in noted.metadata_props} == {"size": "32", "notice": "Not a medical device."}
    assert not exported.metadata_props, "the original stays as it is"
    for model in (noted, export.to_half(exported), export.to_int8(exported, np.zeros((1, 3, 32, 32), np.float32))):
        assert not re.search(rb"site-packages|\.py|/home|/tmp|Users", model.SerializeToString())
        onnx.checker.check_model(model)


def test_half_and_int8_are_smaller_and_close(exported, compared):
    images = export.as_input(compared.squares)
    whole, found = len(exported.SerializeToString()), export.runner(exported)(images)
    half, int8 = export.to_half(exported), export.to_int8(exported, images[:8])
    assert len(half.SerializeToString()) < 0.55 * whole and len(int8.SerializeToString()) < 0.35 * whole
    assert np.abs(export.runner(half)(images) - found).max() < 0.02
    assert np.abs(export.runner(int8)(images) - found).mean() < 0.05


def test_files_table_and_notes_of_an_export(predictor, compared, tmp_path):
    steps = []
    table = pipeline.export(
        predictor,
        tmp_path / "out" / "net.onnx",
        "a test's",
        compared,
        half=True,
        calibration=compared.squares[:4],
        rounds=1,
        progress=lambda *call: steps.append(call[1:]),
    )
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["net-half.onnx", "net-int8.onnx", "net.csv", "net.onnx"]
    assert steps == [(k, 5) for k in range(6)]
    kinds = ["float32", "float16", "int8"]
    assert list(table["how"]) == [exporting.TORCH, *(f"onnxruntime, {kind}" for kind in kinds)]
    assert list(pd.read_csv(tmp_path / "out" / "net.csv")["how"]) == list(table["how"])
    assert table["percent_equal"][0] == table["dice_to_torch"][0] == 100 and table["percent_equal"][1] >= 99.9
    assert table["dice_to_truth"].between(0, 100).all()
    images = export.as_input(compared.squares)
    torchs = in_torch(predictor, images) > 0.4
    for (_, row), kind in zip(table.iloc[1:].iterrows(), kinds, strict=True):
        path = tmp_path / "out" / row["file"]
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        notes = session.get_modelmeta().custom_metadata_map
        assert (notes["size"], notes["threshold"], notes["computes in"]) == ("32", "0.4", kind)
        assert "Not a medical device" in notes["notice"] and "0.485" in notes["normalisation"]
        found = session.run(None, {"images": images})[0] > 0.4
        assert row["percent_equal"] == pytest.approx(100 * (found == torchs).mean(), abs=0.01)
        assert row["megabytes"] == pytest.approx(path.stat().st_size / 1e6, abs=0.01)


def test_what_is_not_torch_s_is_refused_and_nothing_is_written(predictor, compared, tmp_path, monkeypatch):
    other = copy.deepcopy(predictor.model)
    with torch.no_grad():
        other.readout.bias -= 100  # sees no lesion anywhere
    monkeypatch.setattr(exporting, "to_onnx", lambda model, size: export.to_onnx(other, size))
    with pytest.raises(
        RunError, match=r"torch's in \d+\.\d+% of the pixels of 48 drawn images; expected 99.9% or more"
    ):
        pipeline.export(predictor, tmp_path / "net.onnx", "another's", compared)
    assert not list(tmp_path.iterdir())


def test_calibration_draws_other_images_than_those_compared_on(compared, tmp_path):
    drawn = pipeline.images_to_calibrate(None, 32)
    assert drawn.shape == (48, 32, 32, 3)
    assert not {image.tobytes() for image in drawn} & {image.tobytes() for image in compared.squares}
    Image.fromarray(synthetic.image(0, size=64, seed=0)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "a_mask.png")
    assert len(pipeline.images_to_calibrate(tmp_path, 32)) == 1, "masks are no images"


def test_a_dataset_is_compared_on_with_its_masks(lay_out, tmp_path):
    lay_out(tmp_path, validation=4)
    found = pipeline.images_to_compare("isic2017", tmp_path, 32)
    assert found.about == "4 images of isic2017-validation" and found.truth.shape == (4, 32, 32)
    assert found.truth.dtype == bool and 0 < found.truth.mean() < 1
    with pytest.raises((DataError, ConfigError)):
        pipeline.images_to_compare("isic2017", tmp_path / "none", 32)


def test_a_second_look_is_not_exported_and_that_is_said(predictor, trained_run, compared, tmp_path, monkeypatch):
    real = pipeline.last_predictor

    def twice(*args):
        found, stage = real(*args)
        return replace(found, look=lambda small, fine: fine), stage

    monkeypatch.setattr(pipeline, "last_predictor", twice)
    run = ["--run", str(trained_run.folder)]
    result = CliRunner().invoke(app, ["export", "--onnx", str(tmp_path / "a.onnx"), *run])
    assert result.exit_code == 0, result.output
    assert "the network at one look" in " ".join(result.output.split())
    assert (tmp_path / "a.onnx").exists()


def test_the_student_s_file_is_used_by_the_lines_that_are_printed(tmp_path):
    """All of it, as a user does it: the printed lines run, without this package or torch."""
    result = CliRunner().invoke(app, ["export", "--onnx", str(tmp_path / "student.onnx")])
    assert result.exit_code == 0, result.output
    lines = result.output[result.output.index("import numpy") : result.output.index("For research")]
    Image.fromarray(synthetic.image(0, size=200, seed=0)).save(tmp_path / "photo.jpg", quality=95)
    after = "import sys; numpy.save('mask.npy', mask); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", f"{lines}\n{after}"], cwd=tmp_path, check=True)
    mask, photo = np.load(tmp_path / "mask.npy"), Image.open(tmp_path / "photo.jpg").resize((128, 128), 2)
    model = pipeline.load_student(pipeline.shipped.SHIPPED)
    with torch.no_grad():
        expected = model(torch.from_numpy(export.as_input(np.asarray(photo)[None])))[0].numpy() > 0
    assert (mask == expected).mean() >= 0.999 and 0 < mask.mean() < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--onnx", "a.pt"], "ends in .onnx"), (["--onnx", "a.onnx", "--images", "here"], "calibrating --int8")],
)
def test_options_that_do_not_fit(options, said):
    result = CliRunner().invoke(app, ["export", *options])
    assert isinstance(result.exception, ConfigError) and said in str(result.exception)
