"""What chapter 15 shows, each by one function: the steps, one part more, other lessons, several seeds, larger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.evaluation import METRICS, over_seeds
from uslnet_core.pipeline.beyond import EVERYTHING, TOGETHER
from uslnet_core.pipeline.lessons import FIRST, LATER, NEXT, TWO_TEACHERS
from uslnet_core.reproduce.layout import (
    Lines,
    Reproduced,
    command_for,
    differences,
    needs_masks_of,
    outlines,
    rows_of,
    scored_alone,
    scores_of,
    stages_of,
)
from uslnet_core.reproduce.parts import dice_by_lesion
from uslnet_core.reproduce.teaching import labels_known, labels_table, rules_table, stopping_table, teaching_curves
from uslnet_core.runs import Run

# What each step is compared with: the row that it changes, not always the one above.
STEPS = {
    "both": "CCAM",
    "both, appearance on whole images": "both",
    "iteration 0": "both",
    "iteration 0, one piece": "iteration 0",
    "iteration 0, second look": "iteration 0, one piece",
    "iteration 0, second look, colour": "iteration 0, second look",
    f"iteration 0, {EVERYTHING}": "iteration 0, second look, colour",
    "iteration 1": "iteration 0",
    f"iteration 1, {EVERYTHING}": "iteration 1",
    "iteration 2": "iteration 1",
    f"iteration 2, {EVERYTHING}": "iteration 2",
    "student, second look": "student",
}
LOOKED = f"iteration 0, {EVERYTHING}"
IN_THE_WINDOW = {"predicted": "segmenter", "beside": "colour clusters", "mixed": "both", "settled": "appearance"}
AFTER = (*LATER, TWO_TEACHERS)  # lessons that come after iteration 0
SHOWN = ("both", "iteration 0", LOOKED)  # and the last iteration, and the student


@needs_masks_of(pipeline.score_split)
def steps(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Each step past the paper, from maps cut at one half to the student."""
    stages = stages_of(partial(pipeline.steps, complete=complete), lines)
    last = [model for model in rows_of(stages) if model.startswith("iteration") and "," not in model][-1:]
    found = scored_alone("steps", lines, stages, [*STEPS.items(), *(("student", each) for each in last)])
    if not stages:
        return found
    scores = found.tables["scores"].drop(columns=["from", "epochs"])
    found.tables["student"] = scores[scores["model"] == "student"].drop(columns="model").reset_index(drop=True)
    found.tables["scores"] = briefly(found.tables["scores"])
    seed, per_image = next(iter(scores_of(stages).items()))
    line = lines[seed]
    truth = pipeline.load_masks(line, pipeline.score_split(line))
    found.tables["by lesion"] = dice_by_lesion(scores_of(stages), truth)
    found.tables["sensitivity and specificity"] = both_sides(scores_of(stages))
    known = labels_known(lines, stages)
    found.tables["labels"] = labels_table(known)
    found.figures["teaching"] = teaching_curves(known)
    found.tables["stopping"] = stopping_table(lines, stages)
    found.figures["outlines"] = outlines(line, stages[seed], [*SHOWN, *last, "student"])
    return replace(found, figures=found.figures | pictures(line, per_image))


def pictures(line: Run, per_image: pd.DataFrame) -> dict[str, Figure]:
    """Draw both sources, and a second look step by step, on the best, median and worst image by Dice of that look."""
    plus, part = pipeline.plus_of(line, share=False), pipeline.score_split(line)
    last = per_image[per_image["model"] == LOOKED].set_index("id")["DIC"]
    chosen = figures.choose_examples(last.to_numpy())
    ids, words = [last.index[i] for i in chosen.indices], [label.split(":")[0] for label in chosen.labels]
    images, truth = pipeline.load_images(plus, part), pipeline.load_masks(plus, part).select(ids)
    rows = [images.ids.index(each) for each in ids]
    sources = {pipeline.source_title(cam): pipeline.map_part(plus, part, cam) for cam in ("ccam", "colour_clusters")}
    maps = {name: pipeline.load_maps(stage, images.size)[rows] for name, stage in sources.items()}
    maps["both"] = pipeline.load_maps(pipeline.main_maps(plus, part), images.size)[rows]
    model = pipeline.load_segmenter(plus.open("05-segmenter/iteration-0"))
    seen = pipeline.taken_apart(plus, part, model, rows)
    drawn = figures.second_look(
        images.images[rows],
        seen["windows"],
        seen["crops"].transpose(0, 2, 3, 1),
        {title: seen[name] for name, title in IN_THE_WINDOW.items()},
        seen["whole"] > 0.5,
        truth=truth,
        names=words,
    )
    return {"sources": figures.saliency_over(images.images[rows], maps, words, truth=truth), "looks": drawn}


