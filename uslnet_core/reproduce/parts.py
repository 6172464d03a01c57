"""What items show beside the models' scores: by lesion, by change, the encoders' health, kinds of map as pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.data.masks import MaskSet
from uslnet_core.errors import DataError
from uslnet_core.evaluation import by_frame, by_size, cut_by_frame, same_images, seed_average
from uslnet_core.pipeline.saliency import MAIN
from uslnet_core.reproduce.layout import masks_by_model, rows_of, scores_of
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

HEALTH = {"loss / uniform level": "share", "top1": "top1"} | {n: n for n in ("alignment", "uniformity", "spread")}


def dice_by_lesion(per_image: Mapping[int, pd.DataFrame], masks: MaskSet) -> pd.DataFrame:
    """Lay out Dice by quarter of lesion size, and for lesions inside and cut by the frame: a row a model, percent.

    Args:
        per_image: scores by seed; their means, if all seeds have scored the same images, else the first seed's.
        masks: the first seed's truth.
    """
    scores = per_image if same_images(per_image) else dict([next(iter(per_image.items()))])
    per_image, truth = seed_average(scores), masks.select(masks.scored_ids)
    sizes = by_size(per_image, dict(zip(masks.scored_ids, truth.mean(axis=(1, 2)), strict=True)))
    sizes["lesions"] = [
        f"{row.size} ({row.area_low:.0%} to {row.area_high:.0%})" for row in sizes.itertuples(name="Row")
    ]
    places = by_frame(per_image, dict(zip(masks.scored_ids, cut_by_frame(truth), strict=True)))
    places["lesions"] = [f"{row.place} ({row.n_images} images)" for row in places.itertuples()]
    parts = pd.concat([sizes, places])
    columns, models = list(dict.fromkeys(parts["lesions"])), list(dict.fromkeys(parts["model"]))
    means = parts.pivot(index="model", columns="lesions", values="mean").loc[models, columns]
    return (100 * means).map("{:.1f}".format).rename_axis(columns=None).reset_index()


def with_changes(gains: pd.DataFrame, lines: Mapping[int, Run], stages: Mapping[int, Stage]) -> pd.DataFrame:
    """Say beside each difference how many masks the step changed at all, and how many it emptied.

    Of the images that were scored, over all seeds that have both models.
    """
    found, rows = [scored_masks(lines[seed], stage) for seed, stage in stages.items()], []
    for new, old in gains[["model", "minus"]].itertuples(index=False):
        changed, emptied, total = 0, 0, 0
        for after, before in ((masks[new], masks[old]) for masks in found if {new, old} <= set(masks)):
            changed += int((after != before).any(axis=(1, 2)).sum())
            emptied += int((before.any(axis=(1, 2)) & ~after.any(axis=(1, 2))).sum())
            total += len(after)
        rows.append({"masks changed": f"{changed} of {total}", "emptied": str(emptied)})
    return gains.join(pd.DataFrame(rows, index=gains.index))


def scored_masks(line: Run, stage: Stage) -> dict[str, np.ndarray]:
    """Give the masks of every model for the images that were scored: (n, S, S) bool each."""
    images = ImageSet.open(line.open(f"01-data/images/{stage.manifest.settings['split']}").folder)
    scored = set(scores_of({0: stage})[0]["id"])
    rows = [row for row, name in enumerate(images.ids) if name in scored]
    return {model: masks[rows] for model, masks in masks_by_model(stage).items()}


def encoders_table(line: Run) -> pd.DataFrame:
    """Lay out the health of a line's encoders and of their CCAMs as texts: a row an encoder, dashes where is none."""
    main, rows = line.open(MAIN).manifest.facts, []
    for name in pipeline.main_encoders(line):
        health = line.open(f"02-contrastive/{name}").manifest.facts.get("health", {})
        head = main["orientation"].get(name, {})
        row = {"encoder": pipeline.ENCODER_TITLES.get(name, name)} | {h: health.get(each) for h, each in HEALTH.items()}
        row |= {"CCAM's margin": head.get("margin")}
        for where, key in {"lesion along the border": "border_mean", "lesion inside": "inside_mean"}.items():
            row[where] = None if not head else head[key] if head["sign"] > 0 else 1 - head[key]
        row |= {"in the labels": ("left out" if name in main["left_out"] else "yes") if head else None}
        rows.append(row)
    frame = pd.DataFrame(rows).astype(object).fillna("–")
    return frame.map(lambda value: f"{value:.2f}" if isinstance(value, float) else value)


