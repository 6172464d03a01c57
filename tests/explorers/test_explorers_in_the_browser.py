"""Explorers where they run: in a browser, equal to the package, and to be had by mouse, finger and keys."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from uslnet_core import explorers
from uslnet_core.config import configure
from uslnet_core.contrastive.views import random_view
from uslnet_core.data.augment import uniform
from uslnet_core.explorers.encode import numbers
from uslnet_core.explorers.explorer import bundle
from uslnet_core.losses import uncertainty_loss
from uslnet_core.uncertainty import UncertaintyModule

QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """An empty page; the test fails if it meets an error or asks for anything."""
    page = browser.new_page(viewport={"width": 800, "height": 900})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    yield page
    page.close()
    assert not wrong


@pytest.fixture
def shown(page, tmp_path):
    """Open an explorer as a page of its own."""

    def show(explorer):
        page.goto(explorer.save(tmp_path / "explorer.html").as_uri())
        page.wait_for_selector(".usl-explorer[data-ready] canvas, .usl-explorer[data-ready] button")
        return page

    return show


def maps_of_all_kinds() -> list[np.ndarray]:
    """Fifty maps: noise, smooth ones, empty, full, checkered, one pixel; square and not."""
    rng, maps = np.random.default_rng(0), []
    for k in range(50):
        shape = (48, 48) if k % 3 else (37, 61)
        one = gaussian_filter(rng.random(shape), k % 4)
        one = (one - one.min()) / np.ptp(one)
        if k in (7, 8):
            one[:] = k - 7
        if k == 9:
            one = np.indices(shape).sum(0) % 2.0
        if k == 10:
            one[:], one[3, 4] = 0, 1
        maps.append(one.astype(np.float32))
    return maps


def rules_of(k: int) -> dict:
    """Rules that go through all combinations of choices as k grows."""
    return {
        "low": (0.35, 0.2, 0.5)[k % 3],
        "high": (0.65, 0.6, 0.8)[k % 3],
        "min_area": (0.01, 0, 0.003)[k // 2 % 3],
        "neighbours": (8, 4)[k % 2],
        "rule": ("mean", "sum", "relative")[k // 3 % 3],
        "exclusion": (1 / 3, 0.1, 1.0)[k // 5 % 3],
    }


def test_the_page_splits_fifty_maps_as_the_package_does(page):
    page.set_content(f"<script>{bundle('uncertainty')}</script>")
    kept = 0
    for k, one in enumerate(maps_of_all_kinds()):
        rules = rules_of(k)
        out = UncertaintyModule(**rules)(torch.from_numpy(one)[None])
        there = page.evaluate(
            """([text, height, width, rules]) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const out = split(new Float32Array(bytes.buffer), height, width, rules);
                const regions = out.regions.map((r) => [r.area, r.y, r.x, r.distance, r.reason]);
                return { label: [...out.label], keep: out.keep, reason: out.reason, regions };
            }""",
            [numbers(one), *one.shape, rules | {"minArea": rules["min_area"]}],
        )
        assert there["label"] == (2 * out.label[0]).int().flatten().tolist(), (k, rules)
        assert (there["keep"], there["reason"]) == (bool(out.keep[0]), out.reason[0]), (k, rules)
        columns = ["area", "centroid_y", "centroid_x", "mean_distance", "reason"]
        assert there["regions"] == out.regions_frame()[columns].values.tolist(), (k, rules)
        kept += there["keep"]
    assert 10 < kept < 45, "the maps no longer try both verdicts"


def test_the_page_pays_what_the_loss_says(page):
    page.set_content(f"<script>{bundle('loss')}</script>")
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, label = rng.uniform(0.01, 0.99, 16), rng.integers(0, 3, 16)
        logits = torch.from_numpy(p).logit().view(1, 4, 4)
        ours = page.evaluate("([p, label]) => lossOf(p, label).mean", [p.tolist(), label.tolist()])
        theirs = uncertainty_loss(logits, torch.from_numpy(label / 2).view(1, 4, 4)).item()
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert page.evaluate("lossOf([0.2, 0.9], [1, 1]).mean") == 0


@pytest.mark.parametrize("method", ["simclr", "moco_v2"])
def test_the_page_makes_the_views_that_the_package_makes(page, method):
    """The same amounts, drawn in the package's order, must give the same pixels."""
    recipe = configure(contrastive={"crop": 32}).recipe(method).model_copy(update={"crop": 32, "blur": 0.5})
    image = torch.from_numpy(gaussian_filter(np.random.default_rng(3).random((3, 48, 48)), (0, 2, 2))).float()
    image = (image - image.min()) / (image.max() - image.min())
    page.set_content(f"<script>{bundle('augment')}</script>")
    for seed in range(6):
        view = random_view(image[None], recipe, torch.Generator().manual_seed(seed))[0].permute(1, 2, 0).numpy()
        there = page.evaluate(
            """([text, amounts]) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const picture = { data: new Float32Array(bytes.buffer), side: 48 };
                return [...view(picture, amounts, 32).data];
            }""",
            [numbers(image.permute(1, 2, 0).numpy()), amounts_of(recipe, seed)],
        )
        np.testing.assert_allclose(np.reshape(there, (32, 32, 3)), view, atol=2e-4)