@needs_masks_of(pipeline.score_split)
def parts(lines: Lines, *, complete: bool = True) -> Reproduced:
    """The answer with one part more, and the labels under other rules."""
    stages = stages_of(partial(pipeline.ablations, complete=complete), lines)
    others = [model for stage in stages.values() for model in pd.read_csv(stage / "models.csv")["model"]]
    pairs = [(model, "as settled") for model in dict.fromkeys(others) if model != "as settled"]
    found = scored_alone("parts", lines, stages, pairs)
    if stages:
        found.tables["scores"] = briefly(found.tables["scores"])
        line = lines[next(iter(stages))]
        found.tables["rules"] = rules_table(pipeline.plus_of(line, share=False))
    return found


@needs_masks_of(pipeline.score_split)
def lessons(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Segmenters that learnt from other sources, rules, looks, windows and teachers, each beside the one it varies."""
    stages = stages_of(partial(pipeline.other_lessons, complete=complete), lines)
    others = [model for model in rows_of(stages) if model not in (FIRST, NEXT)]
    found = scored_alone("lessons", lines, stages, [(each, NEXT if each in AFTER else FIRST) for each in others])
    if stages:
        found.tables["scores"] = briefly(found.tables["scores"])
    return found


@needs_masks_of(pipeline.score_split)
def larger(lines: Lines, *, complete: bool = True) -> Reproduced:
    """The whole training with one thing larger: pixels, epochs of contrastive learning, layers."""
    stages = stages_of(partial(pipeline.larger_runs, complete=complete), lines)
    models = list(rows_of(stages))
    found = scored_alone("larger", lines, stages, [(each, models[0]) for each in models[1:]])
    if stages:
        found.tables["scores"] = briefly(found.tables["scores"])
        line = lines[next(iter(stages))]
        truth = pipeline.load_masks(line, pipeline.score_split(line))
        found.tables["by lesion"] = dice_by_lesion(scores_of(stages), truth)
    return found


@needs_masks_of(pipeline.score_split)
def together(lines: Lines, *, complete: bool = True) -> Reproduced:
    """Trainings of several seeds, one by one and as ensembles."""
    stage = pipeline.together(lines, complete=complete)
    if stage is None:
        several = lines if len(lines) > 1 else {0: None, 1: None, 2: None}
        command = command_for("together", lines).partition(" --seeds")[0]
        return Reproduced(needs=f"{command} --seeds {','.join(map(str, several))}")
    seed, line = next(iter(lines.items()))
    found = scored_alone("together", {seed: line}, {seed: stage}, [])
    found.tables["scores"] = briefly(found.tables["scores"])
    per_image = scores_of({seed: stage})[seed]
    single = per_image["model"].str.extract("(.*), seed ")[0]
    alone = per_image[single.notna()].assign(model=single[single.notna()] + ", a seed alone")
    mean = alone.groupby(["model", "id"], as_index=False, sort=False)[list(METRICS)].mean()
    both = {seed: pd.concat([mean, per_image[single.isna()]])}
    each_alone = {each.removesuffix(", a seed alone"): each for each in mean["model"].unique()}
    ensembles = per_image.loc[single.isna(), "model"].unique()
    pairs = [(each, each_alone[each.partition(f", {TOGETHER}")[0]]) for each in ensembles]
    if (gains := differences(both, pairs)) is not None:
        found.tables["differences"] = gains
    return found


def briefly(table: pd.DataFrame) -> pd.DataFrame:
    """Lay out Dice and Jaccard of a table of scores, a row a model; all rows are of the one run beside."""
    ours = [column for column in table.columns if column.startswith("ours")]  # per image, and pooled
    parts = [table.drop_duplicates("model").set_index("model")[["epochs"]]]
    for metric, name in {"DIC": "Dice", "JAC": "Jaccard"}.items():
        part = table[table["metric"] == metric].set_index("model")[ours]
        parts.append(part.set_axis([name, f"{name}, pooled"], axis=1))
    return pd.concat(parts, axis=1).reset_index()


def both_sides(per_image: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Lay out Jaccard, sensitivity and specificity, means over images and seeds in percent: a row a model."""
    summary = over_seeds(per_image)
    models = list(dict.fromkeys(summary["model"]))
    table = summary.pivot(index="model", columns="metric", values="mean").loc[models, ["JAC", "SEN", "SPE"]]
    return (100 * table).map("{:.1f}".format).rename_axis(columns=None).reset_index()
