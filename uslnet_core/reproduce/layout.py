"""How an item is laid out: scored models as tables of the paper, and their outlines as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError
from uslnet_core.evaluation import (
    ablation_table,
    all_lesion,
    comparison,
    consecutive_differences,
    difference_text,
    order_holds,
    over_seeds,
    scores_by_seed,
    seed_average,
)
from uslnet_core.runs import MARK, Run
from uslnet_core.stages import Stage

Lines = Mapping[int, Run]
ITERATIONS = 5  # the paper's n
REFINED = "Model 5_2"  # the paper's Model 5; fixed beforehand, and by no score of ours


@dataclass(frozen=True)
class Reproduced:
    """One item: its tables and pictures by name, and the stage of each seed that they were made from.

    Attributes:
        tables: frames, for a page.
        figures: pictures.
        stages: by seed; empty if nothing is there.
        needs: what is missing for what is not there: a command, or masks; empty if there is something.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    stages: dict[int, Stage] = field(default_factory=dict)
    needs: str = ""

    def table(self, name: str) -> pd.DataFrame:
        """Give a table, or in its place one line that says how it is made."""
        return self.tables.get(name, pd.DataFrame({"not made yet": [self.needs or "there are too few models for it"]}))

    def picture(self, name: str) -> Figure | Any:
        """Give a picture, or in its place a line of Markdown that says how it is made."""
        from IPython.display import Markdown

        return self.figures.get(name, Markdown(f"*Not made yet: `{self.needs}`*"))


def needs_masks_of(part: Callable[[Run], str]) -> Callable[[Callable[..., Reproduced]], Callable[..., Reproduced]]:
    """Let an item end at once, before anything is trained, where the part that it is scored on has no masks.

    Args:
        part: names that part of a run's data, such as ``pipeline.score_split``.
    """

    def decorate(make: Callable[..., Reproduced]) -> Callable[..., Reproduced]:
        @wraps(make)
        def item(lines: Lines, **options: Any) -> Reproduced:
            line = next(iter(lines.values()))
            if pipeline.has_masks(line, part(line)):
                return make(lines, **options)
            return Reproduced(needs=f"masks: {line.config.dataset} has none for {part(line)}, so nothing is scored")

        return item

    return decorate


def stages_of(make: Callable[[Run], Stage | None], lines: Lines) -> dict[int, Stage]:
    """Call a table's function for every seed's line, and keep what is there."""
    return {seed: stage for seed, line in lines.items() if (stage := make(line)) is not None}


def command_for(item: str, lines: Lines) -> str:
    """Spell the command that makes an item whole, for these very runs."""
    line = next(iter(lines.values()))
    config, parts = line.config, [line.spell(f"reproduce {item}")]
    if len(lines) > 1:
        parts = [parts[0].replace(f" --seeds {config.seed}", ""), f"--seeds {','.join(map(str, lines))}"]
    if config.evaluation.split:
        parts.append(f"--split {config.evaluation.split}")
    usual = tuple(pipeline.ENCODER_TITLES)
    if config.profile == "quick" or not set(config.encoders) <= set(usual):
        usual = config.encoders if MARK not in line.folder.name else ()
    if item != "table-9" and config.encoders != usual:  # table 9 wants all three, whatever the line at hand has
        parts.append(f"--encoders {','.join(config.encoders)}")
    if item == "table-10" and config.refinement.iterations < ITERATIONS:
        parts.append(f"--iterations {ITERATIONS}")
    return " ".join(parts)


