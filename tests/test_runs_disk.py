"""A disk that is full or may not be written: said in our words, and nothing half is left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from uslnet_core.config import configure
from uslnet_core.errors import DataError, RunError
from uslnet_core.runs import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "runs" / "synthetic-quick", configure())


def failing(error: Exception):
    def compute(folder: Path) -> None:
        (folder / "half.npy").write_bytes(b"half")
        raise error

    return compute


class SafetensorError(Exception):
    """As safetensors raises it: no OSError, no number."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("1000000 requested and 131056 written"),  # numpy.save
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["full", "quota", "numpy", "safetensors"],
)
def test_a_full_disk_is_said_and_leaves_nothing(run, error):
    with pytest.raises(DataError, match="disk is full.*03-saliency.*Free some space"):
        run.make("03-saliency", failing(error), settings={})
    assert [path for path in run.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_no_permission_is_said(run, number, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match="No permission to write .*03-saliency.*another folder"):
        run.make("03-saliency", lambda folder: None, settings={})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(run):
    run.folder.parent.mkdir(parents=True)
    run.folder.parent.chmod(0o500)
    with pytest.raises(RunError, match="No permission to write"):
        run.make("03-saliency", lambda folder: None, settings={})
    run.folder.parent.chmod(0o700)


def test_other_errors_of_the_system_and_our_own_pass_as_they_are(run):
    for error in (OSError(errno.EIO, "broken"), DataError("a bad image"), ValueError("3 requested and 2 written")):
        with pytest.raises(type(error)) as caught:
            run.make("03-saliency", failing(error), settings={})
        assert caught.value is error
