"""A small Sphinx extension: terms of the glossary and symbols of `notation` explain themselves where they are met.

On each page the first mention of a term in plain prose becomes a link to the glossary, and in a chapter the first
inline formula that is a symbol of `notation` a link to its row. Notebooks stay plain Markdown that way. What the term
or symbol means is written into the page, so the script `hover.js` can show it, and a screen reader can read it, without
asking for anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

GLOSSARY, NOTATION = "glossary", "notation"
# pages that define, list or quote; there every word would be a link
LEFT_ALONE = {GLOSSARY, NOTATION, "bibliography", "genindex", "search"}
# Terms that are words of every day, too ("run the notebook", "the key point"): linked only where they stand in italics,
# which is how the chapters introduce them.
EVERYDAY = {
    "alignment", "appearance", "background", "frozen", "fusion", "key", "margin", "mask", "momentum", "negative",
    "orientation", "pooled", "precision", "profile", "query", "queue", "run", "sensitivity", "split", "spread", "stage",
    "student", "transformer", "view", "window",
}  # fmt: skip
# A letter means another thing in another chapter: which section of `notation` holds for which.
SECTIONS = {
    "notebooks/02_contrastive_learning": "Contrastive learning",
    "notebooks/03_saliency_maps": "Saliency",
    "notebooks/04_uncertainty_module": "Uncertainty module",
    "notebooks/05_uncertainty_loss": "Segmenter and loss",
    "notebooks/06_iterative_refinement": "Segmenter and loss",
    "notebooks/11_ablation_of_labels": "Table 9, figure 8",
}
# Prose is what is left when these are taken out.
NO_PROSE = (
    nodes.title, nodes.caption, nodes.legend, nodes.table, nodes.literal, nodes.literal_block, nodes.doctest_block,
    nodes.reference, nodes.target, nodes.footnote, nodes.citation, nodes.raw, nodes.title_reference, nodes.topic,
    nodes.sidebar, addnodes.glossary, addnodes.toctree, addnodes.pending_xref,
)  # fmt: skip


class hover_link(nodes.reference):  # noqa: N801 (docutils names its nodes in lower case)
    """A link whose target is explained on the page itself, in the element with the id ``tip``."""


@dataclass(frozen=True)
class Meaning:
    """One term or symbol: where it is explained, and what is said there."""

    page: str  # GLOSSARY or NOTATION
    anchor: str  # of the definition on that page
    name: str  # as written there; of a symbol, its name in the code or what it is
    text: str  # HTML

    @property
    def tip(self) -> str:
        """Id of the explanation on each page that uses it."""
        return f"tip-{self.anchor}"


# --- what is explained ----------------------------------------------------------------------------------------------


def as_html(node: nodes.Node) -> str:
    """Plain text of a node, citations left out and formulas kept as formulas."""
    if isinstance(node, nodes.Text):
        return html.escape(node.astext())
    if isinstance(node, nodes.math):
        return f'<span class="math notranslate nohighlight">\\({html.escape(node.astext())}\\)</span>'
    if isinstance(node, addnodes.pending_xref) and node.get("refdomain") == "cite":
        return ""
    inside = "".join(as_html(child) for child in node.children)
    return f"<code>{inside}</code>" if isinstance(node, nodes.literal) else inside


def terms(doctree: nodes.document) -> dict[str, Meaning]:
    """The glossary's entries, by their names in small letters."""
    found = {}
    for item in doctree.findall(nodes.definition_list_item):
        definition = next(item.findall(nodes.definition))
        text = " ".join(as_html(paragraph) for paragraph in definition.findall(nodes.paragraph))
        for term in item.findall(nodes.term):
            name = term.astext()
            text = re.sub(r"\s+([.,;])", r"\1", re.sub(r"\s+", " ", text)).strip()
            found[name.lower()] = Meaning(GLOSSARY, term["ids"][0], name, text)
    return found


def symbols(doctree: nodes.document) -> dict[str, dict[str, Meaning]]:
    """The symbols in the tables of `notation`: for each chapter of `SECTIONS` by their TeX."""
    found: dict[str, dict[str, Meaning]] = {}
    for section in doctree.findall(nodes.section):
        title = next(section.findall(nodes.title)).astext()
        for page in (page for page, start in SECTIONS.items() if title.startswith(start)):
            for row in (row for row in section.findall(nodes.row) if row["ids"]):
                paper, *code, meaning = row.children
                named = [cell for cell in code if cell.astext() != "–"]
                text = "".join(f"{as_html(cell)}: " for cell in named) + as_html(meaning)
                for formula in paper.findall(nodes.math):
                    name = (named or [meaning])[0].astext()
                    found.setdefault(page, {})[formula.astext()] = Meaning(NOTATION, row["ids"][0], name, text)
    if gone := set(SECTIONS) - set(found):
        logger.warning("hover_links.py: SECTIONS names what `notation` does not have: %s", sorted(gone))
    return found


def name_rows(app: Sphinx, doctree: nodes.document) -> None:
    """Give each row of `notation` that begins with a symbol an anchor."""
    if app.env.docname != NOTATION:
        return
    for number, row in enumerate(doctree.findall(nodes.row)):
        if row.children and any(row.children[0].findall(nodes.math)):
            row["ids"].append(f"symbol-{number}")


def known(app: Sphinx) -> tuple[dict[str, Meaning], dict[str, dict[str, Meaning]]]:
    """Terms and symbols, read once per build."""
    if not hasattr(app, "_hover_known"):
        trees = [app.env.get_doctree(page) if page in app.env.all_docs else None for page in (GLOSSARY, NOTATION)]
        app._hover_known = (
            terms(trees[0]) if trees[0] is not None else {},
            symbols(trees[1]) if trees[1] is not None else {},
        )
        if gone := EVERYDAY - set(app._hover_known[0]):
            logger.warning("hover_links.py: EVERYDAY names what the glossary does not have: %s", sorted(gone))
    return app._hover_known


