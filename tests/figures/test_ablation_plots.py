"""Figures of the ablations: marks where the numbers are, names on all of them, and nothing left behind."""

import matplotlib

matplotlib.use("Agg")

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from uslnet_core import evaluation, figures
from uslnet_core.errors import DataError

MODELS = ("Model 4", "Model 5_1", "Model 5_2")


def training(seed: int) -> pd.DataFrame:
    truth = np.random.default_rng(0).random((8, 6, 6)) < 0.5
    parts = []
    for place, model in enumerate(MODELS):
        wrong = np.random.default_rng([seed, place]).random(truth.shape) < 0.25 - 0.05 * place
        counted = evaluation.counts(truth ^ wrong, truth)
        rows = pd.concat([evaluation.metrics_of(counted), counted], axis=1)
        parts.append(rows.assign(model=model, id=range(8)))
    return pd.concat(parts, ignore_index=True)


TRAININGS = {seed: training(seed) for seed in range(3)}
SUMMARY = evaluation.over_seeds(TRAININGS, resamples=50)
BY_SEED = evaluation.scores_by_seed(TRAININGS)
COMPARISON = evaluation.comparison(
    SUMMARY,
    10,
    {model: model for model in (*MODELS, "Model 5_3")},
    scored_on="isic2017-validation",
    unscored=["Model 5_3"],
)
CERTAIN = {"Model 4": 0.8, "Model 5_1": 0.9, "Model 5_2": 0.95}


def curves(xs=(0.0, 0.1, 0.2, 0.3, 0.4)) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    truth = rng.random((4, 16, 16)) < 0.3
    saliency = np.clip(0.25 + 0.5 * truth + 0.2 * rng.standard_normal(truth.shape), 0, 1)
    return evaluation.threshold_curves(saliency, truth, xs, {"min_area": 0, "exclusion": 9.0})


