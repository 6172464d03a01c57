"""A wheelhouse: every package that a laptop needs, as files, so that forty of them install without a network.

What is needed follows from the project's own requirements, less what only builds the book; versions and hashes come
from `requirements.lock`. Files are fetched by pip, which checks each hash and leaves alone what is there already.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from uslnet_core.errors import DataError

PROJECT = "uslnet-book"
PATCH = 9  # the least patch release of a laptop's Python: some packages want 3.11.5
BOOK_ONLY = {"jupyter-book", "sphinx-exercise", "sphinx-proof"}  # pages are built by the teacher, not in the room
CPU_BUILDS = ("torch", "torchvision")
GPU_ONLY = re.compile(r"nvidia-|cuda-|triton$")  # what a Linux build of torch with CUDA brings along
MANYLINUX = [*(f"manylinux_2_{n}" for n in range(34, 4, -1)), "manylinux2014", "manylinux2010", "manylinux1"]


@dataclass(frozen=True)
class Platform:
    """A kind of laptop: how pip names it, and how markers see it."""

    name: str
    title: str
    tags: tuple[str, ...]
    sys_platform: str
    system: str
    machine: str

    def environment(self, python: str) -> dict[str, str]:
        """Tell what markers see there, for a Python such as ``3.12``."""
        return {
            "sys_platform": self.sys_platform,
            "platform_system": self.system,
            "platform_machine": self.machine,
            "os_name": "nt" if self.sys_platform == "win32" else "posix",
            "python_version": python,
            "python_full_version": f"{python}.{PATCH}",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }


PLATFORMS = {
    each.name: each
    for each in (
        Platform("windows", "Windows, Intel or AMD", ("win_amd64",), "win32", "Windows", "AMD64"),
        Platform("mac", "Mac with Apple's chips, macOS 14", ("macosx_14_0_arm64",), "darwin", "Darwin", "arm64"),
        Platform("linux", "Linux, Intel or AMD", tuple(f"{t}_x86_64" for t in MANYLINUX), "linux", "Linux", "x86_64"),
        Platform("linux-arm", "Linux, ARM", tuple(f"{t}_aarch64" for t in MANYLINUX), "linux", "Linux", "aarch64"),
    )
}


@dataclass(frozen=True)
class Pin:
    """One package of the lock: its version, the marker that says where it is wanted, and its block of lines."""

    version: str
    marker: str
    block: str

    @property
    def hashes(self) -> str:
        """The hashes of its files, as pip's options."""
        return " ".join(re.findall(r"--hash=sha256:[0-9a-f]{64}", self.block))


Pins = Mapping[str, list[Pin]]
"""A lock: package to its pins, of which the markers let one apply on each machine."""


