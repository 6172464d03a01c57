"""A small Sphinx extension: numbers and verdicts on pages come from recorded files when a page is built.

The role ``recorded`` sets one cell of a recorded table into a sentence; the directive ``paper-items`` lays out
``book/paper_items.yml``: what the paper shows and says, where it is here, and whether it holds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "book" / "results" / "isic2017-workshop-ablations"
REPORTED = ROOT / "uslnet_core" / "reported_results.csv"
ITEMS = ROOT / "book" / "paper_items.yml"

#: A check's outcome: it came out as in the paper, it did not, it could not be asked. None: a fact that decides nothing.
YES, NO, MISSING = "yes", "no", "missing"
HOLDS, IN_PART, NOT, UNTRIED, DRAWN = "holds", "holds in part", "does not hold", "not tried here", "drawn or built"
SIGNS = {HOLDS: "●", IN_PART: "◐", NOT: "○", UNTRIED: "–", DRAWN: "◇"}
METRICS = {"DIC": "Dice", "JAC": "Jaccard", "ACC": "accuracy", "SEN": "sensitivity", "SPE": "specificity"}


# --- recorded tables -------------------------------------------------------------------------------------------------


@cache
def table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file as one dictionary a row."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def row(path: Path, wanted: dict[str, Any]) -> dict[str, str]:
    """Find the first row of a table with these values.

    Raises:
        LookupError: there is none.
    """
    for each in table(path):
        if all(each.get(column) == str(value) for column, value in wanted.items()):
            return each
    raise LookupError(f"{path.name} has no row with {wanted}: was the table recorded anew with other rows?")


def cell(path: Path, wanted: dict[str, Any], column: str) -> str:
    """Take one cell; ``column`` may be the beginning of its name, since some names hold the split.

    Raises:
        LookupError: there is no such row or column.
    """
    found = row(path, wanted)
    for name, value in found.items():
        if name.startswith(column):
            return value
    raise LookupError(f"{path.name} has no column that begins with {column!r}; it has {list(found)}.")


def numbers(text: str) -> list[float]:
    """Read the numbers of a cell: ``+1.8 [+0.9, +3.0]`` is 1.8, 0.9, 3.0, whichever minus is printed."""
    return [float(each.replace("\u2212", "-")) for each in re.findall(r"(?:(?<![\d.])[-\u2212])?\d+(?:\.\d+)?", text)]


def beside(name: str, metric: str, model: str) -> list[str]:
    """Take our value and the paper's from a recorded table that holds both."""
    return [
        cell(RECORDS / f"{name}.csv", {"metric": metric, "model": model}, whose) for whose in ("ours on", "paper on")
    ]


# --- checks: each gives an outcome and a sentence --------------------------------------------------------------------

Checked = tuple[str | None, str]


def gain(check: dict[str, Any]) -> Checked:
    """Is one model above another, image by image, by more than chance?"""
    model, minus = check["gain"]
    name = check["in"]
    found = cell(RECORDS / f"{name}-differences.csv", {"model": model, "minus": minus}, "Dice points")
    _, low, high = numbers(found)
    how = "more than chance" if low > 0 else "the other way" if high < 0 else "within chance"
    theirs = ""
    if (RECORDS / f"{name}.csv").is_file():  # the paper has numbers for it
        above, below = (float(beside(name, "DIC", each)[1]) for each in (model, minus))
        theirs = f"; in the paper {above - below:+.1f}".replace("-", "\u2212")
    return YES if low > 0 else NO, f"*{model}* over *{minus}*: {found} Dice points, {how}{theirs}."


def level(check: dict[str, Any]) -> Checked:
    """How high does one model stand, beside the paper's? Other images, so this decides nothing, but for a gap."""
    ours, paper = beside(check["in"], "DIC", check["level"])
    if not numbers(ours):
        return MISSING, f"*{check['level']}*: not run; the paper has a Dice of {paper}."
    return None, f"*{check['level']}*: Dice {ours}, in the paper {paper}."


