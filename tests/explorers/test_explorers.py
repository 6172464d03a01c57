"""Explorers as data: what they hold, what they refuse, and that a page of them asks nothing of the web."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from uslnet_core import explorers
from uslnet_core.config import UncertaintyConfig, configure
from uslnet_core.errors import DataError
from uslnet_core.explorers.explorer import SCRIPTS, bundle

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
MAPS = RNG.random((2, 16, 16)).astype(np.float32)
LABELS = {"iteration 0": RNG.integers(0, 3, (2, 16, 16)), "iteration 1": RNG.integers(0, 3, (2, 16, 16))}
MASKS = {"first": MAPS > 0.5, "last": MAPS > 0.3}
RECIPES = {"simclr": configure().recipe("simclr")}
HALF = np.full((4, 4), 0.5)

MADE = {
    "split": lambda: explorers.explore_split(IMAGES, MAPS),
    "paint": lambda: explorers.explore_painting(),
    "loss": lambda: explorers.explore_loss(HALF, HALF),
    "iterations": lambda: explorers.explore_iterations(IMAGES, LABELS, truth=MASKS["first"]),
    "curtain": lambda: explorers.explore_curtain(IMAGES, MASKS, truth=MASKS["last"]),
    "views": lambda: explorers.explore_views(IMAGES, RECIPES),
}


@pytest.fixture(params=MADE)
def explorer(request):
    return MADE[request.param]()


def test_the_page_holds_its_data_and_nothing_from_elsewhere(explorer, tmp_path):
    page = explorer.save(tmp_path / "page.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(found[1]) == json.loads(json.dumps(explorer.data))
    assert not re.search(r"https?://|import |export |src=(?!\")", page), "a request, or a module that is left over"
    assert page.count("<script") == page.count("</script>") == 2


def test_what_is_shown_is_html_with_words_for_the_rest(explorer):
    shown = explorer._repr_mimebundle_()
    assert set(shown) == {"text/html", "text/plain"} and explorer.title in shown["text/plain"]
    assert shown == explorer._repr_mimebundle_(), "the same arrays give the same output"


def test_two_explorers_of_a_page_have_keys_of_their_own():
    one, other = (explorers.explore_painting(size=size).html() for size in (32, 33))
    keys = [re.search(r'data-key="(\w+)"', page)[1] for page in (one, other)]
    assert keys[0] != keys[1]


def test_a_title_can_end_no_script():
    page = explorers.explore_split(IMAGES[:1], MAPS[:1], titles=["</script><b><!--<script>&"]).html()
    assert page.count("</script>") == page.count("<script") == 2 and "<b>" not in page and "<!--" not in page


def test_every_script_is_part_of_an_explorer():
    used = "".join(bundle(kind) for kind in MADE)
    for path in SCRIPTS.iterdir():
        if path.name.endswith(".js"):
            first = path.read_text(encoding="utf-8").splitlines()[0]
            assert first.startswith("// ") and first in used, path.name


def test_maps_and_rules_arrive_as_they_are():
    rules = UncertaintyConfig(low=0.2, high=0.7, neighbours=4, rule="sum", min_area=0.02, exclusion=0.4)
    data = explorers.explore_split(IMAGES, MAPS, titles=["a", "b"], rules=rules).data
    sent = np.frombuffer(base64.b64decode(data["items"][1]["map"]), "<f4").reshape(16, 16)
    assert (sent == MAPS[1]).all() and [item["title"] for item in data["items"]] == ["a", "b"]
    assert data["rules"] == {
        "low": 0.2, "high": 0.7, "minArea": 0.02, "neighbours": 4, "rule": "sum", "exclusion": 0.4
    }  # fmt: skip


def test_float_images_are_rounded_not_cut():
    bright = np.full((1, 3, 16, 16), 0.999, dtype=np.float32)
    url = explorers.explore_split(bright, MAPS[:1]).data["items"][0]["picture"]
    kind, _, text = url.partition(";base64,")
    assert kind == "data:image/jpeg"
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).min() == 255


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: explorers.explore_split(IMAGES, MAPS * 3), "numbers in [0, 1]"),
        (lambda: explorers.explore_split(IMAGES, MAPS[:1]), "saliency"),
        (lambda: explorers.explore_split(IMAGES, [MAPS[0], MAPS[1, :8]]), "one for all"),
        (lambda: explorers.explore_split(IMAGES, MAPS, titles=["a"]), "1 titles for 2 images"),
        (lambda: explorers.explore_split(np.repeat(IMAGES, 7, 0), np.repeat(MAPS, 7, 0)), "at most 12"),
        (lambda: explorers.explore_split(np.zeros((1, 600, 16, 3), np.uint8), MAPS[:1]), "at most 512"),
        (lambda: explorers.explore_painting(size=4), "8 to 128"),
        (lambda: explorers.explore_loss(HALF, HALF[:2]), "shapes (4, 4) and (2, 4)"),
        (lambda: explorers.explore_loss(HALF * 2, HALF), "between 0 and 1"),
        (lambda: explorers.explore_loss(HALF, HALF + 0.1), "0, 0.5 or 1"),
        (lambda: explorers.explore_iterations(IMAGES, {"x": LABELS["iteration 0"] + 1}), "twice the label"),
        (lambda: explorers.explore_iterations(IMAGES, LABELS, truth=np.zeros((2, 8, 8))), "one for all"),
        (lambda: explorers.explore_curtain(IMAGES, {"one": MASKS["first"]}), "two or more"),
        (lambda: explorers.explore_curtain(IMAGES, MASKS, told={"first": ["a", "b"]}), "a sentence for each"),
        (lambda: explorers.explore_views(IMAGES[:, :8], RECIPES), "a square"),
        (lambda: explorers.explore_views(IMAGES, {}), "no recipe"),
    ],
)
def test_bad_input_is_told(make, words):
    with pytest.raises(DataError, match=re.escape(words)):
        make()