def models_table(
    lines: Lines,
    stages: Mapping[int, Stage],
    table: int,
    mapping: Mapping[str, Any],
    *,
    needs: Mapping[str, str] | None = None,
    order: Sequence[Any] = (),
    pairs: Sequence[tuple[str, str]] = (),
    titles: Mapping[str, str] | None = None,
) -> Reproduced:
    """Lay out scored models as a table of the paper: theirs, ours, differences, what each step gains.

    Args:
        lines: the runs, by seed.
        stages: the scored models, by seed.
        table: the paper's number.
        mapping: models, in the order of the page, to the paper's rows; ``None`` for those that are ours alone.
        needs: what models need that cannot be made by the item's own command.
        order: the order that the paper has, to be checked; its steps are compared one by one.
        pairs: models to compare, the first minus the second.
        titles: models to how readers call them.
    """
    titles = titles or {}

    def called(model: str) -> str:
        return titles.get(model, model)

    per_image = {seed: rows.assign(model=rows["model"].map(called)) for seed, rows in scores_of(stages).items()}
    summary, first = over_seeds(per_image), next(iter(lines.values()))
    scored, real = list(summary["model"].unique()), beside_paper(first, stages)
    command = command_for(f"table-{table}", lines)
    wanted = {called(m): v for m, v in mapping.items() if called(m) in scored or (real and v)}
    lacking = {
        called(model): (needs or {}).get(model, command)
        for model in mapping
        if called(model) in wanted and called(model) not in scored
    }
    rows = rows_of(stages)
    runs = {called(m): row["run"] if called(m) == m else (row["run"], m) for m, row in rows.items()}
    table_of_paper = ablation_table(
        summary, table, wanted, scored_on=scored_on(first), runs=runs, needs=lacking, with_paper=real
    )
    steps = [model for model in wanted if model in scored]
    compared = steps_in_order(per_image, steps, order) if order else {}
    if not order and (gains := differences(per_image, [(called(new), called(old)) for new, old in pairs])) is not None:
        compared = {"differences": gains}
    plot = figures.ablation_plot(
        summary[summary["model"].isin(wanted)],
        comparison=beside(summary, table, {m: v for m, v in wanted.items() if v}, lines, stages),
        by_seed=seed_dots(per_image, list(wanted)),
        order=list(wanted),
        nothing=nothing_found(stages),
    )
    return Reproduced({f"table {table}": table_of_paper} | compared, {"dice": plot}, dict(stages))


def steps_in_order(
    per_image: Mapping[int, pd.DataFrame], steps: Sequence[str], order: Sequence[Any]
) -> dict[str, pd.DataFrame]:
    """Lay out what each step gains and the last over the first, and whether the paper's order holds."""
    if len(steps) < 2:
        return {}
    several = list(zip(steps[1:], steps[:-1], strict=True)) + ([(steps[-1], steps[0])] if len(steps) > 2 else [])
    tables = {"differences": differences(per_image, several)}
    if compared := seeds_with(per_image, steps):
        tables["order"] = with_text(order_holds(seed_average(compared), order), ["lower", "higher"], "holds")
    return {name: frame for name, frame in tables.items() if frame is not None}


def scored_alone(item: str, lines: Lines, stages: Mapping[int, Stage], pairs: Sequence[tuple[str, str]]) -> Reproduced:
    """Lay out models that no table of the paper prints, and the differences of interest, the first minus the second."""
    if not stages:
        return Reproduced(needs=command_for(item, lines))
    per_image = scores_of(stages)
    summary, rows = over_seeds(per_image), rows_of(stages)
    models, scored = list(summary["model"].unique()), scored_on(next(iter(lines.values())))
    runs = {model: row["run"] for model, row in rows.items()}
    table = ablation_table(summary, 8, dict.fromkeys(models), scored_on=scored, runs=runs, with_paper=False)
    epochs = {model: str(row["epochs"] or "–") for model, row in rows.items()}
    table.insert(2, "epochs", table["model"].map(epochs))
    tables = {"scores": table}
    if (gains := differences(per_image, pairs)) is not None:
        tables["differences"] = gains
    plot = figures.ablation_plot(summary, by_seed=seed_dots(per_image, models), nothing=nothing_found(stages))
    return Reproduced(tables, {"dice": plot}, dict(stages))


