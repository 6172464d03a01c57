"""Stages 04 to 06: labels, and the segmenter that learns from them. Imports no masks and no scores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from uslnet_core.checkpoints import DiskKeeper
from uslnet_core.config import LabelsConfig, UncertaintyConfig, configure
from uslnet_core.data.images import ImageSet
from uslnet_core.data.storage import growing
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.inference import Predictor
from uslnet_core.labels import make_labels as label_batch
from uslnet_core.pipeline.features import as_fields, common_settings, empty_encoder, fabric_of, load_encoder, method_of
from uslnet_core.pipeline.images import image_size, prepare_fine_images, train_split
from uslnet_core.pipeline.looks import answer_of, lesson_settings, seen_twice
from uslnet_core.pipeline.saliency import MAIN, encoder_settings, maps_in_parts
from uslnet_core.pipeline.weights import load_weights, save_weights
from uslnet_core.ranks import once, rank
from uslnet_core.refine import train_segmenter
from uslnet_core.runs import Run
from uslnet_core.segmenter import Segmenter, predict_parts
from uslnet_core.stages import Stage, peek, read_stage, stale_reason

LABEL_BATCH = 64


def make_labels(run: Run) -> Stage:
    """Split the saliency into background, uncertain and foreground (``04-labels``).

    Returns:
        The stage: labels.npy (N, S, S) uint8 (twice the pseudo-label), keep.npy (N,) bool, images.csv with a row an
        image, regions.csv with a row a component.
    """
    saliency = run.open(MAIN)
    config = run.config
    settings = {"uncertainty": config.uncertainty.settings(), "size": image_size(run)}
    if config.labels.kind != "uncertain":
        settings["labels"] = config.labels.model_dump(mode="json")

    def compute(folder: Path) -> dict[str, Any]:
        return write_labels(maps_in_parts(saliency, image_size(run)), config.uncertainty, folder, config.labels)

    return run.make("04-labels", compute, settings=settings, inputs=[saliency])


def write_labels(
    saliency: np.ndarray | Iterable[np.ndarray],
    config: UncertaintyConfig,
    folder: Path,
    kind: LabelsConfig | None = None,
) -> dict[str, Any]:
    """Run the uncertainty module over maps and write its labels.

    Args:
        saliency: (N, S, S) float32 in [0, 1]; or parts of such an array, one after the other, so that memory does not
            grow with N.
        config: the uncertainty section.
        folder: gets labels.npy, keep.npy, images.csv and regions.csv.
        kind: the labels section, for the ablations' labels in place of the module's.

    Returns:
        Facts: kept images, certain share.
    """
    parts = saliency
    if isinstance(saliency, np.ndarray):
        parts = (saliency[start : start + LABEL_BATCH] for start in range(0, len(saliency), LABEL_BATCH))
    images, regions, done = [], [], 0
    with growing(folder / "labels.npy") as add:
        for maps in parts:
            out = label_batch(torch.from_numpy(maps), config, kind)
            labels, table = (out.label * 2).to(torch.uint8).numpy(), out.regions_frame()
            add(labels)
            shares = {"certain": (labels != 1).mean((1, 2)), "foreground": (labels == 2).mean((1, 2))}
            images.append(pd.DataFrame({"keep": out.keep.numpy(), "reason": out.reason, **shares}))
            regions.append(table.assign(image=table["image"] + done))
            done += len(labels)
    rows = pd.concat(images, ignore_index=True)
    np.save(folder / "keep.npy", rows["keep"].to_numpy())
    rows.to_csv(folder / "images.csv", index_label="image")
    pd.concat(regions).to_csv(folder / "regions.csv", index=False)
    return {"kept": int(rows["keep"].sum()), "images": len(rows), "certain": float(rows["certain"].to_numpy().mean())}


def load_labels(stage: Stage | Path) -> tuple[np.ndarray, np.ndarray]:
    """Load labels (N, S, S) uint8 (twice the pseudo-label) and keep flags (N,) bool of a stage, or of its folder."""
    return np.load(stage / "labels.npy", mmap_mode="r"), np.load(stage / "keep.npy")


def train_iteration(run: Run, iteration: int) -> Stage:
    """Train the segmenter once (``05-segmenter/iteration-<k>``).

    Iteration 0 learns from ``04-labels``; iteration k from the uncertainty module's labels of the segmenter before.

    Returns:
        The stage: segmenter.safetensors, history.csv, and for k > 0 the labels it learnt from, as in ``04-labels``.

    Raises:
        RunError: a stage it needs is missing.
        TrainingError: the labels keep no image, or the loss is not a number.
    """
    config, fabric = run.config, fabric_of(run)
    images = run.open(f"01-data/images/{train_split(run)}")
    features = run.open(f"02-contrastive/{starting_encoder(run)}")
    before = run.open(f"05-segmenter/iteration-{iteration - 1}") if iteration else run.open("04-labels")
    name = f"05-segmenter/iteration-{iteration}"
    keeper = DiskKeeper(run.folder, name)
    refinement = config.refinement.model_dump(mode="json", include={"warm_start"} if iteration else set())
    if config.labels.kind != "uncertain" and iteration:
        raise ConfigError(f"{config.labels.kind} labels are for iteration 0; refinement takes three-way ones.")
    refinement["epochs"] = config.refinement.epochs if iteration else config.refinement.first_epochs
    second = bool(iteration) and config.look.teach
    fine = [prepare_fine_images(run, train_split(run))] if second else []

    def label_anew(folder: Path) -> dict[str, Any]:
        if second:
            return write_fine_labels(run, load_segmenter(before), folder)
        maps = predict_parts(load_segmenter(before), ImageSet.open(images.folder), fabric, progress=run.progress)
        return write_labels(maps, config.uncertainty, folder)

    def compute(folder: Path) -> dict[str, Any]:
        facts = once(lambda: label_anew(folder)) if iteration else {}
        labels, keep = load_labels(folder if iteration else before)
        if second:
            labels = np.load(folder / "fine-labels.npy", mmap_mode="r")
        if iteration and config.refinement.warm_start:
            model = load_segmenter(before)
        else:
            model = fresh_segmenter(run, iteration)
        trained = train_segmenter(
            model,
            ImageSet.open((fine[0] if second else images).folder),
            labels,
            keep,
            config,
            fabric,
            iteration=iteration,
            size=image_size(run) if second else None,
            cut=config.look.cut,
            progress=run.progress,
            keeper=keeper,
        )
        if rank() == 0:
            save_weights(trained.model, folder / "segmenter.safetensors")
            trained.history.to_csv(folder / "history.csv", index=False)
        return facts

    settings = common_settings(run, fabric) | {
        "segmenter": config.segmenter.model_dump(mode="json", exclude={"encoder"}),
        "encoder": encoder_settings(features),
        "refinement": refinement,
        "size": image_size(run),
    }
    if iteration:
        settings |= {"uncertainty": config.uncertainty.settings()} | lesson_settings(config)
    inputs, device = [images, features, before, *fine], str(fabric.device)
    return run.make(name, compute, settings=settings, inputs=inputs, device=device, keeper=keeper, together=True)


def write_fine_labels(run: Run, model: Segmenter, folder: Path) -> dict[str, Any]:
    """Look twice at the training images, and write the uncertainty module's labels of what is seen.

    Args:
        run: the run.
        model: the segmenter before.
        folder: gets what :func:`write_labels` writes, and fine-labels.npy, at the size of the fine images.

    Returns:
        Facts: kept images, certain share.
    """
    split = train_split(run)
    size, finer = image_size(run), image_size(run, split, "fine-images")
    with growing(folder / "fine-labels.npy") as add:

        def coarse() -> Iterator[np.ndarray]:
            for (seen, windows), look in seen_twice(run, split, model):
                labels = label_batch(look.whole(seen, windows, finer), run.config.uncertainty).label
                add((labels * 2).to(torch.uint8).numpy())
                yield look.whole(seen, windows, size).numpy()

        return write_labels(coarse(), run.config.uncertainty, folder)


def starting_encoder(run: Run) -> str:
    """Name the encoder whose weights the segmenter starts from: the one asked for, MoCo v2's, or the first ResNet.

    Raises:
        ConfigError: none of the run's encoders is a ResNet, or the one asked for is not.
    """
    names = run.open(MAIN).manifest.facts["encoders"]
    asked = run.config.segmenter.encoder
    networks = {name: backbone_of(run, name) for name in ([asked] if asked else names)}
    fit = [name for name, backbone in networks.items() if backbone.startswith("resnet")]
    if not fit:
        found = ", ".join(f"{name} is a {backbone}" for name, backbone in networks.items())
        raise ConfigError(
            f"The segmenter is built on a ResNet's stages, but {found}. Give chapters 2 and 3 one with a ResNet, too: "
            f"-p encoders={','.join(names)},simclr."
        )
    return next((name for name in fit if method_of(name) == "moco_v2"), fit[0])


def backbone_of(run: Run, name: str) -> str:
    """Name the network of one of the run's encoders."""
    return run.open(f"02-contrastive/{name}").manifest.settings["backbone"]


