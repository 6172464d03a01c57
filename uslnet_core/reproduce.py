"""The paper's ablation tables and figures, each by one function: what notebooks 09 to 11 show, and one command makes.

An item takes the *lines* (:func:`uslnet_core.pipeline.line_of`), one a seed, makes what they lack, and gives tables as
frames and pictures as figures. On synthetic images nothing stands beside the paper's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.data.masks import MaskSet
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.evaluation import (
    ablation_table,
    comparison,
    consecutive_differences,
    difference_text,
    label_variants,
    order_holds,
    over_seeds,
    scores_by_seed,
    seed_average,
    threshold_curves,
)
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

Lines = Mapping[int, Run]
REFINED = "Model 5_2"  # the paper's Model 5; fixed beforehand, and by no score of ours
NEEDS_WEIGHTS = "uslnet weights fetch {}"
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 10))


@dataclass(frozen=True)
class Reproduced:
    """One item: its tables and pictures by name, and the stage of each seed that they were made from."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    stages: dict[int, Stage] = field(default_factory=dict)


# --- tables ----------------------------------------------------------------------------------------------------------


def table_8(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Ablation of the modules: Baseline and Models 1 to 5."""
    stages = {seed: pipeline.table_8(line, complete=complete) for seed, line in lines.items()}
    models = ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", refined_model(stages)]
    mapping = {model: "Model 5" if model.startswith("Model 5") else model for model in models}
    order = ("Baseline", "Model 1", "Model 2", ("Model 3", "Model 4"), models[-1])
    return models_table(lines, stages, 8, mapping, {}, order)


def table_9(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Ablation of encoders and kinds of map."""
    stages = {seed: pipeline.table_9(line, complete=complete) for seed, line in lines.items()}
    titles, mapping, needs = pipeline.ENCODER_TITLES, {}, {}
    for method, name in pipeline.TRANSFORMERS.items():
        mapping[f"smooth_grad_cam_pp-{name}"] = {"group": "ViT, Smooth Grad-CAM++", "method": method}
        needs[f"smooth_grad_cam_pp-{name}"] = NEEDS_WEIGHTS.format(name)
    for cam, group in {"smooth_grad_cam_pp": "ResNet50, Smooth Grad-CAM++", "ccam": "ResNet50, CCAM"}.items():
        for name, title in titles.items():
            mapping[f"{cam}-{name}"] = {"group": group, "method": title}
    mapping["ccam-fused"] = {"group": "ResNet50, CCAM", "method": "Fused"}
    for model in scores_of(stages)[next(iter(stages))]["model"].unique():
        mapping.setdefault(model, None)  # ours alone
    return models_table(lines, stages, 9, mapping, needs, ())


def table_10(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Iterations of the refinement; scored together with table 8."""
    stages = {seed: pipeline.table_8(line, complete=complete) for seed, line in lines.items()}
    models = ["Model 4", *(f"Model 5_{k}" for k in range(1, 5))]
    found = models_table(lines, stages, 10, {model: model for model in models}, {}, ())
    summary = over_seeds({seed: rows[rows["model"].isin(models)] for seed, rows in scores_of(stages).items()})
    certain = certain_shares(next(iter(lines.values())))
    theirs = beside(summary, 10, {m: m for m in models}, lines)
    by_seed = scores_by_seed(scores_of(stages)) if len(lines) > 1 else None
    by_seed = by_seed if by_seed is None else by_seed[by_seed["model"].isin(models)]
    shown = set(summary["model"]) | set(theirs["model"] if theirs is not None else [])
    certain = {model: share for model, share in certain.items() if model in shown}
    found.figures["iterations"] = figures.iteration_plot(summary, comparison=theirs, by_seed=by_seed, certain=certain)
    return found


def models_table(
    lines: Lines,
    stages: Mapping[int, Stage],
    table: int,
    mapping: Mapping[str, Any],
    needs: Mapping[str, str],
    order: Sequence[Any],
) -> Reproduced:
    """Lay out scored models as a table of the paper: theirs, ours, differences, what each step gains."""
    per_image = scores_of(stages)
    summary, first = over_seeds(per_image), next(iter(lines.values()))
    scored, real = list(summary["model"].unique()), first.config.dataset != "synthetic"
    command = first.spell(f"reproduce table-{table}")
    wanted = {m: v for m, v in mapping.items() if m in scored or (real and v)}
    lacking = {m: needs.get(m, command) for m in wanted if m not in scored}
    runs = {model: row["run"] for model, row in next(iter(stages.values())).manifest.facts["rows"].items()}
    name = f"table {table}"
    tables = {
        name: ablation_table(
            summary, table, wanted, scored_on=scored_on(first), runs=runs, needs=lacking, with_paper=real
        )
    }
    steps = [model for model in wanted if model in scored]
    if order and len(steps) > 1:
        averaged = seed_average(per_image)
        gains = consecutive_differences(averaged, steps)
        tables["differences"] = with_text(gains, ["model", "minus"])
        tables["order"] = with_text(order_holds(averaged, order), ["lower", "higher"], "holds")
    theirs = beside(summary, table, {m: v for m, v in wanted.items() if v}, lines)
    by_seed = scores_by_seed(per_image) if len(lines) > 1 else None
    if by_seed is not None:
        by_seed = by_seed[by_seed["model"].isin(wanted)]
    plot = figures.ablation_plot(
        summary[summary["model"].isin(wanted)], comparison=theirs, by_seed=by_seed, order=list(wanted)
    )
    return Reproduced(tables, {"dice": plot}, dict(stages))


# --- figures ---------------------------------------------------------------------------------------------------------


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


def figure_7(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Outlines of every model of table 8, on images chosen by rank of the last."""
    seed, line = next(iter(lines.items()))
    stage = pipeline.table_8(line, complete=complete)
    models = ["Baseline", "Model 1", "Model 2", "Model 3", "Model 4", refined_model({seed: stage})]
    return Reproduced({}, {"outlines": outlines(line, stage, models)}, {seed: stage})


def figure_8(lines: Lines, *, complete: bool = True) -> Reproduced:
    """How right labels are along the thresholds, and under the choices that the paper leaves open."""
    run = first_complete(lines, complete)
    saliency, truth = labelled(run)
    rules = {name: getattr(run.config.uncertainty, name) for name in ("min_area", "neighbours", "rule", "exclusion")}
    curves = threshold_curves(saliency, truth, THRESHOLDS, rules)
    settings = run.config.uncertainty.model_dump()
    variants = label_variants(saliency, truth, base=settings)
    tables = {"curves": curves, "open choices": variants}
    return Reproduced(tables, {"curves": figures.threshold_plot(curves)}, {run.config.seed: run.open("04-labels")})


def figure_9(lines: Lines, *, complete: bool = True, epochs: int | None = None) -> Reproduced:
    """Segmenters taught by plain thresholds beside the one taught by the uncertainty module, after one iteration."""
    stages = {seed: pipeline.figure_9(line, complete=complete, epochs=epochs) for seed, line in lines.items()}
    found = scored_alone(stages)
    seed, line = next(iter(lines.items()))
    models = list(pd.read_csv(stages[seed] / "models.csv")["model"])
    found.figures["outlines"] = outlines(line, stages[seed], models)
    return found


def options(lines: Lines, *, complete: bool = True, epochs: int | None = None) -> Reproduced:
    """What the paper leaves open in training: the factor ¼, and going on from the last segmenter."""
    stages = {seed: pipeline.options(line, complete=complete, epochs=epochs) for seed, line in lines.items()}
    return scored_alone(stages)


ITEMS: dict[str, tuple[Callable[..., Reproduced], str]] = {
    "table-8": (table_8, "09"),
    "table-9": (table_9, "10"),
    "table-10": (table_10, "11"),
    "figure-1": (figure_1, "04"),
    "figure-7": (figure_7, "09"),
    "figure-8": (figure_8, "11"),
    "figure-9": (figure_9, "11"),
    "options": (options, "11"),
}


# --- parts -----------------------------------------------------------------------------------------------------------


def open_lines(
    run: Run,
    encoders: Sequence[str] | None = None,
    iterations: int | None = None,
    seeds: Sequence[int] | None = None,
    *,
    complete: bool = True,
) -> dict[int, Run]:
    """Open the runs that the ablations stand on, one a seed.

    Args:
        run: the run at hand.
        encoders: whose maps are fused; by default the run's own in the quick profile, else all three methods.
        iterations: of the segmenter; by default the profile's in quick, else five, as the paper has.
        seeds: by default the run's own alone.
        complete: they are to be completed. If not, only those that are there are opened, or else the run itself.

    Raises:
        ConfigError: no seed, or one twice.
    """
    quick, own = run.config.profile == "quick", pipeline.main_encoders(run)
    wanted = tuple(encoders or (own if quick else pipeline.ENCODER_TITLES))
    iterations = iterations or (run.config.refinement.iterations if quick else 5)
    seeds = [run.config.seed] if seeds is None else list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {seeds}: expected one number or several different ones, for example [0, 1, 2].")
    if complete:
        return {seed: pipeline.line_of(run, wanted, iterations, seed) for seed in seeds}
    lines = {seed: pipeline.line_of(run, wanted, iterations, seed, share=False) for seed in seeds}
    there = {seed: line for seed, line in lines.items() if line.has("03-saliency/main")}
    return there or {run.config.seed: pipeline.line_of(run, own, iterations, share=False)}


def caption(lines: Lines, stages: Mapping[int, Stage]) -> str:
    """Say what a table's numbers stand for: train set, test set, size, profile, seeds, device, date."""
    line, stage = next(iter(lines.values())), next(iter(stages.values()))
    config, part = line.config, pipeline.train_split(line)
    count = line.open(f"01-data/images/{part}").manifest.facts["images"]
    size, seeds = pipeline.image_size(line), ", ".join(map(str, stages))
    encoders = " + ".join(pipeline.main_encoders(line))
    text = (
        f"trained on {count} images of {config.dataset}-{part}, no masks · scored on {scored_on(line)} · "
        f"{size} × {size} pixels · {config.profile} profile, {config.backbone}, {encoders} · "
        f"{'seed' if len(stages) == 1 else 'seeds'} {seeds}{' (single run)' if len(stages) == 1 else ''} · "
        f"{stage.manifest.device} · {stage.manifest.made_at[:10]}"
    )
    told = config.dataset == "synthetic" or config.profile == "quick"
    return text + (" · shows how the method behaves; no reproduction of the paper" if told else "")


def save(found: Reproduced, folder: Path, name: str, dpi: int = 110) -> list[Path]:
    """Write an item's tables as CSV and its pictures as PNG: ``table-8.csv``, ``table-8-dice.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for what, frame in found.tables.items():
        plain = what.replace(" ", "-")
        files.append(folder / (f"{name}.csv" if plain == name else f"{name}-{plain}.csv"))
        frame.to_csv(files[-1], index=False)
    for what, figure in found.figures.items():
        files.append(folder / f"{name}-{what}.png")
        figure.savefig(files[-1], dpi=dpi, bbox_inches="tight")
    return files


def first_complete(lines: Lines, complete: bool) -> Run:
    """Take the first seed's line, with its labels in place."""
    run = next(iter(lines.values()))
    if complete:
        pipeline.complete(run, 0)
    return run


def scores_of(stages: Mapping[int, Stage]) -> dict[int, pd.DataFrame]:
    """Read the scores per image, at the run's size, of each seed's stage.

    Raises:
        DataError: nothing was scored, for want of masks.
    """
    found = {}
    for seed, stage in stages.items():
        if not stage.manifest.facts["scored"]:
            raise DataError(f"{stage.run_name} has no masks for {stage.manifest.settings['split']}: nothing to score.")
        rows = pd.read_csv(stage / "per_image.csv", dtype={"id": str, "size": str})
        found[seed] = rows[rows["size"] != "native"].drop(columns="size")
    return found


def refined_model(stages: Mapping[int, Stage]) -> str:
    """Name the row that stands for Model 5: the paper's iteration, or the last there is if there are fewer."""
    there = list(next(iter(stages.values())).manifest.facts["rows"])
    later = [model for model in there if model.startswith("Model 5_")]
    return REFINED if REFINED in there or not later else later[-1]


def scored_on(run: Run) -> str:
    """Name the part that is scored, as tables do."""
    return f"{run.config.dataset}-{pipeline.score_split(run)}"


def beside(summary: pd.DataFrame, table: int, mapping: Mapping[str, Any], lines: Lines) -> pd.DataFrame | None:
    """Compare with the paper; ``None`` on synthetic images."""
    first = next(iter(lines.values()))
    if first.config.dataset == "synthetic":
        return None
    return comparison(summary, table, mapping, scored_on=scored_on(first), unscored=set(mapping))


def with_text(frame: pd.DataFrame, names: list[str], *more: str) -> pd.DataFrame:
    """Lay out differences for a page: who, minus whom, Dice points with their interval."""
    return frame[names].assign(
        **{"Dice points": [difference_text(row) for _, row in frame.iterrows()]}, **frame[list(more)]
    )


def scored_alone(stages: Mapping[int, Stage]) -> Reproduced:
    """Lay out models that no table of the paper prints."""
    per_image = scores_of(stages)
    summary = over_seeds(per_image)
    models = list(summary["model"].unique())
    runs = {model: row["run"] for model, row in next(iter(stages.values())).manifest.facts["rows"].items()}
    table = ablation_table(summary, 8, dict.fromkeys(models), scored_on="ours", runs=runs, with_paper=False)
    tables = {"scores": table}
    if len(models) > 1:
        gains = consecutive_differences(seed_average(per_image), models, ends=False)
        tables["differences"] = with_text(gains, ["model", "minus"])
    by_seed = scores_by_seed(per_image) if len(stages) > 1 else None
    return Reproduced(tables, {"dice": figures.ablation_plot(summary, by_seed=by_seed)}, dict(stages))


def outlines(run: Run, stage: Stage, models: Sequence[str]) -> Figure:
    """Draw the masks of some models on the best, median and worst images by the last one's Dice."""
    split = stage.manifest.settings["split"]
    images, masks = ImageSet.open(run.open(f"01-data/images/{split}").folder), pipeline.load_masks(run, split)
    there = list(pd.read_csv(stage / "models.csv")["model"])
    shown = [model for model in models if model in there]
    per_image = scores_of({run.config.seed: stage})[run.config.seed]
    last = per_image[per_image["model"] == shown[-1]].set_index("id")
    chosen = figures.choose_examples(last["DIC"].to_numpy(), number=2)
    ids = [last.index[k] for k in chosen.indices]
    rows = [images.ids.index(name) for name in ids]
    predictions = np.load(stage / "predictions.npy", mmap_mode="r")
    masks_of = {model: np.asarray(predictions[there.index(model)])[rows] for model in shown}
    return figures.over_under(images.images[rows], masks_of, masks.select(ids), chosen.labels)


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


def certain_shares(run: Run) -> dict[str, float]:
    """Give the share of certain pixels in the labels that each iteration learnt from."""
    shares = {}
    for k in range(run.config.refinement.iterations):
        name = f"05-segmenter/iteration-{k}" if k else "04-labels"
        if run.has(name):
            shares[pipeline.model_name(k)] = run.open(name).manifest.facts["certain"]
    return shares
