"""The ablations of the paper (4.5): the models of tables 8, 9 and 10 and of figure 9, scored side by side.

Each function makes what its table lacks, shares what is there, and writes one stage under ``tables/``. With
``complete=False`` it scores what is there and trains nothing. Masks are read at the very end, to score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uslnet_core.config import UncertaintyConfig
from uslnet_core.data.images import ImageSet
from uslnet_core.labels import select_component
from uslnet_core.pipeline.features import fabric_of, learn_features, method_of
from uslnet_core.pipeline.fusion import fit_to_fuse
from uslnet_core.pipeline.images import train_split
from uslnet_core.pipeline.saliency import (
    load_maps,
    main_maps,
    make_saliency,
    map_like,
    map_part,
)
from uslnet_core.pipeline.scoring import images_to_score, model_name, prepare_masks, score_split, write_scores
from uslnet_core.pipeline.sources import CONCATENATED, FUSED, source_name
from uslnet_core.pipeline.training import load_segmenter, make_labels, starting_encoder, train_iteration
from uslnet_core.pipeline.variants import complete as complete_run
from uslnet_core.pipeline.variants import follows, main_encoders, vary
from uslnet_core.runs import Run
from uslnet_core.segmenter import predict
from uslnet_core.stages import Stage
from uslnet_core.weights import CHECKPOINTS

TRAINED_BEFORE = ("01-data", "02-contrastive", "03-saliency")
TRANSFORMERS = {"MoCo v3": "moco_v3_vits", "DINO": "dino_vits16", "DINOv2": "dinov2_vits14"}
PLAIN_THRESHOLDS = (0.3, 0.5, 0.7)
SOURCES = {"cam": "ccam", "also": [], "weigh": "evenly"}  # of the maps; what an older manifest does not say


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
    settings: dict[str, Any] = field(default_factory=dict)


def table_8(run: Run, *, complete: bool = True, every: bool = True) -> Stage | None:
    """Score the Baseline and Models 1 to 5 (table 8), and all iterations (table 10), as ``tables/table-8/<split>``.

    Baseline: Smooth Grad-CAM++ on MoCo v2 (or the run's one encoder), cut at the threshold. Model 1: CCAM, fused, in
    its place. Model 2: of that the most central component. Model 3: a segmenter that learns Model 2's masks with plain
    cross-entropy. Model 4: one that learns the uncertainty module's labels. Model 5_k: iteration k.

    Args:
        run: the line, as :func:`~uslnet_core.pipeline.variants.line_of` opens it.
        complete: train what is missing; else only rows that are there are scored.
        every: complete Baseline and Model 3, too, which the iterations of table 10 do not need.

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
    if baseline := maps_of(run, split, "smooth_grad_cam_pp", encoder, complete=complete and every):
        models.append(map_model("Baseline", baseline, size))
    ccam = main_maps(run, split)
    models.append(map_model("Model 1", ccam, size))
    rules = run.config.uncertainty
    models.append(Model("Model 2", ccam, lambda: select_component(load_maps(ccam, size), threshold, rules)))
    selected = {"kind": "selected", "threshold": threshold}
    plain = labelled_otherwise(run, "model-3", selected, complete=complete and every)
    models += [segmenter_model("Model 3", *plain, images)] if plain else []
    for k in range(run.config.refinement.iterations):
        name = f"05-segmenter/iteration-{k}"
        if run.has(name):
            models.append(segmenter_model(model_name(k), run, run.open(name), images))
    return score_models(run, "table-8", split, models)


def table_9(run: Run, *, complete: bool = True) -> Stage | None:
    """Score every encoder with every kind of map, cut at the threshold (table 9), as ``tables/table-9/<split>``.

    Args:
        run: the line.
        complete: train and map what is missing. Transformers are never fetched: without their file they have no row.
            In the quick profile there is no CCAM on the features of all encoders at once, for its time.

    Returns:
        The stage, as :func:`table_8` writes it; rows are named as maps are: ``ccam-moco_v2``.
    """
    split = score_split(run)
    if complete:
        complete_run(run, 0)
    images = images_to_score(run, split)
    size, wanted = ImageSet.open(images.folder).size, []
    encoders, several = main_encoders(run), len(main_encoders(run)) > 1
    for cam in ("smooth_grad_cam_pp", "ccam"):
        wanted += [(cam, name) for name in encoders]
        wanted += [(cam, FUSED)] if several else []
    unhurried = run.config.profile != "quick"  # there it would be the dearest row, and the paper has none like it
    wanted += [("ccam", CONCATENATED)] if several and unhurried else []
    best = next((name for name in encoders if method_of(name) == "moco_v2"), encoders[0])  # the paper's strongest alone
    wanted += [(cam, best) for cam in ("grad_cam", "grad_cam_pp", "freq_cam")]
    wanted.append(("colour_distance", None))
    models = []
    for cam, name in wanted:
        if stage := maps_of(run, split, cam, name, complete=complete):
            models.append(map_model(source_name(run, cam, name), stage, size))
    for name in TRANSFORMERS.values():
        there = complete and public_file(run, name)
        if there:
            learn_features(run, name)
        if stage := maps_of(run, split, "smooth_grad_cam_pp", name, complete=there):
            models.append(map_model(source_name(run, "smooth_grad_cam_pp", name), stage, size))
    return score_models(run, "table-9", split, models)


def figure_9(run: Run, *, complete: bool = True, epochs: int | None = None) -> Stage | None:
    """Score segmenters that learnt plain labels at 0.3, 0.5 and 0.7 beside the one that learnt the module's (figure 9).

    Args:
        run: the line.
        complete: train what is missing.
        epochs: of each of the four; by default those of iteration 0.

    Returns:
        The stage ``tables/figure-9/<split>``, as :func:`table_8` writes it.
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


def options(run: Run, *, complete: bool = True, epochs: int | None = None) -> Stage | None:
    """Score what the paper leaves open in training (``tables/options/<split>``).

    The factor ¼ of the printed loss, maps of one encoder in place of all, and a warm start of iteration 1.

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
    models += [segmenter_model("as settled", *usual, images)] if usual else []
    models += [segmenter_model("with the ¼", *literal, images)] if literal else []
    if len(main_encoders(run)) > 1:
        alone = one_encoder(run, complete=complete, epochs=epochs)
        models += [segmenter_model("maps of one encoder", *alone, images)] if alone else []
    first = [*TRAINED_BEFORE, "04-labels", "05-segmenter/iteration-0"]
    for name, warm in {"iteration 1, started again": False, "iteration 1, gone on": True}.items():
        changed = {"refinement": {"warm_start": warm, "iterations": 2}}
        varied = vary(run, "warm" if warm else "cold", first if complete else (), **changed)
        if complete:
            models.append(segmenter_model(name, varied, train_iteration(varied, 1), images))
        elif found := finished(varied, run, first, 1):
            models.append(segmenter_model(name, *found, images))
    return score_models(run, "options", split, models)


# --- parts -----------------------------------------------------------------------------------------------------------


def labelled_otherwise(
    run: Run, label: str, kind: dict[str, Any], *, complete: bool, epochs: int | None = None, **changes: Any
) -> tuple[Run, Stage] | None:
    """Train iteration 0 of a variation on other labels; ``None`` if it is not there and shall not be made."""
    label, changes = with_epochs(run, label, changes, epochs)
    varied = vary(run, label, TRAINED_BEFORE if complete else (), labels=kind, **changes)
    if complete:
        make_labels(varied)
        return varied, train_iteration(varied, 0)
    return finished(varied, run, TRAINED_BEFORE)


def finished(varied: Run, run: Run, share: Sequence[str], iteration: int = 0) -> tuple[Run, Stage] | None:
    """Open a variation's segmenter, if it is there, as configured, and stands on its run's own stages."""
    name = f"05-segmenter/iteration-{iteration}"
    if not varied.has(name) or not follows(varied, run, name, share):
        return None
    stage, wanted = varied.open(name), varied.config.model_dump(mode="json")
    made = stage.manifest.config
    alike = all(made[section] == wanted[section] for section in ("labels", "segmenter"))
    # An older version knew fewer choices, and what is not in use is no difference.
    alike = alike and UncertaintyConfig(**made["uncertainty"]).settings() == varied.config.uncertainty.settings()
    alike = alike and [made["saliency"].get(name, usual) for name, usual in SOURCES.items()] == [
        wanted["saliency"][name] for name in SOURCES
    ]
    if iteration:
        alike = alike and stage.manifest.settings.get("look") == varied.config.look.lesson().get("look")
        alike = alike and made["refinement"]["warm_start"] == wanted["refinement"]["warm_start"]
    epochs = wanted["refinement"]["epochs" if iteration else "first_epochs"]
    return (varied, stage) if alike and epochs_of(stage) == epochs else None


def with_epochs(run: Run, label: str, changes: dict[str, Any], epochs: int | None) -> tuple[str, dict[str, Any]]:
    """Train iteration 0 of a variation for another number of epochs, and say so in its label."""
    if epochs is None or epochs == run.config.refinement.first_epochs:
        return label, changes
    return f"{label}-{epochs}-epochs", changes | {"refinement": {"first_epochs": epochs}}


def maps_of(run: Run, split: str, cam: str, name: str | None, *, complete: bool) -> Stage | None:
    """Open the maps of a source, or make them if that is asked for; ``None`` if they are not there."""
    source = source_name(run, cam, name)
    if run.has(f"03-saliency/{source}/{split}") and of_its_encoders(run, source, split):
        return run.open(f"03-saliency/{source}/{split}")
    trained = f"03-saliency/{source}/{train_split(run)}"
    if cam == "ccam" and run.has(trained) and of_its_encoders(run, source, train_split(run)):
        return map_like(run, split, run.open(trained))
    return map_part(run, split, cam, name) if complete else None


def of_its_encoders(run: Run, source: str, split: str) -> bool:
    """Say whether maps of several encoders are of those that the run has now; others are of the one they name."""
    cam, _, who = source.partition("-")
    if who not in (FUSED, CONCATENATED):
        return True
    inputs = run.open(f"03-saliency/{source}/{split}").manifest.inputs
    if who == FUSED:
        names = list(run.config.encoders)
        heads = {name: f"03-saliency/ccam-{name}/{train_split(run)}" for name in names}
        if cam == "ccam" and not all(run.has(head) for head in heads.values()):
            return False
        if cam == "ccam":
            names = fit_to_fuse({name: run.open(head) for name, head in heads.items()})
        return set(inputs) == {f"03-saliency/{cam}-{name}/{split}" for name in names}
    if split != train_split(run):  # mapped with the head of the training part
        return of_its_encoders(run, source, train_split(run))
    encoders = {name for name in inputs if name.startswith("02-contrastive/")}
    return encoders == {f"02-contrastive/{name}" for name in run.config.encoders}


def one_encoder(run: Run, *, complete: bool, epochs: int | None) -> tuple[Run, Stage] | None:
    """Train iteration 0 on the maps of the encoder that the segmenter starts from, alone."""
    label, changes = with_epochs(run, "one-encoder", {"encoders": (starting_encoder(run),)}, epochs)
    shared = ("01-data", "02-contrastive")
    varied = vary(run, label, shared if complete else (), **changes)
    if complete:
        make_saliency(varied)
        make_labels(varied)
        return varied, train_iteration(varied, 0)
    return finished(varied, run, shared)


def map_model(name: str, stage: Stage, size: int) -> Model:
    """Make a row of a saliency stage."""
    return Model(name, stage, lambda: load_maps(stage, size))


def segmenter_model(name: str, run: Run, stage: Stage, images: Stage) -> Model:
    """Make a row of a trained segmenter."""

    def maps() -> np.ndarray:
        return predict(load_segmenter(stage), ImageSet.open(images.folder), fabric_of(run), progress=run.progress)

    return Model(name, stage, maps)


def score_models(run: Run, table: str, split: str, models: Sequence[Model]) -> Stage | None:
    """Score models side by side and write them as one stage, ``tables/<table>/<split>``; ``None`` without models."""
    if not models:
        return None
    fabric, images, masks = fabric_of(run), images_to_score(run, split), prepare_masks(run, split)
    rows = {m.name: {"run": m.stage.run_name, "stage": m.stage.name, "epochs": epochs_of(m.stage)} for m in models}

    def compute(folder: Path) -> dict[str, Any]:
        maps = {model.name: model.maps() for model in models}
        return {"rows": rows} | write_scores(run, split, maps, ImageSet.open(images.folder), masks, folder)

    # Rows of variations are named by what they are, not as inputs: in this run their names mean other stages.
    settings = {
        "models": {m.name: m.stage.manifest.fingerprint for m in models},
        "evaluation": run.config.evaluation.model_dump(mode="json", exclude={"split"}),
        "rules": run.config.uncertainty.settings(),
        "split": split,
        "precision": fabric.strategy.precision.precision,
    }
    if looks := {model.name: model.settings for model in models if model.settings}:
        settings["looks"] = looks
    inputs = [images, *([masks] if masks else [])]
    return run.make(f"tables/{table}/{split}", compute, settings=settings, inputs=inputs, device=str(fabric.device))


def epochs_of(stage: Stage) -> int | None:
    """Give the epochs that a segmenter's stage was trained for; ``None`` for maps."""
    settings = stage.manifest.settings
    return settings.get("refinement", settings).get("epochs") if "segmenter" in settings else None


def public_file(run: Run, name: str) -> bool:
    """Say whether a public checkpoint's file is there; whether it is what it should be is said when it is loaded."""
    return run.weights is not None and (run.weights / CHECKPOINTS[name].file).exists()
