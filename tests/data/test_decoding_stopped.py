"""A decoding that is stopped goes on where it was, and ends as one that was not."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uslnet_core import pipeline
from uslnet_core.checkpoints import Desk
from uslnet_core.data import images as images_module
from uslnet_core.data.images import ImageSet, ImageSource, write_images
from uslnet_core.errors import DataError
from uslnet_core.runs import Run

SIZE, COUNT, BAD = 64, 7, 2  # rows of 12 KB; the third file is no picture


@pytest.fixture
def sources(tmp_path, rng) -> list[ImageSource]:
    folder = tmp_path / "in"
    folder.mkdir()
    made = []
    for number in range(COUNT):
        path = folder / f"image{number}.png"
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(path)
        made.append(ImageSource(f"image{number}", path))
    made[BAD].path.write_text("this is no picture")
    return made


@pytest.fixture
def desk(tmp_path) -> Path:
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


def stop_at(monkeypatch, which: int | None) -> list[str]:
    """Let the decoding be interrupted at one source, and note which are decoded."""
    seen, real = [], images_module.decode

    def decode(path, size):
        if path.stem == f"image{which}":
            raise KeyboardInterrupt
        seen.append(path.stem)
        return real(path, size)

    monkeypatch.setattr(images_module, "draw_or_decode", lambda source, size: decode(source.path, size))
    return seen


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("which", [0, 1, 2, 3, 5, 6])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_decoded_is_not_decoded_again(tmp_path, sources, desk, monkeypatch, which, workers):
    write_images(sources, tmp_path / "whole", SIZE)
    with monkeypatch.context() as patch:
        stop_at(patch, which)
        with pytest.raises(KeyboardInterrupt):
            write_images(sources, tmp_path / "out", SIZE, desk=desk)
    assert not list((tmp_path / "out").iterdir())
    seen, steps = stop_at(monkeypatch, None), []
    skipped = write_images(
        sources, tmp_path / "out", SIZE, desk=desk, workers=workers, progress=lambda *step: steps.append(step[1])
    )
    assert sorted(seen) == [f"image{n}" for n in range(which, COUNT)] and steps == list(range(which + 1, COUNT + 1))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [each.id for each in skipped] == [f"image{BAD}"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("size", [SIZE, 8])  # rows larger and smaller than what a file holds back before it writes
def test_a_killed_process_loses_little_and_its_successor_ends_alike(tmp_path, sources, desk, monkeypatch, size):
    """Nothing can be tidied up after SIGKILL: what counts is what the system was given before."""
    write_images(sources, tmp_path / "whole", size)
    script = f"""
import os, signal
from pathlib import Path
from uslnet_core.data.images import ImageSource, write_images

