"""Figures: the right things in the right place, in fixed colours, and nothing left behind."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from uslnet_core import evaluation, figures
from uslnet_core.errors import DataError
from uslnet_core.uncertainty import UncertaintyModule

N, SIZE = 5, 24


@pytest.fixture(scope="module")
def batch():
    """Images, a square lesion in each, a shifted prediction, saliency and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (N, SIZE, SIZE, 3), dtype=np.uint8)
    truth = np.zeros((N, SIZE, SIZE), bool)
    truth[:, 8:16, 6:18] = True
    prediction = np.roll(truth, 2, axis=1)
    saliency = np.where(truth, 0.8, 0.1).astype(np.float32)
    saliency[:, 7] = 0.5
    labels = UncertaintyModule()(torch.from_numpy(saliency)).label.numpy()
    return {"images": images, "truth": truth, "prediction": prediction, "saliency": saliency, "labels": labels}


@pytest.fixture(scope="module")
def scores(batch):
    parts = []
    for model, predicted in (("Model 4", batch["prediction"]), ("Model 5", batch["truth"])):
        counted = evaluation.counts(predicted, batch["truth"])
        rows = pd.concat([evaluation.metrics_of(counted), counted], axis=1)
        parts.append(rows.assign(model=model, id=range(N)))
    return pd.concat(parts, ignore_index=True)


HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "loss": [5.0, 4.0, 3.5], "alignment": [1.0, 0.8, 0.7]})


HEALTH = HISTORY.assign(uniform_level=6.0, top1=0.5, chance=1 / 64, uniformity=-2.0, spread=0.5, learning_rate=1e-3)


def every_figure(b: dict, scores: pd.DataFrame) -> dict[str, tuple]:
    """Name to (how to draw it, how many axes it has)."""
    summary = evaluation.summarise(scores, resamples=50)
    paper = evaluation.comparison(
        summary, 8, {"Model 4": "Model 4", "Model 5": "Model 5"}, scored_on="isic2017-validation"
    )
    regions = UncertaintyModule()(torch.from_numpy(b["saliency"][:1])).regions_frame()
    return {
        "outlines": (lambda: figures.images_with_outlines(b["images"], b["truth"], b["prediction"]), N),
        "saliency": (lambda: figures.saliency_over(b["images"], b["saliency"][:, ::4, ::4]), 2 * N + 1),
        "three_way": (
            lambda: figures.three_way(
                b["images"],
                b["saliency"],
                b["labels"],
                thresholds=(0.35, 0.65),
                keep=np.array([1, 0, 1, 1, 1], bool),
                truth=b["truth"],
                titles=list("abcde"),
            ),
            3 * N + 1,
        ),
        "iterations": (
            lambda: figures.label_iterations(b["images"], {"0": b["labels"], "1": b["labels"]}, b["truth"]),
            3 * N,
        ),
        "over_under": (lambda: figures.over_under(b["images"], b["prediction"], b["truth"]), N),
        "over_under of models": (
            lambda: figures.over_under(b["images"], {"a": b["truth"], "b": b["prediction"]}, b["truth"]),
            2 * N,
        ),
        "views": (lambda: figures.augmentation_grid(b["images"], [b["images"], b["images"][:, ::2]]), 3 * N),
        "regions": (lambda: figures.region_picture(b["labels"][0], regions, b["saliency"][0]), 3),
        "curves": (lambda: figures.training_curves(HISTORY, references={"loss": (5.5, "uniform level")}), 2),
        "loss": (lambda: figures.loss_curve(HISTORY, reference=5.5), 1),
        "summary": (lambda: figures.summary_plot(summary, comparison=paper), 4),
        "spread": (lambda: figures.spread_plot(scores, summary=summary), 1),
        "histogram": (lambda: figures.saliency_histogram(b["saliency"]), 1),
        "second look": (
            lambda: figures.second_look(
                b["images"],
                np.tile([2.0, 3.0, 10.0], (N, 1)),
                b["images"][:, :16, :16],
                {"one": b["saliency"], "other": b["saliency"]},
                b["prediction"],
                truth=b["truth"],
                names=list("abcde"),
            ),
            4 * N,
        ),
        "health": (lambda: figures.health_curves({"simclr": HEALTH, "an older one": HEALTH.drop(columns="top1")}), 6),
    }


