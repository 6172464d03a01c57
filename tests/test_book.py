"""The book is whole: every page of the contents is there, holds no error, and asks nothing of the web."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
EXECUTED = BOOK / "notebooks"
HTML = ROOT / "_build" / "html"
MAKE = "run  make book  first"

needs_notebooks = pytest.mark.skipif(not list(EXECUTED.glob("*.ipynb")), reason=f"no executed notebooks: {MAKE}")
needs_pages = pytest.mark.skipif(not (HTML / "index.html").is_file(), reason=f"the book is not built: {MAKE}")


def pages() -> list[str]:
    """All pages of the contents, in order, as `_toc.yml` writes them."""
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    return [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]


def notebook_pages() -> list[str]:
    return [page for page in pages() if page.startswith("notebooks/")]


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages())
def test_every_page_of_the_contents_has_a_source(page: str) -> None:
    source = ROOT / f"{page}.ipynb" if page.startswith("notebooks/") else BOOK / f"{page}.md"
    assert source.is_file(), f"_toc.yml names {page}, but there is no {source.relative_to(ROOT)}"


def test_every_source_is_in_the_contents_once() -> None:
    sources = [path.stem for path in BOOK.glob("*.md")]
    sources += [f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert sorted(sources) == sorted(pages())


@pytest.mark.parametrize("page", [path.stem for path in BOOK.glob("*.md")])
def test_every_file_that_a_page_shows_is_there(page: str) -> None:
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    patterns = [r"^:file: (\S+)", r"^```\{(?:figure|image|include)\} (\S+)", r"\{download\}`[^`]*<([^>]+)>`"]
    patterns.append(r"!\[[^]]*\]\((\S+?)\)")
    named = [name for pattern in patterns for name in re.findall(pattern, text, re.MULTILINE)]
    missing = [name for name in named if not name.startswith("http") and not (BOOK / name).is_file()]
    assert not missing, f"{page}.md shows {missing}: record or draw them, or take them out"


# --- executed notebooks ----------------------------------------------------------------------------------------------


@needs_notebooks
@pytest.mark.parametrize("page", notebook_pages())
def test_executed_notebook_is_whole_and_without_error(page: str, names_place) -> None:
    path = BOOK / f"{page}.ipynb"
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing: {MAKE}"
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    errors = [out.evalue for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert not errors, f"holds an error: {errors}"
    assert all(cell.execution_count for cell in cells), "holds a cell that was not run"
    state = notebook.metadata.get("papermill", {})
    assert not state.get("exception"), "papermill stopped with an exception"
    whole = path.read_text(encoding="utf-8")
    places = [place for place in (ROOT, Path.home(), Path(tempfile.gettempdir()).resolve()) if place != place.parent]
    named = [place for place in places if names_place(whole, place)]
    assert not named, f"names a folder of this machine, which would be published: {named}"


@needs_notebooks
@pytest.mark.parametrize("page", notebook_pages())
def test_every_figure_that_has_a_caption_was_drawn(page: str) -> None:
    """A figure drawn by hand is shown by matplotlib's backend, if at all: its cell runs without error either way."""
    for cell in nbformat.read(BOOK / f"{page}.ipynb", as_version=4).cells:
        if "figure" in cell.metadata.get("mystnb", {}):
            shown = [out.get("data", {}) for out in cell.outputs]
            drawn = any("image/png" in each or "text/markdown" in each for each in shown)  # or says why there is none
            assert drawn, f"{page}: nothing was drawn for {cell.metadata['mystnb']['figure']['name']}"


# --- built pages -----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to, loads and can be linked at."""

    LOADS = {
        "script": ("src",),
        "img": ("src", "srcset"),
        "source": ("src", "srcset"),
        "iframe": ("src",),
        "video": ("src", "poster"),
        "audio": ("src",),
        "embed": ("src",),
        "object": ("data",),
    }
    LINK_KINDS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.styles: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values and (name == "id" or tag == "a")}
        if tag in ("a", "area") and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and self.LINK_KINDS & set(values.get("rel", "").split()):
            self.loads.append(values.get("href", ""))
        for name in self.LOADS.get(tag, ()):
            if values.get(name):
                found = values[name].split(",") if name == "srcset" else [values[name]]
                self.loads += [part.split()[0] for part in found if part.strip()]
        if "style" in values:
            self.styles.append(values["style"])
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


@cache
def parsed(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def built() -> list[Path]:
    return sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts)


def broken(page: Path, address: str) -> str | None:
    """Why an address on a page leads nowhere; None if it leads somewhere, or outside."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return f"{address}: no such file"
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in parsed(target).ids:
        return f"{address}: no such place on the page"
    return None


def outside(styles: str) -> list[str]:
    """Addresses on the web that a style sheet loads."""
    bare = re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)
    found = re.findall(r"url\(\s*[\"']?((?:https?:)?//[^\"')]+)", bare)
    return found + re.findall(r"@import\s+[\"']((?:https?:)?//[^\"']+)", bare)


@needs_pages
@pytest.mark.parametrize("page", pages())
def test_page_is_built(page: str) -> None:
    assert (HTML / f"{page}.html").is_file(), f"{page}.html is missing: {MAKE}"


@needs_pages
def test_no_link_or_picture_leads_nowhere() -> None:
    wrong = []
    for page in built():
        for address in {*parsed(page).links, *parsed(page).loads}:
            if reason := broken(page, address):
                wrong.append(f"{page.relative_to(HTML)} → {reason}")
    assert not wrong, "\n".join(sorted(wrong))


@needs_pages
def test_no_page_loads_anything_from_the_web() -> None:
    wrong = []
    for page in built():
        found = [address for address in parsed(page).loads if urlsplit(address).netloc]
        wrong += [f"{page.relative_to(HTML)}: {each}" for each in found + outside("\n".join(parsed(page).styles))]
    for sheet in HTML.rglob("*.css"):
        wrong += [f"{sheet.relative_to(HTML)}: {each}" for each in outside(sheet.read_text(encoding="utf-8"))]
    assert not wrong, "\n".join(wrong)


def test_the_checks_of_pages_can_fail(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<h2 id="here">x</h2>')
    page = tmp_path / "page.html"
    page.write_text(
        '<style>p { background: url("https://a.example/b.png") }</style><script src="//c.example/d.js"></script>'
        '<a href="other.html#here">1</a><a href="other.html#gone">2</a><a href="none.html">3</a><img src="none.png">'
        '<a href="https://e.example">4</a>'
    )
    read = Page(page.read_text())
    assert outside("".join(read.styles)) == ["https://a.example/b.png"]
    assert [address for address in read.loads if urlsplit(address).netloc] == ["//c.example/d.js"]
    reasons = {address: broken(page, address) for address in [*read.links, *read.loads]}
    good = {"other.html#here", "https://e.example", "//c.example/d.js"}
    assert {address for address, reason in reasons.items() if reason is None} == good