def by_method(line: Run) -> dict[str, str]:
    """Map the paper's three methods to a line's encoders; a method that it has none of stands for itself."""
    found: dict[str, str] = {}
    for name in pipeline.main_encoders(line):
        if method := pipeline.method_of(name):
            found.setdefault(method, name)
    return {method: found.get(method, method) for method in pipeline.ENCODER_TITLES}


def histories_of(line: Run) -> dict[str, pd.DataFrame]:
    """Read the contrastive histories of a line's encoders, by how readers call them; public ones have none."""
    stages = {name: line.open(f"02-contrastive/{name}") for name in pipeline.main_encoders(line)}
    return {
        pipeline.ENCODER_TITLES.get(name, name): pd.read_csv(stage / "history.csv")
        for name, stage in stages.items()
        if "history.csv" in stage.manifest.files
    }


def kinds_of_map(line: Run, stage: Stage) -> Figure:
    """Draw kinds of map on the best, the median and the worst image by Dice of the run's CCAM.

    Every CCAM, Smooth Grad-CAM++ and FreqCAM of one encoder, and colour distance.
    """
    part, kinds, ccam = stage.manifest.settings["split"], rows_of({0: stage}), pipeline.source_name(line, "ccam")
    ccam = ccam if ccam in kinds else next(iter(kinds))
    images = ImageSet.open(line.open(f"01-data/images/{part}").folder)
    ranked = scores_of({0: stage})[0].set_index("model").loc[[ccam]].set_index("id")["DIC"]
    examples = figures.choose_examples(ranked.to_numpy())
    ids = [ranked.index[i] for i in examples.indices]
    rows = [images.ids.index(name) for name in ids]
    one = next((kind.partition("-")[2] for kind in kinds if kind.startswith("freq_cam")), "")
    others = {f"smooth_grad_cam_pp-{one}", f"freq_cam-{one}", "colour_distance"}
    shown = [kind for kind in kinds if kind.startswith("ccam") or kind in others]
    maps = {kind: pipeline.load_maps(line.open(f"03-saliency/{kind}/{part}"), images.size)[rows] for kind in shown}
    titled = {pipeline.source_title(kind): each for kind, each in maps.items()}
    words = [label.split(":")[0] for label in examples.labels]
    return figures.saliency_over(images.images[rows], titled, words, truth=pipeline.load_masks(line, part).select(ids))


def certain_shares(run: Run) -> dict[str, float]:
    """Give the share of certain pixels in the labels that each iteration learnt from."""
    shares = {}
    for k in range(run.config.refinement.iterations):
        name = f"05-segmenter/iteration-{k}" if k else "04-labels"
        if run.has(name):
            shares[pipeline.model_name(k)] = run.open(name).manifest.facts["certain"]
    return shares


def labelled(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Load saliency and truth of the training images that have a mask: (N, S, S) each. For analysis, after training.

    Raises:
        DataError: the training images have no masks.
    """
    split = pipeline.train_split(run)
    masks: MaskSet | None = pipeline.load_masks(run, split)
    if masks is None:
        raise DataError(f"{run.folder.name} has no masks for {split}: how right labels are cannot be said.")
    ids = pipeline.load_images(run, split).ids
    rows = [ids.index(name) for name in masks.scored_ids]
    return pipeline.load_saliency(run)[rows], masks.select(list(masks.scored_ids))
