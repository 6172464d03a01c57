"""Stage 03: saliency maps of every kind, for training images and for those that are scored. Imports no masks.

Each source has a stage for every part of the data that it was asked about, ``03-saliency/<source>/<part>``; CCAM is
trained on the training part alone. ``03-saliency/main`` are the maps that labels are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from uslnet_core.config import check_choice
from uslnet_core.contrastive.views import random_view
from uslnet_core.data.images import ImageSet
from uslnet_core.data.storage import forget, save_parts
from uslnet_core.errors import RunError
from uslnet_core.folders import link_or_copy
from uslnet_core.pipeline.features import (
    as_fields,
    common_settings,
    empty_encoder,
    fabric_of,
    load_encoder,
    load_head,
    view_recipe,
)
from uslnet_core.pipeline.fusion import BLENDERS, average, blend, fit_to_fuse
from uslnet_core.pipeline.images import image_size, train_split
from uslnet_core.pipeline.sources import CONCATENATED, FUSED, source_name
from uslnet_core.pipeline.weights import load_weights, save_weights
from uslnet_core.runs import Run
from uslnet_core.saliency.ccam import CCAM, train_ccam
from uslnet_core.saliency.clusters import colour_clusters
from uslnet_core.saliency.colour import colour_distance
from uslnet_core.saliency.freqcam import FreqCAM
from uslnet_core.saliency.gradcam import GradientCAM
from uslnet_core.saliency.health import check_maps
from uslnet_core.saliency.source import Source, map_parts, upsample
from uslnet_core.stages import Stage

WITHOUT_ENCODER: dict[str, Source] = {"colour_distance": colour_distance, "colour_clusters": colour_clusters}
MAIN = "03-saliency/main"
AT_ONCE = 64  # maps that are enlarged at a time


def make_saliency(run: Run, source: Stage | None = None) -> Stage:
    """Make the maps that labels are made of (``03-saliency/main``), and all that they are fused from.

    Args:
        run: the run.
        source: the maps to take, of the training part, for example a reader's own as :func:`map_with` gives them; by
            default the run's configuration says which.

    Returns:
        The stage: maps.npy (N, h, w) float32 in [0, 1] of the training images, at the features' resolution; its facts
        name the source, the encoders, those left out of the fusion and why, and the orientation of each CCAM.
    """
    source, part = source or map_part(run, train_split(run)), train_split(run)
    chosen = {"source": source.name.split("/")[1], "encoders": list(run.config.encoders)}
    heads = orientations(run, source)
    fused = f"ccam-{FUSED}" in chosen["source"]
    left_out = [name for name in run.config.encoders if name not in heads] if fused else []
    others = [run.open(f"03-saliency/ccam-{name}/{part}") for name in left_out]  # if one changes, decide anew

    def compute(folder: Path) -> dict[str, Any]:
        link_or_copy(source / "maps.npy", folder / "maps.npy")
        return chosen | {"orientation": heads | orientations(run, *others), "left_out": left_out}

    return run.make(MAIN, compute, settings=chosen | {"seed": run.config.seed}, inputs=[source, *others])


def map_part(run: Run, split: str, cam: str | None = None, encoder: str | None = None) -> Stage:
    """Map one part of the data with one source (``03-saliency/<source>/<part>``), training first what must be trained.

    Args:
        run: the run.
        split: which images.
        cam: as in :func:`source_name`.
        encoder: as in :func:`source_name`.

    Returns:
        The stage: maps.npy (N, h, w) float32 in [0, 1]. CCAM's on the training part also holds ccam.safetensors and
        history.csv, and its orientation among the facts.
    """
    name = source_name(run, cam, encoder)
    kind, _, who = name.partition("-")
    if kind in BLENDERS:
        options = run.config.saliency
        return blend(run, split, name, [map_part(run, split, each, encoder) for each in (options.cam, *options.also)])
    if who == FUSED:
        return fuse(run, split, kind)
    if kind == "ccam":
        trained = train_head(run, who)
        return trained if split == train_split(run) else map_with_head(run, split, trained)
    return map_with(run, split, name, partial(build_source, run, kind, who), source_settings(run, kind, who), who)


def train_head(run: Run, who: str) -> Stage:
    """Train a CCAM on one encoder, or on all of the run's together, and map the training images."""
    config, fabric, split = run.config, fabric_of(run), train_split(run)
    names = list(config.encoders) if who == CONCATENATED else [who]
    images = run.open(f"01-data/images/{split}")
    features = [run.open(f"02-contrastive/{name}") for name in names]
    stream = config.stream(who)  # heads do not share their random numbers

    def compute(folder: Path) -> dict[str, Any]:
        encoders = [load_encoder(run, name) for name in names]
        given = encoders if who == CONCATENATED else encoders[0]
        by_itself = fabric_of(run)  # its head is one layer: one process trains it, whatever others there are
        trained = train_ccam(ImageSet.open(images.folder), given, config, by_itself, run.progress, stream=stream)
        save_weights(trained.model, folder / "ccam.safetensors")
        np.save(folder / "maps.npy", trained.maps)
        trained.history.to_csv(folder / "history.csv", index=False)
        return {"orientation": trained.orientation}

    settings = common_settings(run, fabric) | {
        "saliency": ccam_settings(run),
        "stream": stream,
        "encoders": {stage.name.split("/")[1]: encoder_settings(stage) for stage in features},
    }
    name = f"03-saliency/ccam-{who}/{split}"
    return run.make(name, compute, settings=settings, inputs=[images, *features], device=str(fabric.device))


