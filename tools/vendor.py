"""Fetch the few scripts that the built book carries with it, so that a page asks nothing of the web.

    python tools/vendor.py            fetch, check and write book/assets/vendor/ and tests/vendor/ (needs npm)
    python tools/vendor.py --check    only check that what lies there is what this file names

Readers and builders need none of this: the files are kept in the repository. Each package is pinned by the
checksum that the registry publishes for it, and its licence lies beside its files.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "book" / "assets" / "vendor"
TESTS = ROOT / "tests" / "vendor"  # what only looks at the pages, and is on none of them
LIMIT = 8 * 1024 * 1024


@dataclass(frozen=True)
class Package:
    """One npm package: which version, its published checksum, and which of its files go where."""

    name: str
    version: str
    integrity: str
    folder: str
    licence: str
    why: str
    files: dict[str, str] = field(default_factory=dict)


PACKAGES = (
    Package(
        name="mathjax",
        version="3.2.2",
        integrity="sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        folder="mathjax",
        licence="Apache-2.0",
        why="formulas; the build with every TeX extension inside, so that none is fetched later",
        files={"es5/tex-svg-full.js": "tex-svg-full.js", "LICENSE": "LICENSE"},
    ),
    Package(
        name="requirejs",
        version="2.3.4",
        integrity="sha512-qPD5gRrj6kGQ0ZySAJgqbArkaDqPMbQIT0zSZDkIv1mfA17w/tR2Faq5l2qqRf2CdQx6FWln9nUrgd2UDzb19A==",
        folder="requirejs",
        licence="MIT (or BSD-3-Clause, at your choice)",
        why="loads the widget manager",
        files={"require.js": "require.js"},  # its licence is in its first lines
    ),
    Package(
        name="@jupyter-widgets/html-manager",
        version="1.0.6",
        integrity="sha512-+Mn+Ra8wyIHrYaUpfmf9A3dsLkt/NuwzPQN8sthdxBD35VV5cOJbpmgMhNR27n/rmP3mKyEe0PWCJrtZrXTXDQ==",
        folder="widgets",
        licence="BSD-3-Clause; Font Awesome Free fonts inside: SIL OFL 1.1",
        why="shows the saved state of ipywidgets",
        files={
            "dist/embed-amd.js": "embed-amd.js",
            "dist/1551f4f60c37af51121f.woff2": "1551f4f60c37af51121f.woff2",
            "dist/7a3337626410ca2f4071.woff2": "7a3337626410ca2f4071.woff2",
            "dist/d878b0a6a1144760244f.woff2": "d878b0a6a1144760244f.woff2",
            "LICENSE": "LICENSE",
        },
    ),
    Package(
        name="reveal.js",
        version="4.6.1",
        integrity="sha512-1CW0auaXNPmwmvQ7TwpszwVxMi2Xr5cTS3J3EBC/HHgbPF32Dn7aiu/LKWDOGjMbaDwKQiGmfqcoGQ74HUHCMw==",
        folder="reveal",
        licence="MIT",
        why="slides (`uslnet slides`); no page of the book loads it",
        files={
            "dist/reveal.js": "reveal.js",
            "dist/reveal.css": "reveal.css",
            "plugin/notes/notes.js": "notes.js",
            "LICENSE": "LICENSE",
        },
    ),
)
TEST_PACKAGES = (
    Package(
        name="axe-core",
        version="4.14.1",
        integrity="sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        folder="axe-core",
        licence="MPL-2.0",
        why="finds what a reader with a screen reader, a keyboard or weak eyes would stumble over",
        files={"axe.min.js": "axe.min.js", "LICENSE": "LICENSE"},
    ),
)
PLACES = {VENDOR: PACKAGES, TESTS: TEST_PACKAGES}
OWN_FILES = ("README.md", "CHECKSUMS", "widgets/assets-path.js")


def integrity(path: Path) -> str:
    """Checksum of a file in the form that npm publishes."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fetch(package: Package, folder: Path) -> Path:
    """Download one package's archive and check it against the published checksum."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm was not found. Only fetching these files again needs it: install Node.js, or leave them be.")
    spec = f"{package.name}@{package.version}"
    done = subprocess.run([npm, "pack", "--silent", spec], cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    archive = folder / done.stdout.strip().splitlines()[-1]
    if integrity(archive) != package.integrity:
        sys.exit(f"{spec}: the archive's checksum is\n  {integrity(archive)}\nand not\n  {package.integrity}")
    return archive


def extract(package: Package, archive: Path, place: Path) -> None:
    """Write the named files of a package into its folder; every other file there is left as it is."""
    target = place / package.folder
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        for inside, name in package.files.items():
            source = opened.extractfile(f"package/{inside}")
            if source is None:
                sys.exit(f"{package.name}: {inside} is not a file in the archive")
            (target / name).write_bytes(source.read())


def checksums(place: Path) -> str:
    """One line per vendored file: its sha256 and its path."""
    names = sorted(f"{package.folder}/{name}" for package in PLACES[place] for name in package.files.values())
    return "".join(f"{hashlib.sha256((place / name).read_bytes()).hexdigest()}  {name}\n" for name in names)


def readme(place: Path) -> str:
    """The table of what lies here, for whoever looks."""
    rows = "\n".join(f"| `{p.folder}/` | {p.name} {p.version} | {p.licence} | {p.why} |" for p in PLACES[place])
    table = f"| folder | package | licence | what for |\n| --- | --- | --- | --- |\n{rows}\n\n"
    again = "`make vendor` fetches and checks them again; versions and checksums stand in `tools/vendor.py`.\n\n"
    if place == TESTS:
        return (
            "# Scripts that the tests bring\n\n"
            "Unchanged files of npm packages that `test_pages.py` runs on the built pages. They are on none of them.\n"
            f"{again}{table}`CHECKSUMS` is the sha256 of each file.\n"
        )
    return (
        "# Scripts that the built book carries\n\n"
        "Unchanged files of npm packages, so that a page asks nothing of the web and nobody needs Node.js.\n"
        f"{again}{table}"
        "`widgets/assets-path.js` is this project's own: it tells the widget manager where its fonts are,\n"
        "and answers its call of MathJax 2 with MathJax 3. `CHECKSUMS` is the sha256 of each file.\n"
    )


def problems(place: Path) -> list[str]:
    """What is wrong with the files that lie in one place; empty when all is well."""
    wanted = {f"{p.folder}/{name}" for p in PLACES[place] for name in p.files.values()}
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - set(OWN_FILES)
    wrong = [f"missing: {name}" for name in sorted(wanted - found)]
    wrong += [f"not named in tools/vendor.py: {name}" for name in sorted(found - wanted)]
    if not wrong and (place / "CHECKSUMS").read_text() != checksums(place):
        wrong.append("a file differs from its line in CHECKSUMS")
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    if size > LIMIT:
        wrong.append(f"{size:,} bytes in all, more than {LIMIT:,}")
    return [f"{place.relative_to(ROOT).as_posix()}: {each}" for each in wrong]


def main() -> int:
    """Fetch or check. Exit code 1 if something is wrong with the files."""
    parser = argparse.ArgumentParser(description="Fetch the scripts that the built book carries.")
    parser.add_argument("--check", action="store_true", help="fetch nothing, only check")
    if not parser.parse_args().check:
        with tempfile.TemporaryDirectory() as folder:
            for place, packages in PLACES.items():
                for package in packages:
                    extract(package, fetch(package, Path(folder)), place)
                (place / "CHECKSUMS").write_text(checksums(place))
                (place / "README.md").write_text(readme(place))
    wrong = [each for place in PLACES for each in problems(place)]
    print("\n".join(wrong) if wrong else "Every vendored file is as named.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
