"""The health of contrastive learning as curves: did it learn, and did it stay apart (paper 3.2)?"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core.errors import DataError
from uslnet_core.figures.style import REFERENCE, drawn

_PANELS = {
    "share": "loss / uniform level",
    "top1": "own view first (top1)",
    "alignment": "alignment (0 to 4)",
    "uniformity": "uniformity (nats)",
    "spread": "spread (0 to 1)",
    "learning_rate": "learning rate",
}


@drawn
def health_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Show the health of every training beside the others, over the epochs.

    Notice how far the first two curves come from their dashed lines, where nothing is learnt; and that alignment
    falls without uniformity and spread going to 0, which would be a collapse.

    Args:
        histories: By encoder, as `uslnet_core.contrastive.pretrain.Pretrained` holds them. A run of an older version
            has no top1: its panel stays empty.

    Returns:
        A figure with six axes.

    Raises:
        DataError: No history, or one without its loss or epochs.
    """
    needed = {"epoch", "loss", "uniform_level"}
    lacking = {who: sorted(needed - set(each.columns)) for who, each in histories.items() if needed - set(each.columns)}
    if not histories or lacking:
        raise DataError(f"Cannot draw the health of {list(histories) or 'no encoder'}: columns missing {lacking}.")
    figure, axes = plt.subplots(3, 2, figsize=(6.5, 6), sharex=True)
    for who, history in histories.items():
        shown = history.assign(share=history["loss"] / history["uniform_level"]).reindex(columns=["epoch", *_PANELS])
        for ax, column in zip(axes.flat, _PANELS, strict=True):
            ax.plot(shown["epoch"], shown[column], ".-", label=who)
    line = {"color": REFERENCE, "linestyle": "--", "linewidth": 1}
    axes[0, 0].axhline(1, **line, label="nothing learnt")
    for level in sorted({level for history in histories.values() for level in history.get("chance", [])}):
        axes[0, 1].axhline(level, **line)
    for ax, (column, title) in zip(axes.flat, _PANELS.items(), strict=True):
        ax.set(ylabel=title, xlabel="epoch" if ax in axes[-1] else "")
        if column != "share" and not any(column in history for history in histories.values()):
            ax.set_yticks([])
            ax.text(0.5, 0.5, "not noted", transform=ax.transAxes, ha="center", va="center", color=REFERENCE)
        ax.locator_params(axis="x", nbins=5, integer=True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
