"""Past the paper: USL-plus with more of what costs time: pixels, epochs of contrastive learning, layers.

Each row is trained from its beginning to its last iteration with one thing larger, and scored in one look beside the
run itself. Nothing here was chosen by a score. Masks are read at the very end, to score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from uslnet_core.config import Config
from uslnet_core.pipeline.ablations import Model, finished, score_models
from uslnet_core.pipeline.beyond import looked, plus_of, steps
from uslnet_core.pipeline.features import fabric_of
from uslnet_core.pipeline.images import image_size
from uslnet_core.pipeline.lessons import label_of
from uslnet_core.pipeline.looks import look_over
from uslnet_core.pipeline.scoring import images_to_score, score_split
from uslnet_core.pipeline.training import load_segmenter
from uslnet_core.pipeline.variants import complete as complete_run
from uslnet_core.pipeline.variants import vary
from uslnet_core.runs import Run
from uslnet_core.saliency.source import upsample
from uslnet_core.stages import Stage

STEP = 32  # sizes are multiples of it
LONGER = 3
IMAGES = ("01-data/images",)


def larger_ways(config: Config) -> dict[str, tuple[tuple[str, ...], dict[str, Any]]]:
    """Name what can be larger than configured: what it shares with the run, and the fields that it changes.

    Images get a quarter more pixels a side, rounded up to what a network takes, and views of the same share of them.
    """
    size = -(-config.images.size * 5 // (4 * STEP)) * STEP
    crop = round(config.contrastive.crop * size / config.images.size)
    ways = {
        f"images of {size} pixels": ((), {"images": {"size": size}, "contrastive": {"crop": crop}}),
        f"contrastive learning {LONGER} times as long": (
            IMAGES,
            {"contrastive": {"epochs": LONGER * config.contrastive.epochs}},
        ),
    }
    return ways if config.backbone == "resnet50" else ways | {"ResNet-50": (IMAGES, {"backbone": "resnet50"})}


def larger_runs(run: Run, *, complete: bool = True) -> Stage | None:
    """Train USL-plus with one thing larger, to the last iteration, and score it, as ``tables/larger/<split>``.

    ResNet-50 is trained where there is a GPU: on a processor a seed takes it a working day.

    Args:
        run: the run, as for :func:`~uslnet_core.pipeline.beyond.steps`.
        complete: train what is missing; else only rows that are there are scored.

    Returns:
        The stage, as :func:`~uslnet_core.pipeline.ablations.table_8` writes it; ``None`` where the steps are not there.
        Maps of other sizes are brought to the run's own bilinearly, and scored against its masks.
    """
    if steps(run, complete=complete) is None:
        return None
    plus, split = plus_of(run, share=complete), score_split(run)
    last = plus.config.refinement.iterations - 1
    models = [looked(f"iteration {last}", plus, split, plus.open(f"05-segmenter/iteration-{last}"))]
    slow = "" if fabric_of(run).device.type == "cuda" else "ResNet-50"
    for name, (share, changes) in larger_ways(plus.config).items():
        varied = vary(plus, label_of(name), share if complete else (), **changes)
        if complete and name != slow:
            models.append(seen_larger(name, plus, varied, split, complete_run(varied)[-1]))
        elif (found := finished(varied, plus, share, last)) and made_larger(found[1], varied.config):
            models.append(seen_larger(name, plus, varied, split, found[1]))
    return score_models(run, "larger", split, models)


def seen_larger(name: str, plus: Run, varied: Run, split: str, trained: Stage) -> Model:
    """Make a row of a segmenter that looks once at images of its own size."""

    def maps() -> np.ndarray:
        images_to_score(varied, split)
        found = torch.from_numpy(look_over(varied, split, load_segmenter(trained)))
        return upsample(found, image_size(plus)).numpy()

    return Model(name, trained, maps)


def made_larger(trained: Stage, config: Config) -> bool:
    """Say whether a segmenter was made with the images, encoder and schedule that a configuration names."""
    made, wanted = trained.manifest.config, config.model_dump(mode="json")
    alike = made["contrastive"]["epochs"] == wanted["contrastive"]["epochs"] and made["backbone"] == wanted["backbone"]
    return alike and trained.manifest.settings["size"] == config.images.size
