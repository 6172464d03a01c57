"""Keep a small, committed record of a run: scores, figures and the manifest that says what they were measured by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uslnet_core import figures, pipeline
from uslnet_core.data.images import ImageSet
from uslnet_core.data.masks import MaskSet
from uslnet_core.errors import DataError
from uslnet_core.evaluation import by_frame, by_size, comparison, cut_by_frame, label_accuracy, paired_difference, wide
from uslnet_core.folders import replace_folder
from uslnet_core.runs import Run, upstream
from uslnet_core.stages import Stage, gibibytes

DPI = 110


def record(run: Run, target: Path) -> Path:
    """Write the record of an evaluated run.

    Args:
        run: a run whose evaluation is there.
        target: folder that gets ``<run>/``; a record of the same name is replaced when the new one is whole.

    Returns:
        The record's folder: summary.csv and per_image.csv (in [0, 1]); the tables of the page (percent, minutes) as
        about, scores, native, comparison, differences, sizes, frame, labels and stages.csv; manifest.json; PNG figures.

    Raises:
        RunError: a stage is missing.
        DataError: nothing was scored, or the images are synthetic or the method not the paper's: such scores do not
            stand beside the paper's.
    """
    if run.config.method != "usl-net":
        command = run.spell("reproduce steps").replace(f" --method {run.config.method}", "")
        raise DataError(
            f"{run.folder.name} is of {run.config.method}, and a record stands beside the paper's numbers. Past the "
            f"paper, this records: {command} --record"
        )
    split = pipeline.score_split(run)
    stage = run.open(f"07-evaluation/{split}")
    if run.config.dataset == "synthetic":
        raise DataError(f"{run.folder.name} is made of synthetic images: only runs on real ones are recorded.")
    if not stage.manifest.facts["scored"]:
        raise DataError(f"{run.folder.name} has no masks for {split}, so there is no score to record.")
    folder, fresh = target / run.folder.name, target / f".{run.folder.name}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        write_record(run, split, stage, fresh)
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def write_record(run: Run, split: str, stage: Stage, folder: Path) -> None:
    """Write the files of a record into a folder that is there."""
    summary = pd.read_csv(stage / "summary.csv", dtype={"size": str})
    per_image = pd.read_csv(stage / "per_image.csv", dtype={"id": str, "size": str})
    summary.round(5).to_csv(folder / "summary.csv", index=False)
    per_image.round(5).to_csv(folder / "per_image.csv", index=False)
    primary, at_run_size = summary[summary["size"] != "native"], per_image[per_image["size"] != "native"]
    wide(primary).to_csv(folder / "scores.csv", index=False)
    wide(summary[summary["size"] == "native"], ("DIC", "JAC")).to_csv(folder / "native.csv", index=False)
    models = list(primary["model"].unique())
    scored_on = f"{run.config.dataset}-{split}"
    tables = [
        comparison(primary, 8, {"Model 1": "Model 1"}, scored_on=scored_on),
        comparison(primary, 10, {m: m for m in models if m != "Model 1"}, scored_on=scored_on),
    ]
    compare_table(pd.concat(tables)).to_csv(folder / "comparison.csv", index=False)
    difference_table(at_run_size, models).to_csv(folder / "differences.csv", index=False)
    size_table(by_size(at_run_size)).to_csv(folder / "sizes.csv", index=False)
    frame_table(at_run_size, pipeline.load_masks(run, split)).to_csv(folder / "frame.csv", index=False)
    label_table(run, iterations_of(stage)).to_csv(folder / "labels.csv", index=False)
    stages = sorted([*upstream(run, stage), *label_masks(run)], key=lambda each: each.name)
    stage_table(stages).to_csv(folder / "stages.csv", index=False)
    manifest = describe(run, split, stages)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    about_table(manifest).to_csv(folder / "about.csv", index=False)
    draw(run, split, stage, at_run_size, folder)


def compare_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Lay out ours beside the paper's, percent: three rows a model, a column per metric."""
    theirs, ours = compared[["paper_scored_on", "ours_scored_on"]].iloc[0]
    lines = {f"paper, {theirs}": "paper", f"ours, {ours}": "ours", "difference": "difference"}
    rows = []
    for model, part in compared.groupby("model", sort=False):
        values = part.set_index("metric")
        for name, column in lines.items():
            form = "{:+.1f}" if column == "difference" else "{:.1f}"
            rows.append({"model": model, "whose": name, **values[column].map(form.format)})
    return pd.DataFrame(rows)