NAMES = [
    "outlines", "saliency", "three_way", "iterations", "over_under", "over_under of models", "views", "regions",
    "curves", "loss", "summary", "spread", "histogram", "second look", "health",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_draws_and_leaves_nothing_behind(name, batch, scores, tmp_path):
    draw, axes = every_figure(batch, scores)[name]
    kept = {key: value.copy() for key, value in batch.items()}
    settings = dict(matplotlib.rcParams)
    figure = draw()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == axes
    figure.savefig(tmp_path / "figure.png")  # draws, layout included
    assert (tmp_path / "figure.png").stat().st_size < 500_000
    assert figure.get_size_inches()[0] <= figures.TEXT_WIDTH + 1e-9
    assert 110 <= figure.dpi <= 150
    assert dict(matplotlib.rcParams) == settings
    assert plt.get_fignums() == []  # closed, so a notebook does not show it twice
    assert all((batch[key] == kept[key]).all() for key in batch)


def test_the_list_of_figures_is_whole(batch, scores):
    assert sorted(every_figure(batch, scores)) == sorted(NAMES)


def test_other_settings_neither_leak_in_nor_get_lost(batch):
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 50}):
        figure = figures.images_with_outlines(batch["images"], titles=list("abcde"))
        assert figure.dpi == 130
        assert figure.axes[0].title.get_fontsize() < 12
        assert matplotlib.rcParams["font.size"] == 30
        with pytest.raises(DataError):
            figures.three_way(batch["images"], batch["saliency"][:2], batch["labels"])
        assert matplotlib.rcParams["font.size"] == 30
    assert plt.get_fignums() == []


def test_a_figure_of_the_readers_own_stays_open(batch):
    own = plt.figure()
    figures.saliency_histogram(batch["saliency"])
    assert plt.get_fignums() == [own.number]
    plt.close(own)


def test_stored_labels_look_like_labels(batch):
    stored = (2 * batch["labels"]).astype(np.uint8)
    shown = [
        figures.three_way(batch["images"], batch["saliency"], labels).axes[2 * N].images[0].get_array()
        for labels in (batch["labels"], stored)
    ]
    assert (shown[0] == shown[1]).all() and set(np.unique(shown[1])) == {0, 0.5, 1}


def test_truth_and_prediction_are_drawn_where_they_are_in_their_colours(batch):
    figure = figures.images_with_outlines(batch["images"], batch["truth"], batch["prediction"])
    truth, prediction = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    assert to_rgb(truth.get_color()[0]) == to_rgb(figures.TRUTH)
    assert to_rgb(prediction.get_color()[0]) == to_rgb(figures.PREDICTION)
    assert truth.get_segments()[0][:, 1].min() == pytest.approx(7.5)
    assert prediction.get_segments()[0][:, 1].min() == pytest.approx(9.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "prediction"]


def test_over_and_under_segmentation_are_painted_on_the_right_pixels(batch):
    figure = figures.over_under(batch["images"], batch["prediction"], batch["truth"])
    _, over, under = figure.axes[0].images
    for layer, colour, rows in ((over, figures.OVER, [16, 17]), (under, figures.UNDER, [8, 9])):
        painted = np.argwhere(layer.get_array()[..., 3] > 0)
        assert sorted(set(painted[:, 0])) == rows
        assert tuple(layer.get_array()[rows[0], 8, :3]) == pytest.approx(to_rgb(colour))


# what goes in


def test_images_of_every_form_look_the_same(batch):
    channels_first = torch.from_numpy(batch["images"]).permute(0, 3, 1, 2).float() / 255
    forms = [batch["images"], channels_first, list(batch["images"]), batch["images"] / 255]
    shown = [np.asarray(figures.images_with_outlines(form).axes[1].images[0].get_array()) for form in forms]
    for one in shown:
        as_float = one / 255 if one.dtype == np.uint8 else one
        np.testing.assert_allclose(as_float, batch["images"][1] / 255, atol=1e-6)


