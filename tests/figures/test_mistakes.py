"""Figures 7 and 9: what each model adds and misses, in whichever way the panels stand."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from uslnet_core import figures
from uslnet_core.errors import DataError

SIZE, N = 20, 3
NAMES = ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", "Model 5"]
TITLES = ["best: Dice 96.2 %", "median: Dice 77.6 %", "worst: Dice 0.0 %"]


@pytest.fixture(scope="module")
def batch():
    images = np.random.default_rng(0).integers(0, 255, (N, SIZE, SIZE, 3), dtype=np.uint8)
    truth = np.zeros((N, SIZE, SIZE), bool)
    truth[:, 5:15, 5:15] = True
    return images, {name: np.roll(truth, k, axis=1) for k, name in enumerate(NAMES)}, truth


def panels(figure, rows: int, columns: int) -> np.ndarray:
    """The axes by where they stand on the page."""
    figure.draw_without_rendering()
    places = sorted(figure.axes, key=lambda ax: (-round(ax.get_position().y0, 2), ax.get_position().x0))
    return np.array(places).reshape(rows, columns)


def painted(ax) -> list[int]:
    return [int((layer.get_array()[..., 3] > 0).sum()) for layer in ax.images[1:]]


@pytest.mark.parametrize("turned", [False, True])
def test_each_model_stands_in_its_place(batch, turned, tmp_path):
    images, models, truth = batch
    figure = figures.over_under(images, models, truth, TITLES, with_truth=True, turned=turned)
    grid = panels(figure, *((7, N) if turned else (N, 7)))
    grid = grid.T if turned else grid
    for i in range(N):
        for j, shift in enumerate([0, *range(6)]):
            assert painted(grid[i, j]) == [10 * shift, 10 * shift]
            np.testing.assert_array_equal(grid[i, j].images[0].get_array(), images[i])
            assert any(isinstance(each, LineCollection) for each in grid[i, j].collections)
    models_said = [ax.get_ylabel() if turned else ax.get_title() for ax in grid[0]]
    images_said = [ax.get_title() if turned else ax.get_ylabel() for ax in grid[:, 0]]
    assert models_said == ["truth", *NAMES]
    assert images_said == [title.replace(": ", "\n") for title in TITLES]
    figure.savefig(tmp_path / "figure.png")
    assert figure.get_size_inches()[0] <= (5.0 if turned else figures.TEXT_WIDTH + 1e-9)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_few_models_without_the_truth_stand_as_before(batch):
    images, models, truth = batch
    nine = {"x = 0.3": models["Model 1"], "x = 0.5": models["Model 2"], "UM": models["Baseline"]}
    grid = panels(figures.over_under(images, nine, truth, TITLES), N, 3)
    assert [ax.get_title() for ax in grid[0]] == list(nine)
    assert [ax.get_ylabel() for ax in grid[:, 0]] == TITLES
    assert [painted(ax) for ax in grid[0]] == [[10, 10], [20, 20], [0, 0]]
    assert grid[1, 0].get_title() == ""
    alone = figures.over_under(images[:1], {"UM": truth[:1]}, truth[:1], turned=True)
    assert len(alone.axes) == 1 and alone.axes[0].get_ylabel() == "UM"


def test_what_cannot_be_laid_out_is_refused(batch):
    images, models, truth = batch
    with pytest.raises(DataError, match="0 models"):
        figures.over_under(images, {}, truth)
    for way in ({"with_truth": True}, {"turned": True}):
        with pytest.raises(DataError, match="give it a name"):
            figures.over_under(images, models["Model 1"], truth, **way)
    with pytest.raises(DataError, match="2 titles"):
        figures.over_under(images, models, truth, TITLES[:2])
    with pytest.raises(DataError, match="'Model 5' has 2 entries"):
        figures.over_under(images, {"Model 5": truth[:2]}, truth)
    with pytest.raises(DataError, match="expected the same"):
        figures.over_under(images, {"Model 5": truth[:, ::2]}, truth)
