"""Make `.venv` from `requirements.lock`: the first half of `make book`, and the whole of it on Windows.

    python tools/bootstrap.py            make or repair .venv, or say that it is ready
    python tools/bootstrap.py --force    start it again from nothing

Needs Python 3.11 or newer and nothing else: only the standard library is imported, so that it runs before
anything is installed. Every package is checked against the hashes in the lock, the installer itself included.
"""

import sys

OLDEST = (3, 11)

# before any other import, so that an old Python gets this sentence and not a traceback
if sys.version_info < OLDEST:
    sys.exit(
        "This project needs Python %d.%d or newer; this is Python %d.%d (%s).\n"
        "Install a newer one and name it, for example:  make book PYTHON=python3.12"
        % (OLDEST + sys.version_info[:2] + (sys.executable,))
    )

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "bootstrap-stamp"
LOCK = ROOT / "requirements.lock"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


class SetupError(Exception):
    """Something on this machine stands in the way; the message says what, and what to do."""


def wanted_stamp() -> str:
    """Hash of all that decides what is installed, and where: an environment with this stamp is good as it is.

    The place is part of it because a copied or moved environment still points at the old folder.
    """
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_ready() -> bool:
    """Whether `.venv` was finished from this very lock, and its Python still starts."""
    if not (STAMP.is_file() and PYTHON.exists()) or STAMP.read_text().strip() != wanted_stamp():
        return False
    return python_starts()


def python_starts() -> bool:
    """Whether the environment's Python runs and is new enough (an upgraded system can leave a dead link)."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([PYTHON, "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    """Create `.venv` with pip in it, in place of whatever broken one is there."""
    if VENV.exists():
        shutil.rmtree(VENV)
    try:
        import ensurepip  # noqa: F401 (Debian and Ubuntu leave it out of the plain python3 package)
    except ImportError as missing:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            f"This Python cannot make virtual environments: {missing}.\n"
            f"On Debian or Ubuntu:  sudo apt install python{version}-venv   and run the same command again."
        ) from missing
    try:
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"Could not make {VENV}: {error}.\nIs the folder writable, and is there space?") from error


def locked_block(name: str, lock: str) -> str:
    """Return the lines of one package in the lock: its version and all its hashes."""
    found = re.search(rf"^{re.escape(name)}==[^\n]*\n(?:[ \t]+[^\n]*\n?)+", lock, re.MULTILINE)
    if found is None:
        raise SetupError(f"{LOCK.name} does not name {name}. Restore the file, or make it again with:  make lock")
    return found.group(0)


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command in the project's folder, its output shown; a failure is a `CalledProcessError`."""
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=env)


def install_uv() -> Path | None:
    """Install the locked uv, hashes checked. None where it cannot be had: pip then does its work, slower."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "uv.txt"
        wanted.write_text(locked_block("uv", LOCK.read_text()))
        try:
            run(PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", wanted)
        except subprocess.CalledProcessError:
            return None
    uv = BIN / ("uv.exe" if os.name == "nt" else "uv")
    try:
        subprocess.run([uv, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return uv


def uv_environment() -> dict[str, str]:
    """The process's environment, with pip's index and certificate handed on (uv reads no pip settings)."""
    env = dict(os.environ, VIRTUAL_ENV=str(VENV))
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    for pip_name, uv_name in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if settings.get(pip_name):
            env.setdefault(uv_name, settings[pip_name])
    return env


def install_packages() -> None:
    """Bring `.venv` to exactly what the lock says, then add the project itself.

    In this order, because a sync removes whatever the lock does not name: the project too.
    """
    uv = install_uv()
    if uv is not None:
        env = uv_environment()
        try:
            quiet = () if sys.stderr.isatty() else ("--quiet",)  # progress bars where someone sees them move
            # Compiled now, once: a kernel that has to compile torch starts in half a minute instead of five seconds.
            sync = ("pip", "sync", "--compile-bytecode", "--require-hashes", LOCK)
            run(uv, *sync, *quiet, "--python", PYTHON, env=env)
            project = ("--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT)
            run(uv, "pip", "install", "--python", PYTHON, *project, env=env)
            return
        except subprocess.CalledProcessError:
            print("uv did not finish; pip takes over (slower: several minutes).", flush=True)
    else:
        print("uv could not be had; pip does it (slower: several minutes).", flush=True)
    pip = (PYTHON, "-m", "pip", "install", "--progress-bar", "off")
    run(*pip, "--require-hashes", "-r", LOCK)
    run(*pip, "--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT)


def main() -> int:
    """Make the environment if it is not there or not right. Exit code 0 when it is ready."""
    parser = argparse.ArgumentParser(description="Make .venv from requirements.lock.")
    parser.add_argument("--force", action="store_true", help="start the environment again from nothing")
    force = parser.parse_args().force
    start = time.monotonic()
    shown = VENV.relative_to(ROOT)
    try:
        if not force and is_ready():
            print(f"{shown}: ready, made from this {LOCK.name}.")
            return 0
        if not LOCK.is_file():
            raise SetupError(f"{LOCK} is missing. Restore it from version control.")
        if force or not python_starts():
            version = sys.version.split()[0]
            print(f"{shown}: making it with Python {version}. The first time downloads up to 3 GB.", flush=True)
            make_venv()
        else:
            print(f"{shown}: bringing it up to {LOCK.name}.", flush=True)
        STAMP.unlink(missing_ok=True)  # from here until the end it is not whole
        install_packages()
        STAMP.write_text(wanted_stamp() + "\n")
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(
            f"Setting up stopped: exit code {error.returncode} from\n  {' '.join(map(str, error.cmd))}\n"
            "Its own message is above. Needed: 7 GB of disk, and a connection to a Python package index.\n"
            "Run the same command again to go on from here.",
            file=sys.stderr,
        )
        return 1
    print(f"{shown}: ready in {time.monotonic() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