def read_lock(lock: Path) -> Pins:
    """Read a lock with hashes.

    Raises:
        DataError: there is no such file.
    """
    if not lock.is_file():
        raise DataError(
            f"{lock} is missing, and it names the packages of a wheelhouse. Make the kit from the project's folder, "
            "or leave the wheelhouse out with --no-wheels."
        )
    blocks = re.findall(r"^(?!#)[^\s#].*(?:\n[ \t]+.*)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    pins: dict[str, list[Pin]] = {}
    for block in blocks:
        name, version, marker = re.match(r"([\w.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*(?:\\|$)", block).groups()
        pins.setdefault(canonicalize_name(name), []).append(Pin(version, marker or "", block))
    return pins


def needed(pins: Pins, platform: Platform, python: str, *, gpu: bool = True) -> dict[str, Pin]:
    """Choose the packages that a laptop needs.

    Args:
        pins: the lock.
        platform: the kind of laptop.
        python: its Python, such as ``3.12``.
        gpu: whether a Linux laptop also gets what CUDA needs: gigabytes.

    Returns:
        Package to pin, in the lock's order.
    """
    environment = platform.environment(python)
    wanted: dict[str, Pin] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    todo = required(PROJECT, (), environment)
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in BOOK_ONLY or (not gpu and GPU_ONLY.match(name)) or (name, extras) in asked:
            continue
        asked.add((name, extras))
        pin = next((p for p in pins.get(name, []) if not p.marker or Marker(p.marker).evaluate(environment)), None)
        if pin is not None:
            wanted[name] = pin
            todo += required(name, extras, environment)
    return {name: wanted[name] for name in pins if name in wanted}


def needed_anywhere(pins: Pins, python: str) -> str:
    """Copy from the lock what any laptop may need, markers and hashes included, to install from an index."""
    names = {name for platform in PLATFORMS.values() for name in needed(pins, platform, python)}
    return "\n".join(pin.block for name, each in pins.items() if name in names for pin in each) + "\n"


def required(name: str, extras: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """List what an installed package requires on another machine; nothing for one that this machine has no use for."""
    try:
        found = [Requirement(line) for line in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []
    seen = [{**environment, "extra": extra} for extra in ("", *extras)]
    return [each for each in found if each.marker is None or any(each.marker.evaluate(one) for one in seen)]


def fetch(folder: Path, lock: Path, platform: Platform, pythons: Iterable[str], *, cpu_torch: str = "") -> Path:
    """Fetch all wheels of one platform, and write the list that installs them.

    Args:
        folder: the wheelhouse; files that are there and right are kept, and where all are, no index is asked.
        lock: `requirements.lock`.
        platform: the kind of laptop.
        pythons: versions of Python that the laptops may have.
        cpu_torch: for Linux, a folder with CPU builds of torch and torchvision, or the address of an index of them;
            empty: the usual builds, with CUDA.

    Returns:
        The list of requirements, with the hash of each file.

    Raises:
        DataError: a wheel could not be had; the message says which and what pip said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = read_lock(lock)
    light = bool(cpu_torch) and platform.sys_platform == "linux"
    apart = CPU_BUILDS if light else ()
    target, lines = folder / f"requirements-{platform.name}.txt", set()
    for python in pythons:
        here = needed(pins, platform, python, gpu=not light)
        listed = "".join(f"{name}=={pin.version} {pin.hashes}\n" for name, pin in here.items() if name not in apart)
        try:
            if not target.is_file():
                raise DataError("nothing was fetched for it before")
            run_pip(folder, platform, python, listed, ["--require-hashes", "--no-index", "--find-links", str(folder)])
        except DataError:  # not all of it is there yet
            run_pip(folder, platform, python, listed, ["--require-hashes"])
        if light:
            local = Path(cpu_torch).expanduser()
            where = ["--no-index", "--find-links", str(local)] if local.is_dir() else ["--index-url", cpu_torch]
            builds = "".join(f"{name}=={here[name].version}\n" for name in apart if name in here)
            run_pip(folder, platform, python, builds, where)
        lines |= set(here.items())
    ordered = sorted(lines, key=lambda item: (item[0], item[1].version))
    target.write_text("".join(line_of(folder, name, pin) for name, pin in ordered), encoding="utf-8")
    return target


def line_of(folder: Path, name: str, pin: Pin) -> str:
    """Write the line that installs one package from the files that lie in a wheelhouse, with their hashes."""
    files = [path for path in sorted(folder.glob("*.whl")) if parse_wheel_filename(path.name)[0] == name]
    # builds such as 1.0+cpu count as 1.0
    right = [path for path in files if parse_wheel_filename(path.name)[1].public == pin.version]
    marker = f" ; {pin.marker}" if pin.marker else ""
    return f"{name}=={pin.version}{marker}{''.join(f' --hash=sha256:{sha256(path)}' for path in right)}\n"


def run_pip(folder: Path, platform: Platform, python: str, listed: str, more: list[str]) -> None:
    """Let pip fetch what a list names for another machine.

    Raises:
        DataError: it could not.
    """
    wanted = folder / f".wanted-{platform.name}.txt"
    wanted.write_text(listed, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        f"{python}.{PATCH}",
        "--dest",
        str(folder),
    ]
    command += [word for tag in platform.tags for word in ("--platform", tag)]
    done = subprocess.run([*command, *more, "-r", str(wanted)], capture_output=True, text=True, errors="replace")
    wanted.unlink()
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise DataError(
            f"The wheels for {platform.title}, Python {python}, could not all be fetched. pip said:\n  "
            + "\n  ".join(said[-3:] or ["nothing"])
            + "\nIs there a network, and room on the disk? The same command goes on from here; --no-wheels leaves the "
            "wheelhouse out."
        )


def sha256(path: Path) -> str:
    """Hash a file of any size."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def build_own(folder: Path, root: Path) -> Path:
    """Build the project's own wheel.

    Args:
        folder: where to.
        root: of the project.

    Returns:
        The file.

    Raises:
        DataError: it could not be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(root)], capture_output=True, text=True, errors="replace"
    )
    built = sorted(folder.glob("uslnet_book-*.whl"))
    if done.returncode or not built:
        last = "\n  ".join(done.stderr.strip().splitlines()[-3:])
        raise DataError(f"The project's own wheel could not be built from {root}. pip said:\n  {last}")
    return built[-1]