def amounts_of(recipe, seed: int) -> dict:
    """The amounts that `random_view` draws for one image."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda low, high: float(uniform((1,), low, high, rng))  # noqa: E731
    share, ratio = draw(*recipe.crop_area), np.exp(draw(np.log(3 / 4), np.log(4 / 3)))
    width, height = min(1, np.sqrt(share * ratio)), min(1, np.sqrt(share / ratio))
    x, y = draw(-1, 1) * (1 - width), draw(-1, 1) * (1 - height)
    flip_x, flip_y, active = draw(0, 1) < 0.5, draw(0, 1) < 0.5, draw(0, 1) < recipe.jitter
    changes = [1 + draw(-amount, amount) * active for amount in (recipe.brightness, recipe.contrast, recipe.saturation)]
    turn, grey = 2 * np.pi * draw(-recipe.hue, recipe.hue) * active, draw(0, 1) < recipe.grey
    blurred = draw(0, 1) < recipe.blur
    sigma = draw(0.1 * recipe.crop / 224, 2 * recipe.crop / 224) * 224 / recipe.crop
    return {
        "width": width, "height": height, "x": x, "y": y, "flipX": flip_x, "flipY": flip_y, "turn": turn,
        **dict(zip(("brightness", "contrast", "saturation"), changes, strict=True)),
        "grey": grey, "blur": sigma if blurred else 0,
    }  # fmt: skip


def disc(size: int = 32) -> np.ndarray:
    """A map that falls from 1 in the middle to 0."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    return np.clip(1 - np.hypot(y, x) / (size / 2), 0, 1).astype(np.float32)


def pixels(page, which: str) -> np.ndarray:
    """Colours of a canvas, (H, W, 4) uint8."""
    height, width, text = page.locator(which).evaluate(
        """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, btoa(String.fromCharCode(...data))];
        }"""
    )
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def label_shares(page) -> list[float]:
    """Shares of background, uncertain and foreground of the split that is on the page."""
    colours = pixels(page, "canvas[aria-label^='The split']")[..., 0]
    return [float((colours == red).mean()) for red in (0, 153, 240)]


def test_the_split_follows_its_sliders(shown):
    one = disc()
    page = shown(explorers.explore_split(np.zeros((1, 32, 32, 3), np.uint8), one[None]))

    def expected(**rules):
        label = UncertaintyModule(**rules)(torch.from_numpy(one)[None]).label
        return [float((label == each).float().mean()) for each in (0, 0.5, 1)]

    assert label_shares(page) == pytest.approx(expected())
    high = page.get_by_label("high threshold")
    high.fill("0.8")
    assert label_shares(page) == pytest.approx(expected(high=0.8))
    high.focus()
    page.keyboard.press("ArrowRight")
    assert label_shares(page) == pytest.approx(expected(high=0.81))
    page.get_by_label("low threshold").fill("0.9")
    assert float(high.input_value()) > 0.9, "low must push high before it"
    page.get_by_label("low threshold").fill("0.2")
    high.fill("0.5")
    page.get_by_label("how far out").fill("0.05")
    assert "left out" not in page.locator(".usl-told").inner_text(), "a disc in the middle stays"
    page.get_by_label("how far out").fill("0.02")  # its centroid lies half a pixel from (16, 16) in both directions
    assert "left out: too far" in page.locator(".usl-told").inner_text()


def test_a_choice_of_image_changes_everything(shown):
    maps = np.stack([disc(), np.zeros((32, 32), np.float32)])
    page = shown(explorers.explore_split(np.zeros((2, 32, 32, 3), np.uint8), maps, titles=["disc", "nothing"]))
    page.get_by_label("nothing").check()
    assert label_shares(page) == [1, 0, 0]
    assert "no component left" in page.locator(".usl-told").inner_text()


