"""Doubt by hand, pages for one image and for a thousand, names that are hostile, and what an earlier call left."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from uslnet_core.gallery import PER_PAGE, by_doubt, left_from_before, unsure_pixels, write_gallery
from uslnet_core.gallery import doubts as doubts_of
from uslnet_core.mask_report import is_grey, warn_of_image


def doubts(mask, probability):
    return doubts_of(mask, unsure_pixels(probability))


def blob(top, bottom, left, right):
    mask = np.zeros((100, 100), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_doubts_by_hand():
    centre = blob(40, 60, 40, 60)
    sure = doubts(centre, centre.astype(float))
    assert sure == {"unsure": 0, "eccentric": pytest.approx(0, abs=1e-9), "small": 0}
    probability = centre * 0.9
    probability[40:60, 60:70] = 0.5  # half as much again, below a threshold of 0.5 or not
    assert doubts(centre, probability)["unsure"] == pytest.approx(200 / 600)
    assert doubts(centre, centre * 0.6)["unsure"] == 1
    assert doubts(blob(0, 10, 0, 10), blob(0, 10, 0, 10) * 1.0)["small"] == pytest.approx(0.5)
    assert doubts(blob(0, 20, 40, 60), blob(0, 20, 40, 60) * 1.0)["eccentric"] == pytest.approx(0.8 / 2**0.5)
    assert doubts(blob(99, 100, 0, 1), blob(99, 100, 0, 1) * 1.0)["eccentric"] == pytest.approx(0.99)
    assert doubts(blob(0, 0, 0, 0), np.zeros((100, 100))) == {"unsure": 1, "eccentric": 1, "small": 1}


@pytest.mark.parametrize("shape", [(60, 100), (100, 60)])
def test_the_middle_is_the_middle_at_any_shape(shape):
    mask = np.zeros(shape, dtype=bool)
    mask[shape[0] // 2 - 8 : shape[0] // 2 + 8, shape[1] // 2 - 8 : shape[1] // 2 + 8] = True
    assert doubts(mask, mask * 1.0)["eccentric"] == pytest.approx(0, abs=1e-9)


def test_tiny_and_grey_images_are_warned_of():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (80, 90, 3), dtype=np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=2)
    assert warn_of_image(colour, 128) == "" and warn_of_image(grey, 128) == "grey, and colour was learnt"
    assert warn_of_image(colour[:30], 128) == "tiny, 90 × 30 pixels"
    assert warn_of_image(grey[:30], 128) == "tiny, 90 × 30 pixels; grey, and colour was learnt"


def test_one_coloured_pixel_in_any_row_is_no_grey_image():
    image = np.full((130, 50, 3), 90, dtype=np.uint8)
    for row in (0, 63, 64, 129):
        for channel in range(3):
            for value, grey in ((94, True), (95, False), (86, True), (85, False)):
                one = image.copy()
                one[row, 7, channel] = value
                assert is_grey(one) is grey


def table_of(names, doubt) -> pd.DataFrame:
    rows = pd.DataFrame({"file": names, "doubt": doubt, "doubt_by": "small", "warning": ""})
    return rows.assign(mask=[f"masks/{k}.png" for k in range(len(rows))]).assign(
        overlay=[f"overlays/{k} & %.jpg" for k in range(len(rows))]
    )


def write(page, text):
    page.write_text(text, encoding="utf-8")


class Reader(HTMLParser):
    """Collects what a page shows and where it leads."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "a":
            self.links.append(dict(attrs)["href"])


def test_one_image_has_one_page(tmp_path):
    (page,) = write_gallery(table_of(["a.png"], [0.5]), tmp_path, write)
    read = Reader(page.read_text(encoding="utf-8"))
    assert len(read.images) == 1 and "doubt 0.50, small" in page.read_text(encoding="utf-8")


def test_a_thousand_images_are_paged_in_the_order_of_doubt(tmp_path):
    doubt = np.random.default_rng(0).random(1000)
    table = table_of([f"{k}.png" for k in range(1000)], doubt)
    table.loc[7, ["mask", "overlay"]] = None
    pages = write_gallery(table, tmp_path, write)
    assert len(pages) == -(-999 // PER_PAGE) and max(page.stat().st_size for page in pages) < 60_000
    read = [Reader(page.read_text(encoding="utf-8")) for page in pages]
    shown = [unquote(image["src"]) for each in read for image in each.images]
    assert shown == list(by_doubt(table)["overlay"]) and len(shown) == 999
    assert {link for link in read[0].links if link.startswith("gallery")} == {page.name for page in pages[1:]}


def test_names_are_told_and_not_obeyed(tmp_path):
    (page,) = write_gallery(table_of(['<script>alert("x")</script>.png'], [0.5]), tmp_path, write)
    read = Reader(page.read_text(encoding="utf-8"))
    assert "script" not in read.tags and unquote(read.images[0]["src"]) == "overlays/0 & %.jpg"


def test_what_an_earlier_call_left_is_named(tmp_path):
    for folder, names in {"masks": ["0.png", "old.png"], "overlays": ["0 & %.jpg"]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    (tmp_path / "gallery-1.html").touch()
    (tmp_path / "gallery-9.html").touch()
    (tmp_path / "notes.txt").touch()
    left = left_from_before(table_of(["a.png"], [0.5]), tmp_path)
    assert [path.name for path in left] == ["gallery-9.html", "old.png"]
    assert all(path.exists() for path in left)
