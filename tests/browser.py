"""What the tests of built pages see in a headless Chromium: one call looks at a page and lists what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

AXE = Path(__file__).resolve().parent / "vendor" / "axe-core" / "axe.min.js"
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-component-update "
    "--disable-background-networking"
).split()
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Excluded from axe, each with its reason
NOT_OURS = {
    "mjx-container": "MathJax's own drawing; what it says to a screen reader is its menu's choice",
    ".jupyter-widgets": "the widget manager's own markup, vendored; our labels and descriptions are in the notebooks",
}

# Formulas that are set, pictures that are there and described, headings in order
CONTENT = """() => {
    const wrong = [], article = document.querySelector("article") || document.body;
    const all = (what) => [...article.querySelectorAll(what)];
    const count = (found, what) => found.length && wrong.push(`${found.length} ${what}`);
    count(all("mjx-merror, [data-mjx-error]"), "formulas with an error");
    count(all(".math").filter((each) => !each.querySelector("mjx-container")), "formulas not set");
    count(all(".output.stderr"), "cells that printed what is no result");
    const name = (image) => (image.getAttribute("src") || image.outerHTML).slice(0, 60);
    for (const image of document.images) {
        if (image.complete && !image.naturalWidth && image.loading !== "lazy") wrong.push(`no picture: ${name(image)}`);
    }
    for (const image of all("img")) {
        const alt = (image.getAttribute("alt") || "").trim();
        const file = /\\.(png|svg|jpe?g)$|^_?images\\//i.test(alt);  // Sphinx's stand-in for none
        if (!alt || file) wrong.push(`no alternative text: ${name(image)}`);
    }
    const shown = all("h1, h2, h3, h4, h5, h6").filter((each) => each.getClientRects().length);
    const levels = shown.map((each) => Number(each.tagName[1]));
    if (levels.lastIndexOf(1) !== 0) wrong.push(`headings: not one first h1: ${levels}`);
    levels.forEach((level, i) => {
        const before = levels[i - 1];
        if (i && level > before + 1) wrong.push(`headings: h${before} → h${level} at ${shown[i].textContent}`);
    });
    return wrong;
}"""
# What reaches out of the window, and the first element that does
TOO_WIDE = """() => {
    const width = window.innerWidth, more = document.documentElement.scrollWidth - width;
    if (more <= 0) return null;
    const all = [...document.querySelectorAll("body *")];
    const far = all.find((each) => each.getBoundingClientRect().right > width + 1);
    return `${more} pixels wider than a window of ${width}: ${far ? far.outerHTML.slice(0, 80) : "?"}`;
}"""
# Code is thousands of coloured words and a table hundreds of like cells: axe looks at each kind of word once, and at
# the first rows
THIN_OUT = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll(".highlight pre span")) {
        const kind = word.className + "|" + word.closest("div[class*=highlight-]")?.className;
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
    for (const body of document.querySelectorAll("tbody")) [...body.rows].slice(4).forEach((row) => row.remove());
    const still = document.createElement("style");
    still.textContent = "*, *::before, *::after { transition: none !important; animation: none !important; }";
    document.head.append(still);
}"""
RUN_AXE = """([leftOut, only]) => {
    const options = { preload: false, resultTypes: ["violations"] };
    options.runOnly = only || ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    return axe.run({ exclude: leftOut.map((each) => [each]) }, options).then((result) => result.violations.flatMap(
        (rule) => rule.nodes.slice(0, 4).map((node) => `axe ${rule.id}: ${node.target.join(" ")}: ` +
            node.failureSummary.split("\\n").slice(1, 3).map((line) => line.trim()).join(" "))));
}"""


class Window:
    """One page of the browser that remembers what went wrong while it was open."""

    def __init__(self, page, folder: Path) -> None:
        self.page, self.folder = page, folder.resolve()
        self.problems: list[str] = []
        page.set_default_timeout(120_000)  # a shared machine can stall
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        page.on("console", lambda said: said.type == "error" and self.problems.append(f"console: {said.text}"))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on("request", self._asked)

    def _asked(self, request) -> None:
        parts = urlsplit(request.url)
        inside = parts.scheme == "file" and Path(unquote(parts.path)).resolve().is_relative_to(self.folder)
        if not inside and parts.scheme not in ("data", "blob", "about"):
            self.problems.append(f"leaves the book: {request.url}")

    def open(self, path: Path, query: str = "") -> None:
        """Open a page from disk and wait until its formulas are set."""
        self.page.goto(path.as_uri() + query, wait_until="load")
        self.page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => null)")

    def look(self, path: Path) -> list[str]:
        """All that is wrong with a page: its content, its width in two windows, its accessibility in both themes."""
        self.problems.clear()
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(WIDE)
        self.open(path)
        self.problems += self.page.evaluate(CONTENT)
        for size in (PHONE, WIDE):
            self.page.set_viewport_size(size)
            if wide := self.page.evaluate(TOO_WIDE):
                self.problems.append(wide)
        self.page.evaluate(THIN_OUT)
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";null")
        self.problems += self.axe()
        self.page.emulate_media(color_scheme="dark")
        self.problems += [f"dark: {each}" for each in self.axe(["color-contrast", "link-in-text-block"])]
        return list(dict.fromkeys(self.problems))

    def axe(self, only: list[str] | None = None) -> list[str]:
        """What axe-core finds; ``only``: by these rules alone."""
        rules = {"type": "rule", "values": only} if only else None
        return self.page.evaluate(RUN_AXE, [list(NOT_OURS), rules])


@contextmanager
def browse(chromium: str, **options) -> Iterator:
    """Start a quiet browser and open one context in it."""
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        try:
            yield browser.new_context(**options)
        finally:
            browser.close()