def map_with_head(run: Run, split: str, trained: Stage) -> Stage:
    """Map another part of the data with a trained, oriented CCAM."""
    name = trained.name.split("/")[1]
    return map_with(run, split, name, partial(load_ccam, trained), {}, "", inputs=[trained])


def map_with(
    run: Run,
    split: str,
    name: str,
    build: Callable[[], Source],
    settings: dict[str, Any],
    who: str,
    *,
    inputs: Sequence[Stage] = (),
) -> Stage:
    """Map one part of the data with a source that is ready to be used, or that a reader has written.

    Args:
        run: the run.
        split: which images.
        name: of the source; becomes a folder.
        build: called without arguments, gives the :data:`~uslnet_core.saliency.source.Source`.
        settings: what the maps hang on, besides images and encoder; JSON values.
        who: the encoder it asks, if any.
        inputs: stages that it reads besides images and encoder.

    Returns:
        The stage ``03-saliency/<name>/<split>`` with maps.npy.
    """
    fabric, images = fabric_of(run), run.open(f"01-data/images/{split}")
    features = [run.open(f"02-contrastive/{who}")] if who else []

    def compute(folder: Path) -> dict[str, Any]:
        source = build()
        save_parts(folder / "maps.npy", map_parts(source, ImageSet.open(images.folder), fabric, progress=run.progress))
        check_maps(np.load(folder / "maps.npy", mmap_mode="r"), name)
        return {"empty": source.empty} if isinstance(source, GradientCAM) else {}

    stages = [images, *features, *inputs]
    settings = common_settings(run, fabric) | settings
    stage_name = f"03-saliency/{name}/{split}"
    return run.make(stage_name, compute, settings=settings, inputs=stages, device=str(fabric.device))


def fuse(run: Run, split: str, cam: str) -> Stage:
    """Average one kind of map over the run's encoders, without those whose CCAM is about position."""
    names = list(run.config.encoders)
    if cam == "ccam":
        names = fit_to_fuse({name: map_part(run, train_split(run), "ccam", name) for name in names})
    return average(run, split, cam, [map_part(run, split, cam, name) for name in names])


def build_source(run: Run, kind: str, who: str) -> Source:
    """Build a source that needs no training, from a kind of map and an encoder's name."""
    options = run.config.saliency
    check_choice("kind of saliency", kind, ["ccam", *SOURCES])
    if kind in WITHOUT_ENCODER:
        return WITHOUT_ENCODER[kind]
    encoder = load_encoder(run, who)
    if kind == "freq_cam":
        return FreqCAM(encoder, options.frequency)
    view = partial(second_view, run, who)
    return GradientCAM(
        encoder, load_head(run, who), kind, view, run.config.seed, samples=options.samples, std=options.noise
    )


