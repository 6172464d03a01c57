"""The wheelhouse: which packages a laptop needs, and what is said when they cannot be had. No test asks a network."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker

from uslnet_core.errors import DataError
from uslnet_core.workshop import wheels
from uslnet_core.workshop.wheels import PLATFORMS, fetch, needed, needed_anywhere, read_lock

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PINS = read_lock(LOCK)


def test_every_line_of_the_lock_is_read():
    lines = re.findall(r"^[\w.-]+==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sum(map(len, PINS.values())) == len(lines) > 150
    assert all(pin.hashes for pins in PINS.values() for pin in pins)


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_a_laptop_gets_what_it_needs_and_no_more(platform):
    names = needed(PINS, platform, "3.12")
    assert {"torch", "torchvision", "jupyterlab", "ipywidgets", "scikit-image", "psutil"} <= set(names)
    assert not {"jupyter-book", "sphinx", "pytest", "ruff", "playwright", "kornia", "lightly"} & set(names)
    seen = platform.environment("3.12")
    assert all(Marker(pin.marker).evaluate(seen) for pin in names.values() if pin.marker)
    assert ("colorama" in names) == (platform.name == "windows")
    assert any(name.startswith("nvidia-") for name in names) == (platform.sys_platform == "linux")
    light = needed(PINS, platform, "3.12", gpu=False)
    assert not [name for name in light if re.match("nvidia|cuda|triton", name)] and "torch" in light


def test_a_package_with_two_pins_gets_the_one_of_its_python():
    several = [name for name, pins in PINS.items() if len(pins) > 1]
    assert several, "the lock has no package with two versions any more: this test can go"
    for python in ("3.11", "3.13"):
        for name, pin in needed(PINS, PLATFORMS["windows"], python).items():
            fits = [
                p
                for p in PINS[name]
                if not p.marker or Marker(p.marker).evaluate(PLATFORMS["windows"].environment(python))
            ]
            assert fits == [pin], name


def test_the_list_for_an_index_is_a_part_of_the_lock():
    text, lock = needed_anywhere(PINS, "3.12"), LOCK.read_text(encoding="utf-8")
    lines = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    assert set(lines) == {name for platform in PLATFORMS.values() for name in needed(PINS, platform, "3.12")}
    assert {"markdown-it-py", "packaging", "nbclient", "nbformat"} <= set(lines), "what the command line imports"
    assert all(line in lock for line in text.splitlines())


def wheel(folder: Path, name: str, version: str) -> str:
    """Make a wheel of nothing; give its hash."""
    folder.mkdir(exist_ok=True)
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A lock of two packages, an index that is nowhere, and a wheelhouse that holds one of them."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    house, apart = tmp_path / "wheelhouse", tmp_path / "apart"
    lock = tmp_path / "requirements.lock"
    good, torch = wheel(house, "numpy", "1.0"), wheel(tmp_path / "cuda", "torch", "2.0")
    wheel(apart, "torch", "2.0+cpu")
    lock.write_text(f"numpy==1.0 \\\n    --hash=sha256:{good}\ntorch==2.0 \\\n    --hash=sha256:{torch}\n")
    (house / "requirements-linux.txt").touch()
    monkeypatch.setattr(wheels, "required", lambda *_: [wheels.Requirement("numpy"), wheels.Requirement("torch")])
    return house, lock, apart


def test_what_cannot_be_had_is_named_and_the_rest_stays(small):
    house, lock, _ = small
    with pytest.raises(DataError, match=r"(?s)Linux, Intel.*No matching distribution.*network.*--no-wheels"):
        fetch(house, lock, PLATFORMS["linux"], ["3.12"])
    assert (house / "numpy-1.0-py3-none-any.whl").is_file()
    assert not list(house.glob(".wanted*"))


def test_cpu_builds_come_from_where_the_teacher_says_and_are_held_to_their_hash(small):
    house, lock, apart = small
    listed = fetch(house, lock, PLATFORMS["linux"], ["3.12"], cpu_torch=str(apart)).read_text()
    digest = hashlib.sha256((house / "torch-2.0+cpu-py3-none-any.whl").read_bytes()).hexdigest()
    assert f"torch==2.0 --hash=sha256:{digest}" in listed and listed.count("--hash") == 2


def test_a_changed_file_is_refused(small):
    house, lock, apart = small
    wheel(house, "numpy", "1.0")
    with (house / "numpy-1.0-py3-none-any.whl").open("ab") as opened:
        opened.write(b"more")
    with pytest.raises(DataError, match="could not all be fetched"):
        fetch(house, lock, PLATFORMS["linux"], ["3.12"], cpu_torch=str(apart))


def test_without_a_lock_the_way_out_is_told(tmp_path):
    with pytest.raises(DataError, match="--no-wheels"):
        read_lock(tmp_path / "requirements.lock")
