"""Set this laptop up for the workshop: needs Python and nothing else, and no network where the kit has a wheelhouse.

python3 set_up.py            make .venv, install, check
python3 set_up.py --check    only check
python3 set_up.py --lab      open the exercises in JupyterLab
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
KINDS = {"win32": "windows", "darwin": "mac", "linux": "linux"}


def kind():
    """Name this kind of laptop as the wheelhouse does."""
    name = KINDS.get(sys.platform, sys.platform)
    return "linux-arm" if name == "linux" and platform.machine() in ("aarch64", "arm64") else name


def with_python(version):
    """Say how this computer calls a version of Python."""
    return f"py -{version}" if os.name == "nt" else f"python{version}"


def choose():
    """Choose what to install, and from where: the wheelhouse, or a package index."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        sys.exit("This Mac has an Intel chip, for which there is no current torch. Share a laptop with somebody.")
    setting = json.loads((HERE / "set_up.json").read_text(encoding="utf-8"))
    mine = "{}.{}".format(*sys.version_info)
    listed = HERE / "wheelhouse" / f"requirements-{kind()}.txt"
    pythons = setting["pythons"].get(kind(), [])
    if listed.is_file() and pythons:
        if mine not in pythons:
            sys.exit(
                f"This is Python {mine}, and the wheelhouse is for {' or '.join(pythons)}. Install one of "
                f"those, and start this script with it, for example:  {with_python(pythons[0])} set_up.py"
            )
        print("Installing from the wheelhouse, with no network.", flush=True)
        return ["--no-index", "--find-links", HERE / "wheelhouse"], listed, setting["wheel"]
    if sys.version_info < (3, 11):  # noqa: UP036 (an unknown laptop has any Python)
        sys.exit(f"This is Python {mine}; the workshop needs 3.11 or newer.")
    print(f"There is no wheelhouse for {kind()} here: packages come from a package index, up to 3 GB.", flush=True)
    return [], HERE / "requirements.txt", setting["wheel"]


def install():
    """Make .venv and install; safe to run again."""
    where, listed, wheel = choose()
    try:
        if not PYTHON.exists():
            venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"Could not make {VENV}: {error}. Debian and Ubuntu: sudo apt install python3-venv")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, *where, "--require-hashes", "-r", listed], check=True)
    subprocess.run([*pip, "--no-index", "--force-reinstall", HERE / wheel], check=True)


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Set this laptop up for the workshop.")
    parser.add_argument("--check", action="store_true", help="only check")
    parser.add_argument("--lab", action="store_true", help="open the exercises in JupyterLab")
    asked = parser.parse_args()
    if (asked.check or asked.lab) and not PYTHON.exists():
        return "Nothing is set up yet. Run this script without options first."
    if asked.lab:
        return subprocess.run(
            [PYTHON, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/exercises"], cwd=HERE
        ).returncode
    if not asked.check:
        try:
            install()
        except subprocess.CalledProcessError as error:
            return f"Stopped: pip's message is above (exit code {error.returncode}). Run it again to go on."
    return subprocess.run([PYTHON, "-m", "uslnet_core.cli", "workshop", "check", "--kit", HERE]).returncode


if __name__ == "__main__":
    sys.exit(main())
