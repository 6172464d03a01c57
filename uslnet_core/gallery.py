"""A gallery of segmented images, the most doubtful first: plain pages that open from disk, without a script.

Pages hold links to the overlays and nothing else, so a thousand images take no more memory than a table of them.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

PER_PAGE = 60
SMALLEST = 0.02  # share of the image: a lesion below this is small, as none of the drawn ones is
WHY = ("unsure", "eccentric", "small")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.4 sans-serif; margin: 1em; color-scheme: light dark }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); gap: 1em }}
figure {{ margin: 0 }} img {{ width: 100%; height: 15em; object-fit: contain }} figcaption {{ overflow-wrap: anywhere }}
nav a, nav b {{ margin-right: .7em; line-height: 2 }}
</style></head><body><h1>{title}</h1>
<p>For research and teaching. Not a medical device. A low doubt does not mean that a mask is right.</p>
<nav aria-label="pages">{nav}</nav>
<main>
{figures}
</main></body></html>
"""


def unsure_pixels(probability: np.ndarray) -> np.ndarray:
    """Say which pixels have a probability between 0.35 and 0.65: (H, W) float to (H, W) bool."""
    return (probability >= 0.35) & (probability <= 0.65)


def doubts(mask: np.ndarray, between: np.ndarray) -> dict[str, float]:
    """Say how doubtful a mask is, without knowing what is right: how unsure, how eccentric, how small.

    Args:
        mask: (H, W) bool.
        between: (H, W) bool, as :func:`unsure_pixels` has it.

    Returns:
        Each in [0, 1], 1 for an empty mask: unsure, the share that lies between 0.35 and 0.65 of all that may be
        lesion; eccentric, how far its middle is from the image's, 1 in a corner; small, how much less than a fiftieth
        of the image it covers. No one of them is a probability of being wrong.
    """
    sums = mask.sum(axis=1), mask.sum(axis=0)
    area = int(sums[0].sum())
    if not area:
        return dict.fromkeys(WHY, 1.0)
    places = [np.flatnonzero(weights) for weights in sums]
    middle = [np.average(place, weights=weights[place]) for place, weights in zip(places, sums, strict=True)]
    away = [abs(2 * (at + 0.5) / side - 1) for at, side in zip(middle, mask.shape, strict=True)]
    return {
        "unsure": np.count_nonzero(between) / np.count_nonzero(between | mask),
        "eccentric": float(np.hypot(*away) / np.sqrt(2)),
        "small": max(0.0, 1 - area / mask.size / SMALLEST),
    }


def by_doubt(table: pd.DataFrame) -> pd.DataFrame:
    """Sort segmented images by doubt, the most doubtful first; those that could not be read are left out."""
    return table[table["mask"].notna()].sort_values("doubt", ascending=False, kind="stable")


def write_gallery(
    table: pd.DataFrame, out: Path, write: Callable[[Path, str], object], per_page: int = PER_PAGE
) -> list[Path]:
    """Write the pages ``gallery-1.html``, ``gallery-2.html`` and so on beside the overlays.

    Args:
        table: as :func:`uslnet_core.inference.segment_files` gives it.
        out: the folder that holds the overlays.
        write: writes a text to a file.
        per_page: images on a page.

    Returns:
        The pages, the most doubtful images on the first.
    """
    ranked = by_doubt(table)
    pages = [out / f"gallery-{k + 1}.html" for k in range(-(-len(ranked) // per_page))]
    for k, page in enumerate(pages):
        rows = ranked.iloc[k * per_page : (k + 1) * per_page]
        numbers = (
            f"<b>{n}</b>" if n == k + 1 else f'<a href="gallery-{n}.html">{n}</a>' for n in range(1, len(pages) + 1)
        )
        title = f"Masks by doubt, images {k * per_page + 1} to {k * per_page + len(rows)} of {len(ranked)}"
        text = _PAGE.format(title=title, nav=" ".join(numbers), figures="\n".join(map(_figure, rows.itertuples())))
        write(page, text)
    return pages


def left_from_before(table: pd.DataFrame, out: Path) -> list[Path]:
    """List masks, overlays and pages in a folder of results that are of an earlier call and not in its table.

    Args:
        table: as :func:`uslnet_core.inference.segment_files` gives it.
        out: the folder.
    """
    pages = -(-int(table["mask"].notna().sum()) // PER_PAGE)
    known = {out / each for name in ("mask", "overlay") for each in table[name].dropna()}
    known |= {out / f"gallery-{k + 1}.html" for k in range(pages)}
    there = [*out.glob("masks/*.png"), *out.glob("overlays/*.jpg"), *out.glob("gallery-*.html")]
    return sorted(set(there) - known)


def _figure(row: tuple) -> str:
    """Write one image with its overlay, its doubt and its warnings."""
    name, link = escape(row.file), quote(row.overlay)
    told = f"doubt {row.doubt:.2f}, {row.doubt_by}" + (f"; {escape(row.warning)}" if row.warning else "")
    picture = f'<img loading="lazy" src="{link}" alt="{name} with the outline of its mask">'
    return f'<figure><a href="{link}">{picture}</a><figcaption>{name}<br>{told}</figcaption></figure>'
