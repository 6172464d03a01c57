"""One explorer: its data and its scripts as HTML that computes in the page, with a kernel and without.

The scripts lie in `scripts/` as ES modules. A page that is opened from disk may not import modules, so those that an
explorer needs are put together into one script, which stands with its data in the notebook's output. The same output
works in the built book, in JupyterLab and in a file of its own; it asks nothing of the web and needs no library.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

SCRIPTS = files("uslnet_core.explorers") / "scripts"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)

# JupyterLab may run a script before its output is on the page, so it looks again until it is.
_START = """
const place = %(selector)s;
(function start(tries) {
  const found = document.querySelectorAll(place + ":not([data-ready])");
  if (!found.length && tries) return setTimeout(start, 100, tries - 1);
  for (const el of found) {
    el.dataset.ready = "";
    mount(el.querySelector(".usl-mount"), JSON.parse(el.querySelector("script[type='application/json']").textContent));
  }
})(100);
"""
_WITHOUT = (
    "This picture answers to sliders and clicks where scripts may run. In JupyterLab, run the cell or trust the "
    "notebook."
)


@dataclass(frozen=True)
class Explorer:
    """What a cell shows: something to play with that computes in the page.

    Attributes:
        kind: name of its script, such as "split".
        title: its heading.
        data: what the script reads, JSON values.
    """

    kind: str
    title: str
    data: dict[str, Any]

    def html(self) -> str:
        """Give the explorer as a piece of a page: style, data and script, nothing from elsewhere."""
        # "</" or "<!--" would end, or swallow, what the data stand in
        data = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        key = hashlib.sha256(f"{self.kind} {self.title} {data}".encode()).hexdigest()[:10]
        start = _START % {"selector": json.dumps(f'.usl-explorer[data-key="{key}"]')}
        title = html.escape(self.title)
        return (
            f'<div class="usl-explorer" data-explorer="{self.kind}" data-key="{key}" role="group" aria-label="{title}">'
            f"<style>{style()}</style>"
            f'<p class="usl-title"><strong>{title}</strong></p>'
            f'<div class="usl-mount"><p>{_WITHOUT}</p></div>'
            f'<script type="application/json">{data}</script>'
            f"<script>(() => {{\n{bundle(self.kind)}{start}}})();</script></div>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the explorer as a page of its own, to open in any browser or to hand out.

        Args:
            path: the file to write; a file of that name is replaced.

        Returns:
            The path.
        """
        path = Path(path)
        meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        head = f"<head>{meta}<title>{html.escape(self.title)}</title></head>"
        page = f'<!doctype html><html lang="en">{head}<body>{self.html()}</body></html>\n'
        path.write_text(page, encoding="utf-8")
        return path

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": f"{self.title}: {_WITHOUT}"}


@functools.cache
def bundle(kind: str) -> str:
    """Put a script and all that it imports together, each once, what is imported first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for other in _IMPORT.findall(read(f"{name}.js")):
                visit(other)
            order.append(name)

    visit(kind)
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", read(f"{name}.js"))) for name in order)


@functools.cache
def style() -> str:
    """The style sheet of all explorers."""
    return read("explorers.css")


def read(name: str) -> str:
    """A file of `scripts/`."""
    return (SCRIPTS / name).read_text(encoding="utf-8")
