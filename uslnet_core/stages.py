"""Stages on disk: manifests, and whether what they describe is whole and follows from what it was made from.

A stage lives in ``runs/<run>/<stage>/`` beside a ``manifest.json``. Its *key* is a hash of the settings that matter to
it, the fingerprints of the stages it read, and its version; its *fingerprint* is a hash of its files.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from uslnet_core import __version__
from uslnet_core.errors import RunError

FORMAT = 1
MANIFEST = "manifest.json"
# Raised by one when the same settings and inputs give other results than before.
STAGE_VERSIONS = {
    "01-data": 1,
    "02-contrastive": 2,
    "03-saliency": 4,
    "04-labels": 1,
    "05-segmenter": 2,
    "07-evaluation": 1,
    "08-student": 1,
    "tables": 1,
}
TABLES = {
    "table-8": "09",
    "table-9": "10",
    "figure-8": "11",
    "figure-9": "11",
    "options": "11",
    "steps": "15",
    "parts": "15",
    "lessons": "15",
    "together": "15",
    "larger": "15",
}
NOTEBOOK_OF = {
    "01-data": "01",
    "02-contrastive": "02",
    "03-saliency": "03",
    "04-labels": "04",
    "07-evaluation": "07",
    "08-student": "15",
}


class Manifest(BaseModel):
    """What a stage says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    stage: str
    version: int = 1
    key: str
    fingerprint: str
    made_with: str
    made_at: str
    seconds: float
    peak_memory: int | None = None  # MiB, of the whole process until then
    seed: int
    device: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]
    versions: dict[str, str]
    config: dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A whole stage on disk.

    Attributes:
        name: for example ``03-saliency``.
        folder: where its files are.
        manifest: what it says of itself.
        origin: ``made``, ``reused``, or ``shared from <run>``.
    """

    name: str
    folder: Path
    manifest: Manifest
    origin: str = "reused"

    def __truediv__(self, name: str) -> Path:
        """Name a file of this stage."""
        return self.folder / name

    @property
    def run_name(self) -> str:
        """Name the run that it lies in."""
        return self.folder.parents[len(Path(self.name).parts) - 1].name

    def describe(self) -> str:
        """Say in one line whether the stage was made or reused, and how long it took."""
        seconds = self.manifest.seconds
        took = f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
        return f"{self.name}: {self.origin} ({took} when it was made)"


def read_stage(run: Path, name: str) -> Stage | None:
    """Read a stage's manifest and verify its files.

    Args:
        run: the run's folder.
        name: the stage.

    Returns:
        The stage, or ``None`` if it is not there.

    Raises:
        RunError: the manifest cannot be read, was made by another format version, or a file is missing or was edited.
    """
    folder = run / name
    path = folder / MANIFEST
    if not path.exists():
        return None
    again = f"Delete the folder {run.name}/{name} and run notebook {notebook_of(name)} to make it again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("format")
        if found != FORMAT:
            raise RunError(
                f"{run.name}/{name} was made by another version of uslnet (format {found}; this one reads {FORMAT}). "
                f"{again} Or start a new run with --name."
            )
        manifest = Manifest(**content)
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError, AttributeError) as error:
        raise RunError(f"{run.name}/{name}/{MANIFEST} cannot be read ({type(error).__name__}). {again}") from None
    for file, expected in manifest.files.items():
        if not (folder / file).exists():
            raise RunError(f"{run.name}/{name}/{file} is missing. {again}")
        size, checksum = expected.get("bytes"), expected.get("sha256")
        if (folder / file).stat().st_size != size or file_hash(folder / file) != checksum:
            raise RunError(f"{run.name}/{name}/{file} was changed after it was written (checksum). {again}")
    if digest(manifest.files) != manifest.fingerprint:
        raise RunError(f"{run.name}/{name}/{MANIFEST} was edited (checksum). {again}")
    return Stage(name, folder, manifest)


def list_stages(run: Path) -> list[Path]:
    """List the manifests of a run, in the order of the stages."""
    return sorted(p for p in run.glob(f"**/{MANIFEST}") if not any(x.startswith(".") for x in p.relative_to(run).parts))


def peek(run: Path) -> dict[str, Stage]:
    """Read the manifests of a run without verifying files; one that cannot be read is left out.

    Args:
        run: the run's folder.

    Returns:
        The stages by name.
    """
    stages = {}
    for path in list_stages(run):
        name = path.parent.relative_to(run).as_posix()
        try:
            stages[name] = Stage(name, path.parent, Manifest(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, TypeError, ValueError):
            continue  # reading that stage itself says what is wrong with it
    return stages


def base_seed(run_folder: Path, seeds: Sequence[int]) -> int:
    """Choose the seed with which a run is opened: the one it was made with, else the first that is asked for.

    A run may hold stages of several; what its labels are made of has the say, and before that what it learnt.
    """
    made = {name: stage.manifest.settings.get("seed") for name, stage in peek(run_folder).items()}
    order = sorted(made, key=lambda name: (name != "03-saliency/main", not name.startswith("02-"), name))
    return next((made[name] for name in order if made[name] is not None), seeds[0])


def stale_reason(stage: Stage, stages: dict[str, Stage], *, gone_is_stale: bool = True) -> str:
    """Say why a stage no longer follows from the stages it read; empty if it does.

    Args:
        stage: the stage to judge.
        stages: all stages of the run by name.
        gone_is_stale: whether a stage that was read and is not there any more counts; a model may be kept alone.
    """
    if stage.manifest.version != stage_version(stage.name):
        return "it was made by another version of its code"
    for name, fingerprint in stage.manifest.inputs.items():
        if name not in stages:
            if gone_is_stale:
                return f"{name} is gone"
            continue
        if stages[name].manifest.fingerprint != fingerprint:
            return f"{name} was made again since"
        if deeper := stale_reason(stages[name], stages, gone_is_stale=gone_is_stale):
            return deeper
    return stale_row(stage)


def stale_row(stage: Stage) -> str:
    """Say which row of an ablation's table does not follow any more; rows may lie in other runs, which may be gone."""
    runs, known = stage.folder.parents[len(Path(stage.name).parts)], {}
    for model, row in stage.manifest.facts.get("rows", {}).items():
        if row["run"] not in known:
            known[row["run"]] = peek(runs / row["run"])
        there = known[row["run"]].get(row["stage"])
        if there is None:
            continue
        if there.manifest.fingerprint != stage.manifest.settings["models"][model]:
            return f"{row['run']}/{row['stage']} was made again since"
        if deeper := stale_reason(there, known[row["run"]], gone_is_stale=False):
            return f"{row['run']}/{row['stage']} is stale ({deeper})"
    return ""


def stage_version(stage: str) -> int:
    """Give the version of the code that makes a stage, as it is now."""
    return STAGE_VERSIONS.get(stage.split("/")[0], 0)


def notebook_of(stage: str) -> str:
    """Name the notebook that makes a stage."""
    if stage.startswith("05-segmenter"):
        return "05" if stage.endswith("iteration-0") else "06"
    if stage.startswith("tables/"):
        return TABLES.get(stage.split("/")[1], "?")
    return NOTEBOOK_OF.get(stage.split("/")[0], "?")


def gibibytes(mebibytes: int | None) -> str:
    """Write an amount of memory for a table; a dash where it was not measured."""
    return "–" if mebibytes is None else f"{mebibytes / 1024:.1f}"


def digest(value: Any) -> str:
    """Hash a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Give the versions that a result may depend on."""
    names = ("torch", "torchvision", "numpy", "scipy", "pillow", "lightning-fabric")
    return {"python": platform.python_version(), "uslnet": __version__} | {name: version(name) for name in names}
