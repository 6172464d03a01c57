"""One function per stage: what it reads, what it computes, what it writes.

Each takes a :class:`~uslnet_core.runs.Run`, opens the stages it needs (a missing one names the notebook that makes it)
and returns its own stage, made now or reused. Masks appear in :func:`prepare_masks` and :func:`evaluate` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import nn

from uslnet_core.compute import make_fabric
from uslnet_core.config import UncertaintyConfig
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.data.datasets import image_sources
from uslnet_core.data.images import ImageSet, write_images
from uslnet_core.data.masks import MaskSet, MaskSource, mask_sources, read_mask, write_masks
from uslnet_core.data.registry import DATASETS
from uslnet_core.encoder import Encoder
from uslnet_core.errors import ConfigError, DataError, RunError
from uslnet_core.evaluation import counts, score, summarise
from uslnet_core.refine import train_segmenter
from uslnet_core.runs import Run, Stage, list_digest, read_stage
from uslnet_core.saliency.ccam import CCAM, saliency_maps, train_ccam, upsample
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


def train_split(run: Run) -> str:
    """Name the part of the dataset that is trained on."""
    return DATASETS[run.config.dataset].train_split


def score_split(run: Run) -> str:
    """Name the part that is scored: the run's choice, or the dataset's own. Test parts stay sealed unless asked for."""
    return run.config.evaluation.split or DATASETS[run.config.dataset].score_split


# --- 01: images, and masks apart -------------------------------------------------------------------------------------


def prepare_images(run: Run, split: str, *, strict: bool = False) -> Stage:
    """Decode one part's images once, into a memory map at the run's size (``01-data/images/<split>``).

    Args:
        run: the run.
        split: ``train``, ``validation``, ``test`` or ``all``.
        strict: stop at the first image that cannot be read, instead of leaving it out.

    Returns:
        The stage: images.npy (N, S, S, 3) uint8, index.csv, skipped.csv.

    Raises:
        DataError: no image, an image that cannot be read under ``strict``, too little disk space.
    """
    config = run.config
    count = config.images.count if split == train_split(run) else None
    sources = image_sources(config.dataset, run.data, split, count=count, seed=config.seed)

    def compute(folder: Path) -> dict[str, Any]:
        skipped = write_images(sources, folder, config.images.size, strict=strict, progress=run.progress)
        return {"images": len(sources) - len(skipped), "skipped": len(skipped)}

    settings = {
        "dataset": config.dataset,
        "split": split,
        "size": config.images.size,
        "sources": source_digest(sources, config.seed),
    }
    stage = run.make(f"01-data/images/{split}", compute, settings=settings)
    return refuse_skipped(stage) if strict else stage


def prepare_masks(run: Run, split: str, *, strict: bool = False) -> Stage | None:
    """Read one part's masks for scoring (``01-data/masks/<split>``); ``None`` where the dataset has none.

    Nothing that trains may call this: the masks have a stage of their own, so changing them makes scores stale and no
    trained stage.
    """
    config = run.config
    images = run.open(f"01-data/images/{split}")
    sources = truth_sources(run, split, ImageSet.open(images.folder))
    if not sources:
        return None

    def compute(folder: Path) -> dict[str, Any]:
        skipped = write_masks(
            sources, images / "index.csv", folder, config.images.size, strict=strict, progress=run.progress
        )
        return {"masks": len(sources) - len(skipped), "skipped": len(skipped)}

    settings = {"size": config.images.size, "sources": source_digest(sources, config.seed)}
    stage = run.make(f"01-data/masks/{split}", compute, settings=settings, inputs=[images])
    return refuse_skipped(stage) if strict else stage


def refuse_skipped(stage: Stage) -> Stage:
    """Refuse a stage that an earlier call, not strict, made without some files.

    Raises:
        DataError: a file was left out; the message names the first.
    """
    if stage.manifest.facts["skipped"]:
        count, first = stage.manifest.facts["skipped"], pd.read_csv(stage / "skipped.csv")["reason"].iloc[0]
        raise DataError(f"{stage.name} leaves out {count} files. The first: {first} Or go on without --strict.")
    return stage


def truth_sources(run: Run, split: str, images: ImageSet) -> list[MaskSource]:
    """List the masks that belong to these images; a dataset may have none."""
    known = set(images.ids)
    found = mask_sources(run.config.dataset, run.data, split, count=len(images), seed=run.config.seed)
    return [source for source in found if source.id in known]


def source_digest(sources: list[Any], seed: int) -> str:
    """Hash where images or masks come from: names, sizes and times of files, or the seed of synthetic ones."""
    paths = [s.path for s in sources if s.path is not None]
    return list_digest(paths) if paths else f"synthetic seed {seed}: {sources[0].id} … {sources[-1].id}"


def load_images(run: Run, split: str | None = None) -> ImageSet:
    """Open the images of a part (default: the part that is trained on)."""
    return ImageSet.open(run.open(f"01-data/images/{split or train_split(run)}").folder)


def load_masks(run: Run, split: str) -> MaskSet | None:
    """Open the masks of a part, for scoring and for nothing else; ``None`` where there are none."""
    stage = prepare_masks(run, split)
    return MaskSet.open(stage.folder) if stage else None


# --- 02: contrastive learning ----------------------------------------------------------------------------------------


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
    """Load the contrastive encoder, last stride 1, in evaluation mode."""
    stage = run.open(f"02-contrastive/{run.config.contrastive.method}")
    return load_weights(Encoder(stage.manifest.settings["backbone"]), stage / "encoder.safetensors")


# --- 03: saliency ----------------------------------------------------------------------------------------------------


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

    settings = common_settings(run, fabric) | {"saliency": config.saliency.model_dump(mode="json")}
    return run.make("03-saliency", compute, settings=settings, inputs=[images, features], device=str(fabric.device))


def load_saliency(run: Run, size: int | None = None) -> np.ndarray:
    """Load the training images' saliency, (N, size, size) float32 in [0, 1] (default: the images' size)."""
    maps = torch.from_numpy(np.load(run.open("03-saliency") / "maps.npy"))
    return upsample(maps, size or run.config.images.size).numpy()


def load_ccam(run: Run) -> CCAM:
    """Load the oriented CCAM, in evaluation mode."""
    settings = run.open("03-saliency").manifest.settings
    options = settings["saliency"]
    model = CCAM(Encoder(settings["backbone"]), tuple(options["stages"]), options["margin"])
    return load_weights(model, run.open("03-saliency") / "ccam.safetensors")


# --- 04: pseudo-labels -----------------------------------------------------------------------------------------------


def make_labels(run: Run) -> Stage:
    """Split the saliency into background, uncertain and foreground (``04-labels``).

    Returns:
        The stage: labels.npy (N, S, S) uint8 (twice the pseudo-label), keep.npy (N,) bool, images.csv with a row an
        image, regions.csv with a row a component.
    """
    saliency = run.open("03-saliency")
    settings = {"uncertainty": run.config.uncertainty.model_dump(mode="json"), "size": run.config.images.size}

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


# --- 05 and 06: the segmenter and its refinement ---------------------------------------------------------------------


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
        "refinement": refinement,
        "size": config.images.size,
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
    model = Segmenter(Encoder(settings["backbone"]), tuple(options["stages"]), options["width"])
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
    found = sorted(run_folder.glob("05-segmenter/iteration-*/manifest.json"), key=lambda p: int(p.parent.name[10:]))
    if not found:
        there = "is not there" if not run_folder.exists() else "holds no trained segmenter"
        raise RunError(f"The run {run_folder} {there}. Train one first: uslnet book, or uslnet run 06 --with-inputs.")
    stage = read_stage(run_folder, f"05-segmenter/{found[-1].parent.name}")
    assert stage is not None
    return load_segmenter(stage), stage


# --- 07: evaluation --------------------------------------------------------------------------------------------------


def model_name(iteration: int) -> str:
    """Name an iteration as the paper's tables do: Model 4, then Model 5_1, Model 5_2 and so on."""
    return f"Model 5_{iteration}" if iteration else "Model 4"