def differences(per_image: Mapping[int, pd.DataFrame], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame | None:
    """Compare models pair by pair, each over the seeds that have both; ``None`` if no seed has any."""
    gains = [
        consecutive_differences(seed_average(shared), [old, new], ends=False)
        for new, old in pairs
        if (shared := seeds_with(per_image, (new, old)))
    ]
    return with_text(pd.concat(gains, ignore_index=True), ["model", "minus"]) if gains else None


def seeds_with(per_image: Mapping[int, pd.DataFrame], models: Sequence[str]) -> dict[int, pd.DataFrame]:
    """Keep the seeds that have scored all of some models, so that like is compared with like."""
    return {seed: rows for seed, rows in per_image.items() if set(models) <= set(rows["model"])}


def seed_dots(per_image: Mapping[int, pd.DataFrame], models: Sequence[str]) -> pd.DataFrame | None:
    """Give some models' scores seed by seed, for the dots of a plot; ``None`` where there is but one seed."""
    if len(per_image) < 2:
        return None
    dots = scores_by_seed(per_image)
    return dots[dots["model"].isin(models)]


def rows_of(stages: Mapping[int, Stage]) -> dict[str, dict[str, Any]]:
    """Say of every model that a seed has scored where it is from: run, stage, epochs. The first seed's word counts."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages.values():
        for model, row in stage.manifest.facts["rows"].items():
            found.setdefault(model, row)
    return found


def nothing_found(stages: Mapping[int, Stage]) -> float:
    """Give the Dice of calling every pixel lesion, on the images that were scored."""
    return float(np.mean([all_lesion(rows) for rows in scores_of(stages).values()]))


def masks_by_model(stage: Stage) -> dict[str, np.ndarray]:
    """Map the masks of every model that a stage has scored: (N, S, S) bool each."""
    predictions = np.load(stage / "predictions.npy", mmap_mode="r")
    return dict(zip(pd.read_csv(stage / "models.csv")["model"], predictions, strict=True))


def outlines(run: Run, stage: Stage, models: Sequence[str]) -> Figure:
    """Draw the masks of some models on the best, median and worst images by the last one's Dice."""
    split = stage.manifest.settings["split"]
    images, masks = ImageSet.open(run.open(f"01-data/images/{split}").folder), pipeline.load_masks(run, split)
    predictions = masks_by_model(stage)
    shown = [model for model in models if model in predictions]
    per_image = scores_of({run.config.seed: stage})[run.config.seed]
    last = per_image[per_image["model"] == shown[-1]].set_index("id")
    chosen = figures.choose_examples(last["DIC"].to_numpy(), number=2)
    ids = [last.index[k] for k in chosen.indices]
    rows = [images.ids.index(name) for name in ids]
    masks_of = {model: predictions[model][rows] for model in shown}
    return figures.over_under(images.images[rows], masks_of, masks.select(ids), chosen.labels)


def with_text(frame: pd.DataFrame, names: list[str], *more: str) -> pd.DataFrame:
    """Lay out differences for a page: who, minus whom, Dice points with their interval."""
    return frame[names].assign(
        **{"Dice points": [difference_text(row) for _, row in frame.iterrows()]}, **frame[list(more)]
    )


def beside_paper(line: Run, stages: Mapping[int, Stage]) -> bool:
    """Say whether the paper's numbers belong beside ours: it is its data, and our Model 1 is CCAM as its own is."""
    first = rows_of(stages).get("Model 1", {"stage": "03-saliency/ccam"})
    return line.config.dataset == "isic2017" and first["stage"].startswith("03-saliency/ccam")


def beside(
    summary: pd.DataFrame, table: int, mapping: Mapping[str, Any], lines: Lines, stages: Mapping[int, Stage]
) -> pd.DataFrame | None:
    """Compare with the paper; ``None`` where its numbers do not belong beside ours."""
    first = next(iter(lines.values()))
    if not beside_paper(first, stages):
        return None
    return comparison(summary, table, mapping, scored_on=scored_on(first), unscored=set(mapping))


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
    there = list(rows_of(stages))
    later = [model for model in there if model.startswith("Model 5_")]
    return REFINED if REFINED in there or not later else later[-1]


def scored_on(run: Run) -> str:
    """Name the part that is scored, as tables do."""
    return f"{run.config.dataset}-{pipeline.score_split(run)}"
