"""Draw the whole method in one picture: ``book/assets/method.svg`` for wide windows, ``method-narrow.svg`` for phones.

Every box is a link to its chapter. Colours are variables: a picture by itself follows the system's light or dark, and
inside a page the theme's switch. ``tools/sphinx_ext/live_picture.py`` sets both into pages and mends the links.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "book" / "assets"

TITLE = "USL-Net in one picture"
DESCRIPTION = (
    "An image; a contrastive encoder and CCAM turn it into a saliency map; the uncertainty module splits the map into "
    "lesion, uncertain and skin. A segmenter learns from the certain pixels, by the uncertainty loss. Its output is "
    "the next saliency map and goes round again; cut at one half it is the mask."
)
LIGHT = {
    "ground": "#fbfaf8",
    "line": "#d9d4cc",
    "ink": "#1f2a36",
    "soft": "#4a5866",
    "box": "#e9eef3",
    "edge": "#6f7f8f",
}
LIGHT |= {"arrow": "#3b4a5a", "badge": "#0b5c94", "number": "#ffffff"}
DARK = {
    "ground": "#1b2129",
    "line": "#3a4653",
    "ink": "#f0f3f6",
    "soft": "#c3ccd5",
    "box": "#2a3643",
    "edge": "#8393a3",
}
DARK |= {"arrow": "#aebac6", "badge": "#8ccbf5", "number": "#12202c"}
LESION, UNCERTAIN, SKIN = "#f0e442", "#999999", "#0072b2"  # as in every figure of the book
FONT = "-apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
WINDOWS = {"wide": "max-width: 640px", "narrow": "min-width: 641px"}  # where a layout gives way to the other
SIDE = 190  # a tile's own coordinates

CHAPTERS = {
    1: "01_data",
    2: "02_contrastive_learning",
    3: "03_saliency_maps",
    4: "04_uncertainty_module",
    5: "05_uncertainty_loss",
    6: "06_iterative_refinement",
    7: "07_inference_and_evaluation",
}


@dataclass(frozen=True)
class Tile:
    """A picture with a title: what is handed on."""

    name: str
    notes: tuple[str, ...]
    chapter: int


@dataclass(frozen=True)
class Step:
    """A box with words: what is done."""

    lines: tuple[str, ...]
    chapter: int


IMAGE = Tile("image", ("no label anywhere",), 1)
SALIENCY = Tile("saliency map", ("0 … 1, blurred,", "sometimes wrong"), 3)
LABEL = Tile("pseudo-label", (), 4)
MASK = Tile("mask", ("for any new image,", "in one step"), 7)
LEGEND = (("lesion", LESION), ("uncertain", UNCERTAIN), ("skin", SKIN))

# --- parts of the drawing; ids begin with the layout's name ----------------------------------------------------------


def variables(colours: dict[str, str]) -> str:
    """Write colours as CSS variables."""
    return "".join(f"--m-{name}:{value};" for name, value in colours.items())


def head(name: str, width: int, height: int) -> str:
    """Open the drawing: words for who cannot see it, styles, and the shapes that tiles share."""
    texts = "".join(f".m-{kind}{{fill:var(--m-{kind})}}" for kind in ("ink", "soft", "number"))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="group" class="m-{name}"
     aria-labelledby="{name}-title {name}-words" font-family="{FONT}">
  <title id="{name}-title">{TITLE}</title>
  <desc id="{name}-words">{DESCRIPTION}</desc>
  <style>
    svg.m-{name} {{ {variables(LIGHT)} }}
    @media (prefers-color-scheme: dark) {{ svg.m-{name}:root {{ {variables(DARK)} }} }}
    html[data-theme="dark"] svg.m-{name}, body[data-jp-theme-light="false"] svg.m-{name} {{ {variables(DARK)} }}
    .method-picture svg {{ display: block; width: 100%; height: auto; margin: 0 auto }}
    @media ({WINDOWS[name]}) {{ .method-picture svg.m-{name} {{ display: none }} }}
    {texts} .m-ground {{ fill: var(--m-ground); stroke: var(--m-line) }} .m-badge {{ fill: var(--m-badge) }}
    .m-box {{ fill: var(--m-box); stroke: var(--m-edge); stroke-width: 1.5 }}
    .m-frame {{ fill: transparent; stroke: transparent; stroke-width: 3 }}
    .m-arrow {{ fill: none; stroke: var(--m-arrow); stroke-width: 3 }} .m-tip {{ fill: var(--m-arrow) }}
    svg.m-{name} a, svg.m-{name} a:hover {{ cursor: pointer; text-decoration: none }} a:focus {{ outline: none }}
    :is(a, .m-link):hover :is(.m-box, .m-frame), :is(a:focus-visible, .m-link:focus-within) :is(.m-box, .m-frame)
      {{ stroke: var(--m-badge); stroke-width: 4 }}
  </style>
  <defs>
    <filter id="{name}-soft" x="-30%" y="-30%" width="160%" height="160%"><feGaussianBlur stdDeviation="9"/></filter>
    <filter id="{name}-blur" x="-10%" y="-10%" width="120%" height="120%"><feGaussianBlur stdDeviation="1.6"/></filter>
    <radialGradient id="{name}-skin" cx="50%" cy="46%" r="75%">
      <stop offset="0" stop-color="#eac6ae"/><stop offset=".7" stop-color="#dcae93"/>
      <stop offset="1" stop-color="#a97f69"/>
    </radialGradient>
    <marker id="{name}-tip" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="6" markerHeight="6"
      orient="auto-start-reverse"><path class="m-tip" d="M0 0 10 5 0 10z"/></marker>
    <clipPath id="{name}-clip"><rect width="{SIDE}" height="{SIDE}" rx="10"/></clipPath>
    <path id="{name}-lesion"
      d="M62 60c14-20 46-27 66-13 19 13 24 32 18 53-5 20-2 35-22 43-21 9-44 3-58-14-13-16-20-46-4-69z"/>
  </defs>
  <rect class="m-ground" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="18"/>
"""