def evaluate(run: Run, split: str | None = None) -> Stage:
    """Predict one part with every model of the run and, where there are masks, score it (``07-evaluation/<split>``).

    Model 1 is CCAM cut at the threshold, Model 4 the segmenter of iteration 0, Model 5_k iteration k.

    Returns:
        The stage: predictions.npy (M, N, S, S) bool, models.csv, and with masks per_image.csv (a row per model, image
        and size) and summary.csv (per image and pooled, with 95 % intervals).
    """
    config, fabric = run.config, fabric_of(run)
    split = split or score_split(run)
    images = run.open(f"01-data/images/{split}")
    saliency = run.open("03-saliency")
    iterations = [run.open(f"05-segmenter/iteration-{k}") for k in range(config.refinement.iterations)]
    masks = prepare_masks(run, split)
    image_set = ImageSet.open(images.folder)

    def compute(folder: Path) -> dict[str, Any]:
        coarse = saliency_maps(load_ccam(run), image_set, fabric, progress=run.progress)
        maps = {"Model 1": upsample(torch.from_numpy(coarse), image_set.size).numpy()}
        for k, stage in enumerate(iterations):
            maps[model_name(k)] = predict(load_segmenter(stage), image_set, fabric, progress=run.progress)
        threshold = config.evaluation.threshold
        np.save(folder / "predictions.npy", np.stack([m > threshold for m in maps.values()]))
        pd.DataFrame({"model": list(maps)}).to_csv(folder / "models.csv", index=False)
        if masks is None:
            return {"scored": 0}
        truth = MaskSet.open(masks.folder)
        native = score_native(run, split, maps, image_set, truth)
        per_image = pd.concat([score_at_size(maps, truth, image_set, threshold), native])
        per_image.to_csv(folder / "per_image.csv", index=False)
        tables = [
            summarise(part.drop(columns="size"), resamples=config.evaluation.resamples).assign(size=size)
            for size, part in per_image.groupby("size", sort=False)
        ]
        pd.concat(tables).to_csv(folder / "summary.csv", index=False)
        return {"scored": int(per_image["id"].nunique())}

    inputs = [images, saliency, *iterations, *([masks] if masks else [])]
    settings = {"evaluation": config.evaluation.model_dump(mode="json", exclude={"split"}), "split": split}
    return run.make(f"07-evaluation/{split}", compute, settings=settings, inputs=inputs, device=str(fabric.device))


