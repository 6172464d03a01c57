"""Run folders: stages that are whole or absent, and are made again only when what they were made from changed.

A stage lives in ``runs/<run>/<stage>/`` beside a ``manifest.json``. Its *key* is a hash of the settings that matter to
it, the fingerprints of the stages it read, and its version; its *fingerprint* is a hash of its files. A stage is reused
when its key still matches and its files are unchanged. It is written to a temporary folder that is renamed when it is
whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from uslnet_core import __version__
from uslnet_core.compute import Progress, peak_memory, quiet
from uslnet_core.config import Config
from uslnet_core.errors import RunError
from uslnet_core.folders import clear_leftovers, explain_os_error, link_or_copy, replace_folder

FORMAT = 1
MANIFEST = "manifest.json"
# Raised by one when the same settings and inputs give other results than before.
STAGE_VERSIONS = {
    "01-data": 1,
    "02-contrastive": 1,
    "03-saliency": 2,
    "04-labels": 1,
    "05-segmenter": 2,
    "07-evaluation": 1,
}
NOTEBOOK_OF = {"01-data": "01", "02-contrastive": "02", "03-saliency": "03", "04-labels": "04", "07-evaluation": "07"}


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

    def describe(self) -> str:
        """Say in one line whether the stage was made or reused, and how long it took."""
        seconds = self.manifest.seconds
        took = f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
        return f"{self.name}: {self.origin} ({took} when it was made)"


@dataclass(frozen=True)
class Run:
    """One run: a folder, a configuration, and where its images come from.

    Attributes:
        folder: ``runs/<dataset>-<profile>[-name]``.
        config: the configuration.
        data: folder of the dataset; ``None`` for synthetic images.
        progress: told of long work.
        options: the options for folders that are not the project's own, to end a suggested command.
    """

    folder: Path
    config: Config
    data: Path | None = None
    progress: Progress = field(default=quiet, compare=False)
    options: str = field(default="", compare=False)

    def command(self, notebook: str) -> str:
        """Spell the command that runs one notebook for this run."""
        name = self.folder.name.removeprefix(f"{self.config.dataset}-{self.config.profile}").removeprefix("-")
        parts = ["uslnet run", notebook]
        if self.config.dataset != "synthetic":
            parts.append(f"--dataset {self.config.dataset}")
        if self.config.profile != "quick":
            parts.append(f"--profile {self.config.profile}")
        if self.config.seed:
            parts.append(f"--seed {self.config.seed}")
        return " ".join(parts + ([f"--name {name}"] if name else [])) + self.options

    def open(self, name: str) -> Stage:
        """Open a stage that must exist.

        Args:
            name: the stage, for example ``03-saliency``.

        Returns:
            The stage, its files verified.

        Raises:
            RunError: it is missing or stale (the message names the notebook and the command that makes it), was edited,
                or was made by another version.
        """
        stage = read_stage(self.folder, name)
        if stage is None:
            notebook = notebook_of(name)
            raise RunError(
                f"{self.folder.name} has no {name} yet. Notebook {notebook} makes it: run it first, or type\n"
                f"  {self.command(notebook)} --with-inputs"
            )
        seed = stage.manifest.settings.get("seed", self.config.seed)
        if seed != self.config.seed:
            raise RunError(
                f"{name} of {self.folder.name} was made with seed {seed}, but this is seed {self.config.seed}. Give "
                f"--seed {seed}, or keep seeds apart with --name."
            )
        if reason := stale_reason(stage, peek(self.folder)):
            notebook = notebook_of(name)
            raise RunError(
                f"{name} of {self.folder.name} is stale: {reason}. Run notebook {notebook} again, and those before it "
                f"that are stale too:\n  {self.command(notebook)} --with-inputs"
            )
        return stage

    def make(
        self,
        name: str,
        compute: Callable[[Path], dict[str, Any] | None],
        *,
        settings: dict[str, Any],
        inputs: Sequence[Stage] = (),
        device: str = "cpu",
    ) -> Stage:
        """Reuse a stage that still holds, or make it.

        Args:
            name: the stage.
            compute: writes the stage's files into the folder it is given; may return facts for the manifest.
            settings: everything besides the inputs that changes the result; JSON values.
            inputs: the stages that are read.
            device: where it is computed, for the manifest.

        Returns:
            The stage, whole.

        Raises:
            RunError: the stage there was edited or made by another version, or the folder cannot be written.
            DataError: the disk is full.
        """
        fingerprints = {stage.name: stage.manifest.fingerprint for stage in inputs}
        code = stage_version(name)
        key = digest([FORMAT, name, code, settings, fingerprints])
        present = read_stage(self.folder, name)
        if present and present.manifest.key == key:
            return present
        shared = self._find_elsewhere(name, key)
        target = self.folder / name
        fresh = self.folder / f".{name.replace('/', '-')}.{platform.node()}.{os.getpid()}.tmp"
        try:
            clear_leftovers(self.folder)
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            if shared:
                for file in [*shared.manifest.files, MANIFEST]:
                    link_or_copy(shared.folder / file, fresh / file)
                origin = f"shared from {shared.folder.relative_to(self.folder.parent).parts[0]}"
            else:
                start = time.monotonic()
                facts = compute(fresh) or {}
                files = {p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in sorted(fresh.iterdir())}
                manifest = Manifest(
                    format=FORMAT,
                    stage=name,
                    version=code,
                    key=key,
                    fingerprint=digest(files),
                    made_with=__version__,
                    made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    seconds=round(time.monotonic() - start, 2),
                    peak_memory=peak_memory(),
                    seed=self.config.seed,
                    device=device,
                    settings=settings,
                    inputs=fingerprints,
                    files=files,
                    facts=facts,
                    versions=versions(),
                    config=self.config.model_dump(mode="json"),
                )
                (fresh / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
                origin = "made"
            replace_folder(fresh, target)
        except Exception as error:
            explain_os_error(error, target)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        stage = read_stage(self.folder, name)
        assert stage is not None
        return Stage(stage.name, stage.folder, stage.manifest, origin)

    def _find_elsewhere(self, name: str, key: str) -> Stage | None:
        """Find the same stage in a run beside this one, so that runs which share stages make them once."""
        for path in sorted(self.folder.parent.glob(f"*/{name}/{MANIFEST}")):
            run = path.parents[len(Path(name).parts)]
            try:
                stage = read_stage(run, name) if run != self.folder and key in path.read_text("utf-8") else None
            except (RunError, OSError, UnicodeDecodeError):
                continue  # a broken stage of another run is that run's affair
            if stage and stage.manifest.key == key:
                return stage
        return None


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


def upstream(run: Run, stage: Stage) -> list[Stage]:
    """List a stage and all that it was made from, in the order of the stages.

    Raises:
        RunError: one of them is missing or stale.
    """
    found, waiting = {}, [stage]
    while waiting:
        each = waiting.pop()
        found[each.name] = each
        waiting += [run.open(name) for name in each.manifest.inputs if name not in found]
    return [found[name] for name in sorted(found)]


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
    return ""


def stage_version(stage: str) -> int:
    """Give the version of the code that makes a stage, as it is now."""
    return STAGE_VERSIONS.get(stage.split("/")[0], 0)


def notebook_of(stage: str) -> str:
    """Name the notebook that makes a stage."""
    if stage.startswith("05-segmenter"):
        return "05" if stage.endswith("iteration-0") else "06"
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