def photo(name: str) -> str:
    """Paint skin with a lesion, a freckle and hairs."""
    return f"""<rect width="190" height="190" fill="url(#{name}-skin)"/>
      <use href="#{name}-lesion" fill="#7b4a33" filter="url(#{name}-blur)"/>
      <path d="M84 70c14-10 34-8 42 6 8 15-2 24 2 36 3 11-14 22-28 14-16-8-34-38-16-56z" fill="#4c2a1f"
        filter="url(#{name}-blur)"/>
      <circle cx="168" cy="34" r="5" fill="#6b4433" filter="url(#{name}-blur)"/>
      <path d="M10 30c50 14 90 50 130 120M182 20c-40 30-66 80-80 160M4 150c40-10 80-8 120 20" fill="none"
        stroke="#33251f" stroke-width="2.2" stroke-linecap="round" opacity=".8"/>"""


def paint(tile: Tile, name: str) -> str:
    """Paint what a tile shows."""
    lesion = f'<use href="#{name}-lesion"'
    if tile is SALIENCY:
        return f"""<rect width="190" height="190" fill="#0a2a57"/>
      {lesion} fill="#5b616d" stroke="#5b616d" stroke-width="26" filter="url(#{name}-soft)"/>
      {lesion} fill="#b3a56a" filter="url(#{name}-soft)"/>
      <ellipse cx="104" cy="98" rx="26" ry="30" fill="#fee838" filter="url(#{name}-soft)"/>
      <circle cx="172" cy="26" r="16" fill="#8a867a" filter="url(#{name}-soft)"/>"""
    if tile is LABEL:
        return f"""<rect width="190" height="190" fill="{SKIN}"/>
      {lesion} fill="{UNCERTAIN}" stroke="{UNCERTAIN}" stroke-width="26" stroke-linejoin="round"/>
      <circle cx="172" cy="26" r="13" fill="{UNCERTAIN}"/>
      {lesion} fill="{LESION}" transform="translate(15 14) scale(.85)"/>"""
    outline = f"""
      {lesion} fill="none" stroke="#000" stroke-width="7" opacity=".8"/>
      {lesion} fill="none" stroke="#56B4E9" stroke-width="4"/>"""
    return photo(name) + (outline if tile is MASK else "")


