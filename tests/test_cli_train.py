"""Training without notebooks: by two processes, whose stages one process finds, and what the command refuses."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from typer.testing import CliRunner

from uslnet_core.cli import app
from uslnet_core.cli_train import read_fields, start_together
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.runs import Run
from uslnet_core.stages import read_stage

PATIENCE = 1800  # seconds; only so that what waits for ever ends at all


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
    done = subprocess.run(two, capture_output=True, text=True, timeout=PATIENCE)
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


def children(process: subprocess.Popen) -> dict[str, psutil.Process]:
    """The processes that a command has started together, by their rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if rank := child.environ().get("RANK"):
                found[rank] = child
    return found


def test_a_process_that_is_killed_is_named_and_no_other_waits_for_it(tmp_path, small):
    words = ["train", "--device", "cpu", "--runs", str(tmp_path), *small, "-pcontrastive.epochs=100000", "01", "02"]
    command = [sys.executable, "-m", "uslnet_core.cli", *words, "--processes", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = []
            while "01-data" not in "".join(said) and (line := process.stdout.readline()):
                said.append(line)
            children(process)["1"].kill()
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    flat = " ".join(errors.split())
    assert "Process 1 of 2 (the first is 0) was ended by SIGKILL" in flat, errors
    assert "goes on from the last checkpoint" in flat
    assert [path.name for path in (tmp_path / "synthetic-quick").iterdir()].count("01-data") == 1


@pytest.mark.parametrize(
    ("codes", "named"),
    [
        ({0: 75, 1: -9, 2: -15}, r"Process 1 of 3.*SIGKILL.*Memory may have run out"),
        ({0: -15, 2: -11}, r"Process 2 of 3.*SIGSEGV"),
        ({0: 75, 2: -15}, r"Process 2 of 3.*SIGTERM"),
        ({0: -2000}, r"Process 0 of 3.*signal 2000"),
    ],
)
def test_killed_processes_are_named_whoever_else_failed(monkeypatch, codes, named):
    failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in codes.items()}

    def fail(words):
        raise ChildFailedError("uslnet", failures)

    monkeypatch.setattr("torch.distributed.run.main", fail)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(RunError, match=named):
        start_together(3)


def test_what_a_process_has_said_is_not_said_again(monkeypatch):
    def fail(words):
        raise ChildFailedError("uslnet", {0: ProcessFailure(0, 1, 75, ""), 1: ProcessFailure(1, 2, 2, "")})

    monkeypatch.setattr("torch.distributed.run.main", fail)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert start_together(2) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_more_processes_than_torchrun_has_started_are_refused(tmp_path, monkeypatch, rank):
    started = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    done = CliRunner().invoke(app, ["train", "--processes", "3", "--runs", str(tmp_path)])
    if rank:
        assert done.exit_code == 2 and not done.output, "the first process alone speaks"
    else:
        assert isinstance(done.exception, ConfigError)
        assert "--processes is 3, but torchrun has started 2" in str(done.exception)


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
