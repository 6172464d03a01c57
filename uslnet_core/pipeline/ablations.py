"""The ablations of the paper (4.5): the models of tables 8, 9 and 10 and of figure 9, scored side by side.

Each function makes what its table lacks, shares what is there, and writes one stage under ``tables/``. With
``complete=False`` it scores what is there and trains nothing. Masks are read at the very end, to score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError, RunError
from uslnet_core.labels import select_component
from uslnet_core.pipeline.features import fabric_of, learn_features
from uslnet_core.pipeline.saliency import CONCATENATED, FUSED, load_maps, main_maps, map_part, source_name
from uslnet_core.pipeline.scoring import images_to_score, model_name, prepare_masks, score_split, write_scores
from uslnet_core.pipeline.training import load_segmenter, make_labels, starting_encoder, train_iteration
from uslnet_core.pipeline.variants import complete as complete_run
from uslnet_core.pipeline.variants import main_encoders, vary
from uslnet_core.runs import Run
from uslnet_core.segmenter import predict
from uslnet_core.stages import Stage
from uslnet_core.weights import need

TRAINED_BEFORE = ("01-data", "02-contrastive", "03-saliency")
TRANSFORMERS = {"MoCo v3": "moco_v3_vits", "DINO": "dino_vits16", "DINOv2": "dinov2_vits14"}
ENCODER_TITLES = {"simclr": "SimCLR", "moco_v1": "MoCo v1", "moco_v2": "MoCo v2"}
PLAIN_THRESHOLDS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Model:
    """One row of a table: where its maps come from.

    Attributes:
        name: as the table calls it.
        stage: the stage that it hangs on.
        maps: gives (N, S, S) float32 in [0, 1], or bool, for the images that are scored.
    """

    name: str
    stage: Stage
    maps: Callable[[], np.ndarray]


def table_8(run: Run, *, complete: bool = True) -> Stage:
    """Score the Baseline and Models 1 to 5 (table 8), and all iterations (table 10), as ``tables/table-8``.

    Baseline: Smooth Grad-CAM++ on MoCo v2 (or the run's one encoder), cut at the threshold. Model 1: CCAM, fused, in
    its place. Model 2: of that the most central component. Model 3: a segmenter that learns Model 2's masks with plain
    cross-entropy. Model 4: one that learns the uncertainty module's labels. Model 5_k: iteration k.

    Args:
        run: the line, as :func:`~uslnet_core.pipeline.variants.line_of` opens it.
        complete: train what is missing; else only rows that are there are scored.

    Returns:
        The stage: predictions.npy, models.csv, per_image.csv and summary.csv, as an evaluation has them; its facts say
        of each row from which run and stage it comes.
    """
    if complete:
        complete_run(run)
    split = score_split(run)
    images = images_to_score(run, split)
    size, threshold = ImageSet.open(images.folder).size, run.config.evaluation.threshold
    models = []
    encoder = starting_encoder(run)
    if complete or run.has(f"03-saliency/smooth_grad_cam_pp-{encoder}/{split}"):
        models.append(map_model("Baseline", map_part(run, split, "smooth_grad_cam_pp", encoder), size))
    ccam = main_maps(run, split)
    models.append(map_model("Model 1", ccam, size))
    rules = run.config.uncertainty
    models.append(Model("Model 2", ccam, lambda: select_component(load_maps(ccam, size), threshold, rules)))
    plain = labelled_otherwise(run, "model-3", {"kind": "selected", "threshold": threshold}, complete=complete)
    models += [segmenter_model("Model 3", *plain, images)] if plain else []
    for k in range(run.config.refinement.iterations):
        name = f"05-segmenter/iteration-{k}"
        if run.has(name):
            models.append(segmenter_model(model_name(k), run, run.open(name), images))
    return score_models(run, "table-8", split, models)


def table_9(run: Run, *, complete: bool = True) -> Stage:
    """Score every encoder with every kind of map, cut at the threshold (table 9), as ``tables/table-9``.

    Args:
        run: the line.
        complete: train and map what is missing. Transformers are never fetched: without their file they have no row.

    Returns:
        The stage, as :func:`table_8` writes it; rows are named as maps are: ``ccam-moco_v2``.
    """
    split = score_split(run)
    if complete:
        complete_run(run, 0)
    images = images_to_score(run, split)
    size, wanted = ImageSet.open(images.folder).size, []
    encoders = main_encoders(run)
    for cam in ("smooth_grad_cam_pp", "ccam", "grad_cam", "grad_cam_pp", "freq_cam"):
        wanted += [(cam, name) for name in encoders]
        wanted += [(cam, FUSED)] if len(encoders) > 1 else []
    wanted += [("ccam", CONCATENATED)] if len(encoders) > 1 else []
    wanted.append(("colour_distance", None))
    models = []
    for cam, name in wanted:
        source = source_name(run, cam, name)
        if complete or run.has(f"03-saliency/{source}/{split}"):
            models.append(map_model(source, map_part(run, split, cam, name), size))
    for name in TRANSFORMERS.values():
        if run.has(f"02-contrastive/{name}") or (complete and public_file(run, name)):
            learn_features(run, name)
            stage = map_part(run, split, "smooth_grad_cam_pp", name)
            models.append(map_model(source_name(run, "smooth_grad_cam_pp", name), stage, size))
    return score_models(run, "table-9", split, models)


def figure_9(run: Run, *, complete: bool = True, epochs: int | None = None) -> Stage:
    """Score segmenters that learnt plain labels at 0.3, 0.5 and 0.7 beside the one that learnt the module's (figure 9).

    Args:
        run: the line.
        complete: train what is missing.
        epochs: of each of the four; by default those of iteration 0.

    Returns:
        The stage ``tables/figure-9``, as :func:`table_8` writes it.
    """
    if complete:
        complete_run(run, 0)
    split, models = score_split(run), []
    images = images_to_score(run, split)
    kinds = {f"threshold {t}": {"kind": "plain", "threshold": t} for t in PLAIN_THRESHOLDS} | {"UM": {}}
    for name, kind in kinds.items():
        label = f"plain-{kind['threshold']}" if kind else "um"
        found = labelled_otherwise(run, label, kind, complete=complete, epochs=epochs)
        models += [segmenter_model(name, *found, images)] if found else []
    return score_models(run, "figure-9", split, models)


def options(run: Run, *, complete: bool = True, epochs: int | None = None) -> Stage:
    """Score what the paper leaves open in training: the factor ¼, and a warm start of iteration 1 (``tables/options``).

    Args:
        run: the line.
        complete: train what is missing.
        epochs: of iteration 0; by default as configured.

    Returns:
        The stage, as :func:`table_8` writes it.
    """
    if complete:
        complete_run(run, 1)
    split, models = score_split(run), []
    images = images_to_score(run, split)
    usual = labelled_otherwise(run, "um", {}, complete=complete, epochs=epochs)
    literal = labelled_otherwise(run, "literal", {}, complete=complete, epochs=epochs, segmenter={"literal": True})
    models += [segmenter_model("without the ¼", *usual, images)] if usual else []
    models += [segmenter_model("with the ¼", *literal, images)] if literal else []
    first = [*TRAINED_BEFORE, "04-labels", "05-segmenter/iteration-0"]
    for name, warm in {"iteration 1, started again": False, "iteration 1, gone on": True}.items():
        changed = {"refinement": {"warm_start": warm, "iterations": 2}}
        varied = vary(run, "warm" if warm else "cold", first if complete else (), **changed)
        if complete or varied.has("05-segmenter/iteration-1"):
            models.append(segmenter_model(name, varied, train_iteration(varied, 1), images))
    return score_models(run, "options", split, models)


# --- parts -----------------------------------------------------------------------------------------------------------


def labelled_otherwise(
    run: Run, label: str, kind: dict[str, Any], *, complete: bool, epochs: int | None = None, **changes: Any
) -> tuple[Run, Stage] | None:
    """Train iteration 0 of a variation on other labels; ``None`` if it is not there and shall not be made."""
    if epochs:
        changes["refinement"] = {"first_epochs": epochs}
    varied = vary(run, label, TRAINED_BEFORE if complete else (), labels=kind, **changes)
    if complete:
        make_labels(varied)
        return varied, train_iteration(varied, 0)
    first = "05-segmenter/iteration-0"
    return (varied, varied.open(first)) if varied.has(first) else None


def map_model(name: str, stage: Stage, size: int) -> Model:
    """Make a row of a saliency stage."""
    return Model(name, stage, lambda: load_maps(stage, size))


def segmenter_model(name: str, run: Run, stage: Stage, images: Stage) -> Model:
    """Make a row of a trained segmenter."""

    def maps() -> np.ndarray:
        return predict(load_segmenter(stage), ImageSet.open(images.folder), fabric_of(run), progress=run.progress)

    return Model(name, stage, maps)


def score_models(run: Run, table: str, split: str, models: Sequence[Model]) -> Stage:
    """Score models side by side and write them as one stage."""
    if not models:
        raise RunError(f"{run.folder.name} has nothing for {table} yet. Make it:\n  {run.remedy or run.command('09')}")
    images, masks = images_to_score(run, split), prepare_masks(run, split)
    rows = {m.name: {"run": m.stage.run_name, "stage": m.stage.name} for m in models}

    def compute(folder: Path) -> dict[str, Any]:
        maps = {model.name: model.maps() for model in models}
        return {"rows": rows} | write_scores(run, split, maps, ImageSet.open(images.folder), masks, folder)

    # Rows of variations are named by what they are, not as inputs: in this run their names mean other stages.
    settings = {
        "models": {m.name: m.stage.manifest.fingerprint for m in models},
        "evaluation": run.config.evaluation.model_dump(mode="json", exclude={"split"}),
        "rules": run.config.uncertainty.model_dump(mode="json"),
        "split": split,
    }
    inputs = [images, *([masks] if masks else [])]
    return run.make(f"tables/{table}", compute, settings=settings, inputs=inputs)


def public_file(run: Run, name: str) -> bool:
    """Say whether a public checkpoint's file is there."""
    try:
        return bool(run.weights and need(name, run.weights))
    except DataError:
        return False
