r"""A small Sphinx extension: equations carry the paper's own numbers, and "equation 3" in the prose leads to it.

A displayed formula with ``\tag{3}`` is the paper's equation 3, in a notebook (where JupyterLab shows the tag) as on a
page. Sphinx would count the labelled formulas of the book instead, page by page.
"""

from __future__ import annotations

import re

from docutils import nodes
from hover_links import LEFT_ALONE, NOTATION, prose
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

ITEMS = "paper_item_by_item"  # names every equation, and says itself where each of them is
TAG = re.compile(r"\s*\\tag\{([^}]*)\}")
MENTION = re.compile(r"\bequations? (\d+)(?: (?:to|and) \d+|–\d+)?\b", re.IGNORECASE)


def number(app: Sphinx, doctree: nodes.document) -> None:
    """Turn tags into the numbers of equations, so that each can be linked to."""
    equations = app.env.get_domain("math").equations
    for formula in doctree.findall(nodes.math_block):
        found = TAG.search(formula.astext())
        if not found:
            if formula.get("label"):
                logger.warning("this formula has a label and no \\tag{}: which of the paper's is it?", location=formula)
            continue
        tex = TAG.sub("", formula.astext())
        formula.children = []
        formula += nodes.Text(tex)
        formula["number"] = found[1]
        if label := formula.get("label"):
            equations[label] = (app.env.docname, found[1])
        elif not formula["ids"]:
            formula["ids"].append(f"equation-{nodes.make_id(found[1])}")


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Lead the first mention of each numbered equation on a page to `notation`, where all of them stand."""
    if page in LEFT_ALONE or page == ITEMS:
        return
    equations = app.env.get_domain("math").equations
    places = {
        str(k): nodes.make_id(f"equation-{label}") for label, (where, k) in equations.items() if where == NOTATION
    }
    for text in prose(doctree):
        if not isinstance(text, nodes.Text):
            continue
        match = MENTION.search(text.astext())
        if match and match[1] in places:
            target = f"{app.builder.get_relative_uri(page, NOTATION)}#{places.pop(match[1])}"
            reference = nodes.reference("", "", nodes.Text(match[0]), internal=True, refuri=target)
            parts = [nodes.Text(text.astext()[: match.start()]), reference, nodes.Text(text.astext()[match.end() :])]
            text.parent.replace(text, [part for part in parts if part.astext()])


def setup(app: Sphinx) -> dict[str, bool]:
    """Number when a page is read; link before terms are."""
    app.connect("doctree-read", number)
    app.connect("doctree-resolved", link, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
