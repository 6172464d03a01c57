"""Run folders: whole or absent, reused only while they hold, and every refusal says what to do."""

from __future__ import annotations

import errno
import json
import os
import platform
from pathlib import Path

import pytest

import uslnet_core.stages as stages_module
from uslnet_core.config import configure
from uslnet_core.errors import RunError
from uslnet_core.folders import link_or_copy, replace_folder
from uslnet_core.runs import Run
from uslnet_core.stages import Stage, digest, list_stages, notebook_of, read_stage, stale_reason


class Writer:
    """A stage's computation that counts how often it was called."""

    def __init__(self, text: str = "hello", facts: dict | None = None) -> None:
        self.text, self.facts, self.calls = text, facts, 0

    def __call__(self, folder: Path) -> dict | None:
        self.calls += 1
        (folder / "result.txt").write_text(self.text)
        return self.facts


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "runs" / "synthetic-quick", configure())


def sibling(run: Run, name: str) -> Run:
    return Run(run.folder.parent / f"synthetic-quick-{name}", run.config)


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def edit(path: Path, change) -> None:
    """Change a manifest as a hand would."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- made, reused, made again ----------------------------------------------------------------------------------------


def test_a_stage_is_made_then_reused_and_says_which(run):
    writer = Writer(facts={"count": 3})
    made = run.make("03-saliency", writer, settings={"a": 1})
    reused = run.make("03-saliency", writer, settings={"a": 1})
    assert writer.calls == 1
    assert (made.origin, reused.origin) == ("made", "reused")
    assert made.describe().startswith("03-saliency: made (0.") and "reused" in reused.describe()
    assert reused.manifest.facts == {"count": 3} and (reused / "result.txt").read_text() == "hello"
    assert everything(run.folder) == ["03-saliency/manifest.json", "03-saliency/result.txt"]


def test_minutes_are_told_as_minutes(run):
    stage = run.make("03-saliency", Writer(), settings={})
    slow = stage.manifest.model_copy(update={"seconds": 150.0})
    assert Stage("03-saliency", stage.folder, slow).describe() == "03-saliency: reused (2.5 min when it was made)"


def test_the_order_of_settings_does_not_matter_their_values_do(run):
    writer = Writer()
    run.make("03-saliency", writer, settings={"a": 1, "b": 2})
    run.make("03-saliency", writer, settings={"b": 2, "a": 1})
    assert writer.calls == 1
    again = run.make("03-saliency", writer, settings={"a": 1, "b": 3})
    assert writer.calls == 2 and again.origin == "made" and again.manifest.settings == {"a": 1, "b": 3}


def test_no_old_file_stays_in_a_stage_made_again(run):
    run.make("03-saliency", lambda folder: (folder / "old.txt").write_text("x") and None, settings={"a": 1})
    run.make("03-saliency", Writer(), settings={"a": 2})
    assert everything(run.folder) == ["03-saliency/manifest.json", "03-saliency/result.txt"]


def test_a_newer_version_of_a_stage_is_made_again(run, monkeypatch):
    writer = Writer()
    run.make("03-saliency", writer, settings={})
    monkeypatch.setitem(stages_module.STAGE_VERSIONS, "03-saliency", 99)
    assert run.make("03-saliency", writer, settings={}).origin == "made" and writer.calls == 2


def chain(run: Run, text: str = "features", alpha: int = 1) -> tuple[Stage, Stage, Stage, list[Writer]]:
    writers = [Writer(text), Writer("saliency of " + text), Writer("labels")]
    first = run.make("02-contrastive/simclr", writers[0], settings={"text": text, "alpha": alpha})
    second = run.make("03-saliency", writers[1], settings={}, inputs=[first])
    third = run.make("04-labels", writers[2], settings={}, inputs=[second])
    return first, second, third, writers


def test_what_changes_upstream_makes_all_downstream_again(run):
    chain(run)
    *stages, writers = chain(run, "other features")
    assert [w.calls for w in writers] == [1, 1, 1]
    assert [s.origin for s in stages] == ["made"] * 3


def test_what_is_made_again_and_comes_out_the_same_leaves_downstream_alone(run):
    chain(run)
    *stages, writers = chain(run, alpha=2)  # another setting, the same bytes
    assert [w.calls for w in writers] == [1, 0, 0]
    assert [s.origin for s in stages] == ["made", "reused", "reused"]


def stages_of(run: Run) -> dict[str, Stage]:
    names = [p.parent.relative_to(run.folder).as_posix() for p in list_stages(run.folder)]
    return {name: read_stage(run.folder, name) for name in names}


def test_a_stage_that_no_longer_follows_says_why(run):
    first, second, third, _ = chain(run)
    stages = stages_of(run)
    assert list(stages) == ["02-contrastive/simclr", "03-saliency", "04-labels"]
    assert [stale_reason(s, stages) for s in (first, second, third)] == ["", "", ""]
    run.make("02-contrastive/simclr", Writer("other"), settings={"text": "other"})
    stages = stages_of(run)
    assert stale_reason(second, stages) == "02-contrastive/simclr was made again since"
    assert stale_reason(third, stages) == "02-contrastive/simclr was made again since"
    del stages["03-saliency"]
    assert stale_reason(third, stages) == "03-saliency is gone"


# --- whole or absent -------------------------------------------------------------------------------------------------


def broken(folder: Path) -> None:
    (folder / "half.txt").write_text("half")
    raise ValueError("halfway")


def test_a_computation_that_fails_leaves_nothing(run):
    with pytest.raises(ValueError, match="halfway"):
        run.make("05-segmenter/iteration-0", broken, settings={})
    assert everything(run.folder) == []
    assert [p.name for p in run.folder.iterdir()] == []


def test_a_computation_that_fails_leaves_the_stage_before(run):
    run.make("03-saliency", Writer("before"), settings={"a": 1})
    with pytest.raises(ValueError, match="halfway"):
        run.make("03-saliency", broken, settings={"a": 2})
    assert everything(run.folder) == ["03-saliency/manifest.json", "03-saliency/result.txt"]
    assert (run.open("03-saliency") / "result.txt").read_text() == "before"


def test_an_interrupted_computation_leaves_nothing(run):
    def interrupted(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.make("03-saliency", interrupted, settings={})
    assert everything(run.folder) == []


def test_while_it_is_computed_the_stage_is_not_there(run):
    def look(folder: Path) -> None:
        (folder / "result.txt").write_text("x")
        assert read_stage(run.folder, "03-saliency") is None and list_stages(run.folder) == []

    run.make("03-saliency", look, settings={})


def test_a_folder_that_cannot_be_put_in_place_leaves_the_one_before(tmp_path, monkeypatch):
    fresh, target = tmp_path / ".fresh.tmp", tmp_path / "stage"
    for folder, text in ((fresh, "new"), (target, "old")):
        folder.mkdir()
        (folder / "file").write_text(text)
    rename = Path.rename

    def fails(self, other):
        if self == fresh:
            raise OSError(errno.EIO, "broken disk")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="broken disk"):
        replace_folder(fresh, target)
    assert (target / "file").read_text() == "old"


# --- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "what"), [("hullo", "changed"), ("hello, hello", "changed"), (None, "missing")])
@pytest.mark.parametrize("use", ["open", "make"])
def test_an_edited_artefact_is_refused_by_name(run, text, what, use):
    stage = run.make("03-saliency", Writer("hello"), settings={})
    (stage / "result.txt").unlink() if text is None else (stage / "result.txt").write_text(text)
    with pytest.raises(RunError) as caught:
        run.open("03-saliency") if use == "open" else run.make("03-saliency", Writer(), settings={})
    message = str(caught.value)
    assert "synthetic-quick/03-saliency/result.txt" in message and what in message
    assert "Delete the folder synthetic-quick/03-saliency and run notebook 03" in message


@pytest.mark.parametrize("found", [0, 2, None, "1"])
def test_a_run_of_another_format_is_refused(run, found):
    stage = run.make("04-labels", Writer(), settings={})
    edit(stage / "manifest.json", lambda m: m.update(format=found))
    with pytest.raises(RunError, match=r"made by another version of uslnet \(format .*this one reads 1.*--name"):
        run.open("04-labels")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(path.read_text()[:40]),
        lambda path: path.write_text("[1, 2]"),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text(""),
        lambda path: edit(path, lambda m: m.pop("key")),
        lambda path: edit(path, lambda m: m.update(extra=1)),
    ],
    ids=["cut", "list", "bytes", "empty", "field gone", "field more"],
)
def test_a_manifest_that_cannot_be_read_is_refused(run, spoil):
    stage = run.make("04-labels", Writer(), settings={})
    spoil(stage / "manifest.json")
    with pytest.raises(RunError, match="04-labels/manifest.json cannot be read.*run notebook 04"):
        run.open("04-labels")


@pytest.mark.parametrize("field", ["bytes", "sha256"])
def test_a_manifest_without_a_files_checksum_is_refused(run, field):
    stage = run.make("04-labels", Writer(), settings={})
    edit(stage / "manifest.json", lambda m: m["files"]["result.txt"].pop(field))
    with pytest.raises(RunError, match="04-labels/result.txt was changed after it was written"):
        run.open("04-labels")


def test_an_edited_manifest_is_refused(run):
    stage = run.make("04-labels", Writer(), settings={})
    (stage / "result.txt").write_text("other")
    size, checksum = 5, stages_module.file_hash(stage / "result.txt")
    edit(stage / "manifest.json", lambda m: m["files"].update({"result.txt": {"bytes": size, "sha256": checksum}}))
    with pytest.raises(RunError, match="manifest.json was edited"):
        run.open("04-labels")


@pytest.mark.parametrize(
    ("stage", "notebook"),
    [
        ("01-data/images/train", "01"),
        ("02-contrastive/simclr", "02"),
        ("03-saliency", "03"),
        ("04-labels", "04"),
        ("05-segmenter/iteration-0", "05"),
        ("05-segmenter/iteration-1", "06"),
        ("05-segmenter/iteration-10", "06"),
        ("07-evaluation/validation", "07"),
    ],
)
def test_a_missing_stage_names_its_notebook_and_the_command(run, stage, notebook):
    assert notebook_of(stage) == notebook
    with pytest.raises(RunError) as caught:
        run.open(stage)
    assert str(caught.value) == (
        f"synthetic-quick has no {stage} yet. Notebook {notebook} makes it: run it first, or type\n"
        f"  uslnet run {notebook} --with-inputs"
    )


def test_the_command_spells_what_is_not_the_default(tmp_path):
    def command(name: str, profile: str, dataset: str) -> str:
        return Run(tmp_path / name, configure(profile, dataset=dataset)).command("04")

    assert command("synthetic-quick", "quick", "synthetic") == "uslnet run 04"
    assert command("isic2017-workshop", "workshop", "isic2017") == (
        "uslnet run 04 --dataset isic2017 --profile workshop"
    )
    assert command("synthetic-quick-high-0.7", "quick", "synthetic") == "uslnet run 04 --name high-0.7"


# --- shared between runs ---------------------------------------------------------------------------------------------


def test_runs_beside_one_another_share_a_stage_by_hard_link(run):
    first = run.make("02-contrastive/simclr", Writer(), settings={"a": 1})
    other, writer = sibling(run, "b"), Writer()
    shared = other.make("02-contrastive/simclr", writer, settings={"a": 1})
    assert writer.calls == 0 and shared.origin == "shared from synthetic-quick"
    assert (shared / "result.txt").samefile(first / "result.txt")
    assert shared.manifest == first.manifest
    assert other.make("02-contrastive/simclr", writer, settings={"a": 1}).origin == "reused"


def test_a_shared_stage_outlives_its_first_run(run):
    run.make("03-saliency", Writer("first"), settings={"a": 1})
    other = sibling(run, "b")
    other.make("03-saliency", Writer(), settings={"a": 1})
    run.make("03-saliency", Writer("second"), settings={"a": 2})
    assert (other.open("03-saliency") / "result.txt").read_text() == "first"


def test_other_settings_are_not_shared(run):
    run.make("03-saliency", Writer(), settings={"a": 1})
    writer = Writer("mine")
    assert sibling(run, "b").make("03-saliency", writer, settings={"a": 2}).origin == "made"
    assert writer.calls == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stage: (stage / "result.txt").write_text("hullo"),
        lambda stage: (stage / "result.txt").unlink(),
        lambda stage: (stage / "manifest.json").write_text("{"),
        lambda stage: (stage / "manifest.json").write_bytes(b"\xff\xfe"),
        lambda stage: edit(stage / "manifest.json", lambda m: m.update(format=0)),
    ],
    ids=["edited", "file gone", "manifest cut", "manifest bytes", "older"],
)
def test_a_broken_stage_of_another_run_is_not_taken_and_does_not_matter(run, spoil):
    spoil(run.make("03-saliency", Writer(), settings={}))
    writer = Writer()
    assert sibling(run, "b").make("03-saliency", writer, settings={}).origin == "made" and writer.calls == 1


def test_where_links_are_not_possible_files_are_copied(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EXDEV, "other disk")

    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "x" and not (tmp_path / "b").samefile(tmp_path / "a")


# --- what a manifest says --------------------------------------------------------------------------------------------


def test_a_manifest_says_what_from_and_with_what(run):
    first, second, *_ = chain(run)
    manifest = second.manifest
    assert manifest.inputs == {"02-contrastive/simclr": first.manifest.fingerprint}
    assert manifest.files["result.txt"]["bytes"] == len("saliency of features")
    assert manifest.config == run.config.model_dump(mode="json")
    assert {"python", "uslnet", "torch", "numpy"} <= set(manifest.versions)
    assert manifest.seed == 0 and manifest.device == "cpu" and manifest.seconds >= 0


def test_a_manifest_holds_no_absolute_path(run, tmp_path, names_place):
    run = Run(run.folder, configure(dataset="folder"), data=tmp_path / "pictures")
    text = (run.make("03-saliency", Writer(facts={"a": 1}), settings={"b": 2}) / "manifest.json").read_text()
    assert not any(names_place(text, place) for place in (tmp_path, Path.home(), Path.cwd()))


def test_digests():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def test_what_a_killed_process_left_is_taken_away_and_what_a_living_one_writes_is_not(run):
    living, dead = os.getpid(), 2**22 + 1  # above the largest process number there can be
    here = platform.node()
    theirs = run.folder / f".02-contrastive-simclr.{here}.{living}.tmp"
    elsewhere = run.folder / f".03-saliency.another-machine.{dead}.tmp"
    recent = run.folder / f".04-labels.{here}.{dead}.tmp"  # perhaps of a container whose processes are not seen here
    killed = [run.folder / f".03-saliency.{here}.{dead}.{end}" for end in ("tmp", "old")]
    for folder in (theirs, elsewhere, recent, *killed):
        folder.mkdir(parents=True)
        (folder / "half.npy").touch()
        if folder != recent:
            os.utime(folder, (1, 1))
    run.make("03-saliency", Writer(), settings={})
    assert theirs.is_dir() and elsewhere.is_dir() and recent.is_dir()
    assert not any(folder.exists() for folder in killed)


def test_a_stage_made_by_older_code_is_stale(run, monkeypatch):
    run.make("03-saliency", Writer(), settings={})
    monkeypatch.setitem(stages_module.STAGE_VERSIONS, "03-saliency", stages_module.STAGE_VERSIONS["03-saliency"] + 1)
    with pytest.raises(RunError, match="another version of its code"):
        run.open("03-saliency")
