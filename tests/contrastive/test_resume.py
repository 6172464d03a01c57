"""A training that was stopped, at any step and in any way, ends as one that was not: byte for byte."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save

from uslnet_core.checkpoints import DiskKeeper
from uslnet_core.contrastive import health
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.errors import RunError
from uslnet_core.refine import train_segmenter
from uslnet_core.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def any_health(monkeypatch):
    """Four steps teach MoCo nothing, which is no matter here."""
    monkeypatch.setattr(health, "STUCK", 9.0)


class Killed(BaseException):
    """No error that anything here would catch."""


def as_bytes(module: torch.nn.Module) -> str:
    return sha256(save({k: v.contiguous() for k, v in module.state_dict().items()})).hexdigest()


class Remembers:
    """A keeper that keeps every step as bytes on disk would be, and can begin from any of them."""

    def __init__(self, begin: bytes | None = None):
        self.begin, self.states = begin, []

    def load(self):
        return None if self.begin is None else torch.load(io.BytesIO(self.begin), weights_only=True)

    def offer(self, state):
        file = io.BytesIO()
        torch.save(state(), file)
        self.states.append(file.getvalue())


@pytest.mark.parametrize(("method", "steps"), [("simclr", [0]), ("moco_v1", [1]), ("moco_v2", [0, 1, 2, 3])])
def test_contrastive_learning_goes_on_from_any_step(tiny, cpu, pictures, method, steps):
    config = tiny(contrastive={"epochs": 2, "temperature": 0.2, "momentum": 0.9})  # two steps an epoch
    keeper = Remembers()
    whole = pretrain(pictures, config, cpu, method=method, keeper=keeper)
    assert len(keeper.states) == 4
    for step in steps:  # the second is the last of its epoch
        torch.manual_seed(step)
        rest = Remembers(keeper.states[step])
        again = pretrain(pictures, config, cpu, method=method, keeper=rest)
        assert len(rest.states) == 3 - step, "only what was left"
        assert as_bytes(again.encoder) == as_bytes(whole.encoder), f"after step {step + 1}"
        assert as_bytes(again.head) == as_bytes(whole.head)
        assert again.history.equals(whole.history) and again.health == whole.health


def test_without_the_queue_the_end_would_be_another(tiny, cpu, pictures):
    """The test above can fail: a checkpoint without its queue is not enough."""
    config, keeper = tiny(contrastive={"epochs": 2, "momentum": 0.9, "temperature": 0.2}), Remembers()
    whole = pretrain(pictures, config, cpu, method="moco_v2", keeper=keeper)
    state = torch.load(io.BytesIO(keeper.states[1]), weights_only=True)
    state["model"]["queue"] = state["model"]["queue"].flip(1)
    file = io.BytesIO()
    torch.save(state, file)
    again = pretrain(pictures, config, cpu, method="moco_v2", keeper=Remembers(file.getvalue()))
    assert as_bytes(again.encoder) != as_bytes(whole.encoder)


def test_the_segmenter_goes_on_from_every_step(tiny, cpu, pictures):
    config = tiny(refinement={"iterations": 1, "first_epochs": 2, "epochs": 1})
    encoder = pretrain(pictures, tiny(), cpu).encoder
    labels = np.random.default_rng(0).integers(0, 3, (16, 32, 32)).astype(np.uint8)

    def train(keeper):
        torch.manual_seed(0)
        model = Segmenter(encoder_copy(encoder), (2, 3, 4), 16)
        return train_segmenter(model, pictures, labels, np.ones(16, bool), config, cpu, iteration=0, keeper=keeper)

    def encoder_copy(module):
        import copy

        return copy.deepcopy(module)

    keeper = Remembers()
    whole = train(keeper)
    assert len(keeper.states) == 4
    for state in keeper.states[:2]:
        again = train(Remembers(state))
        assert as_bytes(again.model) == as_bytes(whole.model) and again.history.equals(whole.history)


SCRIPT = """
import functools, sys, torch
from uslnet_core.pipeline import features
torch.set_num_threads(1)
from pathlib import Path
from uslnet_core import pipeline
from uslnet_core.contrastive import health
from uslnet_core.config import Config
from uslnet_core.runs import Run
health.STUCK = 9.0
folder, config = Path(sys.argv[1]), Config.model_validate_json(Path(sys.argv[2]).read_text(), strict=False)
def say(what, done, total):
    if what.startswith("contrastive"):
        print(done, flush=True)