def test_images_of_different_sizes_stand_side_by_side(batch):
    images = [batch["images"][0], np.zeros((30, 50, 3), np.uint8)]
    figure = figures.images_with_outlines(images, batch["truth"][:2])
    line = figure.axes[1].collections[0].get_segments()[0]
    assert line[:, 0].max() == pytest.approx(18 * 50 / 24 - 0.5)


def test_truth_is_drawn_over_the_images_and_not_over_the_maps(batch):
    plain = figures.saliency_over(batch["images"], {"CCAM, MoCo v2": batch["saliency"]})
    outlined = figures.saliency_over(batch["images"], {"CCAM, MoCo v2": batch["saliency"]}, truth=batch["truth"])
    lines = [[len(ax.collections) for ax in figure.axes[: 2 * N]] for figure in (plain, outlined)]
    assert lines[0] == [0] * 2 * N and lines[1] == [1] * N + [0] * N
    assert plain.axes[N].get_ylabel() == "CCAM,\nMoCo v2"


def test_health_shows_what_is_learned_from_nothing_upwards():
    figure = figures.health_curves({"simclr": HEALTH})
    share, top1 = figure.axes[:2]
    assert np.allclose(share.lines[0].get_ydata(), HISTORY["loss"] / 6) and share.lines[1].get_ydata()[0] == 1
    assert np.allclose(top1.lines[0].get_ydata(), 0.5) and top1.lines[1].get_ydata()[0] == 1 / 64
    with pytest.raises(DataError, match="columns missing {'x': \\['uniform_level'\\]}"):
        figures.health_curves({"x": HISTORY})


def test_a_figure_of_health_that_nobody_noted_says_so():
    figure = figures.health_curves({"older": HEALTH.drop(columns="top1")})
    said = {ax.get_ylabel(): [text.get_text() for text in ax.texts] for ax in figure.axes}
    assert said.pop("own view first (top1)") == ["not noted"] and not any(said.values())


def test_bad_input_is_named(batch):
    with pytest.raises(DataError, match="0 images"):
        figures.images_with_outlines([])
    with pytest.raises(DataError, match=r"\(24, 24\)"):
        figures.images_with_outlines(batch["truth"])
    with pytest.raises(DataError, match="truth has 2 entries"):
        figures.images_with_outlines(batch["images"], batch["truth"][:2])
    with pytest.raises(DataError, match="1 titles for 5"):
        figures.images_with_outlines(batch["images"], titles=["a"])
    with pytest.raises(DataError, match="0 iterations"):
        figures.label_iterations(batch["images"], {})
    with pytest.raises(DataError, match="expected the same"):
        figures.over_under(batch["images"], batch["prediction"][:, ::2], batch["truth"])
    with pytest.raises(DataError, match="one view"):
        figures.augmentation_grid(batch["images"], [batch["images"][:2]])
    with pytest.raises(DataError, match=r"\['accuracy'\]"):
        figures.loss_curve(HISTORY, loss="accuracy")
    with pytest.raises(DataError, match=r"all in \[0, 1\]"):
        figures.saliency_histogram(255 * batch["saliency"])
    with pytest.raises(DataError, match=r"all in \[0, 1\]"):
        figures.saliency_histogram(np.array([np.nan]))


# numbers


def test_reference_line_and_paper_markers_lie_at_their_values(batch, scores):
    lines = figures.loss_curve(HISTORY, reference=5.5).axes[0].lines
    assert list(lines[0].get_ydata()) == [5.0, 4.0, 3.5]
    assert set(lines[1].get_ydata()) == {5.5}
    figure = every_figure(batch, scores)["summary"][0]()
    dice = next(ax for ax in figure.axes if ax.get_xlabel() == "Dice (%)")
    paper = next(line for line in dice.lines if line.get_label() == "paper")
    assert list(paper.get_xdata()) == [77.2, 80.5]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["Model 4", "Model 5"]


