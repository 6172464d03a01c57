"""How right a mask is: counts, metrics, intervals, tables (paper section 4.2, equations 4 to 10).

Every number here is a score. It is computed after a stage has finished and nothing that trains, stops,
selects or sets a threshold may read it. All metrics are fractions in [0, 1]; tables show them as percent. Two
averages stand side by side, since the paper does not say which one it used: *per image*, the mean of the
images' scores, and *pooled*, the score of all pixels thrown together, in which a large lesion counts more
than a small one.
"""

from uslnet_core.evaluation.averages import (
    Interval,
    bootstrap_interval,
    by_size,
    paired_difference,
    summarise,
    wide,
)
from uslnet_core.evaluation.masks import COUNTS, METRICS, counts, label_accuracy, metrics_of, pooled, score
from uslnet_core.evaluation.paper import comparison, reported

__all__ = [
    "COUNTS",
    "METRICS",
    "Interval",
    "bootstrap_interval",
    "by_size",
    "comparison",
    "counts",
    "label_accuracy",
    "metrics_of",
    "paired_difference",
    "pooled",
    "reported",
    "score",
    "summarise",
    "wide",
]