def words(
    text: str, x: float, y: float, size: float, kind: str = "ink", anchor: str = "middle", bold: bool = False
) -> str:
    """Set a line of words."""
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="m-{kind}" x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}"{weight}>{text}</text>'


def link(chapter: int, what: str, drawn: str) -> str:
    """Make a link of what is drawn."""
    page = f"../../notebooks/{CHAPTERS[chapter]}.ipynb"
    return f'  <a href="{page}"><title>{what}: chapter {chapter}</title>\n    {drawn}\n  </a>\n'


def badge(chapter: int, x: float, y: float) -> str:
    """Draw a chapter's number in a disc."""
    return f'<circle class="m-badge" cx="{x}" cy="{y}" r="13"/>' + words(
        str(chapter), x, y + 6.5, 18, "number", bold=True
    )


def step(what: Step, x: float, y: float, width: float, size: float = 20) -> str:
    """Draw a box with words and its chapter's number; the height follows from the lines."""
    height = 14 + len(what.lines) * (size + 5)
    drawn = f'<rect class="m-box" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>'
    for k, line in enumerate(what.lines):
        drawn += words(line, x + width / 2, y + 2 + (k + 1) * (size + 5), size)
    return link(what.chapter, " ".join(what.lines), drawn + badge(what.chapter, x + width - 2, y + 1))


def picture(tile: Tile, name: str, scale: float) -> str:
    """Paint a tile, cut to round corners, at the origin."""
    return f'<g transform="scale({scale:.4g})" clip-path="url(#{name}-clip)">{paint(tile, name)}</g>'


def arrow(path: str, name: str, dashed: bool = False) -> str:
    """Draw an arrow along a path."""
    dashes = ' stroke-dasharray="9 7"' if dashed else ""
    return f'  <path class="m-arrow" d="{path}" marker-end="url(#{name}-tip)"{dashes}/>\n'


ENCODER = Step(("contrastive", "encoder"), 2)
CCAM = Step(("CCAM",), 3)
MODULE = Step(("uncertainty", "module"), 4)
LOSS = Step(("uncertainty", "loss"), 5)
REFINE = Step(("refine: its output", "is the next map"), 6)
REFINE_HIGH = Step(("refine: its", "output is the", "next map"), 6)
CUT = Step(("cut at 0.5",), 7)


def legend(x: float, y: float, across: bool, size: float) -> str:
    """Name the three labels beside their colours."""
    drawn, shift = "", 0
    for k, (text, colour) in enumerate(LEGEND):
        left, top = (x + shift, y) if across else (x, y + k * (size + 9))
        drawn += f'<rect x="{left}" y="{top - 13}" width="15" height="15" rx="3" fill="{colour}"/>'
        drawn += words(text, left + 21, top, size, "soft", "start")
        shift += 27 + len(text) * size * 0.5
    return drawn


# --- the two layouts -------------------------------------------------------------------------------------------------


def wide_tile(tile: Tile, x: float, y: float, name: str) -> str:
    """Draw a tile with its title above and its notes below."""
    drawn = (
        f'<g transform="translate({x} {y})"><rect class="m-frame" x="-12" y="-44" width="214" height="288" rx="14"/>'
    )
    drawn += words(tile.name, 95, -16, 25, bold=True) + picture(tile, name, 1)
    drawn += "".join(words(note, 95, 216 + 23 * k, 20, "soft") for k, note in enumerate(tile.notes))
    drawn += legend(-36, 217, True, 19) if tile is LABEL else ""
    return link(tile.chapter, tile.name, drawn + badge(tile.chapter, 186, 4) + "</g>")


