"""What `uslnet run` says of a notebook's stages: made just now, taken from another run, or reused."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from uslnet_core.cli import stages_since
from uslnet_core.config import configure
from uslnet_core.runs import Run


def make(run: Run) -> None:
    run.make("02-contrastive/simclr", lambda folder: (folder / "a.txt").write_text("a") and None, settings={"a": 1})


def said(folder, began: float) -> list[str]:
    return [word for word, stages in stages_since(folder, "02", began).items() if stages]


def test_made_shared_and_reused_are_told_apart(tmp_path, monkeypatch):
    first = Run(tmp_path / "one", configure())
    began = time.time()
    make(first)
    assert said(first.folder, began) == ["made"]
    assert said(first.folder, began + 100) == ["reused"]
    assert stages_since(first.folder, "03", began) == {"made": [], "shared from another run:": [], "reused": []}


def test_what_another_run_made_long_ago_is_not_said_to_be_made(tmp_path, monkeypatch):
    from uslnet_core import runs

    class LongAgo(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2020, 1, 1, tzinfo=UTC)

    first = Run(tmp_path / "one", configure())
    with monkeypatch.context() as patched:
        patched.setattr(runs, "datetime", LongAgo)
        make(first)
    began = time.time()
    second = replace(first, folder=tmp_path / "two")
    make(second)
    assert said(second.folder, began) == ["shared from another run:"]
    assert said(first.folder, began + 100) == ["reused"]
