"""How right a mask is: counts, metrics, intervals, tables (paper section 4.2, equations 4 to 10).

Every number here is a score. It is computed after a stage has finished and nothing that trains, stops,
selects or sets a threshold may read it. All metrics are fractions in [0, 1]; tables show them as percent. Two
averages stand side by side, since the paper does not say which one it used: *per image*, the mean of the
images' scores, and *pooled*, the score of all pixels thrown together, in which a large lesion counts more
than a small one.
"""

from uslnet_core.evaluation.ablation import (
    PAPER_ORDER,
    ablation_table,
    all_lesion,
    consecutive_differences,
    difference_text,
    order_holds,
)
from uslnet_core.evaluation.averages import (
    Interval,
    bootstrap_interval,
    by_frame,
    by_size,
    paired_difference,
    summarise,
    wide,
)
from uslnet_core.evaluation.groups import FEW, by_tone, compare_groups, finds_failures
from uslnet_core.evaluation.labels import CURVES, OPEN_CHOICES, label_variants, threshold_curves
from uslnet_core.evaluation.masks import (
    COUNTS,
    METRICS,
    counts,
    cut_by_frame,
    label_accuracy,
    metrics_of,
    pooled,
    score,
)
from uslnet_core.evaluation.paper import comparison, reported
from uslnet_core.evaluation.seeds import over_seeds, same_images, scores_by_seed, seed_average, spread_text

__all__ = [
    "COUNTS",
    "CURVES",
    "FEW",
    "METRICS",
    "OPEN_CHOICES",
    "PAPER_ORDER",
    "Interval",
    "ablation_table",
    "all_lesion",
    "bootstrap_interval",
    "by_frame",
    "by_size",
    "by_tone",
    "compare_groups",
    "comparison",
    "consecutive_differences",
    "counts",
    "cut_by_frame",
    "difference_text",
    "finds_failures",
    "label_accuracy",
    "label_variants",
    "metrics_of",
    "order_holds",
    "over_seeds",
    "paired_difference",
    "pooled",
    "reported",
    "same_images",
    "score",
    "scores_by_seed",
    "seed_average",
    "spread_text",
    "summarise",
    "threshold_curves",
    "wide",
]
