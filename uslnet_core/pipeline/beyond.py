"""Past the paper: sources in one map, eight views, one piece, a second look; each step scored beside the others.

Masks are read at the very end, to score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from uslnet_core.config import UncertaintyConfig
from uslnet_core.data.images import ImageSet
from uslnet_core.labels import select_component
from uslnet_core.pipeline.ablations import Model, finished, map_model, score_models, segmenter_model
from uslnet_core.pipeline.features import fabric_of
from uslnet_core.pipeline.images import prepare_fine_images
from uslnet_core.pipeline.saliency import main_maps, make_saliency, map_part
from uslnet_core.pipeline.scoring import images_to_score, score_split
from uslnet_core.pipeline.training import load_segmenter, make_labels, train_iteration
from uslnet_core.pipeline.variants import complete as complete_run
from uslnet_core.pipeline.variants import vary
from uslnet_core.runs import Run
from uslnet_core.saliency.clusters import colour_clusters
from uslnet_core.second_look import SecondLook, eightfold
from uslnet_core.segmenter import Segmenter
from uslnet_core.stages import Stage

SHARED = ("01-data", "02-contrastive")
PLUS = {"saliency": {"also": ("colour_clusters",)}, "uncertainty": {"low": 0.4, "high": 0.6}}
AT_ONCE = 32  # images that are looked at together
Look = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def steps(run: Run, *, complete: bool = True) -> Stage | None:
    """Score each step past the paper, from maps cut at one half to a second look, as ``tables/steps/<split>``.

    Args:
        run: the run that is gone on from: its images and its encoders.
        complete: train what is missing; else ``None`` where it is not there.

    Returns:
        The stage, as :func:`~uslnet_core.pipeline.ablations.table_8` writes it.
    """
    if complete:
        complete_run(run, 0)
    plus = vary(run, "plus", SHARED if complete else (), **PLUS)
    if complete:
        make_saliency(plus)
        make_labels(plus)
        trained = train_iteration(plus, 0)
    elif found := finished(plus, run, SHARED):
        trained = found[1]
    else:
        return None
    split = score_split(run)
    images = images_to_score(plus, split)
    size = ImageSet.open(images.folder).size
    models = [
        map_model("CCAM", map_part(plus, split, "ccam"), size),
        map_model("colour clusters", map_part(plus, split, "colour_clusters"), size),
        map_model("both", main_maps(plus, split), size),
        segmenter_model("segmenter that learnt both", plus, trained, images),
    ]
    models += [Model(name, trained, partial(look_over, plus, split, trained, name)) for name in LOOKS]
    return score_models(run, "steps", split, models)


def look_over(run: Run, split: str, trained: Stage, name: str) -> np.ndarray:
    """Look at every image of a part in one of the ways of :data:`LOOKS`: (N, S, S) float32 in [0, 1]."""
    images, fine = (
        ImageSet.open(stage.folder) for stage in (images_to_score(run, split), prepare_fine_images(run, split))
    )
    fabric, out = fabric_of(run), []
    look = LOOKS[name](build_look(run, load_segmenter(trained).to(fabric.device)))
    for part in torch.arange(len(images)).split(AT_ONCE):
        seen = (each.batch(part).to(fabric.device, memory_format=torch.channels_last) for each in (images, fine))
        with torch.no_grad(), fabric.autocast():
            out.append(look(*seen).float().cpu())
        run.progress(name, int(part[-1]) + 1, len(images))
    return torch.cat(out).numpy()


def build_look(run: Run, model: Segmenter) -> SecondLook:
    """Build both looks from a trained segmenter: eight views each, and of what is found the piece that UM takes."""
    rules, threshold = run.config.uncertainty, run.config.evaluation.threshold
    return SecondLook(eightfold(partial(probability, model)), partial(chosen, rules, threshold))


def probability(model: Segmenter, images: torch.Tensor) -> torch.Tensor:
    """Give every pixel its probability of being lesion: (B, 3, S, S) to (B, S, S) float32."""
    return torch.sigmoid(model(images.contiguous(memory_format=torch.channels_last)).float())


def chosen(rules: UncertaintyConfig, threshold: float, maps: torch.Tensor) -> torch.Tensor:
    """Choose the lesion among the pieces above a threshold: (B, S, S) to bool."""
    return torch.from_numpy(select_component(maps.float().cpu().numpy(), threshold, rules)).to(maps.device)


LOOKS: dict[str, Callable[[SecondLook], Look]] = {
    "eight views": lambda look: lambda images, fine: look.predict(images),
    "one piece": lambda look: lambda images, fine: look.first(images),
    "a second look": lambda look: look,
    "a second look, with colour": lambda look: replace(look, beside=colour_clusters),
}