def test_a_map_is_painted_by_pointer_and_by_keys(shown):
    page = shown(explorers.explore_painting(size=32))
    page.get_by_role("button", name="nothing").click()
    assert label_shares(page) == [1, 0, 0]
    easel = page.locator(".usl-easel")
    box = easel.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    by_mouse = label_shares(page)
    assert by_mouse[2] > 0.01 and by_mouse[1] > 0
    page.get_by_role("button", name="nothing").click()
    easel.focus()
    for key in ("ArrowLeft", " ", " ", " "):
        page.keyboard.press(key)
    assert label_shares(page)[2] > 0.005
    for _ in range(8):
        page.keyboard.press("Shift+ ")
    assert label_shares(page)[2] == 0, "rubbed out again"


def test_a_picture_can_be_brought_as_a_map_and_a_text_cannot(shown, tmp_path):
    from PIL import Image

    page = shown(explorers.explore_painting(size=32))
    Image.fromarray((255 * disc(64)).astype(np.uint8)).save(tmp_path / "map.png")
    (tmp_path / "notes.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "map.png")
    page.wait_for_function("document.querySelector('.usl-told').textContent.startsWith('1 region')")
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    page.wait_for_function("document.querySelector('.usl-refused').textContent.includes('notes.png is no picture')")


def test_pixels_of_the_loss_can_be_clicked(shown):
    p = np.full((4, 4), 0.2)
    page = shown(explorers.explore_loss(p, np.zeros((4, 4))))
    told = page.locator(".usl-told")
    assert f"{-np.log(0.8):.3f}" in told.inner_text()
    first = page.locator("button.usl-cell").first
    first.click()
    first.click()
    assert "label lesion" in first.get_attribute("aria-label"), "background, uncertain, lesion"
    for k in range(16):
        cell = page.locator("button.usl-cell").nth(k)
        cell.click()
        while "uncertain" not in cell.get_attribute("aria-label"):
            cell.click()
    assert "Uncertainty loss 0.000" in told.inner_text() and "/ 0 certain pixels" in told.inner_text()


def test_iterations_slide_and_play(shown):
    labels = {f"iteration {k}": np.full((1, 8, 8), k) for k in range(3)}
    page = shown(explorers.explore_iterations(np.zeros((1, 8, 8, 3), np.uint8), labels))
    told = page.locator(".usl-told")
    assert told.inner_text().startswith("iteration 0: 100 % certain, 0 % foreground")
    page.get_by_role("slider").fill("2")
    assert "100 % certain, 100 % foreground. 100 % changed" in told.inner_text()
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Stop").wait_for()
    assert told.inner_text().startswith("iteration 0"), "it plays from the beginning"
    page.wait_for_function("document.querySelector('.usl-told').textContent.startsWith('iteration 2')")
    page.get_by_role("button", name="Play").wait_for()  # it says Stop until it has played


def test_the_curtain_is_drawn_by_slider_and_by_pointer(shown):
    masks = {"a": np.zeros((1, 8, 8), bool), "b": np.ones((1, 8, 8), bool)}
    page = shown(
        explorers.explore_curtain(np.zeros((1, 8, 8, 3), np.uint8), masks, told={"a": ["first"], "b": ["last"]})
    )
    clip = lambda: page.locator("canvas.usl-over").first.evaluate("c => c.style.clipPath")  # noqa: E731
    assert clip() == "inset(0px 50% 0px 0px)" and page.locator(".usl-told").inner_text() == "first · last"
    page.get_by_role("slider", name="curtain").fill("80")
    assert clip() == "inset(0px 20% 0px 0px)"
    box = page.locator(".usl-curtain").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert clip() == "inset(0px 75% 0px 0px)"
    page.get_by_role("group", name="Left").get_by_label("b").check()
    assert page.locator(".usl-left").inner_text() == "b"


def test_views_are_drawn_anew(shown):
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    page = shown(explorers.explore_views(image, {"simclr": configure().recipe("simclr")}))
    page.wait_for_function("document.querySelector('.usl-told').textContent.startsWith('First')")
    before = pixels(page, "canvas[aria-label='The first view']")
    page.get_by_role("button", name="Draw again").click()
    assert (pixels(page, "canvas[aria-label='The first view']") != before).any()
    for name, value in (("hue", "0"), ("share of grey", "1")):
        page.get_by_role("slider", name=name).fill(value)
    view = pixels(page, "canvas[aria-label='The second view']")
    assert (view[..., 0] == view[..., 1]).all() and (view[..., 1] == view[..., 2]).all(), "grey was asked for"


def test_everything_is_to_be_had_on_a_phone(browser, tmp_path):
    page = browser.new_page(viewport={"width": 360, "height": 700}, has_touch=True)
    page.goto(explorers.explore_painting().save(tmp_path / "paint.html").as_uri())
    page.wait_for_selector(".usl-easel")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="nothing").tap()
    page.locator(".usl-easel").tap()
    assert label_shares(page)[0] < 1
    page.close()
