"""Training without notebooks: by two processes, whose stages one process finds, and what the command refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from uslnet_core.cli import app
from uslnet_core.cli_train import read_fields
from uslnet_core.errors import ConfigError
from uslnet_core.runs import Run
from uslnet_core.stages import read_stage


def fields(config: dict) -> list[str]:
    """Spell a configuration's sections as ``-p`` takes them."""
    return [f"-p{name}.{key}={value}" for name, section in config.items() for key, value in section.items()]


@pytest.fixture
def small(tiny):
    """Few small images and short trainings; device and precision apart."""
    full = tiny().model_dump()
    changed = {"images": ("count", "size"), "segmenter": ("width", "batch_size"), "uncertainty": None}
    changed |= {"contrastive": ("epochs", "batch_size", "crop", "crop_area", "jitter", "grey", "hidden")}
    changed |= {"refinement": ("iterations", "first_epochs", "epochs"), "saliency": ("epochs", "batch_size")}
    sections = {name: {key: full[name][key] for key in keys or full[name]} for name, keys in changed.items()}
    sections["contrastive"]["learning_rate"] = full["contrastive"]["learning_rate"]
    return fields(sections | {"compute": {"precision": "32-true"}})


def test_one_process_finds_and_goes_on_from_what_two_made(tmp_path, tiny, small):
    words = ["train", "--device", "cpu", "--runs", str(tmp_path), *small]
    two = [sys.executable, "-m", "uslnet_core.cli", *words, "--processes", "2", "01", "02"]
    done = subprocess.run(two, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 processes") == 1, "the first process alone speaks"
    assert "02-contrastive/simclr: made" in done.stdout and "1 epochs, " in done.stdout
    stage = read_stage(tmp_path / "synthetic-quick", "02-contrastive/simclr")
    assert stage.manifest.config["compute"]["processes"] == 2 and {*stage.manifest.files} == {
        "encoder.safetensors",
        "head.safetensors",
        "history.csv",
    }
    left = [path.name for path in (tmp_path / "synthetic-quick").iterdir() if path.name.startswith(".")]
    assert not left, "no temporary folder, no checkpoint"
    one = CliRunner().invoke(app, [*words, "--processes", "1"])
    assert one.exit_code == 0, one.output
    said = one.output.splitlines()
    assert "one process" in said[0]
    assert [line.split(": ")[1].split(" ")[0] for line in said[1:]] == ["reused"] * 2 + ["made"] * 4
    run = Run(tmp_path / "synthetic-quick", tiny())
    assert run.open("05-segmenter/iteration-1").manifest.config["compute"]["processes"] == 1


def test_fields_become_sections():
    assert read_fields(["contrastive.epochs=3", "encoders=simclr,moco_v2", "contrastive.crop_area=[0.5, 1.0]"]) == {
        "contrastive": {"epochs": 3, "crop_area": (0.5, 1.0)},
        "encoders": ("simclr", "moco_v2"),
    }
    assert read_fields(["look.twice=true", "contrastive.init=moco_v2_800"]) == {
        "look": {"twice": True},
        "contrastive": {"init": "moco_v2_800"},
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["07"], "Unknown chapter that trains '07'"),
        (["-p", "epochs"], "expected section.field=value"),
        (["-p", "contrastive.epoch=3"], "Unknown field of contrastive 'epoch'. Did you mean epochs"),
        (["--processes", "-1"], "expected 1 or more"),
    ],
)
def test_refusals(tmp_path, words, said):
    done = CliRunner().invoke(app, ["train", *words, "--runs", str(tmp_path)])
    assert isinstance(done.exception, ConfigError) and said in str(done.exception)
    assert not list(tmp_path.iterdir())