def score_at_size(maps: dict[str, np.ndarray], masks: MaskSet, images: ImageSet, threshold: float) -> pd.DataFrame:
    """Score every model at the run's size: the primary score. A row per model and image that has a mask."""
    ids = list(masks.scored_ids)
    truth = masks.select(ids)
    rows = [images.ids.index(i) for i in ids]
    return pd.concat([score_table(name, m[rows] > threshold, truth, ids, str(images.size)) for name, m in maps.items()])


def score_native(run: Run, split: str, maps: dict[str, np.ndarray], images: ImageSet, masks: MaskSet) -> pd.DataFrame:
    """Score every model at each mask's own size: probabilities upsampled bilinearly, then cut."""
    position, scored = {name: k for k, name in enumerate(images.ids)}, set(masks.scored_ids)
    tables = []
    for source in truth_sources(run, split, images):
        if source.path is None or source.id not in scored:
            continue  # synthetic masks have no size of their own
        truth = read_mask(source.path)
        for name, values in maps.items():
            probability = torch.from_numpy(values[position[source.id]])[None, None]
            large = nn.functional.interpolate(probability, truth.shape, mode="bilinear", align_corners=False)[0].numpy()
            mask = large > run.config.evaluation.threshold
            tables.append(score_table(name, mask, truth[None], [source.id], "native"))
    return pd.concat(tables) if tables else pd.DataFrame()


def score_table(model: str, prediction: np.ndarray, truth: np.ndarray, ids: list[str], size: str) -> pd.DataFrame:
    """Put metrics and pixel counts of one model side by side, a row an image."""
    frame = pd.concat([score(prediction, truth), counts(prediction, truth)], axis=1)
    return frame.assign(model=model, id=ids, size=size)[["model", "size", "id", *frame.columns]]


# --- weights ---------------------------------------------------------------------------------------------------------


def common_settings(run: Run, fabric: Fabric) -> dict[str, Any]:
    """Give the settings that every trained stage hangs on."""
    return {"seed": run.config.seed, "backbone": run.config.backbone, "precision": fabric.strategy.precision.precision}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors: tensors only, no code."""
    save_file({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> Any:
    """Load weights strictly: every key must be there and no other.

    Args:
        module: a module of the right architecture; it is changed in place.
        path: a safetensors file.

    Returns:
        The same module, in evaluation mode.

    Raises:
        DataError: keys or shapes differ.
    """
    try:
        module.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise DataError(f"{path.name} does not fit a {type(module).__name__}: {str(error).splitlines()[0]}") from None
    return module.eval()
