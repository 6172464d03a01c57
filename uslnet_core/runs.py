"""Runs: stages that are whole or absent, and are made again only when what they were made from changed.

A stage is reused when its key still matches and its files are unchanged (:mod:`uslnet_core.stages`). It is written to
a temporary folder that is renamed when it is whole, under a lock: of several processes that want it, one makes it.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uslnet_core import __version__
from uslnet_core.checkpoints import Desk, DiskKeeper
from uslnet_core.compute import Progress, peak_memory, quiet
from uslnet_core.config import Config
from uslnet_core.errors import RunError
from uslnet_core.folders import clear_leftovers, explain_os_error, link_or_copy, replace_folder
from uslnet_core.locks import held
from uslnet_core.ranks import once, rank
from uslnet_core.stages import (
    FORMAT,
    MANIFEST,
    Manifest,
    Stage,
    digest,
    file_hash,
    notebook_of,
    peek,
    read_stage,
    stage_version,
    stale_reason,
    versions,
)

MARK = "~"  # begins the name of a variation of a run (pipeline/variants.py); no name that a user gives may hold it


@dataclass(frozen=True)
class Run:
    """One run: a folder, a configuration, and where its images come from.

    Attributes:
        folder: ``runs/<dataset>-<profile>[-name]``.
        config: the configuration.
        data: folder of the dataset; ``None`` for synthetic images.
        progress: told of long work.
        options: the options for folders that are not the project's own, to end a suggested command.
        remedy: the command that makes whatever this run lacks, where it is not a notebook's.
        weights: folder of public checkpoints.
    """

    folder: Path
    config: Config
    data: Path | None = None
    progress: Progress = field(default=quiet, compare=False)
    options: str = field(default="", compare=False)
    remedy: str = field(default="", compare=False)
    weights: Path | None = field(default=None, compare=False)

    def spell(self, words: str) -> str:
        """Spell a command for this run: ``uslnet <words> --dataset …``, without what is the default anyway."""
        own, first = self.folder.name.partition(MARK)[0], begin_name(self.config)
        name = own.removeprefix(first).removeprefix("-")
        parts = [f"uslnet {words}"]
        if self.config.dataset != "synthetic":
            parts.append(f"--dataset {self.config.dataset}")
        if self.config.profile != "quick":
            parts.append(f"--profile {self.config.profile}")
        if self.config.method != "usl-net" and MARK not in self.folder.name:
            parts.append(f"--method {self.config.method}")
        if self.config.seed:
            parts.append(f"--{'seeds' if words.startswith('reproduce') else 'seed'} {self.config.seed}")
        return " ".join(parts + ([f"--name {name}"] if name else [])) + self.options

    def command(self, notebook: str) -> str:
        """Spell the command that runs one notebook for this run."""
        return self.remedy or self.spell(f"run {notebook}")

    def command_with_inputs(self, notebook: str) -> str:
        """Spell the command that runs one notebook and all that it needs."""
        return self.remedy or f"{self.command(notebook)} --with-inputs"

    def whole(self) -> dict[str, Stage]:
        """List the stages that follow from what they read, and were made with this run's seed if with any."""
        stages = peek(self.folder)
        return {
            name: stage
            for name, stage in stages.items()
            if seed_of(stage, self.config.seed) == self.config.seed and not stale_reason(stage, stages)
        }

    def has(self, name: str) -> bool:
        """Say whether a stage is there, whole in this sense."""
        return name in self.whole()

    def adopt(self, stage: Stage) -> Stage:
        """Take a whole stage over from another run, whatever the settings it was made with.

        For variations of a run: they share all that stands before what they change, so they follow the run that is
        there and not what its configuration would make.

        Args:
            stage: a stage of another run.

        Returns:
            The stage, in this run: the same files, linked.
        """
        present = read_stage(self.folder, stage.name)
        if present and present.manifest == stage.manifest:
            return present
        fresh, target = self._fresh(stage.name), self.folder / stage.name
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            link_stage(stage, fresh)
            replace_folder(fresh, target)
        except OSError as error:
            explain_os_error(error, target)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return Stage(stage.name, target, stage.manifest, f"shared from {stage.run_name}")

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
                f"  {self.command_with_inputs(notebook)}"
            )
        seed = seed_of(stage, self.config.seed)
        if seed != self.config.seed:
            option = "--seeds" if self.remedy else "--seed"
            raise other_seed(f"{name} of {self.folder.name}", seed, self.config.seed, option)
        if reason := stale_reason(stage, peek(self.folder)):
            notebook = notebook_of(name)
            raise RunError(
                f"{name} of {self.folder.name} is stale: {reason}. Run notebook {notebook} again, and those before it "
                f"that are stale too:\n  {self.command_with_inputs(notebook)}"
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
        keeper: DiskKeeper | Desk | None = None,
        together: bool = False,
    ) -> Stage:
        """Reuse a stage that still holds, or make it; where another process makes it just now, wait and share it.

        Args:
            name: the stage.
            compute: writes the stage's files into the folder it is given; may return facts for the manifest.
            settings: everything besides the inputs that changes the result; JSON values.
            inputs: the stages that are read.
            device: where it is computed, for the manifest.
            keeper: keeps the state of a training, which ``compute`` hands to it, or what else is begun; told the key,
                and cleared at the end.
            together: where several processes train, all call ``compute``, with the same folder, and the first alone
                writes. Otherwise the first alone calls it, and the others wait.

        Returns:
            The stage, whole.

        Raises:
            RunError: the stage there was edited or made by another version, or the folder cannot be written.
            DataError: the disk is full.
        """
        fingerprints = {stage.name: stage.manifest.fingerprint for stage in inputs}
        code = stage_version(name)
        key = digest([FORMAT, name, code, settings, fingerprints])
        target = self.folder / name
        fresh = self._fresh(name)

        def describe(facts: dict[str, Any], seconds: float) -> None:
            files = {p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in sorted(fresh.iterdir())}
            manifest = Manifest(
                format=FORMAT,
                stage=name,
                version=code,
                key=key,
                fingerprint=digest(files),
                made_with=__version__,
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(seconds, 2),
                peak_memory=peak_memory(),
                seed=self.config.seed,
                device=device,
                settings=settings,
                inputs=fingerprints,
                files=files,
                facts=facts,
                versions=versions(),
                config=described(self.config),
            )
            (fresh / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
            replace_folder(fresh, target)

        if present := once(lambda: self._present(name, key)):
            return present
        try:
            with ExitStack() as stack:
                lock = held(self._lock(name, key), lambda: self.progress(f"{name}: another process makes it", 0, 1))
                once(lambda: stack.enter_context(lock))
                if present := once(lambda: self._present(name, key)):  # it may have been made while this one waited
                    return present
                origin, folder = once(lambda: self._begin(name, key, fresh))
                if folder:
                    start = time.monotonic()
                    if keeper and (together or rank() == 0):  # who does not compute keeps nothing
                        keeper.begin(key)
                    facts = (compute(folder) if together else once(lambda: compute(folder))) or {}
                    once(lambda: describe(facts, time.monotonic() - start))
        except Exception as error:
            explain_os_error(error, target)
            raise
        finally:
            if rank() == 0:
                shutil.rmtree(fresh, ignore_errors=True)
        if keeper and rank() == 0:
            keeper.clear()
        stage = read_stage(self.folder, name)
        assert stage is not None
        return Stage(stage.name, stage.folder, stage.manifest, origin)

    def _present(self, name: str, key: str) -> Stage | None:
        """Give a stage that is there, its files verified, if it has this key."""
        present = read_stage(self.folder, name)
        return present if present and present.manifest.key == key else None

    def _begin(self, name: str, key: str, fresh: Path) -> tuple[str, Path | None]:
        """Share a stage from another run, or make room for a new one: its origin, and the folder to make it in."""
        shared = self._find_elsewhere(name, key)
        clear_leftovers(self.folder)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if shared is None:
            return "made", fresh
        link_stage(shared, fresh)
        replace_folder(fresh, self.folder / name)
        return f"shared from {shared.run_name}", None

    def _fresh(self, name: str) -> Path:
        """Name the temporary folder in which this process makes a stage."""
        return self.folder / f".{name.replace('/', '-')}.{platform.node()}.{os.getpid()}.tmp"

    def _lock(self, name: str, key: str) -> Path:
        """Name the lock of one stage with one key: all runs beside this one share it, so that it is made once."""
        return self.folder.parent / f".{name.replace('/', '-')}.{key[:16]}.lock"

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


def begin_name(config: Config) -> str:
    """Give what a run's folder is called by: dataset, profile, and the method where it is not the paper's."""
    method = "" if config.method == "usl-net" else f"-{config.method}"
    return f"{config.dataset}-{config.profile}{method}"


def seed_of(stage: Stage, otherwise: int) -> int:
    """Give the seed that a stage hangs on, or another number where it hangs on none."""
    return stage.manifest.settings.get("seed", otherwise)


def other_seed(what: str, made: int, asked: int, option: str = "--seed") -> RunError:
    """Say that something was made with another seed, and which option takes it as it is."""
    return RunError(
        f"{what} was made with seed {made}, but this is seed {asked}. Give {option} {made}, or keep seeds apart with "
        "--name."
    )


def link_stage(stage: Stage, folder: Path) -> None:
    """Put the files of a stage, its manifest among them, into another folder: linked where that is possible."""
    for file in [*stage.manifest.files, MANIFEST]:
        link_or_copy(stage.folder / file, folder / file)


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


def described(config: Config) -> dict[str, Any]:
    """Give a configuration as JSON values for a manifest; a start that is a file is told by its name alone."""
    content = config.model_dump(mode="json")
    content["contrastive"]["init"] = Path(config.contrastive.init).name
    return content
