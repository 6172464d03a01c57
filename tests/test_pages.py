"""The built pages in a browser, opened as files: nothing leaves the book, nothing breaks, all can read and use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import PHONE, WIDE, Window, browse
from test_book import HTML, needs_pages, pages

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

SCRIPTS = Path(__file__).resolve().parent.parent / "book" / "assets"
NOTEBOOK = HTML / "notebooks" / "02_contrastive_learning.html"


@pytest.fixture(scope="module")
def context(chromium):
    with browse(chromium, viewport=WIDE) as opened:
        yield opened


@pytest.fixture(scope="module")
def window(context) -> Window:
    return Window(context.new_page(), HTML)


@pytest.fixture
def small(context, tmp_path):
    """Open a small page of the test's own: ``small(html)``."""
    page = Window(context.new_page(), tmp_path)

    def write(body: str, head: str = "") -> Path:
        path = tmp_path / "page.html"
        head = f'<meta charset="utf-8"><title>A page</title><style>body {{ margin: 8px }}</style>{head}'
        path.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>', "utf-8")
        return path

    page.write = write
    yield page
    page.page.close()


# --- every page ------------------------------------------------------------------------------------------------------


@needs_pages
@pytest.mark.parametrize("name", [*pages(), "genindex", "search"])
def test_page(window: Window, name: str) -> None:
    problems = window.look(HTML / f"{name}.html")
    assert not problems, "\n".join(problems)


@needs_pages
def test_pages_follow_the_system_into_the_dark(window: Window) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        window.page.emulate_media(color_scheme=scheme)
        window.open(HTML / "intro.html")
        seen[scheme] = window.page.evaluate(
            "[document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"
        )
    assert seen["light"][0] == "light" and seen["dark"][0] == "dark"
    assert seen["light"][1] != seen["dark"][1]


# --- each check can fail ---------------------------------------------------------------------------------------------

GOOD = '<main><article><h1>One</h1><p>Text. <img src="{dot}" alt="a dot"></p><h2>Two</h2><p>More.</p></article></main>'
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
BAD = {
    "leaves the book": '<script src="../outside.js"></script>',
    "leaves the book: http": '<img src="http://127.0.0.1:9/none.png" alt="none">',
    "failed": '<img src="none.png" alt="none">',
    "no picture": '<img src="none.png" alt="none">',
    "script error": "<script>missing()</script>",
    "console: broken": '<script>console.error("broken")</script>',
    "no alternative text": f'<img src="{DOT}">',
    "no alternative text: data": f'<img src="{DOT}" alt="_images/plot.png">',
    "headings: h2 → h4": "<h4>Four</h4>",
    "headings: not one first h1": "<h1>Another</h1>",
    "printed what is no result": '<div class="output stderr">Using a library</div>',
    "formulas not set": '<p class="math">x</p>',
    "pixels wider than a window of 390": '<p style="width: 600px">wide</p>',
    "pixels wider than a window of 1280": '<p style="width: 1400px">wide</p>',
    "axe color-contrast": '<p style="color: #aaa; background: #fff">pale</p>',
    "dark: axe color-contrast": "<style>@media (prefers-color-scheme: dark) {p {color:#333; background:#111}}</style>",
    "axe button-name": "<button></button>",
    "axe scrollable-region-focusable": '<pre style="width: 90px; overflow: auto">a line longer than its box</pre>',
    "axe empty-table-header": "<table><tr><th></th><td>1</td></tr></table>",
}


def test_a_good_page_passes(small) -> None:
    assert small.look(small.write(GOOD.format(dot=DOT))) == []


@pytest.mark.parametrize("complaint", BAD)
def test_a_bad_page_is_found_out(small, complaint: str) -> None:
    bad = GOOD.format(dot=DOT).replace("</article>", BAD[complaint] + "</article>")
    problems = small.look(small.write(bad))
    assert any(each.startswith(complaint) or f" {complaint}" in each for each in problems), problems


# --- search ----------------------------------------------------------------------------------------------------------


@needs_pages
def test_search_works_from_disk(window: Window) -> None:
    """Typed on a page of a chapter: results come, and each leads to a page of the book."""
    page = window.page
    page.set_viewport_size(WIDE)
    window.open(NOTEBOOK)
    page.keyboard.press("Control+k")
    page.keyboard.type("pseudo-label")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results ul.search li a")
    found = page.eval_on_selector_all("#search-results li > a", "links => links.map(link => link.href)")
    assert len(found) > 3
    window.open(HTML / "search.html", "?q=nosuchwordanywhere")
    page.wait_for_function("/did not match/.test(document.querySelector('#search-results').textContent)")
    assert not page.query_selector("#search-results ul.search li")


# --- tables that sort ------------------------------------------------------------------------------------------------

TABLE = """<article class="bd-article"><h1>T</h1><table class="{kind}">
<thead><tr><th>name</th><th>score</th></tr></thead>
<tbody><tr><td>b</td><td>81.1 ± 0.3</td></tr><tr><td>a</td><td>–</td></tr><tr><td>c10</td><td>−0.9</td></tr>
<tr><td>c9</td><td>1,234</td></tr><tr><td>d</td><td>9.5 %</td></tr></tbody></table></article>"""
FIRST = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent)"