SOURCES = ("grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "freq_cam", *WITHOUT_ENCODER)


def second_view(run: Run, who: str, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Draw the other view of each image that a gradient CAM compares it with, as this encoder learnt to."""
    return random_view(images, view_recipe(run, who), rng)


def source_settings(run: Run, kind: str, who: str) -> dict[str, Any]:
    """Give the settings that the maps of a source hang on."""
    options = run.config.saliency
    chosen: dict[str, Any] = {"cam": kind}
    if "grad" in kind:
        chosen["views"] = view_recipe(run, who).settings()
    if kind == "freq_cam":
        chosen["frequency"] = options.frequency
    if kind == "smooth_grad_cam_pp":
        chosen |= {"samples": options.samples, "noise": options.noise}
    return chosen


def ccam_settings(run: Run) -> dict[str, Any]:
    """Give the settings that CCAM's maps hang on."""
    others = {"cam", "fusion", "also", "weigh", "samples", "noise", "frequency"}
    return run.config.saliency.model_dump(mode="json", exclude=others)


def encoder_settings(features: Stage) -> dict[str, Any]:
    """Give what an encoder is built from, so that one can be built again without its stage."""
    settings = features.manifest.settings
    return {name: settings[name] for name in ("backbone", "public", "normalised", "contrastive") if name in settings}


def load_ccam(stage: Stage) -> CCAM:
    """Load the oriented CCAM of a stage, in evaluation mode."""
    settings = stage.manifest.settings
    options = as_fields(settings["saliency"])
    encoders = [empty_encoder(each) for each in settings["encoders"].values()]
    model = CCAM(encoders if len(encoders) > 1 else encoders[0], options["stages"], options["margin"])
    return load_weights(model, stage / "ccam.safetensors")


def orientations(run: Run, *sources: Stage) -> dict[str, Any]:
    """Give the orientation of each CCAM that the maps of some sources are made of, by encoder."""
    found: dict[str, Any] = {}
    for source in sources:
        if "orientation" in source.manifest.facts:
            found[source.name.split("/")[1].partition("-")[2]] = source.manifest.facts["orientation"]
        else:
            found |= orientations(run, *(run.open(name) for name in source.manifest.inputs if name.startswith("03-")))
    return found


def load_saliency(run: Run, size: int | None = None) -> np.ndarray:
    """Load the saliency that labels are made of, (N, size, size) float32 in [0, 1] (default: the images' size)."""
    return load_maps(run.open(MAIN), size or image_size(run))


def load_maps(stage: Stage, size: int) -> np.ndarray:
    """Load the maps of any saliency stage, brought bilinearly to (N, size, size) float32 in [0, 1]."""
    return upsample(torch.from_numpy(np.load(stage / "maps.npy")), size).numpy()


def maps_in_parts(stage: Stage, size: int) -> Iterator[np.ndarray]:
    """Load the maps of any saliency stage as `load_maps` does, a few at a time: (B, size, size) float32 in [0, 1]."""
    maps = np.load(stage / "maps.npy", mmap_mode="r")
    for first in range(0, len(maps), AT_ONCE):
        yield upsample(torch.from_numpy(np.array(maps[first : first + AT_ONCE])), size).numpy()
        forget(maps)


def main_maps(run: Run, split: str) -> Stage:
    """Map a part of the data with the source that this run's labels are made of."""
    source = run.open(MAIN).manifest.facts["source"]
    return map_like(run, split, run.open(f"03-saliency/{source}/{train_split(run)}"))


def map_like(run: Run, split: str, stage: Stage) -> Stage:
    """Map another part of the data as a stage mapped its own, whatever the configuration says now. Nothing is trained.

    Args:
        run: the run.
        split: which images.
        stage: any saliency stage of the training part.

    Raises:
        RunError: it is a reader's own source, whose function is not known here, and this part is not mapped yet.
    """
    name = stage.name.split("/")[1]
    kind, _, who = name.partition("-")
    there = f"03-saliency/{name}/{split}"
    if stage.name == there:
        return stage
    if who == FUSED or kind in BLENDERS:
        parts = [map_like(run, split, run.open(each)) for each in stage.manifest.inputs]
        return blend(run, split, name, parts) if kind in BLENDERS else average(run, split, kind, parts)
    if kind == "ccam":
        return map_with_head(run, split, stage)
    if kind in SOURCES:
        settings = {key: value for key, value in stage.manifest.settings.items() if key not in ("seed", "precision")}
        options = {key: settings[key] for key in ("samples", "noise", "frequency") if key in settings}
        saliency = run.config.saliency.model_copy(update=options)
        as_then = replace(run, config=run.config.model_copy(update={"saliency": saliency}))
        return map_with(run, split, name, partial(build_source, as_then, kind, who), settings, who)
    if run.has(there):
        return run.open(there)
    raise RunError(
        f"{name} is a source of your own, and its function is not known here. Map these images with it first: "
        f"pipeline.map_with(run, {split!r}, {name!r}, …), as chapter 3 shows."
    )


def heads_of(run: Run) -> dict[str, pd.DataFrame]:
    """Give the histories of the run's CCAMs, by encoder; none if the maps are of another kind."""
    names = run.open(MAIN).manifest.facts["orientation"]
    stages = {name: run.open(f"03-saliency/ccam-{name}/{train_split(run)}") for name in names}
    return {name: pd.read_csv(stage / "history.csv") for name, stage in stages.items()}