def segmenter(x: float, y: float, width: float, lines: tuple[str, ...], size: float) -> str:
    """Draw the network that learns."""
    height = 56 + len(lines) * (size + 5)
    drawn = f'<rect class="m-box" x="{x}" y="{y}" width="{width}" height="{height}" rx="14"/>'
    drawn += words("segmenter", x + width / 2, y + 36, size + 5, bold=True)
    for k, line in enumerate(lines):
        drawn += words(line, x + width / 2, y + 62 + k * (size + 5), size, "soft")
    return link(5, "segmenter", drawn + badge(5, x + width - 4, y + 2))


def wide() -> str:
    """Draw the method for a wide window: to the right above, back to the left below."""
    name = "wide"
    parts = [head(name, 960, 622)]
    parts += [wide_tile(tile, x, 62, name) for tile, x in ((IMAGE, 40), (SALIENCY, 385), (LABEL, 730))]
    parts += [arrow("M244 157H370", name), arrow("M589 157H715", name)]
    parts += [step(ENCODER, 245, 82, 120), step(CCAM, 263, 172, 84), step(MODULE, 591, 82, 120)]
    parts += [arrow("M825 312V424", name), step(LOSS, 833, 340, 110, 18)]
    parts.append(segmenter(682, 430, 260, ("learns from the certain", "pixels, free on the others"), 20))
    parts += [arrow("M760 426C756 356 560 400 486 314", name, True), step(REFINE, 506, 362, 176)]
    parts += [arrow("M676 490H446", name), step(CUT, 500, 508, 122)]
    drawn = (
        '<g transform="translate(240 404)"><rect class="m-frame" x="-196" y="-12" width="398" height="214" rx="14"/>'
    )
    drawn += picture(MASK, name, 1) + words(MASK.name, -16, 82, 25, anchor="end", bold=True)
    drawn += "".join(words(note, -16, 112 + 23 * k, 20, "soft", "end") for k, note in enumerate(MASK.notes))
    parts += [link(MASK.chapter, MASK.name, drawn + badge(MASK.chapter, 186, 4) + "</g>"), "</svg>\n"]
    return "".join(parts)


def narrow_tile(tile: Tile, y: float, name: str) -> str:
    """Draw a tile with its words to the right."""
    drawn = f'<g transform="translate(24 {y})"><rect class="m-frame" x="-10" y="-10" width="332" height="140" rx="12"/>'
    drawn += picture(tile, name, 120 / SIDE) + words(tile.name, 140, 30, 20, anchor="start", bold=True)
    drawn += "".join(words(note, 140, 56 + 20 * k, 15.5, "soft", "start") for k, note in enumerate(tile.notes))
    drawn += legend(140, 58, False, 15.5) if tile is LABEL else ""
    return link(tile.chapter, tile.name, drawn + badge(tile.chapter, 117, 3) + "</g>")


def narrow() -> str:
    """Draw the method for a phone: from top to bottom."""
    name = "narrow"
    parts = [head(name, 360, 950)]
    parts += [narrow_tile(tile, y, name) for tile, y in ((IMAGE, 24), (SALIENCY, 228), (LABEL, 432), (MASK, 806))]
    parts += [arrow(f"M84 {y}V{y + 68}", name) for y in (150, 354, 558)] + [arrow("M84 736V798", name)]
    parts += [step(ENCODER, 104, 154, 118, 16), step(CCAM, 240, 164, 88, 16)]
    parts += [step(MODULE, 104, 359, 118, 16), step(LOSS, 104, 563, 110, 16)]
    parts.append(segmenter(24, 632, 312, ("learns from the certain pixels,", "free on the others"), 16))
    parts += [arrow("M300 628V330H156", name, True), step(REFINE_HIGH, 230, 540, 112, 16)]
    parts += [step(CUT, 104, 750, 118, 16), "</svg>\n"]
    return "".join(parts)


LAYOUTS = {"method.svg": wide, "method-narrow.svg": narrow}


def main() -> int:
    """Write both pictures."""
    for file, draw in LAYOUTS.items():
        (ASSETS / file).write_text(draw(), encoding="utf-8")
        print(f"book/assets/{file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
