"""Where it fails, by rule: the worst images, groups of measured properties, skin tone, and doubts that need no mask."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError
from uslnet_core.evaluation import by_tone, compare_groups, difference_text, finds_failures, score
from uslnet_core.properties import disagreement, groups_of, measure
from uslnet_core.reproduce.layout import Lines, Reproduced, command_for, masks_by_model, needs_masks_of, stages_of
from uslnet_core.skin import TONES, tone_of

FAILED = 0.5  # Dice below this is a failure
SHOWN = 8  # pictures
BY_TRUTH = ["low contrast", "small", "large", "at the border"]  # groups that hang on the mask that measures them


@needs_masks_of(pipeline.score_split)
def failures(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Where the last iteration past the paper fails; of the first seed."""
    first = dict([next(iter(lines.items()))])
    stages = stages_of(partial(pipeline.steps, complete=complete), first)
    if not stages:
        return Reproduced(needs=command_for("failures", first))
    ((seed, stage),) = stages.items()
    split, line = stage.manifest.settings["split"], first[seed]
    images = ImageSet.open(line.open(f"01-data/images/{split}").folder)
    found = masks_by_model(stage)
    masks = {name: found[name] for name in found if name == "both" or re.fullmatch(r"iteration \d+", name)}
    truth = pipeline.load_masks(line, split)
    rows = [images.ids.index(each) for each in truth.scored_ids]
    chosen = {name: each[rows] for name, each in masks.items()}
    whole = failures_of(images.images[rows], truth.scored_ids, chosen, truth.select(truth.scored_ids))
    tables = {what: laid_out(frame) for what, frame in whole.tables.items()}
    return Reproduced(tables, whole.figures, stages)


def laid_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Lay out groups or tones for a page: percent, and points with their interval, a dash where there is none."""
    if "mean" not in frame:
        return frame

    def percent(column: str) -> pd.Series:
        return (100 * frame[column]).map(lambda value: "–" if pd.isna(value) else f"{value:.1f}")

    shown = frame.iloc[:, :1].assign(images=frame["n_images"], **{"Dice, %": percent("mean")})
    if "rest" not in frame:
        return shown.assign(**{"from, %": percent("low"), "to, %": percent("high")})
    points = [difference_text(row) for _, row in frame.iterrows()]
    return shown.assign(**{"all others, %": percent("rest"), "difference, points": points})


def failures_of(
    images: np.ndarray, ids: Sequence[str], masks: Mapping[str, np.ndarray], truth: np.ndarray | None = None
) -> Reproduced:
    """Find the images on which a method fails, and what they have in common.

    Args:
        images: (N, S, S, 3) uint8.
        ids: N names.
        masks: (N, S, S) bool by model, in order: the maps that labels were made of, then every iteration.
        truth: (N, S, S) bool, the experts' masks; without them, iterations that disagree stand for failures.

    Returns:
        Tables ``images`` (a row an image, the worst first), ``groups`` and ``tones``; with truth also ``groups by
        truth``, ``doubts`` and ``beginnings``. Pictures ``worst``, ``doubtful``, ``groups`` and ``tones``.

    Raises:
        DataError: there is one model alone, or no image.
    """
    if len(masks) < 2 or not len(images):
        raise DataError(f"Got {len(masks)} models and {len(images)} images; expected 2 models or more, and an image.")
    models = list(masks)
    last = np.asarray(masks[models[-1]])
    doubt = disagreement([masks[model] for model in (models[1:] if len(models) > 2 else models)])
    measured = measure(images, last).set_axis(list(ids))
    dice = None if truth is None else {model: score(masks[model], truth)["DIC"] for model in models}
    value = pd.Series(1 - doubt if dice is None else dice[models[-1]].to_numpy(), index=measured.index)
    name, groups = "agreement" if dice is None else "Dice", groups_of(measured)
    tones = tone_of(measured["tone"])
    listed = (
        measured.assign(disagreement=doubt, skin=tones)
        if dice is None
        else measured.assign(disagreement=doubt, skin=tones, DIC=value)
    )
    tables = {
        "images": listed.assign(order=value).sort_values("order", kind="stable").drop(columns="order"),
        "groups": compare_groups(value, groups),
        "tones": by_tone(value, tones, [*TONES]),
    }
    drawn = {
        "groups": figures.group_plot(tables["groups"], name=name),
        "tones": figures.tone_plot(measured["tone"], value, tables["tones"], name=name),
        "worst": picture(images, last, value, groups, name, truth),
        "doubtful": picture(images, last, pd.Series(1 - doubt, index=value.index), groups, "agreement"),
    }
    if dice is not None:
        by_truth = groups_of(measure(images, truth).set_axis(list(ids)))[BY_TRUTH]
        tables["groups by truth"] = compare_groups(value, by_truth)
        tables["doubts"] = doubts_table(measured.assign(disagreement=doubt), value)
        tables["beginnings"] = beginnings(dice[models[0]].to_numpy(), value.to_numpy())
    tables["images"] = tables["images"].rename_axis("id").reset_index()
    return Reproduced(tables, drawn)


def doubts_table(measured: pd.DataFrame, dice: pd.Series) -> pd.DataFrame:
    """Set doubts that need no mask side by side: how well each points to the fifth of the images that scores worst.

    Args:
        measured: (N rows) disagreement, and what :func:`uslnet_core.properties.measure` gives.
        dice: (N,) the score of each image.
    """
    doubts = {
        "disagreement between iterations": measured["disagreement"],
        "low contrast at the predicted outline": -measured["contrast"].fillna(0),
        "small prediction": -measured["area"],
        "prediction at the border": measured["border"],
        "hair": measured["hair"],
    }
    rows = [{"doubt": name} | finds_failures(each, dice) for name, each in doubts.items()]
    table = pd.DataFrame(rows).rename(columns={"by_chance": "by chance"})
    shares = {name: table[name].map("{:.0%}".format) for name in ("caught", "by chance")}
    correlation = table["correlation"].map(lambda value: "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−"))
    return table.assign(**shares, correlation=correlation)


def beginnings(first: np.ndarray, last: np.ndarray) -> pd.DataFrame:
    """Count the images by whether the maps that taught, and the last masks, reach a Dice of one half: a row a fate."""
    began, ended = np.asarray(first) >= FAILED, np.asarray(last) >= FAILED
    fates = {
        "right from the start": began & ended,
        "wrong in the map, mended by learning": ~began & ended,
        "wrong in the map, and still wrong": ~began & ~ended,
        "right in the map, lost by learning": began & ~ended,
    }
    shares = [f"{chosen.mean():.0%}" for chosen in fates.values()]
    return pd.DataFrame({"fate": [*fates], "images": [int(each.sum()) for each in fates.values()], "share": shares})


def picture(
    images: np.ndarray,
    masks: np.ndarray,
    values: pd.Series,
    groups: pd.DataFrame,
    name: str,
    truth: np.ndarray | None = None,
) -> Figure:
    """Draw the images with the lowest values, each named by its value and the groups that it is in."""
    rows = np.argsort(values.to_numpy(), kind="stable")[:SHOWN]
    titles = []
    for row in rows:
        inside = [group for group in groups if groups[group].iloc[row]]
        told = "\n".join([", ".join(inside[:2]), ", ".join(inside[2:4])]).rstrip()
        titles.append(f"{name} {100 * values.iloc[row]:.0f} %\n{told or 'in no group'}")
    shown = None if truth is None else truth[rows]
    return figures.images_with_outlines(images[rows], truth=shown, prediction=masks[rows], titles=titles, columns=4)
