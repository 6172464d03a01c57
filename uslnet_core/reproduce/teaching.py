"""What an iteration's labels are worth: how sure, how settled, how right, and where a rule without a mask stops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.evaluation import label_accuracy, label_variants
from uslnet_core.pipeline.lessons import RULES as RULES_BESIDE
from uslnet_core.reproduce.layout import Lines, scores_of
from uslnet_core.reproduce.parts import labelled
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

# The uncertainty module past the paper, on the maps of both sources.
RULES = {"as settled": {}} | RULES_BESIDE
RIGHT = "right, of the certain"


def labels_known(lines: Lines, stages: Mapping[int, Stage]) -> pd.DataFrame:
    """Say what is known of each iteration's labels, a row a seed and iteration, as shares.

    Kept, certain and agreement need no mask. How many of the certain pixels are right (mean over the training images
    that have a mask) is a score: it is for analysis, computed when all is trained, and feeds nothing.
    """
    rows = []
    for seed in stages:
        plus = pipeline.plus_of(lines[seed], share=False)
        masks = pipeline.load_masks(plus, pipeline.train_split(plus))
        for k, (row, stage) in enumerate(zip(pipeline.agreement(plus), pipeline.labels_of(plus), strict=True)):
            right = {}
            if masks is not None:
                ids = pipeline.load_images(plus, pipeline.train_split(plus)).ids
                scored = [ids.index(name) for name in masks.scored_ids]
                labels = np.load(stage / "labels.npy", mmap_mode="r")[scored] / np.float32(2)
                right[RIGHT] = label_accuracy(labels, masks.select(list(masks.scored_ids)))["accuracy"].mean()
            rows.append({"seed": seed, "iteration": k} | row | right)
    return pd.DataFrame(rows)


def labels_table(known: pd.DataFrame) -> pd.DataFrame:
    """Lay out :func:`labels_known` as texts."""
    shares = known.drop(columns=["seed", "iteration"])
    texts = shares.map(in_percent)
    texts.insert(0, "labels of iteration", known["iteration"].astype(str))
    texts.insert(0, "seed", known["seed"].astype(str))
    return texts[[column for column in texts if column != RIGHT] + [column for column in texts if column == RIGHT]]


def teaching_curves(known: pd.DataFrame) -> Figure:
    """Draw the first seed's certain share, agreement and label accuracy over the iterations."""
    first = known[known["seed"] == known["seed"].iloc[0]].drop(columns="seed")
    percent = (100 * first.set_index("iteration")).reset_index()
    drawn = [column for column in ("certain", "agreement", RIGHT) if column in percent]
    return figures.training_curves(percent, {"share (%)": drawn}, x="iteration")


def stopping_table(lines: Lines, stages: Mapping[int, Stage]) -> pd.DataFrame:
    """Set the iteration that is chosen without a mask beside the one with the highest Dice: a row a seed."""
    rows = []
    for seed, per_image in scores_of(stages).items():
        known = pipeline.agreement(pipeline.plus_of(lines[seed], share=False))
        dice = per_image.groupby("model")["DIC"].mean()
        by_iteration = [100 * dice[f"iteration {k}"] for k in range(len(known))]
        chosen, best = pipeline.where_to_stop(known), max(range(len(known)), key=by_iteration.__getitem__)
        row = {"seed": str(seed), "chosen without a mask": f"iteration {chosen}", "its Dice": by_iteration[chosen]}
        row |= {"highest": f"iteration {best}", "Dice there": by_iteration[best]}
        rows.append(row | {"lost by the choice": by_iteration[best] - by_iteration[chosen]})
    return pd.DataFrame(rows).map(lambda value: f"{value:.1f}" if isinstance(value, float) else value)


def rules_table(plus: Run) -> pd.DataFrame:
    """Say how right labels are under each of the :data:`RULES`, on the training images' masks. For analysis."""
    saliency, truth = labelled(plus)
    table = label_variants(saliency, truth, RULES, plus.config.uncertainty.model_dump())
    shares = table.select_dtypes("float").columns
    return table.assign(**table[shares].map(in_percent))


def in_percent(share: float) -> str:
    """Write a share as text: ``94.5 %``, or a dash where there is none."""
    return "–" if pd.isna(share) else f"{100 * share:.1f} %"