def difference_table(per_image: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """Lay out what each model gains over the one before, and the last over the first: Dice points, image by image."""
    pairs = dict.fromkeys([*zip(models[1:], models[:-1], strict=True), (models[-1], models[0])])
    rows = []
    for new, old in pairs:
        found = paired_difference(per_image, new, old)
        gain, low, high = (100 * found[name] for name in ("difference", "low", "high"))
        rows.append({"model": new, "minus": old, "Dice points": f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"})
    return pd.DataFrame(rows)


def size_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """Lay out Dice by quarter of lesion size, percent, a column per model."""
    area = [f"{100 * a:.1f}–{100 * b:.1f} %" for a, b in zip(sizes["area_low"], sizes["area_high"], strict=True)]
    shown = sizes.assign(area=area, dice=(100 * sizes["mean"]).map("{:.1f}".format))
    table = shown.pivot_table(index=["size", "area"], columns="model", values="dice", aggfunc="first", sort=False)
    return table.reset_index().rename(columns={"size": "lesions", "area": "area of the image"})


def frame_table(per_image: pd.DataFrame, masks: MaskSet) -> pd.DataFrame:
    """Lay out Dice of lesions inside the image and of those that the frame cuts, percent, a column per model."""
    cut = dict(zip(masks.scored_ids, cut_by_frame(masks.select(list(masks.scored_ids))), strict=True))
    places = by_frame(per_image, cut).rename(columns={"place": "lesions"})
    means = 100 * places.pivot_table(index="lesions", columns="model", values="mean", sort=False)
    counted = places.groupby("lesions", sort=False)["n_images"].first()
    return means.map("{:.1f}".format).assign(images=counted).reset_index()


def label_masks(run: Run) -> list[Stage]:
    """Open the training part's masks, if there are any: nothing but the table of labels reads them."""
    stage = pipeline.prepare_masks(run, pipeline.train_split(run))
    return [stage] if stage else []


def iterations_of(evaluation: Stage) -> int:
    """Count the segmenters that were scored; the first model is CCAM itself."""
    return len(pd.read_csv(evaluation / "models.csv")) - 1


def label_table(run: Run, iterations: int) -> pd.DataFrame:
    """Say of each iteration how many images it learnt from, how certain its labels were and how right (a score)."""
    split = pipeline.train_split(run)
    masks = pipeline.load_masks(run, split)
    ids = {name: k for k, name in enumerate(pipeline.load_images(run, split).ids)}
    rows = []
    for iteration in range(iterations):
        stage = run.open(f"05-segmenter/iteration-{iteration}" if iteration else "04-labels")
        labels, keep = pipeline.load_labels(stage)
        row = {"iteration": iteration, "learns from": f"iteration {iteration - 1}" if iteration else "CCAM"}
        row |= {"images kept": f"{keep.sum()} of {len(keep)}", "certain": f"{100 * (labels != 1).mean():.1f} %"}
        if masks:
            kept = [name for name in masks.scored_ids if keep[ids[name]]]
            accuracy = label_accuracy(labels[[ids[n] for n in kept]] / np.float32(2), masks.select(kept))
            names = {"accuracy": "of these right", "foreground": "lesion right", "background": "skin right"}
            for column, what in names.items():
                row[what] = f"{100 * accuracy[column].mean():.1f} %"
        rows.append(row)
    return pd.DataFrame(rows)


def stage_table(stages: list[Stage]) -> pd.DataFrame:
    """List the stages with the minutes that each took."""
    return pd.DataFrame(
        {
            "stage": [s.name for s in stages],
            "minutes": [f"{s.manifest.seconds / 60:.1f}" for s in stages],
            "process memory so far, GiB": [gibibytes(s.manifest.peak_memory) for s in stages],
            "made": [s.manifest.made_at[:10] for s in stages],
            "fingerprint": [s.manifest.fingerprint[:12] for s in stages],
        }
    )


def describe(run: Run, split: str, stages: list[Stage]) -> dict[str, Any]:
    """Say what the scores were measured by: sets, size, profile, seed, device, versions, settings of each stage."""
    config, last = run.config, run.open(f"07-evaluation/{split}").manifest
    return {
        "run": run.folder.name,
        "train": f"{config.dataset}-{pipeline.train_split(run)}, without masks",
        "scored": f"{config.dataset}-{split}",
        "size": pipeline.image_size(run, split),
        "profile": config.profile,
        "seed": last.seed,
        "device": last.device,
        "made_with": last.made_with,
        "versions": last.versions,
        "minutes": round(sum(s.manifest.seconds for s in stages) / 60, 1),
        "stages": {
            s.name: {
                name: getattr(s.manifest, name)
                for name in ("version", "seconds", "peak_memory", "made_at", "key", "fingerprint", "settings", "facts")
            }
            for s in stages
        },
    }


def about_table(manifest: dict[str, Any]) -> pd.DataFrame:
    """Lay out what a reader wants to know of a run before its scores."""
    facts = {name.split("/")[-1]: stage["facts"] for name, stage in manifest["stages"].items() if "images" in name}
    train, scored = (manifest[key].split(",")[0].rpartition("-")[2] for key in ("train", "scored"))
    encoders = {n.split("/")[1]: s["settings"] for n, s in manifest["stages"].items() if n.startswith("02-contrastive")}
    learnt = pipeline.in_words(encoders)
    memory = max((s["peak_memory"] or 0 for s in manifest["stages"].values()), default=0)
    rows = {
        "trained on": f"{facts[train]['images']} images of {manifest['train']}",
        "scored on": f"{facts[scored]['images']} images of {manifest['scored']}",
        "profile": f"{manifest['profile']}: {learnt}, {manifest['size']} × {manifest['size']} pixels",
        "seeds": f"one, {manifest['seed']}",
        "device": manifest["device"].upper(),
        "minutes, all stages": manifest["minutes"],
        "largest process": f"{gibibytes(memory)} GiB",
        "date": max(s["made_at"] for s in manifest["stages"].values())[:10],
    }
    return pd.DataFrame({"what": list(rows), "this run": list(rows.values())})


def draw(run: Run, split: str, stage: Stage, per_image: pd.DataFrame, folder: Path) -> None:
    """Draw the record's figures; examples are chosen by rank, as the page says."""
    images = ImageSet.open(run.open(f"01-data/images/{split}").folder)
    masks = pipeline.load_masks(run, split)
    models = list(pd.read_csv(stage / "models.csv")["model"])
    predictions = np.load(stage / "predictions.npy", mmap_mode="r")
    last = per_image[per_image["model"] == models[-1]].set_index("id")
    chosen = figures.choose_examples(last["DIC"].to_numpy(), number=2)
    names = [last.index[k] for k in chosen.indices]
    rows = [images.ids.index(n) for n in names]
    shown, truth = images.images[rows], masks.select(names)
    by_model = {m: np.asarray(predictions[k])[rows] for k, m in enumerate(models)}
    pictures = {
        "examples.png": figures.over_under(shown, by_model, truth, chosen.labels),
        "dice.png": figures.spread_plot(per_image, "DIC"),
    }
    pictures |= draw_labels(run, iterations_of(stage))
    for name, figure in pictures.items():
        figure.savefig(folder / name, dpi=DPI, bbox_inches="tight")


def draw_labels(run: Run, iterations: int, number: int = 3) -> dict[str, Any]:
    """Draw the three-way split and the labels of all iterations for evenly spaced training images."""
    images = pipeline.load_images(run)
    rows = np.linspace(0, len(images) - 1, number + 2).astype(int)[1:-1]
    saliency = pipeline.load_saliency(run)[rows]
    by_iteration = {}
    for iteration in range(iterations):
        stage = run.open(f"05-segmenter/iteration-{iteration}" if iteration else "04-labels")
        by_iteration[f"iteration {iteration}"] = pipeline.load_labels(stage)[0][rows] / np.float32(2)
    settings = run.open("04-labels").manifest.settings["uncertainty"]
    split = figures.three_way(
        images.images[rows], saliency, by_iteration["iteration 0"], thresholds=(settings["low"], settings["high"])
    )
    return {"labels.png": figures.label_iterations(images.images[rows], by_iteration), "split.png": split}
