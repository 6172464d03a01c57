"""Take the screens that README and front page show: pages of the built book, as a new reader would see them.

``make screens`` writes ``book/assets/screens/<name>.png``. To show something else, change the table of `SCREENS`, and
the words of README.md and book/intro.md that say what it shows. Needs Chromium and a built book.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
SCREENS_FOLDER = ROOT / "book" / "assets" / "screens"
LARGEST = 150_000  # bytes of one screen
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]


@dataclass(frozen=True)
class Screen:
    """One screen.

    Args:
        name: of the file.
        page: of the built book.
        at: what stands at the window's top, as a CSS selector; empty: the page's beginning.
        width: of the window, in pixels.
        height: of the window, in pixels.
        theme: ``light`` or ``dark``.
        scale: pixels of the picture for one of the window.
        before: keys to press first, each as ``selector key``, for pages that answer to them.
    """

    name: str
    page: str
    at: str = ""
    width: int = 1180
    height: int = 740
    theme: str = "light"
    scale: float = 1
    before: tuple[str, ...] = ()


PHONE = {"width": 400, "height": 800, "theme": "dark", "scale": 1.5}
SCREENS = (
    Screen("front", "intro.html", height=800),
    Screen("split", "notebooks/04_uncertainty_module.html", at="[data-explorer='split']"),
    Screen("past", "past_the_paper.html", at="figure:has(img[src*='steps-outlines'])"),
    Screen("items", "paper_item_by_item.html", at="#do-the-claims-hold", theme="dark"),
    Screen("phone", "notebooks/04_uncertainty_module.html", at="[data-explorer='paint']", **PHONE),
)


def chromium() -> str:
    """Find a Chromium.

    Raises:
        SystemExit: there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("Screens are taken by Chromium, and there is none on the path. Install chromium, then try again.")


def small(png: bytes) -> bytes:
    """Store a screen in as many colours as its limit of bytes allows, 256 at most.

    Raises:
        SystemExit: 32 colours are still too many.
    """
    picture = Image.open(BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        stored = BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(stored, "PNG", optimize=True)
        if stored.tell() <= LARGEST:
            return stored.getvalue()
    raise SystemExit(
        f"A screen takes {stored.tell()} bytes even in 32 colours; {LARGEST} are allowed: make its window smaller."
    )


def take(browser, screen: Screen) -> bytes:
    """Open a page, scroll, and take what the window shows."""
    size = {"width": screen.width, "height": screen.height}
    window = browser.new_context(
        viewport=size, color_scheme=screen.theme, device_scale_factor=screen.scale, reduced_motion="reduce"
    ).new_page()
    window.set_default_timeout(120_000)
    window.goto((HTML / screen.page).as_uri(), wait_until="load")
    window.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => null)")
    window.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager')")
    for step in screen.before:
        selector, _, key = step.rpartition(" ")
        window.locator(selector).first.press(key)
    if screen.at:
        window.locator(screen.at).first.evaluate(
            "e => { const bar = document.querySelector('.bd-header-article');"
            " window.scrollTo({top: e.getBoundingClientRect().top + scrollY - (bar ? bar.offsetHeight : 0) - 12,"
            " behavior: 'instant'}) }"
        )
    window.wait_for_timeout(700)  # the bar of contents follows the scroll
    return window.screenshot()


def main() -> int:
    """Take all screens."""
    from playwright.sync_api import sync_playwright

    if not (HTML / "index.html").is_file():
        raise SystemExit("The book is not built yet. Run  make book  first.")
    SCREENS_FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for screen in SCREENS:
            stored = small(take(browser, screen))
            (SCREENS_FOLDER / f"{screen.name}.png").write_bytes(stored)
            print(f"book/assets/screens/{screen.name}.png  {len(stored) / 1000:.0f} kB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
