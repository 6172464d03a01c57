"""Stages 02 to 06: all that is trained. This module imports no masks and no scores, and a test holds it to that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from uslnet_core.compute import make_fabric
from uslnet_core.config import UncertaintyConfig
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.pipeline.images import image_size, train_split
from uslnet_core.pipeline.weights import load_weights, save_weights
from uslnet_core.refine import train_segmenter
from uslnet_core.runs import Run, Stage, peek, read_stage, stale_reason
from uslnet_core.saliency.ccam import CCAM, train_ccam, upsample
from uslnet_core.segmenter import Segmenter, predict
from uslnet_core.uncertainty import UncertaintyModule

LABEL_BATCH = 64


def fabric_of(run: Run) -> Fabric:
    """Choose device and precision for a run; the paper's profile wants a GPU, or to be told that it has none.

    Raises:
        ConfigError: the paper's profile would run on a CPU without being asked to.
    """
    fabric = make_fabric(run.config.compute)
    if run.config.profile == "paper" and fabric.device.type == "cpu" and run.config.compute.device == "auto":
        raise ConfigError(
            "The paper profile trains a ResNet-50 for 1700 epochs: weeks on a CPU, and torch sees no GPU here. Take "
            "--profile workshop, or say --device cpu if you mean it."
        )
    return fabric


def learn_features(run: Run) -> Stage:
    """Train the encoder on the training images (``02-contrastive/<method>``).

    Returns:
        The stage: encoder.safetensors, history.csv; the health is among its facts.
    """
    config, fabric = run.config, fabric_of(run)
    images = run.open(f"01-data/images/{train_split(run)}")

    def compute(folder: Path) -> dict[str, Any]:
        trained = pretrain(ImageSet.open(images.folder), config, fabric, run.progress)
        save_weights(trained.encoder, folder / "encoder.safetensors")
        trained.history.to_csv(folder / "history.csv", index=False)
        return {"health": trained.health}

    settings = common_settings(run, fabric) | {"contrastive": config.contrastive.model_dump(mode="json")}
    name = f"02-contrastive/{config.contrastive.method}"
    return run.make(name, compute, settings=settings, inputs=[images], device=str(fabric.device))


def load_encoder(run: Run) -> Encoder:
    """Load the contrastive encoder, last stride 1 and dilated if it learnt with 2, in evaluation mode."""
    stage = run.open(f"02-contrastive/{run.config.contrastive.method}")
    encoder = Encoder(stage.manifest.settings["backbone"], dilation=learnt_stride(stage))
    return load_weights(encoder, stage / "encoder.safetensors")


def learnt_stride(features: Stage) -> int:
    """Give the last stride that an encoder learnt with; read at stride 1, its filters are dilated by as much."""
    return features.manifest.settings["contrastive"]["last_stride"]


def make_saliency(run: Run) -> Stage:
    """Train CCAM and map the training images (``03-saliency``).

    Returns:
        The stage: ccam.safetensors, maps.npy (N, h, w) float32 in [0, 1] at the features' resolution, history.csv; the
        orientation is among its facts.
    """
    config, fabric = run.config, fabric_of(run)
    images = run.open(f"01-data/images/{train_split(run)}")
    features = run.open(f"02-contrastive/{config.contrastive.method}")

    def compute(folder: Path) -> dict[str, Any]:
        trained = train_ccam(ImageSet.open(images.folder), load_encoder(run), config, fabric, run.progress)
        save_weights(trained.model, folder / "ccam.safetensors")
        np.save(folder / "maps.npy", trained.maps)
        trained.history.to_csv(folder / "history.csv", index=False)
        return {"orientation": trained.orientation}

    settings = common_settings(run, fabric) | {
        "saliency": config.saliency.model_dump(mode="json"),
        "dilation": learnt_stride(features),
    }
    return run.make("03-saliency", compute, settings=settings, inputs=[images, features], device=str(fabric.device))


def load_saliency(run: Run, size: int | None = None) -> np.ndarray:
    """Load the training images' saliency, (N, size, size) float32 in [0, 1] (default: the images' size)."""
    maps = torch.from_numpy(np.load(run.open("03-saliency") / "maps.npy"))
    return upsample(maps, size or image_size(run)).numpy()


def load_ccam(run: Run) -> CCAM:
    """Load the oriented CCAM, in evaluation mode."""
    settings = run.open("03-saliency").manifest.settings
    options = settings["saliency"]
    encoder = Encoder(settings["backbone"], dilation=settings["dilation"])
    model = CCAM(encoder, tuple(options["stages"]), options["margin"])
    return load_weights(model, run.open("03-saliency") / "ccam.safetensors")


def make_labels(run: Run) -> Stage:
    """Split the saliency into background, uncertain and foreground (``04-labels``).

    Returns:
        The stage: labels.npy (N, S, S) uint8 (twice the pseudo-label), keep.npy (N,) bool, images.csv with a row an
        image, regions.csv with a row a component.
    """
    saliency = run.open("03-saliency")
    settings = {"uncertainty": run.config.uncertainty.model_dump(mode="json"), "size": image_size(run)}

    def compute(folder: Path) -> dict[str, Any]:
        return write_labels(load_saliency(run), run.config.uncertainty, folder)

    return run.make("04-labels", compute, settings=settings, inputs=[saliency])


def write_labels(saliency: np.ndarray, config: UncertaintyConfig, folder: Path) -> dict[str, Any]:
    """Run the uncertainty module over maps and write its labels.

    Args:
        saliency: (N, S, S) float32 in [0, 1].
        config: the uncertainty section.
        folder: gets labels.npy, keep.npy, images.csv and regions.csv.

    Returns:
        Facts: kept images, certain share.
    """
    module = UncertaintyModule(**config.model_dump())
    labels = np.empty(saliency.shape, dtype=np.uint8)
    keep, reasons, regions = [], [], []
    for start in range(0, len(saliency), LABEL_BATCH):
        out = module(torch.from_numpy(saliency[start : start + LABEL_BATCH]))
        labels[start : start + LABEL_BATCH] = (out.label * 2).to(torch.uint8).numpy()
        keep.append(out.keep.numpy())
        reasons += list(out.reason)
        table = out.regions_frame()
        regions.append(table.assign(image=table["image"] + start))
    kept = np.concatenate(keep)
    certain = (labels != 1).mean((1, 2))
    np.save(folder / "labels.npy", labels)
    np.save(folder / "keep.npy", kept)
    pd.DataFrame(
        {"keep": kept, "reason": reasons, "certain": certain, "foreground": (labels == 2).mean((1, 2))}
    ).to_csv(folder / "images.csv", index_label="image")
    pd.concat(regions).to_csv(folder / "regions.csv", index=False)
    return {"kept": int(kept.sum()), "images": len(kept), "certain": float(certain.mean())}


def load_labels(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Load labels (N, S, S) uint8 (twice the pseudo-label) and keep flags (N,) bool of a stage."""
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
    features = run.open(f"02-contrastive/{config.contrastive.method}")
    before = run.open(f"05-segmenter/iteration-{iteration - 1}") if iteration else run.open("04-labels")
    refinement = config.refinement.model_dump(mode="json", include={"warm_start"} if iteration else set())
    refinement["epochs"] = config.refinement.epochs if iteration else config.refinement.first_epochs

    def compute(folder: Path) -> dict[str, Any]:
        image_set, facts = ImageSet.open(images.folder), {}
        if iteration:
            probability = predict(load_segmenter(before), image_set, fabric, progress=run.progress)
            facts = write_labels(probability, config.uncertainty, folder)
            labels, keep = np.load(folder / "labels.npy"), np.load(folder / "keep.npy")
        else:
            labels, keep = load_labels(before)
        if iteration and config.refinement.warm_start:
            model = load_segmenter(before)
        else:
            model = fresh_segmenter(run, iteration)
        trained = train_segmenter(
            model, image_set, labels, keep, config, fabric, iteration=iteration, progress=run.progress
        )
        save_weights(trained.model, folder / "segmenter.safetensors")
        trained.history.to_csv(folder / "history.csv", index=False)
        return facts

    settings = common_settings(run, fabric) | {
        "segmenter": config.segmenter.model_dump(mode="json"),
        "dilation": learnt_stride(features),
        "refinement": refinement,
        "size": image_size(run),
    }
    if iteration:
        settings["uncertainty"] = config.uncertainty.model_dump(mode="json")
    name = f"05-segmenter/iteration-{iteration}"
    return run.make(name, compute, settings=settings, inputs=[images, features, before], device=str(fabric.device))


def refine(run: Run) -> list[Stage]:
    """Train all iterations after the first, in order; iteration 0 must be there."""
    return [train_iteration(run, k) for k in range(1, run.config.refinement.iterations)]


def fresh_segmenter(run: Run, iteration: int) -> Segmenter:
    """Build a segmenter on the contrastive encoder, its decoder drawn from the run's seed and the iteration."""
    options, encoder = run.config.segmenter, load_encoder(run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.seed * 1000 + iteration)
        return Segmenter(encoder, options.stages, options.width)


def load_segmenter(stage: Stage) -> Segmenter:
    """Load a trained segmenter in evaluation mode, built as its own manifest says."""
    settings = stage.manifest.settings
    options = settings["segmenter"]
    encoder = Encoder(settings["backbone"], dilation=settings["dilation"])
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


def common_settings(run: Run, fabric: Fabric) -> dict[str, Any]:
    """Give the settings that every trained stage hangs on."""
    return {"seed": run.config.seed, "backbone": run.config.backbone, "precision": fabric.strategy.precision.precision}
