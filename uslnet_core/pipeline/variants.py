"""Variations of a run, for the ablations: a run beside it, which shares all that stands before what is changed.

``isic2017-workshop~fused`` is ``isic2017-workshop`` with other encoders. It is a run like any other: same stages, same
functions, same rules of reuse. What it shares is linked and takes no room. A run that a user made is taken as it is;
a variation follows its run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from uslnet_core.config import Config, checked
from uslnet_core.errors import ConfigError
from uslnet_core.pipeline.features import METHODS, as_fields, in_words, learn_features
from uslnet_core.pipeline.images import prepare_images, train_split
from uslnet_core.pipeline.saliency import MAIN, make_saliency
from uslnet_core.pipeline.training import make_labels, train_iteration
from uslnet_core.runs import MARK, Run, upstream
from uslnet_core.stages import Stage, peek
from uslnet_core.weights import CHECKPOINTS

MASKS = "01-data/masks"
IMAGES, LABELS, FIRST, SECOND = "01-data/images", "04-labels", "05-segmenter/iteration-0", "05-segmenter/iteration-1"
OF_QUEUES = ("queue", "momentum", "groups")  # fields that only the two MoCos have


def vary(run: Run, label: str, share: Sequence[str] = (), **changes: Any) -> Run:
    """Open a variation of a run, with the stages that it shares in place.

    Args:
        run: the run that is varied; it may be a variation itself.
        label: tells the variation from others; part of its folder's name.
        share: beginnings of the names of stages that are taken over as they are, for example ``01-data``.
        **changes: fields of the configuration, or dicts of a section's fields.

    Returns:
        The variation. Nothing is trained yet.

    Raises:
        ConfigError: the changed configuration is none.
    """
    fields = run.config.model_dump()
    for name, value in changes.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    folder, remedy = run.folder.with_name(run.folder.name + MARK + label), run.remedy or run.spell("reproduce all")
    varied = replace(run, folder=folder, config=checked(fields), remedy=remedy)
    for name, stage in run.whole().items() if share else []:
        if name.startswith(tuple(share)) and not name.startswith(MASKS):  # masks are nothing that a training stands on
            varied.adopt(stage)
    return varied


def follows(varied: Run, run: Run, name: str, share: Sequence[str]) -> bool:
    """Say whether a variation's stage stands on its run's own stages, where it is to share them.

    Args:
        varied: the variation.
        run: the run that is varied.
        name: a stage of the variation, whole.
        share: beginnings of the names of stages that it should have taken over.
    """
    behind = [stage for stage in upstream(varied, varied.open(name)) if stage.name.startswith(tuple(share))]
    theirs = run.whole()
    return all(
        each.name in theirs and theirs[each.name].manifest.fingerprint == each.manifest.fingerprint for each in behind
    )


def line_of(run: Run, encoders: Sequence[str], iterations: int, seed: int | None = None, *, share: bool = True) -> Run:
    """Open the run on which the ablations stand: the given one, or a variation of it.

    It is a variation where encoders or seed are others, or where it has more iterations than the run was made with: the
    last of the run's own is what it hands out, and stays that.

    Its configuration is what the run's stages were made with, where they are there, so that a run with changed
    parameters is taken apart as it is.

    Args:
        run: the run at hand.
        encoders: whose maps are fused; the segmenter starts from MoCo v2's where it is among them.
        iterations: of the segmenter, iteration 0 included.
        seed: another seed than the run's; synthetic images are drawn by it, too.
        share: put the stages that it shares in place; False only opens it and writes nothing.

    Raises:
        ConfigError: iterations, encoders or seed are out of range.
    """
    own, config = main_encoders(run), as_made(run)
    several = config.refinement.iterations
    refinement = config.refinement.model_dump() | {"iterations": iterations}
    line = replace(run, config=checked(config.model_dump() | {"encoders": own, "refinement": refinement}))
    if tuple(encoders) != own:
        label = "fused" if tuple(encoders) == METHODS else "+".join(encoders)
        line = vary(line, label, ["01-data", "02-contrastive"] if share else [], encoders=tuple(encoders))
    elif iterations > several and run.has(FIRST):
        shared = ["01-", "02-", "03-", "04-", *(f"05-segmenter/iteration-{k}" for k in range(several))]
        line = vary(line, f"{iterations}-iterations", shared if share else [])
    if seed is not None and seed != run.config.seed:
        shared = [] if run.config.dataset == "synthetic" or not share else ["01-data"]
        line = vary(line, f"seed-{seed}", shared, seed=seed)
    return line


def as_made(run: Run) -> Config:
    """Read back, from the manifests of a run, the settings that its stages were made with; the rest is configured.

    Raises:
        ConfigError: a stage was made with settings that are none any more, or its encoders are of different networks.
    """
    fields, stages = run.config.model_dump(), run.whole()
    images = stages.get(f"{IMAGES}/{train_split(run)}")
    if images:
        fields["images"] = as_fields(images.manifest.config["images"])
    names = [f"02-contrastive/{name}" for name in main_encoders(run)]
    trained = [stages[name] for name in names if name in stages]
    trained = [stage for stage in trained if "contrastive" in stage.manifest.settings]  # public ones are not
    if trained:
        networks = {stage.manifest.settings["backbone"] for stage in trained}
        if len(networks) > 1:
            raise ConfigError(f"The encoders of {run.folder.name} are of different networks: {', '.join(networks)}.")
        # What only MoCo has is true of a MoCo's stage alone.
        queued = [stage for stage in trained if "momentum" in stage.manifest.settings["contrastive"]]
        contrastive = as_fields(trained[0].manifest.config["contrastive"])
        for stage in queued[:1]:
            contrastive |= {name: stage.manifest.config["contrastive"][name] for name in OF_QUEUES}
        contrastive["init"] = found_again(run, contrastive["init"])
        fields |= {"backbone": networks.pop(), "contrastive": contrastive}
    for name, section in {MAIN: "saliency", LABELS: "uncertainty", FIRST: "segmenter", SECOND: "refinement"}.items():
        if name in stages:
            fields[section] = as_fields(stages[name].manifest.config[section])
    if FIRST in stages:
        first = stages[FIRST].manifest.settings["refinement"]["epochs"]
        there = sum(name.startswith("05-segmenter/") for name in stages)
        fields["refinement"] = fields["refinement"] | {"first_epochs": first, "iterations": there}
    for name, section in fields.items():
        if isinstance(section, dict):  # what another version knew and did not use is no difference
            known = getattr(run.config, name).__class__.model_fields
            fields[name] = {key: value for key, value in section.items() if key in known or value}
    try:
        return checked(fields)
    except ConfigError as error:
        raise ConfigError(
            f"{run.folder} was made with settings that this version does not have. Give another --name, or remove it "
            f"and make it anew. {error}"
        ) from error


def found_again(run: Run, init: str) -> str:
    """Give the place of the file that a run's encoders started from: its manifests keep its name alone."""
    given = run.config.contrastive.init
    return given if init and init not in CHECKPOINTS and Path(given).name == init else init