def refine(run: Run) -> list[Stage]:
    """Train all iterations after the first, in order; iteration 0 must be there."""
    return [train_iteration(run, k) for k in range(1, run.config.refinement.iterations)]


def fresh_segmenter(run: Run, iteration: int) -> Segmenter:
    """Build a segmenter on the contrastive encoder, its decoder drawn from the run's seed and the iteration."""
    options, encoder = run.config.segmenter, load_encoder(run, starting_encoder(run))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.seed * 1000 + iteration)
        return Segmenter(encoder, options.stages, options.width)


def load_segmenter(stage: Stage) -> Segmenter:
    """Load a trained segmenter in evaluation mode, built as its own manifest says."""
    settings = stage.manifest.settings
    options = settings["segmenter"]
    encoder = empty_encoder(settings["encoder"])
    model = Segmenter(encoder, tuple(options["stages"]), options["width"])
    return load_weights(model, stage / "segmenter.safetensors")


def last_segmenter(run_folder: Path) -> tuple[Segmenter, Stage]:
    """Load the segmenter that a run hands out: its last iteration, fixed beforehand and chosen by no score.

    Args:
        run_folder: the folder of a run.

    Returns:
        The segmenter and its stage.

    Raises:
        RunError: the folder is no run, or no iteration was trained.
    """
    stages = peek(run_folder)
    found = [name for name in stages if re.fullmatch(r"05-segmenter/iteration-\d+", name)]
    current = [name for name in found if not stale_reason(stages[name], stages, gone_is_stale=False)]
    if not current:
        there = "holds no trained segmenter" if run_folder.exists() else "is not there"
        advice = "Train one first: uslnet book, or uslnet run 05 06 --with-inputs."
        if found:
            there = f"holds only stale segmenters ({stale_reason(stages[found[-1]], stages, gone_is_stale=False)})"
            advice = "Run the changed chapter as it was before, or train anew: uslnet run 05 06 --with-inputs."
        raise RunError(f"The run {run_folder} {there}. {advice}")
    stage = read_stage(run_folder, max(current, key=lambda name: int(name.rpartition("-")[2])))
    assert stage is not None
    return load_segmenter(stage), stage


def last_predictor(run_folder: Path, fabric: Fabric, threshold: float | None = None) -> tuple[Predictor, Stage]:
    """Load what a run hands out, ready to be used: its last segmenter, which looks as its run is configured.

    Args:
        run_folder: the folder of a run.
        fabric: device and precision.
        threshold: probability above is lesion; by default as the run says.

    Returns:
        The predictor and the segmenter's stage.

    Raises:
        RunError: as :func:`last_segmenter`.
    """
    model, stage = last_segmenter(run_folder)
    made = stage.manifest.config
    cut = made["evaluation"]["threshold"] if threshold is None else threshold
    sections = {name: as_fields(made[name]) for name in ("look", "uncertainty") if name in made}
    config = configure(**sections, evaluation={"threshold": cut})
    look = answer_of(config, model, fabric)
    return Predictor(model, stage.manifest.settings["size"], fabric, cut, look), stage
