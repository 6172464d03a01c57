"""The kit: what is in it, that nothing of a teacher's is lost, and that no mask takes part in the choice of images."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uslnet_core.errors import DataError, RunError
from uslnet_core.workshop import exercises
from uslnet_core.workshop import kit as kit_module
from uslnet_core.workshop.kit import GUIDE, evenly, make_kit, page
from uslnet_core.workshop.writing import RECORD, KitFolder

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Two synthetic images a kit: painting twelve takes most of the time."""
    monkeypatch.setattr(kit_module, "SYNTHETIC", 2)


@pytest.fixture
def isic(tmp_path) -> Path:
    """Ninety training and thirty validation images in the official layout, with masks and a superpixel map."""
    for part, count in (("Training", 90), ("Validation", 30)):
        images, masks = (tmp_path / "own" / "isic2017" / f"ISIC-2017_{part}_{x}" for x in ("Data", "Part1_GroundTruth"))
        images.mkdir(parents=True), masks.mkdir(parents=True)
        for i in range(count):
            name, grey = f"ISIC_{i:07d}", np.full((8, 8, 3), i, np.uint8)
            Image.fromarray(grey).save(images / f"{name}.jpg")
            Image.fromarray(grey[..., 0]).save(images / f"{name}_superpixels.png")
            Image.fromarray(grey[..., 0]).save(masks / f"{name}_segmentation.png")
    return tmp_path / "own"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_without_a_project_there_are_exercises_images_and_pages(tmp_path):
    kit = make_kit(tmp_path / "kit", None)
    expected = [each.path.name for each in exercises()]
    assert names(kit.folder / "exercises") == names(kit.folder / "teacher" / "solutions") == expected
    for name in expected:
        assert "SOLUTION" not in (kit.folder / "exercises" / name).read_text(encoding="utf-8")
    assert all(Image.open(path).size == (256, 256) for path in (kit.folder / "images").iterdir())
    assert len(kit.missing) == 3 and not kit.kept
    start = (kit.folder / "START.html").read_text(encoding="utf-8")
    assert "set_up.py" in start and all(each.title in start for each in exercises())
    assert not re.search(r"(src|href)=.https?:", start)
    teacher = (kit.folder / "teacher" / "guide.html").read_text(encoding="utf-8")
    assert "Four weeks before" in teacher and "90 minutes" in teacher


def test_the_sample_is_chosen_by_names_alone(tmp_path, isic):
    first = make_kit(tmp_path / "a", None, data=isic).folder / "data" / "isic2017"
    for mask in isic.rglob("*_segmentation.png"):
        mask.write_bytes(b"no mask any more")
    second = make_kit(tmp_path / "b", None, data=isic).folder / "data" / "isic2017"
    chosen = names(first / "ISIC-2017_Training_Data")
    assert chosen == names(second / "ISIC-2017_Training_Data") and len(chosen) == 40
    assert chosen[0] == "ISIC_0000000.jpg" and chosen[-1] == "ISIC_0000089.jpg"
    scored = names(first / "ISIC-2017_Validation_Data")
    assert [f"{name[:-4]}_segmentation.png" for name in scored] == names(
        first / "ISIC-2017_Validation_Part1_GroundTruth"
    )
    assert len(scored) == 20 and not (first / "ISIC-2017_Training_Part1_GroundTruth").exists()
    assert "CC0" in (first / "README.txt").read_text(encoding="utf-8")


def test_evenly_takes_both_ends_and_no_image_twice():
    found = [(str(i), Path(str(i))) for i in range(7)]
    assert [name for name, _ in evenly(found, 3)] == ["0", "3", "6"]
    assert evenly(found, 99) == found and evenly(found[:1], 5) == found[:1] and evenly([], 5) == []


def test_a_folder_that_is_no_kit_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and is no kit"):
        make_kit(tmp_path, None)
    assert names(tmp_path) == ["thesis.txt"]
    with pytest.raises(DataError, match="is a file"):
        make_kit(tmp_path / "thesis.txt", None)


def test_what_a_teacher_changed_stays(tmp_path):
    kit = KitFolder(tmp_path / "kit")
    kit.put("a.txt", "first")
    kit.put("b.txt", "first")
    kit.save()
    (kit.folder / "a.txt").write_text("the teacher's own")
    (kit.folder / "notes.txt").write_text("the teacher's, too")
    again = KitFolder(kit.folder)
    for name in ("a.txt", "b.txt"):
        again.put(name, "second")
    again.save()
    assert again.kept == ["a.txt"]
    read = {name: (kit.folder / name).read_text() for name in names(kit.folder) if name != RECORD}
    assert read == {
        "a.txt": "the teacher's own",
        "a.txt.new": "second",
        "b.txt": "second",
        "notes.txt": "the teacher's, too",
    }
    third = KitFolder(kit.folder)
    third.put("a.txt", "third")
    assert third.kept == ["a.txt"] and (kit.folder / "a.txt").read_text() == "the teacher's own"


def test_a_kit_that_was_cut_short_goes_on(tmp_path):
    with pytest.raises(DataError):
        make_kit(tmp_path / "kit", None, data=tmp_path / "nowhere")
    kit = make_kit(tmp_path / "kit", None)
    assert not kit.kept and (kit.folder / "START.html").is_file()