# --- where it is linked ----------------------------------------------------------------------------------------------


def prose(node: nodes.Node) -> Iterator[nodes.Text | nodes.math | nodes.reference]:
    """Texts, inline formulas and links of a page's plain paragraphs, in order."""
    for paragraph in list(node.findall(nodes.paragraph)):
        parent = paragraph.parent
        while parent is not None and not isinstance(parent, NO_PROSE):
            if isinstance(parent, nodes.container) and "cell_output" in parent["classes"]:
                break
            parent = parent.parent
        if parent is None:
            yield from list(inline(paragraph))


def inline(node: nodes.Element) -> Iterator[nodes.Text | nodes.math | nodes.reference]:
    """The parts of one paragraph that may be linked, and the links that are there already."""
    for child in node.children:
        if isinstance(child, nodes.Text | nodes.math | nodes.reference):
            yield child
        elif isinstance(child, nodes.Element) and not isinstance(child, NO_PROSE):
            yield from inline(child)


@cache
def pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the terms as a whole word, plural or not; longer terms first; capitals inside must agree."""
    words = sorted(names, key=len, reverse=True)
    one = "|".join(re.escape(w) if w != w.lower() and w[1:] != w[1:].lower() else f"(?i:{re.escape(w)})" for w in words)
    return re.compile(rf"(?<![\w-])({one})(?:s|\+\+)?(?![\w-])")


def link(app: Sphinx, page: str, meaning: Meaning, inside: nodes.Node) -> hover_link:
    """A link to what explains a term or symbol."""
    target = f"{app.builder.get_relative_uri(page, meaning.page)}#{meaning.anchor}"
    node = hover_link("", "", inside, internal=True, refuri=target, classes=[f"to-{meaning.page}"], tip=meaning.tip)
    if isinstance(inside, nodes.math):  # a drawing once it is set: it needs a name that can be read out
        node["name"] = f"symbol: {meaning.name}"
    return node


def split(app: Sphinx, page: str, text: nodes.Text, by_name: dict[str, Meaning], seen: dict[str, Meaning]) -> None:
    """Replace the first mention of each term in one text by a link."""
    parts, last, emphasised = [], 0, isinstance(text.parent, nodes.emphasis)
    find = pattern(tuple(meaning.name for meaning in by_name.values()))
    for match in find.finditer(text.astext()):
        name = match[1].lower()
        if by_name[name].tip in seen or (name in EVERYDAY and not emphasised):
            continue
        seen[by_name[name].tip] = by_name[name]
        parts += [nodes.Text(text.astext()[last : match.start()]), link(app, page, by_name[name], nodes.Text(match[0]))]
        last = match.end()
    if parts:
        text.parent.replace(text, [part for part in [*parts, nodes.Text(text.astext()[last:])] if part.astext()])


def explain(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link what a page mentions for the first time, and remember which explanations the page must carry."""
    by_name, by_tex = known(app)[0], known(app)[1].get(page, {})
    by_anchor = {meaning.anchor: meaning for meaning in by_name.values()}
    seen: dict[str, Meaning] = {}
    for reference in list(doctree.findall(nodes.reference)):  # written by hand, with {term}
        anchor = reference.get("refuri", "").partition("#")[2] or reference.get("refid", "")
        if anchor in by_anchor:
            meaning = by_anchor[anchor]
            seen[meaning.tip] = meaning
            reference.replace_self(link(app, page, meaning, nodes.Text(reference.astext())))
    if page not in LEFT_ALONE and by_name:
        for part in prose(doctree):
            if isinstance(part, nodes.Text):
                split(app, page, part, by_name, seen)
            elif isinstance(part, nodes.math) and (meaning := by_tex.get(part.astext())) and meaning.tip not in seen:
                seen[meaning.tip] = meaning
                part.replace_self(link(app, page, meaning, part.deepcopy()))
    if not hasattr(app, "_hover_seen"):
        app._hover_seen = {}
    app._hover_seen[page] = seen
    if any(
        'class="math' in meaning.text for meaning in seen.values()
    ):  # then a page without a formula of its own needs MathJax
        app.env.get_domain("math").data["has_equations"][page] = True


# --- what the page carries -------------------------------------------------------------------------------------------


def visit(writer: Any, node: hover_link) -> None:
    """Open the link; it is described by the explanation below the page's text."""
    classes = " ".join(["hover-link", "reference", "internal", *node["classes"]])
    more = {"aria-describedby": node["tip"]} | ({"aria-label": node["name"]} if "name" in node else {})
    writer.body.append(writer.starttag({"classes": [], "ids": []}, "a", "", CLASS=classes, href=node["refuri"], **more))


def depart(writer: Any, node: hover_link) -> None:
    """Close the link."""
    writer.body.append("</a>")


def carry(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Write the explanations of a page's terms below its text, out of sight."""
    seen = getattr(app, "_hover_seen", {}).get(page)
    if seen and "body" in context:
        tips = "\n".join(f'<div id="{meaning.tip}">{meaning.text}</div>' for meaning in seen.values())
        context["body"] += f'\n<div class="hover-tips" hidden>\n{tips}\n</div>\n'


def setup(app: Sphinx) -> dict[str, bool]:
    """Work on pages whose references are resolved; only HTML has anything to hover over."""
    app.add_node(hover_link, html=(visit, depart))
    app.connect("doctree-read", name_rows)
    app.connect("doctree-resolved", explain, priority=900)
    app.connect("html-page-context", carry)
    app.add_js_file("hover.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": False}
