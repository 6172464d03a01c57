"""Stage 07, and the masks that only it reads: nothing here feeds anything that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from uslnet_core.compute import cores
from uslnet_core.data.images import ImageSet
from uslnet_core.data.layouts import own_images
from uslnet_core.data.masks import MaskSet, MaskSource, mask_sources, read_mask, write_masks
from uslnet_core.data.registry import DATASETS
from uslnet_core.errors import DataError, RunError
from uslnet_core.evaluation import METRICS, counts, score, summarise
from uslnet_core.pipeline.features import fabric_of
from uslnet_core.pipeline.images import (
    drawn_by,
    image_size,
    prepare_fine_images,
    prepare_images,
    refuse_skipped,
    source_digest,
)
from uslnet_core.pipeline.looks import look_over, look_settings
from uslnet_core.pipeline.saliency import load_maps, main_maps
from uslnet_core.pipeline.training import load_segmenter
from uslnet_core.runs import Run
from uslnet_core.stages import Stage


def score_split(run: Run) -> str:
    """Name the part that is scored: the run's choice, or the dataset's own. Test parts stay sealed unless asked for."""
    return run.config.evaluation.split or DATASETS[run.config.dataset].score_split


def prepare_masks(run: Run, split: str, *, strict: bool = False) -> Stage | None:
    """Read one part's masks for scoring (``01-data/masks/<split>``); ``None`` where the dataset has none.

    Nothing that trains may call this: the masks have a stage of their own, so changing them makes scores stale and no
    trained stage.
    """
    config = run.config
    images, size = run.open(f"01-data/images/{split}"), image_size(run, split)
    sources = truth_sources(run, split, ImageSet.open(images.folder))
    if not sources:
        return None

    def compute(folder: Path) -> dict[str, Any]:
        index = images / "index.csv"
        skipped = write_masks(sources, index, folder, size, strict=strict, workers=cores(), progress=run.progress)
        return {"masks": len(sources) - len(skipped), "skipped": len(skipped)}

    settings = {"size": size, "sources": source_digest(sources, config.seed)} | drawn_by(config)
    stage = run.make(f"01-data/masks/{split}", compute, settings=settings, inputs=[images])
    return refuse_skipped(stage) if strict else stage


def truth_sources(run: Run, split: str, images: ImageSet) -> list[MaskSource]:
    """List the masks that belong to these images; a dataset may have none."""
    known = set(images.ids)
    found = mask_sources(run.config.dataset, run.data, split, count=len(images), seed=run.config.seed)
    return [source for source in found if source.id in known]


def has_masks(run: Run, split: str | None = None) -> bool:
    """Say whether a part of the dataset has masks to score by (default: the part that is scored). Opens none."""
    if run.config.dataset == "synthetic":
        return True
    return bool(mask_sources(run.config.dataset, run.data, split or score_split(run)))


def load_masks(run: Run, split: str) -> MaskSet | None:
    """Open the masks of a part, for scoring and for nothing else; ``None`` where there are none."""
    stage = prepare_masks(run, split)
    return MaskSet.open(stage.folder) if stage else None


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
    images = images_to_score(run, split)
    saliency = main_maps(run, split)
    iterations = [run.open(f"05-segmenter/iteration-{k}") for k in range(config.refinement.iterations)]
    masks = prepare_masks(run, split)
    image_set = ImageSet.open(images.folder)

    def compute(folder: Path) -> dict[str, Any]:
        maps = {"Model 1": load_maps(saliency, image_set.size)}
        for k, stage in enumerate(iterations):
            maps[model_name(k)] = look_over(run, split, load_segmenter(stage))
        return write_scores(run, split, maps, image_set, masks, folder)

    fine = [prepare_fine_images(run, split)] if config.look.twice else []
    inputs = [images, saliency, *iterations, *fine, *([masks] if masks else [])]
    settings = {
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"split"}),
        "split": split,
        "precision": fabric.strategy.precision.precision,
    } | look_settings(config)
    return run.make(f"07-evaluation/{split}", compute, settings=settings, inputs=inputs, device=str(fabric.device))


def write_scores(
    run: Run, split: str, maps: dict[str, np.ndarray], images: ImageSet, masks: Stage | None, folder: Path
) -> dict[str, Any]:
    """Cut every model's maps at the threshold and, where there are masks, score them.

    Args:
        run: the run.
        split: which part.
        maps: by model, (N, S, S) float32 in [0, 1], or bool for what is a mask already.
        images: the part's images.
        masks: the part's masks, if it has any.
        folder: gets predictions.npy, models.csv, and with masks per_image.csv and summary.csv.

    Returns:
        Facts: how many images were scored.
    """
    threshold, resamples = run.config.evaluation.threshold, run.config.evaluation.resamples
    np.save(folder / "predictions.npy", np.stack([m > threshold for m in maps.values()]))
    pd.DataFrame({"model": list(maps)}).to_csv(folder / "models.csv", index=False)
    if masks is None:
        return {"scored": 0}
    truth = MaskSet.open(masks.folder)
    native = score_native(run, split, maps, images, truth)
    per_image = pd.concat([score_at_size(maps, truth, images, threshold), native])
    per_image.to_csv(folder / "per_image.csv", index=False)
    tables = [
        summarise(part.drop(columns="size"), resamples=resamples).assign(size=size)
        for size, part in per_image.groupby("size", sort=False)
    ]
    pd.concat(tables).to_csv(folder / "summary.csv", index=False)
    return {"scored": int(per_image["id"].nunique())}


def images_to_score(run: Run, split: str) -> Stage:
    """Open a part's images, or decode them at the size of those that were trained on.

    A sealed part is decoded when it is asked for, not before.

    Raises:
        RunError: they are there at another size, which the models have not learnt from.
    """
    name, size = f"01-data/images/{split}", image_size(run)
    images = run.open(name) if (run.folder / name).exists() else prepare_images(run, split, size=size)
    if images.manifest.settings["size"] != size:
        raise RunError(
            f"{run.folder.name} was trained on images of {size} pixels, but its {split} images have "
            f"{images.manifest.settings['size']}. Delete the folder {run.folder.name}/{name} and run notebook 07 again."
        )
    return images


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
            probability = torch.from_numpy(values[position[source.id]].astype(np.float32))[None, None]
            large = nn.functional.interpolate(probability, truth.shape, mode="bilinear", align_corners=False)[0].numpy()
            mask = large > run.config.evaluation.threshold
            tables.append(score_table(name, mask, truth[None], [source.id], "native"))
    return pd.concat(tables) if tables else pd.DataFrame()


def score_table(model: str, prediction: np.ndarray, truth: np.ndarray, ids: list[str], size: str) -> pd.DataFrame:
    """Put metrics and pixel counts of one model side by side, a row an image."""
    frame = pd.concat([score(prediction, truth), counts(prediction, truth)], axis=1)
    return frame.assign(model=model, id=ids, size=size)[["model", "size", "id", *frame.columns]]


def score_files(table: pd.DataFrame, images: Path, out: Path) -> pd.DataFrame:
    """Score segmented files of a folder by the masks that lie beside them, one at a time, each at its own size.

    Args:
        table: as :func:`uslnet_core.inference.segment_files` gives it, of one folder.
        images: that folder; masks are found as for the dataset ``folder``.
        out: the folder of the results.

    Returns:
        A row an image with a mask: file; ACC, DIC, JAC, SEN, SPE, PRE in [0, 1]; note, why it has no scores (the mask
        cannot be read, or has another size than its image), or empty. No row where there are no masks, and none for
        the results themselves, where they lie beside the images.
    """
    rows, results = [], table.dropna(subset=["mask"]).set_index("file")["mask"]
    names = {key: str(path.relative_to(images)) for key, path in own_images(images)} if images.is_dir() else {}
    own = (out / "masks").resolve()
    for source in mask_sources("folder", images, "all") if names else []:
        if (name := names[source.id]) in results and own not in source.path.resolve().parents:
            rows.append({"file": name} | score_file(source.path, out / results[name]))
    return pd.DataFrame(rows, columns=["file", *METRICS, "note"])


def score_file(truth: Path, found: Path) -> dict[str, Any]:
    """Score one mask's file by another: metrics and an empty note, or a note alone that says why there are none."""
    try:
        expected, mask = read_mask(truth), read_mask(found)
    except DataError as error:
        return {"note": str(error)}
    if expected.shape != mask.shape:
        height, width = expected.shape
        return {"note": f"{truth.name} has {width} × {height} pixels, its image {mask.shape[1]} × {mask.shape[0]}"}
    return score(mask[None], expected[None]).iloc[0].to_dict() | {"note": ""}
