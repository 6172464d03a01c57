"""Each table and figure of the paper's ablations, by one function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from uslnet_core import figures, pipeline
from uslnet_core.evaluation import label_variants, over_seeds, threshold_curves
from uslnet_core.reproduce.beyond import larger, lessons, parts, steps, together
from uslnet_core.reproduce.failures import failures
from uslnet_core.reproduce.layout import (
    ITERATIONS,
    Lines,
    Reproduced,
    beside,
    command_for,
    models_table,
    needs_masks_of,
    outlines,
    refined_model,
    rows_of,
    scored_alone,
    scores_of,
    seed_dots,
    stages_of,
)
from uslnet_core.reproduce.parts import (
    by_method,
    certain_shares,
    dice_by_lesion,
    encoders_table,
    histories_of,
    kinds_of_map,
    labelled,
    with_changes,
)
from uslnet_core.runs import Run

NEEDS_WEIGHTS = "uslnet weights fetch {}, then {}"
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 10))


@needs_masks_of(pipeline.score_split)
def table_8(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Ablation of the modules: Baseline and Models 1 to 5."""
    stages = stages_of(partial(pipeline.table_8, complete=complete), lines)
    models = ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", refined_model(stages)]
    mapping = {model: "Model 5" if model.startswith("Model 5") else model for model in models}
    order = ("Baseline", "Model 1", "Model 2", ("Model 3", "Model 4"), models[-1])
    found = models_table(lines, stages, 8, mapping, order=order)
    if "differences" in found.tables:
        found.tables["differences"] = with_changes(found.tables["differences"], lines, stages)
    line = lines[next(iter(stages))]
    truth = pipeline.load_masks(line, pipeline.score_split(line))
    found.tables["by lesion"] = dice_by_lesion(scores_of(stages), truth)
    return found