def test_histogram_counts_each_zone(batch):
    saliency = np.array([0.1, 0.2, 0.35, 0.5, 0.65, 0.9, 0.95, 1.0])
    figure = figures.saliency_histogram(saliency)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["background 25 %", "uncertain 38 %", "candidate 38 %"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(100)


def test_examples_are_chosen_by_rank_and_say_so():
    scores = pd.Series([0.5, 0.9, 0.1, 0.7, 0.3], index=list("abcde"))
    chosen = figures.choose_examples(scores)
    assert list(chosen.indices) == [1, 0, 2]
    assert chosen.labels == ["best: Dice 90.0 %", "median: Dice 50.0 %", "worst: Dice 10.0 %"]
    assert chosen.rule == "the best, median and worst of 5 images by Dice"
    assert list(figures.choose_examples(scores, "worst", 2).indices) == [2, 4]
    assert figures.choose_examples(scores, "worst", 2).rule == "the 2 worst of 5 images by Dice"
    assert list(figures.choose_examples(np.full(6, 0.5), "best", 2).indices) == [0, 1]  # equals: in order
    assert list(figures.choose_examples(np.array([0.5])).indices) == [0]  # one image, shown once
    with pytest.raises(DataError, match="'nicest'"):
        figures.choose_examples(scores, "nicest")
    with pytest.raises(DataError, match="1 missing"):
        figures.choose_examples(np.array([0.1, np.nan]))


def test_regions_are_listed_with_what_became_of_them(batch):
    saliency = np.zeros((48, 48), np.float32)
    saliency[20:30, 20:30] = saliency[2:14, 2:14] = saliency[40, 40] = 0.9
    module = UncertaintyModule(min_area=10 / 48**2)(torch.from_numpy(saliency)[None])
    figure = figures.region_picture(module.label[0], module.regions_frame(), saliency)
    text = figure.axes[-1].texts[0].get_text()
    assert "144 px" in text and "100 px" in text and "chosen" in text and "too small" in text
    assert [number.get_text() for number in figure.axes[0].texts] == ["1", "2", "3"]
    with pytest.raises(DataError, match="mean_distance"):
        figures.region_picture(module.label[0], module.regions_frame().drop(columns="mean_distance"))


# tables


def test_table_shows_percent_and_signs_and_no_background(scores):
    summary = evaluation.summarise(scores, resamples=50)
    html = figures.table(summary, "Dice on nothing real").to_html()
    assert "Dice on nothing real" in html and "per image" in html
    assert f"{100 * summary['mean'][1]:.1f}" in html
    assert html == figures.table(summary, "Dice on nothing real").to_html()  # the page changes with its numbers only
    colours = [line for line in html.splitlines() if "background" in line or "color:" in line]
    assert colours and all("transparent" in line or "inherit" in line for line in colours)
    difference = pd.DataFrame({"difference": [0.012, -0.034]})
    html = figures.table(difference, "x").to_html()
    assert "+1.2" in html and "−3.4" in html
    paired = evaluation.paired_difference(scores, "Model 4", "Model 5", resamples=50)
    html = figures.table(paired.to_frame().T, "x").to_html()
    assert html.count(f">−{abs(100 * paired['difference']):.1f}<") == 3  # every image alike: both ends equal the mean


def test_table_of_percent_is_not_multiplied_again():
    paper = evaluation.reported(8)
    html = figures.table(paper, "table 8", percent=True).to_html()
    assert ">80.5<" in html and ">–<" in html  # no precision in table 8
    with pytest.raises(DataError, match="percent=True"):
        figures.table(paper, "table 8")


def test_a_notebook_shows_a_figure_once_ours_and_then_the_readers(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("import matplotlib.pyplot as plt\nimport numpy as np"),
            nbformat.v4.new_code_cell("from uslnet_core import figures\nfigures.use_style()"),
            nbformat.v4.new_code_cell("figures.saliency_histogram(np.linspace(0, 1, 100))"),
            nbformat.v4.new_code_cell("axes = plt.figure().add_subplot()"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells[2:]:
        assert ["image/png" in output.get("data", {}) for output in cell.outputs].count(True) == 1, cell.source
