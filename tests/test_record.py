"""The record of a run: what is refused, before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from uslnet_core import pipeline
from uslnet_core.errors import DataError, RunError
from uslnet_core.record import record


def test_nothing_is_written_for_a_run_without_scores(tmp_path, trained_run):
    with pytest.raises(RunError, match="07-evaluation"):
        record(replace(trained_run, folder=tmp_path / "empty"), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_synthetic_scores_are_not_recorded(tmp_path, trained_run):
    run = replace(trained_run, folder=tmp_path / "synthetic-quick")
    shutil.copytree(trained_run.folder, run.folder)
    pipeline.evaluate(run)
    with pytest.raises(DataError, match="synthetic"):
        record(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
