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
    def hashes(self) -> list[str]:
        """The hashes of its files."""
        return re.findall(r"--hash=(sha256:[0-9a-f]{64})", self.block)


def read_lock(lock: Path) -> dict[str, Pin]:
    """Read a lock with hashes: package to pin.

    Raises:
        DataError: there is no such file.
    """
    if not lock.is_file():
        raise DataError(
            f"{lock} is missing, and it names the packages of a wheelhouse. Make the kit from the project's folder, "
            "or leave the wheelhouse out with --no-wheels."
        )
    blocks = re.findall(r"^(?!#)[^\s#].*(?:\n[ \t]+.*)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    pins = {}
    for block in blocks:
        name, version, marker = re.match(r"([\w.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+?))?\s*(?:\\|$)", block).groups()
        pins[canonicalize_name(name)] = Pin(version, marker or "", block)
    return pins


def needed(pins: Mapping[str, Pin], platform: Platform | None, python: str, *, gpu: bool = True) -> list[str]:
    """Name the packages of the lock that a laptop needs, in the lock's order.

    Args:
        pins: the lock.
        platform: the kind of laptop; None takes whatever any of them needs.
        python: its Python, such as ``3.12``.
        gpu: whether a Linux laptop also gets what CUDA needs: gigabytes.

    Returns:
        The names.
    """
    if platform is None:
        everywhere = [set(needed(pins, each, python)) for each in PLATFORMS.values()]
        return [name for name in pins if any(name in some for some in everywhere)]
    environment = platform.environment(python)
    wanted: set[str] = set()
    asked: set[tuple[str, frozenset[str]]] = set()
    todo = required(PROJECT, (), environment)
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        left_out = name in BOOK_ONLY or (not gpu and GPU_ONLY.match(name))
        if left_out or name not in pins or (name, extras) in asked:
            continue
        if pins[name].marker and not Marker(pins[name].marker).evaluate(environment):
            continue
        asked.add((name, extras))
        wanted.add(name)
        todo += required(name, extras, environment)
    return [name for name in pins if name in wanted]


def required(name: str, extras: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """List what an installed package requires on another machine; nothing for one that this machine has no use for."""
    try:
        found = [Requirement(line) for line in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []
    seen = [{**environment, "extra": extra} for extra in ("", *extras)]
    return [each for each in found if each.marker is None or any(each.marker.evaluate(one) for one in seen)]


def fetch(
    folder: Path, lock: Path, platform: Platform, pythons: list[str], *, cpu_torch: str = "", offline: bool = False
) -> Path:
    """Fetch all wheels of one platform, and write the list that installs them.

    Args:
        folder: the wheelhouse; files that are there and right are kept.
        lock: `requirements.lock`.
        platform: the kind of laptop.
        pythons: versions of Python that the laptops may have.
        cpu_torch: for Linux, a folder with CPU builds of torch and torchvision, or the address of an index of them;
            empty: the usual builds, with CUDA.
        offline: do not ask an index: what is not there is an error.

    Returns:
        The list of requirements, with the hash of each file.

    Raises:
        DataError: a wheel could not be had; the message says which and what pip said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = read_lock(lock)
    light = bool(cpu_torch) and platform.sys_platform == "linux"
    apart = {"torch", "torchvision"} if light else set()
    names: set[str] = set()
    for python in pythons:
        here = needed(pins, platform, python, gpu=not light)
        names |= set(here)
        listed = "".join(
            f"{n}=={pins[n].version} {' '.join(f'--hash={h}' for h in pins[n].hashes)}\n"
            for n in here
            if n not in apart
        )
        run_pip(
            folder,
            platform,
            python,
            listed,
            ["--require-hashes", *(["--no-index", "--find-links", str(folder)] * offline)],
        )
        if light:
            local = Path(cpu_torch).expanduser()
            where = ["--no-index", "--find-links", str(local)] if local.is_dir() else ["--index-url", cpu_torch]
            listed = "".join(f"{n}=={pins[n].version}\n" for n in sorted(apart))
            run_pip(folder, platform, python, listed, where)
    return write_list(folder, platform, [name for name in pins if name in names], pins)


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


def write_list(folder: Path, platform: Platform, names: list[str], pins: Mapping[str, Pin]) -> Path:
    """Write which files install which packages, with the hashes of the files that lie there."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        files.setdefault(parse_wheel_filename(path.name)[0], []).append(path)
    lines = []
    for name in names:
        right = [
            path
            for path in files.get(name, [])
            if str(parse_wheel_filename(path.name)[1]).split("+")[0] == pins[name].version
        ]
        hashes = "".join(f" --hash=sha256:{sha256(path)}" for path in right)
        lines.append(f"{name}=={pins[name].version}{hashes}\n")
    target = folder / f"requirements-{platform.name}.txt"
    target.write_text("".join(lines), encoding="utf-8")
    return target


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
