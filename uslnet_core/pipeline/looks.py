"""How a trained segmenter looks at images: once, as in the paper, or twice, past it. Imports no masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from uslnet_core.config import Config, LookConfig, UncertaintyConfig
from uslnet_core.data.images import ImageSet
from uslnet_core.labels import select_component
from uslnet_core.pipeline.features import fabric_of
from uslnet_core.pipeline.images import prepare_fine_images
from uslnet_core.priors import compact, darker_or_redder, filled, without_hair
from uslnet_core.runs import Run
from uslnet_core.saliency.appearance import appearance
from uslnet_core.saliency.clusters import colour_clusters
from uslnet_core.second_look import Predict, SecondLook, eightfold
from uslnet_core.segmenter import Segmenter, predict

AT_ONCE = 32  # images that are looked at together
HALF = 0.5  # above is lesion, in what later iterations learn from

Answer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images (B, 3, S, S) and the same in finer pixels (B, 3, F, F), float32 in [0, 1], to maps (B, S, S) or (B, F, F)."""


def build_look(config: Config, model: Segmenter, fabric: Fabric, threshold: float = HALF) -> SecondLook:
    """Build both looks from a trained segmenter, as a run is configured.

    Args:
        config: its sections look and uncertainty (which piece is the lesion).
        model: moved to the device, in evaluation mode.
        fabric: device and precision; the precision is the network's alone, windows are laid in full.
        threshold: above is lesion. Lessons are looked for at one half, whatever an answer is cut at.
    """
    options = config.look
    once = partial(probability, model.to(fabric.device).eval(), fabric)
    if options.shave:
        once = partial(shaved, once)
    return SecondLook(
        eightfold(once) if options.views == 8 else once,
        partial(chosen, config.uncertainty, threshold),
        colour_clusters if options.colour else None,
        options.colour,
        options.widen,
        partial(settled, options, threshold),
    )


def shaved(predict: Predict, images: torch.Tensor) -> torch.Tensor:
    """Predict from images whose hair is painted over; colours leave it out by themselves."""
    return predict(without_hair(images))


def settled(options: LookConfig, threshold: float, images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Make of maps, (B, S, S), what the terms in use say, and appearance."""
    if options.appearance:
        maps = appearance(images, maps)
    if options.darker:
        maps = darker_or_redder(images, maps, options.darker)
    if options.compact:
        maps = compact(maps, options.compact)
    return filled(maps, threshold) if options.filled else maps


def answer_of(config: Config, model: Segmenter, fabric: Fabric) -> Answer | None:
    """Build what a run answers with: one look or two, and its terms; none where the plain map is the answer."""
    if not config.look.settings():
        return None
    options = config.look if config.look.twice else config.look.model_copy(update={"appearance": False})
    look = build_look(config.model_copy(update={"look": options}), model, fabric, config.evaluation.threshold)
    if config.look.twice:
        return lambda images, fine: look.whole(*look.seen(images, fine), fine.shape[-1])
    return lambda images, fine: look.once(images)


def look_settings(config: Config) -> dict[str, Any]:
    """Give what an answer hangs on besides the segmenter, as JSON values: nothing where one plain look is all."""
    rules = {"rules": config.uncertainty.settings()} if config.look.twice else {}
    return config.look.settings() | rules


def lesson_settings(config: Config) -> dict[str, Any]:
    """Give what labels of second looks hang on besides the segmenter: nothing where they are not learnt from."""
    return config.look.lesson() | ({"rules": config.uncertainty.settings()} if config.look.teach else {})


@torch.no_grad()
def probability(model: Segmenter, fabric: Fabric, images: torch.Tensor) -> torch.Tensor:
    """Give every pixel its probability of being lesion: (B, 3, S, S) to (B, S, S) float32."""
    with fabric.autocast():
        logits = model(images.contiguous(memory_format=torch.channels_last))
    return torch.sigmoid(logits.float())


def chosen(rules: UncertaintyConfig, threshold: float, maps: torch.Tensor) -> torch.Tensor:
    """Choose the lesion among the pieces above a threshold: (B, S, S) to bool."""
    return torch.from_numpy(select_component(maps.cpu().numpy(), threshold, rules)).to(maps.device)


def seen_twice(
    run: Run, split: str, model: Segmenter, threshold: float = HALF
) -> Iterator[tuple[tuple[torch.Tensor, torch.Tensor], SecondLook]]:
    """Look twice at every image of a part, some at a time.

    Args:
        run: the run; the part's images are there.
        split: which part.
        model: a trained segmenter.
        threshold: as for :func:`build_look`.

    Yields:
        What :meth:`~uslnet_core.second_look.SecondLook.seen` gives, on the CPU, and the look that puts it back.
    """
    fabric = fabric_of(run)
    images, fine = ImageSet.open(run.open(f"01-data/images/{split}").folder), prepare_fine_images(run, split)
    look, fine = build_look(run.config, model, fabric, threshold), ImageSet.open(fine.folder)
    for part in torch.arange(len(images)).split(AT_ONCE):
        batch, finer = (each.batch(part).to(fabric.device) for each in (images, fine))
        maps, windows = look.seen(batch, finer)
        yield (maps.cpu(), windows.cpu()), look
        run.progress("second look", int(part[-1]) + 1, len(images))


def look_over(run: Run, split: str, model: Segmenter) -> np.ndarray:
    """Map every image of a part with a trained segmenter, looking once or twice as the run is configured.

    Returns:
        (N, S, S) float32 in [0, 1].
    """
    images, fabric = ImageSet.open(run.open(f"01-data/images/{split}").folder), fabric_of(run)
    if run.config.look.twice:
        both = seen_twice(run, split, model, run.config.evaluation.threshold)
        return np.concatenate([look.whole(*seen, images.size).numpy() for seen, look in both])
    answer = answer_of(run.config, model, fabric)
    if answer is None:
        return predict(model, images, fabric, progress=run.progress)
    batches = (images.batch(part).to(fabric.device) for part in torch.arange(len(images)).split(AT_ONCE))
    return np.concatenate([answer(batch, batch).cpu().numpy() for batch in batches])


def taken_apart(run: Run, split: str, model: Segmenter, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Look twice at some images and keep every step, to be shown.

    Args:
        run: the run.
        split: the part they are of.
        model: a trained segmenter.
        rows: which images.

    Returns:
        What :meth:`~uslnet_core.second_look.SecondLook.apart` gives, and whole (n, S, S) float32, put back.
    """
    fabric = fabric_of(run)
    stages = run.open(f"01-data/images/{split}"), prepare_fine_images(run, split)
    images, fine = (ImageSet.open(stage.folder).batch(rows).to(fabric.device) for stage in stages)
    look = build_look(run.config, model, fabric)
    steps = look.apart(images, fine)
    steps["whole"] = look.whole(steps["settled"], steps["windows"], images.shape[-1])
    return {name: each.cpu().numpy() for name, each in steps.items()}
