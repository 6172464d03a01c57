"""A small Sphinx extension: mend what a screen reader or a keyboard would stumble over on pages of the theme.

Each mend was found by axe-core in the tests of the built pages. One that no longer finds what it mends is a warning,
and so fails the build: a new version of the theme may not need it.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

# (what the theme writes, what is better): on every page
THEME = {
    # its name must hold what it shows, and it shows "Search Ctrl+K"
    'search-button__button pst-js-only" title="Search" aria-label="Search" data-bs-placement="bottom" data-bs-toggle='
    '"tooltip">\n <i class="fa-solid fa-magnifying-glass"></i>\n <span class="search-button__default-text">': (
        'search-button__button pst-js-only" title="Search" data-bs-placement="bottom" data-bs-toggle="tooltip">\n '
        '<i class="fa-solid fa-magnifying-glass"></i>\n <span class="search-button__default-text">'
    ),
    # the names of the three icons are no part of the button's name
    'data-mode="light" title="Light"': 'data-mode="light"',
    'data-mode="dark"  title="Dark"': 'data-mode="dark"',
    'data-mode="auto"  title="System Settings"': 'data-mode="auto"',
    'aria-label="Color mode" data-bs-title="Color mode"': 'aria-label="Colour mode" data-bs-title="Colour mode"',
    # the book's title and the search button stand in no landmark
    '<div class="sidebar-primary-items__start sidebar-primary__section">': (
        '<div class="sidebar-primary-items__start sidebar-primary__section" role="region" aria-label="Book">'
    ),
}
EMPTY = re.compile(r"<th((?:\s[^>]*)?)>(?:\s|&nbsp;)*</th>")
# only on the page of workshops: the boxes of a checklist, which nobody can tick in a page
CHECKLIST = {
    '<input class="task-list-item-checkbox" disabled="disabled" type="checkbox">': (
        '<input class="task-list-item-checkbox" disabled="disabled" type="checkbox" aria-label="to do">'
    )
}
# only on the page of references: a role that was taken out of the standard, on what is in a list
REFERENCES = {'role="doc-biblioentry"': 'role="listitem"'}


def name_rows(app: Sphinx, doctree: nodes.document) -> None:
    """A table without a heading has its names in the first column; an empty heading would be read out as one."""
    for group in list(doctree.findall(nodes.tgroup)):
        head = next(iter(group.findall(nodes.thead)), None)
        if head is not None and not head.astext().strip():
            group.remove(head)
            next(group.findall(nodes.colspec))["stub"] = 1


def empty_corners(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """The corner of a frame's table names nothing: it is an empty cell, not an empty heading."""
    for raw in doctree.findall(nodes.raw):
        if "<table" in raw.astext():
            raw.children = [nodes.Text(EMPTY.sub(r"<td\1></td>", raw.astext()))]


def mend(app: Sphinx, exception: Exception | None) -> None:
    """Mend the written pages."""
    if exception is not None or app.builder.name != "html":
        return
    unused = {**THEME, **CHECKLIST, **REFERENCES}
    for path in Path(app.outdir).rglob("*.html"):
        if "_static" in path.relative_to(app.outdir).parts:
            continue
        text = before = path.read_text(encoding="utf-8")
        for old, new in {**THEME, **CHECKLIST, **REFERENCES}.items():
            if old in text:
                unused.pop(old, None)
                text = text.replace(old, new)
        if text != before:
            path.write_text(text, encoding="utf-8")
    for old in unused:
        logger.warning("mended_pages.py: no page holds %r any more: is the mend still needed?", old)


def setup(app: Sphinx) -> dict[str, bool]:
    """Mend tables when they are read, the theme's parts when all is written."""
    app.connect("doctree-read", name_rows)
    app.connect("doctree-resolved", empty_corners)
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