def kill(what, done, total):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path({str(sources[0].path.parent)!r})
sources = [ImageSource(f"image{{n}}", folder / f"image{{n}}.png") for n in range({COUNT})]
write_images(sources, Path({str(tmp_path / "out")!r}), {size}, desk=Path({str(desk)!r}), progress=kill)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not list((tmp_path / "out").iterdir()), "nothing half written has a final name"
    seen = stop_at(monkeypatch, None)
    skipped = write_images(sources, tmp_path / "out", size, desk=desk)
    kept = COUNT - len(seen)
    assert seen == [f"image{n}" for n in range(kept, COUNT)] and kept >= (4 if size == SIZE else 0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [each.id for each in skipped] == [f"image{BAD}"]


def cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize("spoil", ["row cut", "rows gone", "line cut", "lines gone", "log gone", "another log"])
def test_only_what_rows_and_log_both_hold_is_taken_up(tmp_path, sources, desk, monkeypatch, spoil):
    write_images(sources, tmp_path / "whole", SIZE)
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_images(sources, tmp_path / "out", SIZE, desk=desk)
    rows, log = desk / "images.npy.part", desk / "done.csv"
    lines = log.read_text().splitlines(keepends=True)
    first = {"row cut": 4, "rows gone": 1, "line cut": 4, "lines gone": 2, "log gone": 0, "another log": 0}[spoil]
    if spoil == "row cut":
        cut(rows, 10)
    elif spoil == "rows gone":
        cut(rows, 3 * SIZE * SIZE * 3)
    elif spoil == "line cut":
        cut(log, 3)
    elif spoil == "lines gone":
        log.write_text("".join(lines[:3]))
    elif spoil == "log gone":
        log.unlink()
    else:
        log.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    seen = stop_at(monkeypatch, None)
    write_images(sources, tmp_path / "out", SIZE, desk=desk)
    assert seen == [f"image{n}" for n in range(first, COUNT)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_was_left_out_is_tried_again_when_strict(tmp_path, sources, desk, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_images(sources, tmp_path / "out", SIZE, desk=desk)
    with pytest.raises(DataError, match="image2"):
        write_images(sources, tmp_path / "out", SIZE, desk=desk, strict=True)


def test_bad_data_and_a_full_disk_leave_nothing(tmp_path, sources, desk, request):
    with pytest.raises(DataError, match="image2"):
        write_images(sources, tmp_path / "out", SIZE, desk=desk, strict=True)
    assert not (desk / "images.npy.part").exists() and not list((tmp_path / "out").iterdir())
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match="disk became full"):
        write_images(sources, tmp_path / "out", SIZE, desk=desk)
    assert not (desk / "images.npy.part").exists() and not list((tmp_path / "out").iterdir())


def test_room_is_asked_for_what_is_left(tmp_path, sources, desk, monkeypatch, disk):
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_images(sources, tmp_path / "out", SIZE, desk=desk)
    disk(3 * SIZE * SIZE * 3 + 64 * 2**20)  # seven, of which four are there
    assert len(write_images(sources, tmp_path / "out", SIZE, desk=desk)) == 1


# --- as a stage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, sources, tiny) -> Run:
    sources[BAD].path.unlink()
    return Run(tmp_path / "runs" / "folder-quick", tiny("folder"), tmp_path / "in")


def test_a_stage_that_was_stopped_goes_on(run, monkeypatch, tmp_path):
    whole = pipeline.prepare_images(Run(tmp_path / "elsewhere" / "folder-quick", run.config, run.data), "all")
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            pipeline.prepare_images(run, "all")
    assert not run.has("01-data/images/all")
    seen = stop_at(monkeypatch, None)
    stage = pipeline.prepare_images(run, "all")
    assert 0 < len(seen) < COUNT - 1, "threads decode a few at once"
    assert stage.manifest.fingerprint == whole.manifest.fingerprint and len(ImageSet.open(stage.folder)) == COUNT - 1
    assert not (run.folder / ".checkpoints").exists()


def test_a_changed_file_begins_anew(run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            pipeline.prepare_images(run, "all")
    Image.new("RGB", (90, 70)).save(run.data / "image0.png")
    seen = stop_at(monkeypatch, None)
    stage = pipeline.prepare_images(run, "all")
    assert len(seen) == COUNT - 1 and not ImageSet.open(stage.folder).images[0].any()


def test_a_desk_is_taken_over_from_a_process_that_is_gone_and_from_no_other(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    begun = tmp_path / ".checkpoints" / f"01-data-images-all-{'k' * 16}.{platform.node()}"
    for process, kept in ((os.getppid(), "theirs"), (int(gone.stdout), "left")):
        folder = Path(f"{begun}.{process}")
        folder.mkdir(parents=True)
        (folder / kept).touch()
    desk = Desk(tmp_path, "01-data/images/all")
    desk.begin("k" * 64)
    assert [each.name for each in desk.path.iterdir()] == ["left"]
    other = Desk(tmp_path, "01-data/images/all")
    other.begin("o" * 64)
    assert not list(other.path.iterdir()) and other.path != desk.path
    other.clear()
    assert not other.path.exists() and desk.path.exists() and Path(f"{begun}.{os.getppid()}").exists()