keep_every_step = functools.partial(features.DiskKeeper, seconds=0.0)
features.DiskKeeper = keep_every_step
run = Run(folder, config, progress=say)
pipeline.prepare_images(run, "train")
pipeline.learn_features(run, "moco_v2")
"""


def test_a_killed_process_goes_on_where_it_was(tiny, tmp_path):
    config = tiny(contrastive={"epochs": 4, "temperature": 0.2, "momentum": 0.9})
    described = tmp_path / "config.json"
    described.write_text(config.model_dump_json())

    def start(run):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(run), str(described)], stdout=subprocess.PIPE, text=True
        )

    whole, killed = tmp_path / "a" / "synthetic-quick", tmp_path / "b" / "synthetic-quick"
    assert start(whole).wait() == 0
    process = start(killed)
    for line in process.stdout:
        if int(line) >= 3:
            os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
            break
    process.wait()
    assert not (killed / "02-contrastive/moco_v2").exists() and len(list((killed / ".checkpoints").iterdir())) >= 1
    second = start(killed)
    steps = [int(line) for line in second.stdout]
    assert second.wait() == 0 and steps[0] > 3, "it began at the beginning"
    for name in ("encoder.safetensors", "head.safetensors", "history.csv"):
        files = [run / "02-contrastive/moco_v2" / name for run in (whole, killed)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    assert not (killed / ".checkpoints").exists(), "a whole stage needs no checkpoint"


# --- the keeper ------------------------------------------------------------------------------------------------------


def keeper_at(folder, seconds=0.0, key="k" * 64):
    keeper = DiskKeeper(folder, "02-contrastive/simclr", seconds)
    keeper.begin(key)
    return keeper


def test_a_state_comes_back_and_only_for_its_key(tmp_path):
    keeper_at(tmp_path).offer(lambda: {"a": torch.arange(3)})
    assert keeper_at(tmp_path).load()["a"].tolist() == [0, 1, 2]
    assert keeper_at(tmp_path, key="other" * 9).load() is None
    assert DiskKeeper(tmp_path, "02-contrastive/simclr").load() is None, "no key yet"


def test_states_are_kept_no_more_often_than_asked(tmp_path):
    keeper, calls = keeper_at(tmp_path, seconds=0.05), []
    for _ in range(5):
        keeper.offer(lambda: calls.append(1) or {})
    assert calls == []
    time.sleep(0.06)
    keeper.offer(lambda: calls.append(1) or {})
    assert calls == [1]


def test_a_damaged_checkpoint_is_named(tmp_path):
    keeper = keeper_at(tmp_path / "synthetic-quick")
    keeper.offer(lambda: {"a": 1})
    keeper.path.write_bytes(keeper.path.read_bytes()[:40])
    with pytest.raises(RunError, match=r"checkpoint 02-contrastive-simclr-k+\.pt in synthetic-quick.*Delete it"):
        keeper.load()


def test_clearing_forgets_every_key_of_the_stage_and_no_other_stage(tmp_path):
    for key in ("a" * 64, "b" * 64):
        keeper_at(tmp_path, key=key).offer(lambda: {})
    other = DiskKeeper(tmp_path, "02-contrastive/moco_v1", 0.0)
    other.begin("a" * 64)
    other.offer(lambda: {})
    keeper_at(tmp_path).clear()
    assert [file.name for file in (tmp_path / ".checkpoints").iterdir()] == [other.path.name]
    other.clear()
    assert not (tmp_path / ".checkpoints").exists()


def test_a_folder_that_cannot_be_written_does_not_stop_a_training(tmp_path):
    (tmp_path / ".checkpoints").write_text("in the way")
    keeper = keeper_at(tmp_path)
    keeper.offer(lambda: {"a": 1})
    assert keeper.load() is None
