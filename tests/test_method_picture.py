"""The whole method in one picture: drawn by its tool, readable, and every box leads to its chapter."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from uslnet_core.book import method_picture

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
SVG = "{http://www.w3.org/2000/svg}"
needs_pages = pytest.mark.skipif(not (HTML / "intro.html").is_file(), reason="not built: run  make book  first")


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("method_picture")


@pytest.fixture(params=["method.svg", "method-narrow.svg"])
def drawing(request):
    return ElementTree.fromstring((ROOT / "book" / "assets" / request.param).read_text(encoding="utf-8"))


def test_both_files_are_what_the_tool_draws(tool):
    for file, draw in tool.LAYOUTS.items():
        kept = (ROOT / "book" / "assets" / file).read_text(encoding="utf-8")
        assert kept == draw(), f"book/assets/{file} is not what the tool draws: run  make method"


def test_every_box_is_a_link_with_a_name_to_a_chapter_that_is_there(drawing):
    links = drawing.findall(f"{SVG}a")
    for link in links:
        assert (ROOT / "book" / "assets" / link.get("href")).resolve().is_file(), link.get("href")
        assert link.findtext("{http://www.w3.org/2000/svg}title")
    chapters = {re.search(r"(\d\d)_", link.get("href"))[1] for link in links}
    assert chapters == {f"0{k}" for k in range(1, 8)}
    boxes = [each for each in drawing.iter(f"{SVG}rect") if each.get("class") in ("m-box", "m-frame")]
    assert len(boxes) == len(links), "a box that is no link"


def test_both_say_in_words_what_they_show_and_share_no_id(tool, drawing):
    assert drawing.findtext(f"{SVG}title") and len(drawing.findtext(f"{SVG}desc")) > 100
    named = [set(re.findall(r'\bid="([^"]+)"', draw())) for draw in tool.LAYOUTS.values()]
    assert named[0] and not named[0] & named[1], "both lie in one page"


def test_words_are_large_enough_for_a_phone_and_stay_inside(drawing):
    _, _, width, height = map(float, drawing.get("viewBox").split())
    shown = 358 if width < 500 else 650  # pixels: a phone's column, and the book's
    for text in drawing.iter(f"{SVG}text"):
        assert float(text.get("font-size")) * shown / width >= 12, text.text
    for box in drawing.iter(f"{SVG}rect"):
        if box.get("class") == "m-box":
            assert float(box.get("x")) + float(box.get("width")) < width
            assert float(box.get("y")) + float(box.get("height")) < height


def test_in_a_notebook_every_link_is_one_of_html_over_its_box(tool):
    shown = method_picture().data
    assert "<a href" in shown and not re.search(r"<a [^>]*><title>", shown), "JupyterLab stumbles over links of SVG"
    links = re.findall(r'<foreignObject ([^>]+)><a href="(\d\d_\w+\.ipynb)" aria-label="([^"]+)"', shown)
    drawn = "".join(draw() for draw in tool.LAYOUTS.values())
    assert [page for _, page, _ in links] == re.findall(r'href="[^"]*/(\d\d_\w+\.ipynb)"', drawn)
    boxes = [
        re.search(r'x="[^"]+" y="[^"]+" width="[^"]+" height="[^"]+"', box)[0]
        for box in re.findall(r'<rect class="m-(?:box|frame)"[^>]+>', drawn)
    ]
    assert [place for place, _, _ in links] == boxes


@needs_pages
@pytest.mark.browser
@pytest.mark.parametrize(
    ("page", "width", "layout"), [("intro.html", 1280, "wide"), ("notebooks/00_start_here.html", 390, "narrow")]
)
def test_each_box_is_reached_by_keyboard_and_leads_to_a_page(chromium, page, width, layout) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    address = (HTML / page).as_uri()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        window = browser.new_context(viewport={"width": width, "height": 900}).new_page()
        window.set_default_timeout(120_000)
        window.goto(address, wait_until="domcontentloaded")
        seen = window.eval_on_selector_all(
            ".method-picture svg",
            "all => all.filter(e => e.getBoundingClientRect().width).map(e => e.className.baseVal)",
        )
        assert seen == [f"m-{layout}"]
        targets = window.eval_on_selector_all(f"svg.m-{layout} a", "all => all.map(a => a.getAttribute('href'))")
        assert len(targets) >= 10
        for index, target in enumerate(targets):
            window.goto(address, wait_until="domcontentloaded")
            box = window.locator(f"svg.m-{layout} a").nth(index)
            if index % 2:
                box.click()
            else:
                box.focus()
                assert window.evaluate("document.activeElement.getAttribute('href')") == target
                window.keyboard.press("Enter")
            window.wait_for_url(f"**/{target.split('/')[-1]}", wait_until="domcontentloaded")
            assert window.locator("h1").first.inner_text().strip()
        browser.close()
