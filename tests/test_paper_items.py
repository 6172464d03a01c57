"""The paper, item by item: everything stands there once, and verdicts follow what was recorded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from uslnet_core.book import find_notebooks
from uslnet_core.reproduce import ITEMS

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "_build" / "html" / "paper_item_by_item.html"
needs_page = pytest.mark.skipif(not BUILT.is_file(), reason="the book is not built: run  make book  first")


@pytest.fixture
def recorded():
    """The extension, fresh each time: what it has read is kept in it."""
    spec = importlib.util.spec_from_file_location("recorded", ROOT / "tools" / "sphinx_ext" / "recorded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the list --------------------------------------------------------------------------------------------------------


def test_everything_of_the_paper_is_there_once_and_in_order(recorded):
    names = [item["item"] for item in recorded.items()]
    expected = [f"Table {k}" for k in range(1, 11)] + [f"Figure {k}" for k in range(1, 10)]
    expected += ["Algorithm 1", *(f"Equation {k}" for k in range(1, 11))]
    claims = [name for name in names if name.startswith("Claim")]
    assert claims == [f"Claim {k}" for k in range(1, len(claims) + 1)] and claims
    assert [name for name in names if name not in claims] == expected


def test_the_page_lays_out_every_kind(recorded):
    page = (ROOT / "book" / "paper_item_by_item.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```\{paper-items\} (\w+)", page, re.MULTILINE)
    assert shown[0] == "overview"
    assert sorted(shown[1:]) == sorted({item["item"].split()[0] for item in recorded.items()})


def test_every_item_says_what_it_is_and_where_and_has_known_checks(recorded):
    for item in recorded.items():
        assert item["what"] and item["here"], item
        assert set(item) <= {"item", "what", "here", "command", "note", "checks"}, item
        for check in item.get("checks", []):
            assert len(set(check) & set(recorded.CHECKS)) == 1, check


def test_every_command_is_one_that_there_is(recorded):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in filter(None, (item.get("command") for item in recorded.items())):
        program, task, *rest = command.split()
        known = {"reproduce": set(ITEMS), "run": set(find_notebooks(ROOT))}
        assert task in targets if program == "make" else rest[0] in known[task], command


def test_every_link_leads_to_a_source(recorded):
    for item in recorded.items():
        links = re.findall(r"\]\(([^)#]+)[^)]*\)|<([^>]+)>", " ".join([item["here"], item.get("note", "")]))
        for name in filter(None, (one or other for one, other in links)):
            places = [ROOT / "book" / name, ROOT / f"{name}.ipynb"]
            assert any(place.is_file() for place in places), f"{item['item']}: {name}"


@needs_page
def test_the_built_page_has_a_place_for_each_and_links_to_it(recorded):
    text = BUILT.read_text(encoding="utf-8")
    for item in recorded.items():
        name = recorded.anchor(item)
        assert len(re.findall(rf'\bid="{name}"', text)) == 1, name
        assert f'href="#{name}"' in text, name
        assert f"{item['item']}: " in text


# --- the verdicts ----------------------------------------------------------------------------------------------------

CSV = "metric,model,paper on a,ours on b\nDIC,one,50.0,40.0 (38–42)\nDIC,two,55.0,47.0 (45–49)\nDIC,three,1.0,–\n"


@pytest.fixture
def results(recorded, tmp_path, monkeypatch):
    """Recorded tables of three models, of which the last was not run; ``two`` is above ``one``."""
    monkeypatch.setattr(recorded, "RECORDS", tmp_path)
    (tmp_path / "t.csv").write_text(CSV, encoding="utf-8")
    rows = ['two,one,"+7.0 [+5.0, +9.0]"', 'one,two,"−7.0 [−9.0, −5.0]"', 'two,two,"+0.0 [−0.1, +0.1]"']
    (tmp_path / "t-differences.csv").write_text("\n".join(["model,minus,Dice points", *rows]), encoding="utf-8")
    return recorded


def test_numbers_are_read_with_either_minus(recorded):
    assert recorded.numbers("−0.2 [−1.5, +0.8]") == [-0.2, -1.5, 0.8] == recorded.numbers("-0.2 [-1.5, +0.8]")
    assert recorded.numbers("70.1 (67\u2060–\u206073)") == [70.1, 67, 73]
    assert recorded.numbers("–") == []


@pytest.mark.parametrize(
    ("pair", "outcome", "words"),
    [
        (["two", "one"], "yes", "+7.0 [+5.0, +9.0] Dice points, more than chance; in the paper +5.0"),
        (["one", "two"], "no", "the other way; in the paper −5.0"),
        (["two", "two"], "no", "within chance"),
    ],
)
def test_a_gain_is_one_when_its_interval_leaves_out_zero(results, pair, outcome, words):
    found, text = results.gain({"gain": pair, "in": "t"})
    assert found == outcome and words in text


def test_a_value_is_reached_when_the_interval_reaches_it(results, tmp_path):
    check = {"reach": "two", "in": "t", "metric": "DIC"}
    assert results.reach(check)[0] == "no"
    (tmp_path / "high.csv").write_text(CSV.replace("45–49", "45–55"), encoding="utf-8")
    assert results.reach(check | {"in": "high"})[0] == "yes"


def test_the_best_row_is_compared_with_the_paper_s(results, tmp_path):
    ran = CSV.rpartition("DIC")[0]
    (tmp_path / "same.csv").write_text(ran, encoding="utf-8")
    (tmp_path / "other.csv").write_text(ran.replace("47.0", "30.0"), encoding="utf-8")
    assert results.peak({"peak": "DIC", "in": "same"})[0] == "yes"
    outcome, text = results.peak({"peak": "DIC", "in": "other"})
    assert outcome == "no" and "*one*; in the paper *two*" in text


def test_labels_must_lead_at_every_threshold(results, tmp_path):
    rows = ["x,curve,accuracy", "0.1,UM,0.9", "0.1,cut,0.8", "0.2,UM,0.7", "0.2,cut,0.6"]
    (tmp_path / "all.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "some.csv").write_text("\n".join(rows).replace("0.2,cut,0.6", "0.2,cut,0.75"), encoding="utf-8")
    check = {"curve": "UM", "over": ["cut"]}
    assert results.curve(check | {"in": "all"})[0] == "yes"
    assert results.curve(check | {"in": "some"})[0] == "no"


YES, NO, NONE = {"gain": ["two", "one"], "in": "t"}, {"gain": ["one", "two"], "in": "t"}, {"level": "three", "in": "t"}
FACT = {"level": "one", "in": "t"}


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ([YES, YES, FACT], "holds"),
        ([YES, NO], "holds in part"),
        ([YES, NONE], "holds in part"),
        ([NO, NONE], "does not hold"),
        ([NO, NO, FACT], "does not hold"),
        ([NONE, FACT], "not tried here"),
        ([FACT], "drawn or built"),
        ([], "drawn or built"),
    ],
)
def test_the_verdict_follows_the_checks(results, checks, verdict):
    assert results.judge({"checks": checks})[0] == verdict


def test_what_was_not_recorded_is_an_error_and_no_verdict(results):
    with pytest.raises(LookupError, match="no row"):
        results.gain({"gain": ["two", "four"], "in": "t"})
    with pytest.raises(LookupError, match="no column"):
        results.cell(results.RECORDS / "t.csv", {"model": "one"}, "theirs")
    with pytest.raises(LookupError, match="no such test"):
        results.proof({"test": "tests/test_paper_items.py::test_that_is_not_there", "says": ""})


def test_places_are_counted_in_the_paper_s_own_table(recorded):
    _, text = recorded.rank({"rank": 2, "of": ["DIC", "JAC"]})
    assert "Dice 80.5, place 1 of 11; Jaccard 68.5, place 2 of 11, behind SDI+" in text