def test_the_same_command_again_changes_nothing(tmp_path):
    folder = make_kit(tmp_path / "kit", None).folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not [path for path in before if path.name.endswith(".half")]
    make_kit(folder, None)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_wheelhouse_needs_the_project(tmp_path):
    with pytest.raises(RunError, match="project's folder"):
        make_kit(tmp_path / "kit", None, platforms=["mac"])


def test_timetables_add_up_and_name_exercises_that_there_are():
    text = (GUIDE / "timetables.md").read_text(encoding="utf-8")
    numbers = {int(each.path.stem[:2]) for each in exercises()}
    sums = [sum(int(n) for n in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)) for part in text.split("\n**")]
    assert sums[0] == 90 and sums[1] == 4 * 60 and sums[2] == 8 * 60
    minutes = {each.path.stem[:2]: each.minutes for each in exercises()}
    for slot, demanded in re.findall(r"^\| (\d+) \| exercises? ([^|:,]*(?:, \d\d[^|:,]*)*)", text, re.MULTILINE):
        assert sum(minutes[n] for n in re.findall(r"\d\d", demanded)) <= int(slot), (slot, demanded)
    told = re.findall(r"exercises? (\d\d(?:(?:, | and | or |: )\d\d)*)|exercise: (\d\d)", text)
    assert {int(n) for group in told for one in group for n in re.findall(r"\d\d", one)} <= numbers and told


def test_pages_ask_nothing_of_the_web():
    made = page("A title", "# A\n\n- [ ] b\n\n| c | d |\n| --- | --- |\n| 1 | 2 |\n")
    assert "<table>" in made and "☐ b" in made and "http" not in made


def test_the_set_up_script_runs_alone_and_says_what_is_missing(tmp_path):
    make_kit(tmp_path / "kit", None)
    script = tmp_path / "kit" / "set_up.py"
    script.write_text((GUIDE / "set_up.py").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", script, "--check"], capture_output=True, text=True)
    assert done.returncode and "Nothing is set up yet" in done.stderr
    (tmp_path / "kit" / "wheelhouse").mkdir()
    for kind in ("linux", "linux-arm", "mac", "windows"):
        (tmp_path / "kit" / "wheelhouse" / f"requirements-{kind}.txt").touch()
    setting = {
        "pythons": dict.fromkeys(("linux", "linux-arm", "mac", "windows"), ["2.7"]),
        "wheel": "wheelhouse/none.whl",
    }
    (tmp_path / "kit" / "set_up.json").write_text(json.dumps(setting))
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True)
    assert done.returncode and "the wheelhouse is for 2.7" in done.stderr


def test_from_the_project_come_book_chapters_and_set_up(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "notebooks").mkdir(parents=True), (project / "_build" / "html").mkdir(parents=True)
    (project / "book" / "assets").mkdir(parents=True)
    pictures = [f"book/assets/{name}" for name in ("method.svg", "method-narrow.svg")]
    for name in ("_config.yml", "notebooks/00_a.ipynb", "_build/html/index.html", "_build/html/.buildinfo", *pictures):
        (project / name).write_text("{}")
    (project / "requirements.lock").write_text(LOCK.read_text(encoding="utf-8"))

    def build(folder: Path, root: Path) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "uslnet_book-0-py3-none-any.whl").touch()
        return folder / "uslnet_book-0-py3-none-any.whl"

    def no_slides(root: Path, folder: Path):
        raise RunError("not executed")

    def no_wheels(folder: Path, lock: Path, platform, pythons: list[str], cpu_torch: str) -> None:
        if platform.name == "mac":
            raise DataError("no network")
        (folder / f"requirements-{platform.name}.txt").touch()

    monkeypatch.setattr(kit_module, "write_slides", no_slides)
    monkeypatch.setattr(kit_module.wheels, "build_own", build)
    monkeypatch.setattr(kit_module.wheels, "fetch", no_wheels)
    kit = make_kit(tmp_path / "kit", project, platforms=["windows"], pythons=["3.12"])
    assert {"set_up.py", "set_up.json", "requirements.txt", "START.html", "_config.yml"} <= set(names(kit.folder))
    assert all((kit.folder / name).is_file() for name in [*pictures, "book/index.html", "notebooks/00_a.ipynb"])
    assert not list(kit.folder.rglob(".buildinfo"))
    assert any("slides" in line for line in kit.missing) and any("Windows" in line for line in kit.lines)
    with pytest.raises(DataError, match="no network"):
        make_kit(kit.folder, project, platforms=["mac"], pythons=["3.13"])
    setting = json.loads((kit.folder / "set_up.json").read_text())
    assert setting == {"pythons": {"windows": ["3.12"]}, "wheel": "wheelhouse/uslnet_book-0-py3-none-any.whl"}
    again = make_kit(kit.folder, project)
    start = (kit.folder / "START.html").read_text(encoding="utf-8")
    assert "Python 3.12" in start and "macOS" not in start, "what could not be fetched is not promised"
    assert not again.kept