def reach(check: dict[str, Any]) -> Checked:
    """Does the interval of one of our models reach the paper's value?"""
    metric = check["metric"]
    ours, paper = beside(check["in"], metric, check["reach"])
    reached = max(numbers(ours)) >= float(paper)
    how = "reached" if reached else "not reached"
    return YES if reached else NO, f"*{check['reach']}*: {METRICS[metric]} {ours}, in the paper {paper}: {how}."


def peak(check: dict[str, Any]) -> Checked:
    """Is the best iteration the paper's?"""
    rows = [r for r in table(RECORDS / f"{check['in']}.csv") if r["metric"] == check["peak"]]

    def best(column: str) -> list[str]:
        values = {r["model"]: numbers(next(v for k, v in r.items() if k.startswith(column)))[0] for r in rows}
        return [model for model, value in values.items() if value == max(values.values())]

    ours, paper = best("ours on"), best("paper on")
    text = f"Highest {METRICS[check['peak']]}: *{' and '.join(ours)}*; in the paper *{' and '.join(paper)}*."
    return YES if ours == paper else NO, text


def curve(check: dict[str, Any]) -> Checked:
    """Are labels with doubt more often right than either plain cut, at every threshold?"""
    rows, named = table(RECORDS / f"{check['in']}.csv"), check["curve"]
    right = {(r["curve"], r["x"]): 100 * float(r["accuracy"]) for r in rows}
    grid = sorted({x for _, x in right})
    leads = [right[named, x] - max(right[other, x] for other in check["over"]) for x in grid]
    won, span = sum(lead > 0 for lead in leads), sorted(right[named, x] for x in grid)
    text = (
        f"More often right than either plain cut at {won} of {len(grid)} thresholds, by {min(leads):.1f} to "
        f"{max(leads):.1f} points; from {span[0]:.1f} to {span[-1]:.1f} % over all of them."
    )
    return YES if won == len(grid) else NO, text


def rank(check: dict[str, Any]) -> Checked:
    """Where does the paper's method stand in the paper's own table?"""
    rows = [
        r for r in table(REPORTED) if r["table"] == str(check["rank"]) and check.get("scored", r["test"]) == r["test"]
    ]
    parts = []
    for metric in check.get("of", ["DIC", "JAC"]):
        values = {r["method"]: float(r[metric]) for r in rows if r[metric]}
        above = [name for name, value in values.items() if value > values["Proposed"]]
        behind = f", behind {above[0]}" if len(above) == 1 else ""
        parts.append(f"{METRICS[metric]} {values['Proposed']}, place {len(above) + 1} of {len(values)}{behind}")
    return None, f"By the paper's own numbers{check.get('as', '')}: {'; '.join(parts)}."


def fact(check: dict[str, Any]) -> Checked:
    """A sentence with numbers from one recorded row; ``{column}`` as recorded, ``{column:%}`` a share in percent."""
    found = row(RECORDS / f"{check['in']}.csv", check["where"])

    def fill(match: re.Match[str]) -> str:
        value = next(v for k, v in found.items() if k.startswith(match[1]))
        return f"{100 * float(value):.1f} %" if match[2] else value

    return None, re.sub(r"\{([^}:]+)(:%)?\}", fill, check["fact"])


