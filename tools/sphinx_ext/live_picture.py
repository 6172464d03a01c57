"""A small Sphinx extension: wherever a page shows ``method.svg``, the picture itself is set in, so that its links work.

As an image it would be dead. On GitHub it is one, and no page needs other words for that. Narrow windows see the other
layout, ``method-narrow.svg``. Where a notebook shows the picture, links to notebooks become links to their pages.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

ASSETS = Path(__file__).resolve().parents[2] / "book" / "assets"
LAYOUTS = ("method.svg", "method-narrow.svg")


def with_links(drawing: str, app: Sphinx, page: str) -> str:
    """Turn links to notebooks into links to their pages, as seen from one page."""
    here = app.builder.get_target_uri(page)

    def mend(match: re.Match[str]) -> str:
        return f'href="{relative_uri(here, app.builder.get_target_uri(f"notebooks/{match[1]}"))}"'

    return re.sub(r'href="[^"#]*?([^/"]+)\.ipynb"', mend, drawing)


def set_in(app: Sphinx, doctree: nodes.document) -> None:
    """Exchange the image for both layouts; the window's width chooses."""
    for image in list(doctree.findall(nodes.image)):
        if PurePosixPath(image["uri"]).name == LAYOUTS[0]:
            app.env.note_dependency(str(ASSETS / LAYOUTS[0]))
            drawings = "".join((ASSETS / file).read_text(encoding="utf-8") for file in LAYOUTS)
            html = with_links(drawings, app, app.env.docname)
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent.children) == 1
            picture = nodes.raw("", f'<div class="method-picture">{html}</div>', format="html")
            (image.parent if alone else image).replace_self(picture)  # no box may stand in a paragraph
    for shown in doctree.findall(nodes.raw):
        if 'class="method-picture"' in shown.astext():  # what a notebook's cell gave
            mended = with_links(shown.astext(), app, app.env.docname)
            shown.rawsource, shown.children = mended, [nodes.Text(mended)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before Sphinx collects images."""
    app.connect("doctree-read", set_in, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
