"""The command line: exit codes, messages, and that nothing runs before names and types are checked."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from uslnet_core import book, cli, parameters
from uslnet_core.config import configure
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.runs import Run
from uslnet_core.terminal import stage_table


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Call ``uslnet`` as a shell would; give its exit code."""
    monkeypatch.setattr("sys.argv", ["uslnet", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two tiny notebooks, one needing the other's stage."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("title: x\n")
    common = 'dataset: str = "synthetic"  # dataset\nprofile: str = "quick"  # profile\nseed: int = 0  # seed\n'
    for name, extra in (
        ("03_saliency_maps", ""),
        ("04_uncertainty_module", "high: float | None = None  # threshold\nrule: str | None = None  # rule\n"),
    ):
        cell = nbformat.v4.new_code_cell(common + extra, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.chdir(tmp_path)
    for name in (book.DEVICE, book.DATA, book.RUNS):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("uslnet 0.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "04", "-p", "hihg=0.7"], "high"),
        (["run", "04", "-p", "high=many"], "float | None"),
        (["run", "04", "-p", "high=true"], "float | None"),
        (["run", "04", "-p", "high"], "name=value"),
        (["run", "44"], "Unknown notebook"),
        (["run", "041"], "Unknown notebook"),
        (["run", "03", "--dataset", "folder", "--data", "nowhere"], "nowhere. Check the path."),
        (["book", "--dataset", "folder"], "--data DIR (make: DATA=DIR)"),
        (["run", "04", "--strict"], "notebook 01"),
        (["run", "04", "--runs", "a [b]"], "a [b]'"),
        (["run", "04", "-p", "seed=3"], "--seed"),
        (["run", "03", "--dataset", "isic2071"], "isic2017"),
        (["run", "03", "--profile", "fast"], "quick"),
        (["run", "03", "--device", "tpu"], "auto"),
        (["run", "03", "--name", "a/b"], "name"),
        (["run", "04"], "uslnet run 01 02 03"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str], expected: str
) -> None:
    monkeypatch.setattr(book, "execute", lambda *a: pytest.fail("a notebook was run"))
    assert call(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert expected in said and "Traceback" not in said
    assert not (project / "runs").exists()


def test_parameter_values_take_the_annotated_type(project: Path) -> None:
    known = parameters.read_parameters(project / "notebooks" / "04_uncertainty_module.ipynb")
    assert parameters.parse_parameter("high=0.7", known, "04") == ("high", 0.7)
    assert parameters.parse_parameter("high=1", known, "04") == ("high", 1)
    assert parameters.parse_parameter("high=None", known, "04") == ("high", None)
    assert parameters.parse_parameter("rule=sum", known, "04") == ("rule", "sum")
    assert known["high"].comment == "threshold"


def test_a_notebook_without_parameters_is_refused(tmp_path: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "x.ipynb")
    with pytest.raises(RunError, match="parameters"):
        parameters.read_parameters(tmp_path / "x.ipynb")


@pytest.mark.parametrize("source", ["high: float = 1 / 3  # computed", "high: float = = 1"])
def test_an_edited_parameters_cell_is_named(tmp_path: Path, source: str) -> None:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "04_x.ipynb")
    with pytest.raises(ConfigError, match="04_x.ipynb, parameters cell"):
        parameters.read_parameters(tmp_path / "04_x.ipynb")


def test_folders_reach_the_kernels_by_their_environment_and_not_by_the_page(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def execute(notebook, output, values, environment):
        calls.append((values, environment))
        return 0.0

    monkeypatch.setattr(book, "execute", execute)
    monkeypatch.setattr(book, "export_html", lambda executed: executed)
    source = 'data: str = "/edited"  # data\nruns: str = "/edited"  # runs\n'
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), project / "notebooks" / "00_start.ipynb")
    assert call(monkeypatch, "run", "00", "--data", "pictures", "--runs", "mine") == 0
    values, environment = calls[0]
    assert values["data"] == values["runs"] == "", "an edited cell would win over the command line, and a page tell it"
    assert environment[book.DATA] == str(project / "pictures") and environment[book.RUNS] == str(project / "mine")


def test_folders_of_data_and_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for choose, name, own in ((book.data_folder, book.DATA, "data"), (book.runs_folder, book.RUNS, "runs")):
        monkeypatch.delenv(name, raising=False)
        assert choose() == project / own
        monkeypatch.setenv(name, "elsewhere")
        assert choose() == project / "elsewhere"
        assert choose("given") == project / "given"


def test_the_place_of_a_start_is_made_absolute_whatever_stands_before_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.pth").touch()
    here = tmp_path / "my.pth"
    assert parameters.absolute_start("my.pth") == str(here)
    assert parameters.absolute_start("torchvision:my.pth") == f"torchvision:{here}"
    for no_file in ("moco_v2_800", "dino:no.pth"):
        assert parameters.absolute_start(no_file) == no_file
    odd = tmp_path / "odd:name.pth"  # as a Windows path holds a colon after its drive
    odd.write_bytes(b"")
    assert parameters.absolute_start(str(odd)) == str(odd)
    assert parameters.absolute_start(f"moco:{odd}") == f"moco:{odd}"


def test_a_chapter_that_fails_leaves_the_good_copy_before_and_the_environment(project: Path) -> None:
    source = "from uslnet_core.errors import DataError\nimport os\n"
    cells = [
        nbformat.v4.new_code_cell("fail: bool = False  # stop", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(source + "if fail:\n    raise DataError('no ink')\nprint(os.environ['USLNET_INK'])"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python"}, "language_info": {"name": "python"}}
    notebook, copy = project / "notebooks" / "04_uncertainty_module.ipynb", project / "out" / "04_copy.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebook)
    book.execute(notebook, copy, {}, {"USLNET_INK": "black"})
    before = copy.read_bytes()
    assert b"black" in before
    with pytest.raises(book.NotebookError, match=r"stopped: no ink\n.*04_copy.failed.ipynb"):
        book.execute(notebook, copy, {"fail": True}, {"USLNET_INK": "blue"})
    assert copy.read_bytes() == before and "USLNET_INK" not in os.environ
    book.publish([copy], project)
    published = (project / "book" / "notebooks" / copy.name).read_text(encoding="utf-8")
    assert "black" in published and str(project) not in published


def test_missing_and_stale_inputs_follow_the_chain(tmp_path: Path) -> None:
    run = Run(tmp_path / "synthetic-quick", configure())

    def make(name: str, text: str, *inputs: str) -> None:
        run.make(
            name,
            lambda folder: (folder / "file").write_text(text) and None,
            settings={"text": text},
            inputs=[run.open(each) for each in inputs],
        )

    assert book.missing_inputs(run, "04") == ["01", "02", "03"]
    make("01-data/images/train", "images")
    make("02-contrastive/simclr", "encoder", "01-data/images/train")
    assert book.missing_inputs(run, "04") == ["03"]
    make("03-saliency/main", "maps", "02-contrastive/simclr")
    assert book.missing_inputs(run, "04") == []
    make("02-contrastive/simclr", "another encoder", "01-data/images/train")
    assert book.missing_inputs(run, "04") == ["03"]
    assert book.missing_inputs(run, "00") == []
    make("03-saliency/main", "other maps", "02-contrastive/simclr")
    make("04-labels", "labels", "03-saliency/main")
    make("05-segmenter/iteration-0", "first", "04-labels")
    make("05-segmenter/iteration-1", "second", "05-segmenter/iteration-0")
    assert run.config.refinement.iterations == 3
    assert book.missing_inputs(run, "07") == ["06"], "stopped in the midst of its iterations"
    assert book.missing_inputs(run, "07", iterations=2) == []
    make("02-contrastive/simclr", "a third encoder", "01-data/images/train")
    with pytest.raises(
        RunError, match=r"03-saliency/main of synthetic-quick is stale.*\n  uslnet run 03 --with-inputs"
    ):
        run.open("03-saliency/main")


def test_segment_names_the_runs_that_are_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (project / "runs" / "synthetic-quick-old").mkdir(parents=True)
    assert call(monkeypatch, "segment", "x.jpg", "--run", "nosuch") == 2
    assert "synthetic-quick-old" in capsys.readouterr().err
    assert call(monkeypatch, "segment", "x.jpg", "--run", "synthetic-quick-old") == 2
    assert "no trained segmenter" in capsys.readouterr().err
    assert not (project / "segmented").exists()


def test_status_shows_a_damaged_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    stage = project / "runs" / "synthetic-quick" / "04-labels"
    stage.mkdir(parents=True)
    (stage / "manifest.json").write_text(json.dumps({"format": 0}))
    (project / "runs" / "synthetic-quick-new").mkdir()
    assert call(monkeypatch, "status") == 0
    said = capsys.readouterr().out
    assert "damaged" in said and "synthetic-quick-new: nothing made yet" in said


def test_status_cuts_no_name_and_no_state_in_a_narrow_window(tmp_path: Path) -> None:
    name = "03-saliency/smooth_grad_cam_pp-simclr/validation"
    run = Run(tmp_path / "synthetic-quick", configure())
    run.make(name, lambda folder: (folder / "file").write_text("maps") and None, settings={})
    shown = Console(width=72, file=io.StringIO())
    shown.print(stage_table(run.folder))
    said = shown.file.getvalue()
    first = said.splitlines()[1].index("made")
    assert "…" not in said and "current" in said
    assert name in "".join(line[:first].strip() for line in said.splitlines()[2:])


def test_data_check_ends_with_2_on_a_bad_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.jpg")
    assert call(monkeypatch, "data", "check", "folder", "--data", str(tmp_path)) == 0
    (tmp_path / "bad.jpg").write_text("this is no image")
    assert call(monkeypatch, "data", "check", "folder", "--data", str(tmp_path)) == 2
    assert "bad.jpg" in capsys.readouterr().out


def test_ph2_says_where_its_form_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert call(monkeypatch, "data", "fetch", "ph2", "--data", str(tmp_path)) == 2
    said = capsys.readouterr()
    assert "form" in (said.out + said.err).lower()


def test_shapes_of_settings_are_checked() -> None:
    for wrong in ({"backbone": {"a": 1}}, {"saliency": {"stages": ()}}, {"contrastive": {"crop_area": (1.0, 0.2)}}):
        with pytest.raises(ConfigError):
            configure(**wrong)


def test_open_run_refuses_low_not_below_high(project: Path) -> None:
    with pytest.raises(ConfigError, match="low"):
        book.open_run(uncertainty={"low": 0.7, "high": 0.6})


def test_the_paper_profile_wants_a_gpu_or_a_word(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uslnet_core.pipeline import fabric_of

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cpu"):
        fabric_of(book.open_run(profile="paper"))
    assert fabric_of(book.open_run(profile="paper", compute={"device": "cpu"})).device.type == "cpu"
