"""The lock, pyproject.toml, environment.yml and what is installed say the same; so do the project's own files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import uslnet_core

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, list[Requirement]]:
    """Name → its entries in the lock; some packages have one for each Python version."""
    entries: dict[str, list[Requirement]] = {}
    for line in LOCK.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            requirement = Requirement(line.rstrip("\\ "))
            entries.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return entries


def direct() -> list[Requirement]:
    """What pyproject.toml asks for, extras and the build included."""
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]]


def pinned(requirement: Requirement) -> str:
    """The one version that a lock's entry allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned to one version"
    return specifier.version


@pytest.mark.parametrize("wanted", direct(), ids=lambda requirement: requirement.name)
def test_lock_covers_every_direct_requirement(wanted: Requirement) -> None:
    entries = locked().get(canonicalize_name(wanted.name))
    assert entries, f"{wanted.name} is in pyproject.toml and not in the lock: make lock"
    for entry in entries:
        assert pinned(entry) in wanted.specifier, f"the lock has {entry}, pyproject.toml asks for {wanted}: make lock"


def test_every_entry_of_the_lock_has_a_hash() -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == sum(map(len, locked().values())) > 100
    bare = [block.split("==")[0] for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", block)]
    assert not bare, f"without a hash: {bare}"


def test_lock_names_no_address() -> None:
    for word in ("://", "--index-url", "--extra-index-url", "--find-links", " @ ", "file:"):
        assert word not in LOCK, f"the lock holds {word!r}"


def test_what_is_installed_is_what_is_locked() -> None:
    wrong = []
    for name, entries in locked().items():
        for entry in entries:
            if entry.marker is None or entry.marker.evaluate():
                try:
                    version = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    version = "nothing"
                if version != pinned(entry):
                    wrong.append(f"{entry.name}: installed {version}, locked {pinned(entry)}")
    assert not wrong, "make env brings it right. " + "; ".join(wrong)


def test_conda_route_uses_the_lock_and_a_python_that_fits() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (python,) = [line for line in dependencies if isinstance(line, str) and line.split()[0] == "python"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip == ["--require-hashes", "-r requirements.lock"]
    offered = SpecifierSet(python.removeprefix("python").strip())
    required = SpecifierSet(PROJECT["project"]["requires-python"])
    candidates = [f"3.{minor}" for minor in range(6, 30)]
    chosen = [version for version in candidates if version in offered]
    assert chosen, f"{python!r} allows no Python"
    assert all(version in required for version in chosen)
    assert chosen[0] == next(version for version in candidates if version in required)
    # nothing but Python and pip comes from conda, so no version can differ from the lock
    assert sorted(line.split()[0] for line in dependencies if isinstance(line, str)) == ["pip", "python"]


def test_one_version_everywhere() -> None:
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert uslnet_core.__version__ == version
    assert str(citation["version"]) == version
    assert newest is not None and newest.group(1) == version


def test_one_address_and_licence_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    addresses = {
        PROJECT["project"]["urls"]["Homepage"],
        citation["repository-code"],
        config["repository"]["url"],
    }
    assert len(addresses) == 1
    assert PROJECT["project"]["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


@pytest.mark.parametrize("page", ["README.md", "book/how_to_run.md"])
def test_lines_for_windows_do_what_make_does(page: str) -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\", "/")
    for line in ("tools/bootstrap.py", "-m pytest tests book/notebooks --nbval-lax -n auto"):
        assert line in make
        assert line in text, f"{page} does not show {line!r}"


# --- tools/bootstrap.py ----------------------------------------------------------------------------------------------


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The set-up script, pointed at an empty folder with the project's lock in it."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / module.STAMP.name)
    monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    return module


def test_bootstrap_reuses_only_an_environment_made_from_this_lock(bootstrap: ModuleType) -> None:
    assert not bootstrap.is_ready()
    bootstrap.STAMP.write_text(bootstrap.wanted_stamp() + "\n")
    assert bootstrap.is_ready()
    bootstrap.LOCK.write_text(LOCK + "\n")
    assert not bootstrap.is_ready()


def test_bootstrap_does_not_trust_an_environment_whose_python_is_gone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.STAMP.write_text(bootstrap.wanted_stamp())
    monkeypatch.setattr(bootstrap, "PYTHON", bootstrap.VENV / "gone")
    assert not bootstrap.is_ready()


def test_bootstrap_finds_its_installer_in_the_lock(bootstrap: ModuleType) -> None:
    block = bootstrap.locked_block("uv", LOCK)
    assert block.startswith("uv==") and "--hash=sha256:" in block
    assert len(re.findall(r"^\S", block, re.MULTILINE)) == 1, "more than one package"
    with pytest.raises(bootstrap.SetupError, match="no-such-package"):
        bootstrap.locked_block("no-such-package", LOCK)


def test_bootstrap_refuses_an_old_python_in_one_sentence() -> None:
    script = ROOT / "tools" / "bootstrap.py"
    code = f"import sys, runpy; sys.version_info = (3, 10, 4, 'final', 0); runpy.run_path({str(script)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer; this is Python 3.10" in done.stderr
    assert "Traceback" not in done.stderr


def test_vendored_scripts_are_what_vendor_py_names() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "vendor.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