def test_tables_sort_up_down_and_back(small) -> None:
    """By click and by key; numbers as numbers, missing values last both ways, texts as people count."""
    script = f"<script>{(SCRIPTS / 'tables.js').read_text(encoding='utf-8')}</script>"
    small.open(small.write(TABLE.format(kind="") + script))
    page = small.page
    names, scores = page.query_selector_all("th")
    assert [each.get_attribute("aria-sort") for each in (names, scores)] == ["none", "none"]
    scores.query_selector("button").click()
    assert scores.get_attribute("aria-sort") == "ascending"
    assert page.evaluate(FIRST) == ["c10", "d", "b", "c9", "a"]
    page.keyboard.press("Enter")  # the button has the focus
    assert scores.get_attribute("aria-sort") == "descending"
    assert page.evaluate(FIRST) == ["c9", "b", "d", "c10", "a"]
    page.keyboard.press("Space")
    assert scores.get_attribute("aria-sort") == "none"
    assert page.evaluate(FIRST) == ["b", "a", "c10", "c9", "d"]
    names.query_selector("button").click()
    assert page.evaluate(FIRST) == ["a", "b", "c9", "c10", "d"]
    assert [each.get_attribute("aria-sort") for each in (names, scores)] == ["ascending", "none"]


@pytest.mark.parametrize(
    "body",
    [
        TABLE.format(kind="in-order"),
        f'<div class="cell tag_in-order">{TABLE.format(kind="")}</div>',
        TABLE.format(kind="").replace("<td>–</td>", "<td>yes</td>"),  # a column of words and numbers
        TABLE.format(kind="").replace("<td>b</td>", '<td rowspan="1" colspan="2">b</td>'),
    ],
)
def test_tables_that_do_not_sort(small, body: str) -> None:
    script = f"<script>{(SCRIPTS / 'tables.js').read_text(encoding='utf-8')}</script>"
    small.open(small.write(body + script))
    assert not small.page.query_selector(".sort-button")


@needs_pages
def test_tables_of_the_book_sort(window: Window) -> None:
    """A recorded table: a click on a column of scores orders it, and a third brings the first order back."""
    page = window.page
    page.set_viewport_size(PHONE)
    window.open(HTML / "results.html")
    column = """() => { const cell = document.querySelector("[aria-sort]:not([aria-sort='none'])");
        const table = document.querySelector("table.sortable");
        return [...table.tBodies[0].rows].map(row => row.cells[cell ? cell.cellIndex : 0].textContent.trim()); }"""
    before = page.evaluate(column)
    button = page.locator("table.sortable").first.locator("th .sort-button").last
    button.click()
    values = [float(each.replace("−", "-").split()[0]) for each in page.evaluate(column) if each[:1] in "+−-0123456789"]
    assert len(values) > 2 and values == sorted(values)
    button.click()
    button.click()
    assert page.evaluate(column) == before


# --- terms that explain themselves -----------------------------------------------------------------------------------

BOX = "(() => { const box = document.querySelector('.hover-box'); return box && !box.hidden ? box.textContent : '' })()"


@needs_pages
def test_a_term_explains_itself_to_mouse_and_key(window: Window) -> None:
    page = window.page
    page.set_viewport_size(WIDE)
    window.open(NOTEBOOK)
    link = page.locator("a.hover-link.to-glossary").first
    meaning = page.evaluate("id => document.getElementById(id).textContent", link.get_attribute("aria-describedby"))
    assert len(meaning) > 20 and page.evaluate(BOX) == ""
    link.hover()
    page.wait_for_selector(".hover-box:not([hidden])")
    assert page.evaluate(BOX) == meaning
    page.locator(".hover-box").hover()  # the mouse may go there
    page.wait_for_timeout(400)
    assert page.evaluate(BOX) == meaning
    page.keyboard.press("Escape")
    assert page.evaluate(BOX) == ""
    link.focus()
    assert page.evaluate(BOX) == meaning
    at = page.locator(".hover-box").bounding_box()
    assert at["x"] >= 0 and at["x"] + at["width"] <= WIDE["width"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/glossary.html#term-*")


@needs_pages
def test_a_term_explains_itself_to_a_finger(context) -> None:
    """The first tap shows, a tap elsewhere closes, a second on the same word leads to the glossary."""
    phone = context.browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    window = Window(phone.new_page(), HTML)
    page = window.page
    window.open(NOTEBOOK)
    link = page.locator("a.hover-link.to-glossary").first
    link.tap()
    page.wait_for_selector(".hover-box:not([hidden])")
    assert page.url.endswith("02_contrastive_learning.html") and page.evaluate(BOX)
    at = page.locator(".hover-box").bounding_box()
    assert at["x"] >= 0 and at["x"] + at["width"] <= PHONE["width"]
    page.locator("article h1").first.tap()
    assert page.evaluate(BOX) == ""
    link.tap()
    link.tap()
    page.wait_for_url("**/glossary.html#term-*")
    assert not window.problems
    phone.close()


@needs_pages
def test_terms_and_symbols_are_linked_once_where_they_are_met(window: Window) -> None:
    window.open(NOTEBOOK)
    links = window.page.eval_on_selector_all(
        "a.hover-link", "links => links.map(link => [link.getAttribute('href'), link.getAttribute('aria-describedby')])"
    )
    tips = [tip for _, tip in links]
    assert len(tips) == len(set(tips)) > 5
    kept = set(window.page.eval_on_selector_all(".hover-tips > div", "tips => tips.map(tip => tip.id)"))
    assert kept == set(tips)
    assert any("notation.html#symbol-" in place for place, _ in links)
    assert not window.page.query_selector(":is(h1, h2, h3, table, pre, figcaption) a.hover-link")


@needs_pages
def test_equations_carry_the_numbers_of_the_paper(window: Window) -> None:
    window.open(HTML / "notation.html")
    numbers = window.page.eval_on_selector_all(".eqno", "all => all.map(each => each.firstChild.textContent)")
    assert [each for each in numbers if each != "(3′)"] == [f"({k})" for k in range(1, 11)]
    window.open(NOTEBOOK)
    assert "(1)" in window.page.inner_text(".eqno")
    assert window.page.query_selector("a[href*='notation.html#equation-']")