@needs_masks_of(pipeline.score_split)
def table_9(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Ablation of encoders and kinds of map."""
    stages = stages_of(partial(pipeline.table_9, complete=complete), lines)
    if not stages:
        return Reproduced(needs=command_for("table-9", lines))
    mapping, needs, pairs, encoders = {}, {}, [], by_method(next(iter(lines.values())))
    for method, name in pipeline.TRANSFORMERS.items():
        mapping[f"smooth_grad_cam_pp-{name}"] = {"group": "ViT, Smooth Grad-CAM++", "method": method}
        if not pipeline.public_file(next(iter(lines.values())), name):
            needs[f"smooth_grad_cam_pp-{name}"] = NEEDS_WEIGHTS.format(name, command_for("table-9", lines))
    for cam, group in {"smooth_grad_cam_pp": "ResNet50, Smooth Grad-CAM++", "ccam": "ResNet50, CCAM"}.items():
        for method, name in encoders.items():
            mapping[f"{cam}-{name}"] = {"group": group, "method": pipeline.ENCODER_TITLES[method]}
    mapping["ccam-fused"] = {"group": "ResNet50, CCAM", "method": "Fused"}
    for model in rows_of(stages):
        mapping.setdefault(model, None)  # ours alone
    for name in encoders.values():
        pairs += [(f"ccam-{name}", f"smooth_grad_cam_pp-{name}"), ("ccam-fused", f"ccam-{name}")]
    pairs += [("ccam-fused", "ccam-concatenated"), ("colour_distance", "ccam-fused")]
    titles = {model: pipeline.source_title(model) for model in mapping}
    found = models_table(lines, stages, 9, mapping, needs=needs, pairs=pairs, titles=titles)
    seed, stage = next(iter(stages.items()))
    found.tables["encoders"] = encoders_table(lines[seed])
    if histories := histories_of(lines[seed]):
        found.figures["health"] = figures.health_curves(histories)
    found.figures["maps"] = kinds_of_map(lines[seed], stage)
    return found


@needs_masks_of(pipeline.score_split)
def table_10(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Iterations of the refinement; scored together with table 8."""
    stages = stages_of(partial(pipeline.table_8, complete=complete, every=False), lines)
    models = ["Model 4", *(f"Model 5_{k}" for k in range(1, ITERATIONS))]
    pairs = [*zip(models[1:], models[:-1], strict=True), (models[-1], models[0])]
    found = models_table(lines, stages, 10, {model: model for model in models}, pairs=pairs)
    summary = over_seeds({seed: rows[rows["model"].isin(models)] for seed, rows in scores_of(stages).items()})
    certain = certain_shares(next(iter(lines.values()))) if len(stages) == 1 else {}  # of one seed, or not at all
    theirs = beside(summary, 10, {m: m for m in models}, lines, stages)
    by_seed = seed_dots(scores_of(stages), models)
    shown = set(summary["model"]) | set(theirs["model"] if theirs is not None else [])
    certain = {model: share for model, share in certain.items() if model in shown}
    if certain:
        shares = [f"{100 * share:.1f} %" for share in certain.values()]
        found.tables["labels"] = pd.DataFrame({"model": list(certain), "learnt from labels certain in": shares})
    found.figures["iterations"] = figures.iteration_plot(summary, comparison=theirs, by_seed=by_seed, certain=certain)
    return found


def figure_1(lines: Lines, *, complete: bool = True) -> Reproduced:
    """The three-way split of saliency, for evenly spaced training images."""
    run = first_complete(lines, complete)
    images, number = pipeline.load_images(run), 4
    rows = np.linspace(0, len(images) - 1, number + 2).astype(int)[1:-1]
    stage = run.open("04-labels")
    labels = pipeline.load_labels(stage)[0][rows] / np.float32(2)
    options = stage.manifest.settings["uncertainty"]
    thresholds = (options["low"], options["high"])
    picture = figures.three_way(images.images[rows], pipeline.load_saliency(run)[rows], labels, thresholds=thresholds)
    return Reproduced({}, {"split": picture}, {run.config.seed: stage})


@needs_masks_of(pipeline.score_split)
def figure_7(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Outlines of every model of table 8, on images chosen by rank of the last."""
    seed, line = next(iter(lines.items()))
    stage = pipeline.table_8(line, complete=complete)
    models = ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", refined_model({seed: stage})]
    return Reproduced({}, {"outlines": outlines(line, stage, models)}, {seed: stage})


@needs_masks_of(pipeline.train_split)
def figure_8(lines: Lines, *, complete: bool = True) -> Reproduced:
    """How right labels are along the thresholds, and under the choices that the paper leaves open."""
    run = first_complete(lines, complete)
    saliency, truth = labelled(run)
    settings = run.config.uncertainty.model_dump()
    rules = {name: value for name, value in settings.items() if name not in ("low", "high")}
    curves = threshold_curves(saliency, truth, THRESHOLDS, rules)
    variants = label_variants(saliency, truth, base=settings)
    tables = {"curves": curves, "open choices": variants}
    return Reproduced(tables, {"curves": figures.threshold_plot(curves)}, {run.config.seed: run.open("04-labels")})


@needs_masks_of(pipeline.score_split)
def figure_9(lines: Lines, *, complete: bool = True, epochs: int | None = None) -> Reproduced:
    """Segmenters taught by plain thresholds beside the one taught by the uncertainty module, after one iteration."""
    stages = stages_of(partial(pipeline.figure_9, complete=complete, epochs=epochs), lines)
    pairs = [("UM", f"threshold {t}") for t in pipeline.PLAIN_THRESHOLDS]
    found = scored_alone("figure-9", lines, stages, pairs)
    if not stages:
        return found
    seed = next(iter(stages))
    line = lines[seed]
    models = list(pd.read_csv(stages[seed] / "models.csv")["model"])
    found.figures["outlines"] = outlines(line, stages[seed], models)
    return found


@needs_masks_of(pipeline.score_split)
def options(lines: Lines, *, complete: bool = True, epochs: int | None = None) -> Reproduced:
    """What the paper leaves open in training: the factor ¼, the number of encoders, and a warm start."""
    stages = stages_of(partial(pipeline.options, complete=complete, epochs=epochs), lines)
    pairs = [(other, "as settled") for other in ("with the ¼", "maps of one encoder")]
    pairs.append(("iteration 1, gone on", "iteration 1, started again"))
    return scored_alone("options", lines, stages, pairs)


ITEMS: dict[str, tuple[Callable[..., Reproduced], str]] = {
    "table-8": (table_8, "09"),
    "table-9": (table_9, "10"),
    "table-10": (table_10, "11"),
    "figure-1": (figure_1, "04"),
    "figure-7": (figure_7, "09"),
    "figure-8": (figure_8, "11"),
    "figure-9": (figure_9, "11"),
    "options": (options, "11"),
    "steps": (steps, "15"),
    "parts": (parts, "15"),
    "lessons": (lessons, "15"),
    "together": (together, "15"),
    "larger": (larger, "15"),
    "failures": (failures, "13"),
}


def first_complete(lines: Lines, complete: bool) -> Run:
    """Take the first seed's line, with its labels in place."""
    run = next(iter(lines.values()))
    if complete:
        pipeline.complete(run, 0)
    return run