def as_refined(run: Run) -> Run:
    """Take the thresholds and the training that chapter 6 was given, for iterations that go on where it stopped."""
    second = run.whole().get(SECOND)
    if second is None or not stands(run, SECOND):
        return run
    then = {section: as_fields(second.manifest.config[section]) for section in ("uncertainty", "segmenter")}
    return replace(run, config=checked(run.config.model_dump() | then))


def main_encoders(run: Run) -> tuple[str, ...]:
    """Name the encoders behind the run's maps: as they are there, or else as the configuration says."""
    if run.has(MAIN):
        return tuple(run.open(MAIN).manifest.facts["encoders"])
    return run.config.encoders


def learnt(run: Run) -> str:
    """Say in words which encoders are behind a run's maps, and where they started."""
    return in_words({name: run.open(f"02-contrastive/{name}").manifest.settings for name in main_encoders(run)})


def complete(run: Run, iterations: int | None = None) -> list[Stage]:
    """Make whatever a run lacks, up to a number of iterations.

    What is there in a run of the user's own, and follows from what it read, is kept, whatever it was made with. A
    variation is brought in line with its configuration, which is that of the run it varies.

    Args:
        run: the run.
        iterations: how many; by default as configured.

    Returns:
        The stages of the segmenter.
    """
    if not stands(run, f"{IMAGES}/{train_split(run)}"):
        prepare_images(run, train_split(run))
    for name in run.config.encoders:
        if not stands(run, f"02-contrastive/{name}"):
            learn_features(run, name)
    if not stands(run, MAIN):
        make_saliency(run)
    if not stands(run, LABELS):
        make_labels(run)
    trained, later = [], as_refined(run)
    for k in range(run.config.refinement.iterations if iterations is None else iterations):
        name = f"05-segmenter/iteration-{k}"
        trained.append(run.open(name) if stands(run, name) else train_iteration(later if k else run, k))
    return trained


def stands(run: Run, name: str) -> bool:
    """Say whether a stage is kept as it is: in a run of the user's own, or shared with the run that is varied."""
    there = run.whole().get(name)
    if there is None or MARK not in run.folder.name:
        return there is not None
    varied = peek(run.folder.with_name(run.folder.name.rpartition(MARK)[0])).get(name)
    return varied is not None and varied.manifest.fingerprint == there.manifest.fingerprint
