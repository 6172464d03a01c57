"""How an item is laid out: scored models as tables of the paper, and their outlines as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError
from uslnet_core.evaluation import (
    ablation_table,
    comparison,
    consecutive_differences,
    difference_text,
    order_holds,
    over_seeds,
    scores_by_seed,
    seed_average,
)
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

Lines = Mapping[int, Run]
REFINED = "Model 5_2"  # the paper's Model 5; fixed beforehand, and by no score of ours


@dataclass(frozen=True)
class Reproduced:
    """One item: its tables and pictures by name, and the stage of each seed that they were made from.

    Attributes:
        tables: frames, for a page.
        figures: pictures.
        stages: by seed; empty if nothing is there.
        needs: the command that makes what is not there; empty if there is something.
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


def stages_of(make: Callable[[Run], Stage | None], lines: Lines) -> dict[int, Stage]:
    """Call a table's function for every seed's line, and keep what is there."""
    return {seed: stage for seed, line in lines.items() if (stage := make(line)) is not None}


def command_for(item: str, lines: Lines) -> str:
    """Spell the command that makes an item whole."""
    line = next(iter(lines.values()))
    return line.spell(f"reproduce {item}")


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
    command = command_for(f"table-{table}", lines)
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


def scored_alone(item: str, lines: Lines, stages: Mapping[int, Stage], pairs: Sequence[tuple[str, str]]) -> Reproduced:
    """Lay out models that no table of the paper prints, and the differences of interest, the first minus the second."""
    if not stages:
        return Reproduced(needs=command_for(item, lines))
    per_image = scores_of(stages)
    summary, rows = over_seeds(per_image), next(iter(stages.values())).manifest.facts["rows"]
    models, scored = list(summary["model"].unique()), scored_on(next(iter(lines.values())))
    runs = {model: row["run"] for model, row in rows.items()}
    table = ablation_table(summary, 8, dict.fromkeys(models), scored_on=scored, runs=runs, with_paper=False)
    epochs = {model: str(row["epochs"] or "–") for model, row in rows.items()}
    table.insert(2, "epochs", table["model"].map(epochs))
    tables = {"scores": table}
    averaged = seed_average(per_image)
    gains = [
        consecutive_differences(averaged, [old, new], ends=False) for new, old in pairs if {new, old} <= set(models)
    ]
    if gains:
        tables["differences"] = with_text(pd.concat(gains, ignore_index=True), ["model", "minus"])
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


def with_text(frame: pd.DataFrame, names: list[str], *more: str) -> pd.DataFrame:
    """Lay out differences for a page: who, minus whom, Dice points with their interval."""
    return frame[names].assign(
        **{"Dice points": [difference_text(row) for _, row in frame.iterrows()]}, **frame[list(more)]
    )


def beside(summary: pd.DataFrame, table: int, mapping: Mapping[str, Any], lines: Lines) -> pd.DataFrame | None:
    """Compare with the paper; ``None`` on synthetic images."""
    first = next(iter(lines.values()))
    if first.config.dataset == "synthetic":
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
    there = list(next(iter(stages.values())).manifest.facts["rows"])
    later = [model for model in there if model.startswith("Model 5_")]
    return REFINED if REFINED in there or not later else later[-1]


def scored_on(run: Run) -> str:
    """Name the part that is scored, as tables do."""
    return f"{run.config.dataset}-{pipeline.score_split(run)}"