def proof(check: dict[str, Any]) -> Checked:
    """A test would fail if it were not so.

    Raises:
        LookupError: there is no such test.
    """
    path, _, name = check["test"].partition("::")
    if not (ROOT / path).is_file() or (name and f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")):
        raise LookupError(f"book/paper_items.yml names {check['test']}, and there is no such test.")
    return YES, f"{check['says']} Held by `{path}`."


def plain(outcome: str | None, key: str) -> Callable[[dict[str, Any]], Checked]:
    """A sentence with a set outcome: what the print says, and what was not run."""
    return lambda check: (outcome, check[key])


CHECKS: dict[str, Callable[[dict[str, Any]], Checked]] = {
    "gain": gain,
    "level": level,
    "reach": reach,
    "peak": peak,
    "curve": curve,
    "rank": rank,
    "fact": fact,
    "test": proof,
    "slip": plain(NO, "slip"),
    "untried": plain(MISSING, "untried"),
}


# --- items -----------------------------------------------------------------------------------------------------------


@cache
def items() -> list[dict[str, Any]]:
    """Read the paper's items."""
    return yaml.safe_load(ITEMS.read_text(encoding="utf-8"))


def judge(item: dict[str, Any]) -> tuple[str, list[str]]:
    """Say whether an item holds, by its checks: all of them, some or none; and what they found, in sentences."""
    found = [next(CHECKS[key] for key in check if key in CHECKS)(check) for check in item.get("checks", [])]
    outcomes = {outcome for outcome, _ in found if outcome}
    verdicts = {frozenset(): DRAWN, frozenset({YES}): HOLDS, frozenset({NO}): NOT, frozenset({MISSING}): UNTRIED}
    otherwise = IN_PART if YES in outcomes else NOT  # some did not hold, and the others were not tried
    return verdicts.get(frozenset(outcomes), otherwise), [sentence for _, sentence in found]


def anchor(item: dict[str, Any]) -> str:
    """Name an item's place on the page: ``item-table-8``."""
    return "item-" + item["item"].lower().replace(" ", "-")


def overview() -> list[str]:
    """Lay out all items by verdict, each a link to its place, as lines of Markdown."""
    lines = ["| does it hold? | which |", "| --- | --- |"]
    by_verdict = {verdict: [item for item in items() if judge(item)[0] == verdict] for verdict in SIGNS}
    for verdict, sign in SIGNS.items():
        links = [f"[{item['item'].replace(' ', chr(160))}](#{anchor(item)})" for item in by_verdict[verdict]]
        lines.append(f"| {sign} {verdict} ({len(links)}) | {', '.join(links) or 'none'} |")
    return lines


def entry(item: dict[str, Any]) -> list[str]:
    """Lay out one item as lines of Markdown: a card with what it is, whether it holds, and where it is here."""
    verdict, found = judge(item)
    places = [f"Here: {item['here']}", *([f"Command: `{item['command']}`"] if "command" in item else [])]
    return [
        *(f"({anchor(item)})=", "", "::::{card}"),
        *(":::{card-header}", f"**{item['item']}: {item['what']}**", ":::"),
        *(f"{SIGNS[verdict]} **{verdict[0].upper()}{verdict[1:]}.** {item.get('note', '')}".rstrip(), ""),
        *(f"- {sentence}" for sentence in found),
        *("", ":::{card-footer}", *"\n\n".join(places).splitlines(), ":::", "::::", ""),
    ]


class PaperItems(SphinxDirective):
    """``paper-items`` with a kind lays out its items; with ``overview``, all of them by verdict."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the nodes from Markdown, so that links and roles work as on any page."""
        kind = self.arguments[0]
        for file in (ITEMS, REPORTED, *sorted(RECORDS.glob("*.csv"))):
            self.env.note_dependency(str(file))
        lines = (
            overview()
            if kind == "overview"
            else [line for item in items() if item["item"].startswith(kind) for line in entry(item)]
        )
        container = nodes.container()
        self.state.nested_parse(StringList(lines, str(ITEMS)), self.content_offset, container)
        return container.children


class Recorded(SphinxRole):
    """``file :: column=value; column=value :: column``: one cell of a table under ``book/results``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Read the cell; an unknown one stops the build."""
        file, wanted, column = (part.strip() for part in self.text.split("::"))
        path = RECORDS.parent / file
        self.env.note_dependency(str(path))
        value = cell(path, dict(pair.strip().split("=") for pair in wanted.split(";")), column)
        return [nodes.Text(value)], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive and the role."""
    app.add_directive("paper-items", PaperItems)
    app.add_role("recorded", Recorded())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
