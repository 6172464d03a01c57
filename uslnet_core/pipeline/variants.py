"""Variations of a run, for the ablations: a run beside it, which shares all that stands before what is changed.

``isic2017-workshop~fused`` is ``isic2017-workshop`` with other encoders. It is a run like any other: same stages, same
functions, same rules of reuse. What it shares is linked and takes no room.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from uslnet_core.config import Config
from uslnet_core.pipeline.features import METHODS, in_words, learn_features
from uslnet_core.pipeline.images import prepare_images, train_split
from uslnet_core.pipeline.saliency import MAIN, make_saliency
from uslnet_core.pipeline.training import make_labels, train_iteration
from uslnet_core.runs import MARK, Run
from uslnet_core.stages import Stage, peek, stale_reason


def vary(run: Run, label: str, share: Sequence[str] = (), **changes: Any) -> Run:
    """Open a variation of a run, with the stages that it shares in place.

    Args:
        run: the run that is varied; it may be a variation itself.
        label: tells the variation from others; part of its folder's name.
        share: beginnings of the names of stages that are taken over as they are, for example ``01-data``.
        **changes: fields of the configuration, or dicts of a section's fields.

    Returns:
        The variation. Nothing is trained yet.
    """
    fields = run.config.model_dump()
    for name, value in changes.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    folder, remedy = run.folder.with_name(run.folder.name + MARK + label), run.remedy or run.spell("reproduce all")
    varied = replace(run, folder=folder, config=Config(**fields), remedy=remedy)
    for name, stage in whole_stages(run).items():
        if share and name.startswith(tuple(share)):
            varied.adopt(stage)
    return varied


def whole_stages(run: Run) -> dict[str, Stage]:
    """List the stages of a run that are whole and follow from what they read."""
    stages = peek(run.folder)
    return {name: stage for name, stage in stages.items() if not stale_reason(stage, stages)}


def line_of(run: Run, encoders: Sequence[str], iterations: int, seed: int | None = None, *, share: bool = True) -> Run:
    """Open the run on which the ablations stand: the given one, or a variation with other encoders or another seed.

    Its configuration is what the run's stages were made with, where they are there, so that a run with changed
    parameters is taken apart as it is.

    Args:
        run: the run at hand.
        encoders: whose maps are fused; the segmenter starts from MoCo v2's where it is among them.
        iterations: of the segmenter, iteration 0 included.
        seed: another seed than the run's; synthetic images are drawn by it, too.
        share: put the stages that it shares in place; False only opens it and writes nothing.
    """
    own = main_encoders(run)
    config = as_made(run)
    config = config.model_copy(
        update={"encoders": own, "refinement": config.refinement.model_copy(update={"iterations": iterations})}
    )
    line = replace(run, config=config)
    if tuple(encoders) != own:
        label = "fused" if tuple(encoders) == METHODS else "+".join(encoders)
        line = vary(line, label, ["01-data", "02-contrastive"] if share else [], encoders=tuple(encoders))
    if seed is not None and seed != run.config.seed:
        shared = [] if run.config.dataset == "synthetic" or not share else ["01-data"]
        line = vary(line, f"seed-{seed}", shared, seed=seed)
    return line


SECTIONS = {
    "02-contrastive/": ("backbone", "contrastive"),
    "03-saliency/main": ("saliency",),
    "04-labels": ("uncertainty",),
    "05-segmenter/iteration-0": ("segmenter",),
    "05-segmenter/iteration-1": ("refinement",),
}


def as_made(run: Run) -> Config:
    """Read back, from the manifests of a run, the settings that its stages were made with; the rest is configured."""
    fields, stages = run.config.model_dump(mode="json"), whole_stages(run)
    for begin, sections in SECTIONS.items():
        for name, stage in stages.items():
            if name.startswith(begin):
                fields |= {section: stage.manifest.config[section] for section in sections}
    first = stages.get("05-segmenter/iteration-0")
    if first:
        fields["refinement"] = fields["refinement"] | {"first_epochs": first.manifest.settings["refinement"]["epochs"]}
    return Config.model_validate_json(json.dumps(fields))


def main_encoders(run: Run) -> tuple[str, ...]:
    """Name the encoders behind the run's maps: as they are there, or else as the configuration says."""
    if run.has(MAIN):
        return tuple(run.open(MAIN).manifest.facts["encoders"])
    return run.config.encoders


def learnt(run: Run) -> str:
    """Say in words which encoders are behind a run's maps, and where they started."""
    return in_words({name: run.open(f"02-contrastive/{name}").manifest.settings for name in main_encoders(run)})


def complete(run: Run, iterations: int | None = None) -> list[Stage]:
    """Make whatever a run lacks, up to a number of iterations; what is there, and follows from what it read, is kept.

    Args:
        run: the run.
        iterations: how many; by default as configured.

    Returns:
        The stages of the segmenter.
    """
    images = f"01-data/images/{train_split(run)}"
    if not run.has(images):
        prepare_images(run, train_split(run))
    for name in run.config.encoders:
        if not run.has(f"02-contrastive/{name}"):
            learn_features(run, name)
    if not run.has(MAIN):
        make_saliency(run)
    if not run.has("04-labels"):
        make_labels(run)
    names = [
        f"05-segmenter/iteration-{k}"
        for k in range(run.config.refinement.iterations if iterations is None else iterations)
    ]
    return [run.open(name) if run.has(name) else train_iteration(run, k) for k, name in enumerate(names)]
