"""Variations of a run, for the ablations: a run beside it, which shares all that stands before what is changed.

``isic2017-workshop~fused`` is ``isic2017-workshop`` with other encoders. It is a run like any other: same stages, same
functions, same rules of reuse. What it shares is linked and takes no room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from uslnet_core.config import Config
from uslnet_core.pipeline.features import learn_features
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

    Args:
        run: the run at hand.
        encoders: whose maps are fused; the segmenter starts from MoCo v2's where it is among them.
        iterations: of the segmenter, iteration 0 included.
        seed: another seed than the run's; synthetic images are drawn by it, too.
        share: put the stages that it shares in place; False only opens it and writes nothing.
    """
    line = replace(run, config=run.config.model_copy(update={"refinement": refined(run.config, iterations)}))
    if tuple(encoders) != main_encoders(run):
        label = "fused" if len(encoders) > 1 else encoders[0]
        line = vary(line, label, ["01-data", "02-contrastive"] if share else [], encoders=tuple(encoders))
    if seed is not None and seed != run.config.seed:
        shared = [] if run.config.dataset == "synthetic" or not share else ["01-data"]
        line = vary(line, f"seed-{seed}", shared, seed=seed)
    return line


def refined(config: Config, iterations: int) -> Any:
    """Change the number of iterations of a refinement section."""
    return config.refinement.model_copy(update={"iterations": iterations})


def main_encoders(run: Run) -> tuple[str, ...]:
    """Name the encoders behind the run's maps: as they are there, or else as the configuration says."""
    if run.has(MAIN):
        return tuple(run.open(MAIN).manifest.facts["encoders"])
    return run.config.encoders


def complete(run: Run, iterations: int | None = None) -> list[Stage]:
    """Make whatever a run lacks, up to a number of iterations; what is there is kept, whatever it was made with.

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