FIGURES = {
    "ablation": (lambda: figures.ablation_plot(SUMMARY), 1),
    "ablation with the paper and seeds": (
        lambda: figures.ablation_plot(SUMMARY, comparison=COMPARISON, by_seed=BY_SEED),
        1,
    ),
    "ablation of one training": (lambda: figures.ablation_plot(evaluation.summarise(TRAININGS[0], resamples=20)), 1),
    "iterations": (lambda: figures.iteration_plot(SUMMARY), 1),
    "iterations with all": (
        lambda: figures.iteration_plot(SUMMARY, comparison=COMPARISON, by_seed=BY_SEED, certain=CERTAIN),
        2,
    ),
    "one iteration": (lambda: figures.iteration_plot(SUMMARY[SUMMARY["model"] == "Model 4"]), 1),
    "thresholds": (lambda: figures.threshold_plot(curves()), 2),
    "one threshold": (lambda: figures.threshold_plot(curves([0.3])), 2),
    "a threshold at which nothing is certain": (lambda: figures.threshold_plot(curves([0.0])), 2),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_without_a_warning_and_leaves_nothing_behind(name, tmp_path):
    draw, axes = FIGURES[name]
    settings = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw()
        figure.savefig(tmp_path / "figure.png")
    assert isinstance(figure, Figure) and len(figure.axes) == axes
    assert figure.get_size_inches()[0] <= 5.5  # a phone shrinks it by half at most
    assert dict(matplotlib.rcParams) == settings and plt.get_fignums() == []
    assert all("%" in (ax.get_xlabel() + ax.get_ylabel()) for ax in figure.axes)  # every axis says its unit
    inside_the_picture(figure)


def inside_the_picture(figure: Figure) -> None:
    """Nothing is cut off at the figure's edge, and no text is too small to read."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(ax, label: str):
    return next(each for each in ax.lines if each.get_label() == label)


# models


def test_ours_the_papers_and_every_seed_lie_at_their_values():
    figure = figures.ablation_plot(SUMMARY, comparison=COMPARISON, by_seed=BY_SEED)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [*MODELS, "Model 5_3"]
    assert ax.get_xlabel() == "Dice (%)" and ax.yaxis_inverted()
    dice = SUMMARY[SUMMARY["metric"] == "DIC"]
    ours = ax.containers[0]
    np.testing.assert_allclose(ours[0].get_xdata()[:3], 100 * dice["mean"])
    ends = np.array([segment[:, 0] for segment in ours[2][0].get_segments()[:3]])
    np.testing.assert_allclose(ends, 100 * dice[["low", "high"]])
    paper = line(ax, "paper, on isic2017-test")
    assert list(paper.get_xdata()) == [77.2, 78.2, 80.5, 80.4] and list(paper.get_ydata()) == [0, 1, 2, 3]
    assert paper.get_markerfacecolor() == "none"  # open, so that ours is seen beneath it
    assert to_rgb(ours[0].get_markerfacecolor()) == to_rgb(figures.PREDICTION)
    seeds = line(ax, "each seed")
    values = BY_SEED[BY_SEED["metric"] == "DIC"]
    assert sorted(seeds.get_xdata()) == pytest.approx(sorted(100 * values["mean"]))
    assert sorted(set(np.floor(seeds.get_ydata()))) == [0, 1, 2]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("not computed here", (80.4, 3))]
    assert legend(figure)[0] == "ours on isic2017-validation, mean of 3 seeds, 95 % interval over images"


def test_a_single_run_says_so_and_synthetic_has_no_paper():
    figure = figures.ablation_plot(evaluation.summarise(TRAININGS[0], resamples=20), "JAC")
    assert legend(figure) == ["ours, single run, 95 % interval over images"]
    assert figure.axes[0].get_xlabel() == "Jaccard (%)"
    with pytest.raises(DataError, match="cannot stand beside"):
        evaluation.comparison(SUMMARY, 10, {"Model 4": "Model 4"}, scored_on="synthetic-validation")


def test_the_paper_is_refused_beside_other_scores_than_it_was_compared_with():
    other = evaluation.summarise(TRAININGS[0], resamples=20)  # such as those of synthetic images
    for draw in (figures.ablation_plot, figures.iteration_plot):
        with pytest.raises(DataError, match="Make both from one summary"):
            draw(other, comparison=COMPARISON)


def test_models_stand_in_the_order_asked_for():
    figure = figures.ablation_plot(SUMMARY, order=["Model 5_2", "Model 4"], by_seed=BY_SEED)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["Model 5_2", "Model 4"]
    best = SUMMARY[(SUMMARY["model"] == "Model 5_2") & (SUMMARY["metric"] == "DIC")]["mean"].item()
    assert ax.containers[0][0].get_xdata()[0] == pytest.approx(100 * best)
    with pytest.raises(DataError, match="'Model 9'"):
        figures.ablation_plot(SUMMARY, order=["Model 9"])
    with pytest.raises(DataError, match="no 'F1'"):
        figures.ablation_plot(SUMMARY, "F1")


# iterations


def test_iterations_go_from_left_to_right_with_the_share_below():
    figure = figures.iteration_plot(SUMMARY, comparison=COMPARISON, by_seed=BY_SEED, certain=CERTAIN)
    above, below = figure.axes
    assert [text.get_text() for text in below.get_xticklabels()] == [*MODELS, "Model 5_3"]
    assert above.get_ylabel() == "Dice (%)" and below.get_ylabel() == "certain (%)"
    assert list(line(above, "paper, on isic2017-test").get_ydata()) == [77.2, 78.2, 80.5, 80.4]
    np.testing.assert_allclose(below.lines[0].get_ydata()[:3], [80, 90, 95])
    dice = SUMMARY[SUMMARY["metric"] == "DIC"]["mean"]
    np.testing.assert_allclose(above.containers[0][0].get_ydata()[:3], 100 * dice)
    for wrong in ({"Model 4": 80.0}, {"Model 9": 0.8}):
        with pytest.raises(DataError, match="certain shares"):
            figures.iteration_plot(SUMMARY, certain=wrong)


# thresholds


def test_curves_are_drawn_and_named_at_their_ends():
    frame = curves()
    above, below = figures.threshold_plot(frame).axes
    for name in evaluation.CURVES:
        rows = frame[frame["curve"] == name]
        np.testing.assert_allclose(line(above, name).get_ydata(), 100 * rows["accuracy"])
    labels = {text.get_text(): text for text in above.texts}
    assert set(labels) == set(evaluation.CURVES)
    for name, text in labels.items():
        assert text.xy == (0.4, pytest.approx(100 * frame[frame["curve"] == name]["accuracy"].iloc[-1]))
        assert to_rgb(text.get_color()) == to_rgb(line(above, name).get_color())
    module = frame[frame["curve"] == "UM"]
    np.testing.assert_allclose(line(below, "images kept").get_ydata(), 100 * module["images"] / 4)
    np.testing.assert_allclose(line(below, "pixels certain, of images kept").get_ydata(), 100 * module["certain"])


def test_names_of_curves_that_meet_do_not_cover_each_other():
    frame = curves()
    frame["accuracy"] = 0.8 + 0.001 * frame["curve"].map(evaluation.CURVES.index) - 0.3 * (frame["x"] == 0)
    figure = figures.threshold_plot(frame)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    boxes.sort(key=lambda box: box.y0)
    assert all(lower.y1 + 3 <= upper.y0 for lower, upper in zip(boxes[:-1], boxes[1:], strict=True))


def test_what_is_no_table_of_curves_is_refused():
    with pytest.raises(DataError, match=r"\['certain'\]"):
        figures.threshold_plot(curves().drop(columns="certain"))
    with pytest.raises(DataError, match="0 rows"):
        figures.threshold_plot(curves().iloc[:0])
    with pytest.raises(DataError, match="split only"):
        figures.threshold_plot(curves().assign(curve="other"))
