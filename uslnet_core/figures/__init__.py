"""Every picture of the book, in one style.

The functions take arrays and frames, read no file, and return a closed `matplotlib.figure.Figure`. In a
notebook the call is the cell's last line, without a semicolon: then it is shown once. Nothing of matplotlib's
settings is changed. Each function's description says what to notice in its picture.
"""

from uslnet_core.figures.ablation import ablation_plot, iteration_plot, threshold_plot
from uslnet_core.figures.examples import Examples, choose_examples
from uslnet_core.figures.groups import group_plot, tone_plot
from uslnet_core.figures.health import health_curves
from uslnet_core.figures.looks import second_look
from uslnet_core.figures.mistakes import over_under
from uslnet_core.figures.outlines import draw_outline, outline
from uslnet_core.figures.pictures import (
    augmentation_grid,
    images_with_outlines,
    label_iterations,
    saliency_over,
    three_way,
)
from uslnet_core.figures.plots import (
    METRIC_NAMES,
    loss_curve,
    saliency_histogram,
    spread_plot,
    summary_plot,
    training_curves,
)
from uslnet_core.figures.regions import region_picture
from uslnet_core.figures.style import (
    BACKGROUND,
    FOREGROUND,
    LABEL_COLOURS,
    LABEL_NAMES,
    LABEL_NORM,
    OVER,
    PREDICTION,
    REFERENCE,
    SALIENCY_COLOURS,
    SERIES,
    TEXT_WIDTH,
    TRUTH,
    UNCERTAIN,
    UNDER,
    drawn,
    style,
    use_style,
)
from uslnet_core.figures.sweeps import sweep_plot
from uslnet_core.figures.tables import table

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "LABEL_COLOURS",
    "LABEL_NAMES",
    "LABEL_NORM",
    "METRIC_NAMES",
    "OVER",
    "PREDICTION",
    "REFERENCE",
    "SALIENCY_COLOURS",
    "SERIES",
    "TEXT_WIDTH",
    "TRUTH",
    "UNCERTAIN",
    "UNDER",
    "Examples",
    "ablation_plot",
    "augmentation_grid",
    "choose_examples",
    "draw_outline",
    "drawn",
    "group_plot",
    "health_curves",
    "images_with_outlines",
    "iteration_plot",
    "label_iterations",
    "loss_curve",
    "outline",
    "over_under",
    "region_picture",
    "saliency_histogram",
    "saliency_over",
    "second_look",
    "spread_plot",
    "style",
    "summary_plot",
    "sweep_plot",
    "table",
    "three_way",
    "threshold_plot",
    "tone_plot",
    "training_curves",
    "use_style",
]
