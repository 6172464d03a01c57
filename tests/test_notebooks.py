"""The notebooks' anatomy: what every one of them has, in which order, and what none of them may hold."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import nbformat
import pytest

from uslnet_core.book import READS, find_notebooks, made_by
from uslnet_core.config import configure
from uslnet_core.parameters import TYPES, check_parameters, read_parameters
from uslnet_core.runs import Run

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
# What 14 asks for has no dataset and no profile of its own; all others open a run by these six.
COMMON = ["dataset", "profile", "data", "seed", "name", "runs"]
MOST_LINES = 15
MADE = {number: made_by(Run(Path("synthetic-quick"), configure()), number) for number in READS}

# Which earlier notebooks a function of the pipeline reads from. A notebook may read its own stage too.
NEEDS = {
    "load_images": {"01"},
    "load_masks": {"01"},
    "prepare_masks": {"01"},
    "learn_features": {"01"},
    "learn_all_features": {"01"},
    "load_encoder": {"02"},
    "make_saliency": {"01", "02"},
    "map_part": {"01", "02", "03"},
    "load_saliency": {"03"},
    "load_ccam": {"03"},
    "make_labels": {"03"},
    "fresh_segmenter": {"02"},
    "evaluate": {"01", "03", "05", "06"},
}
STAGE_NEEDS = {"01-data": "01", "02-contrastive": "02", "03-saliency": "03", "04-labels": "04", "07-evaluation": "07"}
# Chapters in which masks may be looked at: 01 shows them, the others score.
SCORING = {"01", "04", "06", "07", "09", "10", "11", "13", "14", "15"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def code_of(cells) -> list:
    """All code but the launch cell, the one that installs: what it may do, test_launch.py says."""
    return [cell for cell in cells if cell.cell_type == "code" and cell.id != "launch"]


def prose_of(cells) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def tagged(cells, tag: str) -> list:
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


def row_of_glance(cells, name: str) -> str:
    found = re.findall(rf"^\|\s*{name}\s*\|(.*)\|\s*$", prose_of(cells), re.MULTILINE)
    assert len(found) == 1, f"the at-a-glance table needs one row {name!r}, found {len(found)}"
    return found[0].strip()


def test_the_chapters_are_there():
    assert {path.name[:2] for path in NOTEBOOKS} == set(READS), "a notebook without an entry in READS, or the reverse"


def test_a_chapter_reads_from_earlier_ones_alone():
    for number, before in READS.items():
        assert before == sorted(set(before)) and all(b < number and MADE[b] for b in before), (number, before)


def test_format_and_kernel(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}, "more metadata than a kernel and a language"
    assert path.read_bytes().endswith(b"}\n")


def test_cells_have_readable_ids_of_their_own(cells):
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    for one in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", one), f"{one!r} is no slug such as 'toy-map'"
        assert not re.fullmatch(r"[0-9a-f]{8}", one), f"{one!r} looks like an id that a program drew"
    for needed in ("title", "at-a-glance", "what-you-will-learn", "parameters", "check", "what-to-change", "summary"):
        assert needed in ids


def test_outputs_are_stripped(cells):
    for cell in code_of(cells):
        assert cell.outputs == [] and cell.execution_count is None, cell.id


def test_opens_with_title_glance_and_aims(cells):
    assert re.match(r"# \S.*\n\n\S.*\.$", cells[0].source, re.DOTALL), "a title, and one sentence"
    opening = prose_of(list(itertools.takewhile(lambda cell: cell.cell_type == "markdown", cells)))
    assert re.findall(r"^## (.*)", opening, re.MULTILINE)[:2] == ["At a glance", "What you will learn"]
    for name in ("reads", "writes", "time", "device"):
        assert row_of_glance(cells, name)


def test_headings_never_jump(cells):
    levels = [len(m) for m in re.findall(r"^(#+) \S", prose_of(cells), re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), levels


def test_glance_names_what_is_read(path, cells):
    number = path.name[:2]
    assert sorted(set(re.findall(r"\b\d\d\b", row_of_glance(cells, "reads")))) == READS[number]


def test_glance_names_what_is_written(path, cells):
    for stage in MADE[path.name[:2]]:
        assert stage.split("/")[0] in row_of_glance(cells, "writes")


def test_imports_stand_in_one_cell_before_the_parameters(cells):
    importing = [
        cell.id
        for cell in code_of(cells)
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(cell.source)))
    ]
    assert len(importing) == 1, f"imports are spread over {importing}"
    ids = [cell.id for cell in cells]
    assert ids.index(importing[0]) < ids.index("parameters")


def test_parameters_are_annotated_literals_with_a_comment(path, cells):
    found = tagged(cells, "parameters")
    assert len(found) == 1 and found[0].cell_type == "code"
    source = found[0].source
    for node in ast.parse(source).body:
        line = ast.get_source_segment(source, node)
        assert isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name), f"no annotated literal: {line}"
        assert node.value is not None and node.end_lineno == node.lineno, line
        kinds = [kind.strip() for kind in ast.unparse(node.annotation).split("|")]
        assert set(kinds) <= {*TYPES, "None"} and kinds != ["None"], f"unknown type: {line}"
        value = ast.literal_eval(node.value)
        allowed = tuple(t for kind in kinds if kind != "None" for t in TYPES[kind])
        assert (value is None and "None" in kinds) or isinstance(value, allowed), f"a value of another type: {line}"
        assert not isinstance(value, bool) or "bool" in kinds, line
        whole = source.splitlines()[node.lineno - 1]
        assert re.search(r"  # \S.{5,}", whole), f"say what it is: {whole}"
        assert whole.count("=") == 1, f"papermill cannot read a second '=': {whole}"
    assert len(read_parameters(path)) == len(ast.parse(source).body)


def test_parameters_begin_with_the_common_six(path):
    names = list(read_parameters(path))
    if path.name[:2] != "14":
        assert names[: len(COMMON)] == COMMON
    first = read_parameters(NOTEBOOKS[0])
    for name, parameter in read_parameters(path).items():
        if name in COMMON and path.name[:2] != "14":
            assert parameter == first[name], f"{name} differs from notebook 00's"


def test_never_two_code_cells_without_prose_between(cells):
    for before, after in zip(cells, cells[1:], strict=False):
        assert "code" != before.cell_type or "code" != after.cell_type, f"{before.id} and {after.id}"


def test_cells_are_short(cells):
    for cell in code_of(cells):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert lines, f"{cell.id} is empty"
        assert len(lines) <= MOST_LINES, f"{cell.id} has {len(lines)} lines of code: move some into the package"


def test_no_shell_no_installs_no_places(cells):
    for cell in code_of(cells):
        for line in cell.source.splitlines():
            assert not re.match(r"\s*[!%]", line), f"{cell.id}: a shell or magic line: {line}"
        assert not re.search(r"\b(pip|conda|uv)\s+(install|sync)|subprocess|os\.system|urllib|requests", cell.source)
        assert not re.search(r"tqdm|rich\.progress", cell.source), f"{cell.id}: progress bars stay in saved output"
        places = [
            node.value
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(r"(/|~/?|[A-Za-z]:[\\/])\w", node.value)
        ]
        assert not places, f"{cell.id}: absolute places {places}"


def test_there_is_a_check(cells):
    checks = tagged(cells, "check")
    assert len(checks) == 1 and checks[0].cell_type == "code"
    tree = ast.parse(checks[0].source)
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 2
    for node in asserts:
        assert not isinstance(node.test, ast.Constant), "an assertion that cannot fail"
    assert cells.index(checks[0]) > len(cells) // 2


def test_closes_with_what_to_change_and_next(path, cells):
    *_, change, summary = cells
    assert change.source.startswith("## What to change") and change.id == "what-to-change"
    assert summary.source.startswith("## Summary") and summary.id == "summary"
    number = path.name[:2]
    commands = re.findall(r"`(uslnet (?:run \d\d|segment)[^`]*)`", change.source)
    assert len(commands) >= 3, "three things to change, each with its command"
    known = read_parameters(path)
    for command in commands:
        if match := re.match(r"uslnet run (\d\d)", command):
            assert match[1] == number, command
        for name in re.findall(r"-p (\w+)=", command):
            assert name in known, f"{command}: notebook {number} has no parameter {name}"


def test_every_command_that_is_told_is_accepted():
    """Names and types of parameters in all printed commands; a run of a new name says what makes its inputs."""
    available, root = find_notebooks(NOTEBOOKS[0].parent.parent), NOTEBOOKS[0].parent.parent
    texts = {path.name: prose_of(nbformat.read(path, as_version=4).cells) for path in NOTEBOOKS}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in [*root.glob("book/*.md"), root / "README.md"]}
    told = [(name, line) for name, text in texts.items() for line in re.findall(r"uslnet run ([^`#\n|]+)", text)]
    assert len(told) > 30
    for name, line in told:
        words = line.split()
        numbers = list(itertools.takewhile(str.isdigit, words))
        given = [words[i + 1] for i, word in enumerate(words) if word == "-p" and words[i + 1] != "name=value"]
        if "…" in line or not numbers:
            continue
        check_parameters(given, numbers, available)
        later = [number for number in numbers if READS[number] and "01" not in numbers]
        assert "--name" not in words or not later or "--with-inputs" in words, f"{name}: uslnet run {line}"


def test_links_between_chapters_lead_somewhere(path, cells):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose_of(cells)):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{target} is not in notebooks/"


def test_figures_have_alternative_text_and_names_of_their_own():
    names = []
    for path in NOTEBOOKS:
        for cell in code_of(nbformat.read(path, as_version=4).cells):
            shown = cell.metadata.get("mystnb", {})
            if "figure" in shown:
                assert shown.get("image", {}).get("alt"), f"{path.stem}, {cell.id}: no alternative text"
                assert shown["figure"]["caption"].endswith((".", ")"))
                names.append(shown["figure"]["name"])
                assert names[-1].startswith(f"fig-{path.name[:2]}-")
    assert len(names) > 20 and len(set(names)) == len(names)


def test_a_chapter_calls_only_what_earlier_ones_wrote(path, cells):
    number = path.name[:2]
    allowed = {number}
    while grown := {before for one in allowed for before in READS[one]} - allowed:
        allowed |= grown  # what a stage was made from is there too
    for cell in code_of(cells):
        for node in ast.walk(ast.parse(cell.source)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if getattr(node.func.value, "id", "") == "pipeline":
                lacking = NEEDS.get(node.func.attr, set()) - allowed
                assert not lacking, f"{cell.id}: pipeline.{node.func.attr} needs {lacking}, which READS does not name"
                assert node.func.attr not in ("load_masks", "prepare_masks") or number in SCORING, cell.id
            if node.func.attr == "open" and node.args and isinstance(node.args[0], ast.Constant):
                stage = str(node.args[0].value).split("/")[0]
                assert STAGE_NEEDS.get(stage, number) in allowed, f"{cell.id} opens {stage}, which READS does not name"


def test_prose_is_plain_markdown(cells):
    """JupyterLab shows MyST's roles and directives as they are typed."""
    found = re.findall(r"\{(?:cite|ref|doc|numref|eq|term|math)[^}]*\}`|^:::|^```\{", prose_of(cells), re.MULTILINE)
    assert not found, found
