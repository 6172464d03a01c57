"""Past the paper: what each step of USL-plus adds, and what one part more would; all scored side by side.

Masks are read at the very end, to score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from uslnet_core.data.images import ImageSet
from uslnet_core.data.storage import forget
from uslnet_core.labels import select_component
from uslnet_core.pipeline.ablations import Model, finished, map_model, score_models
from uslnet_core.pipeline.fusion import with_appearance
from uslnet_core.pipeline.images import prepare_fine_images
from uslnet_core.pipeline.looks import look_over, look_settings
from uslnet_core.pipeline.saliency import main_maps, make_saliency, map_part
from uslnet_core.pipeline.scoring import images_to_score, score_split
from uslnet_core.pipeline.student import STUDENT, has_student, load_student, train_student
from uslnet_core.pipeline.training import load_labels, load_segmenter, make_labels, train_iteration
from uslnet_core.pipeline.variants import complete as complete_run
from uslnet_core.pipeline.variants import vary
from uslnet_core.profiles import changes_of
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

SHARED = ("01-data/images", "02-contrastive")
AT_ONCE = 256  # images whose labels are compared at a time
TOGETHER = "all together"
AGREED = 0.95  # mean Dice between labels of two iterations, from which on the later one would learn nothing new
# A second look by a segmenter, step by step.
EVERYTHING = "second look, colour, appearance"
LOOKS: dict[str, dict[str, Any]] = {
    "second look": {"twice": True, "colour": 0.0, "appearance": False},
    "second look, colour": {"twice": True, "appearance": False},
    EVERYTHING: {"twice": True},
}
# The answer, and the answer with one part more.
PARTS: dict[str, dict[str, Any]] = {
    "as settled": {},
    **LOOKS,
    "second look, appearance": {"twice": True, "colour": 0.0},
    f"{EVERYTHING}, window of 1.5": {"twice": True, "widen": 1.5},
    f"{EVERYTHING}, window of 3": {"twice": True, "widen": 3.0},
    "eight views": {"views": 8},
    "compact": {"compact": 1 / 64},
    "holes filled": {"filled": True},
    "darker or redder": {"darker": 1.0},
    "hair painted over": {"shave": True},
}
# Of these, what had added anything on ISIC-2017's validation images: read off their scores, and so no clean choice.
ADDED = ("eight views", "compact")

# In quick, what one sees at a glance.
QUICK_PARTS = ("as settled", "second look", EVERYTHING, "holes filled")


def plus_of(run: Run, *, share: bool = True) -> Run:
    """Open USL-plus as a variation of a run: its images and encoders, and all else anew."""
    changes = changes_of("usl-plus", run.config.profile)
    plus = vary(run, "plus", SHARED if share else (), method="usl-plus", **changes)
    return replace(plus, remedy=run.spell("reproduce steps"))


def steps(run: Run, *, complete: bool = True) -> Stage | None:
    """Score each step past the paper, from maps cut at one half to the student, as ``tables/steps/<split>``.

    Args:
        run: the run that is gone on from: its images and its encoders.
        complete: train what is missing; else ``None`` where it is not there.

    Returns:
        The stage, as :func:`~uslnet_core.pipeline.ablations.table_8` writes it.
    """
    if complete:
        complete_run(run, 0)
    plus = plus_of(run, share=complete)
    iterations = range(plus.config.refinement.iterations)
    if complete:
        make_saliency(plus)
        make_labels(plus)
        trained = [train_iteration(plus, k) for k in iterations]
        student = train_student(plus)
    else:
        found = [finished(plus, run, SHARED, k) for k in iterations]
        if not all(found) or not has_student(plus):
            return None
        trained, student = [each[1] for each in found if each], plus.open(STUDENT)
    split = score_split(run)
    size = ImageSet.open(images_to_score(plus, split).folder).size
    models = [
        map_model("CCAM", map_part(plus, split, "ccam"), size),
        map_model("colour clusters", map_part(plus, split, "colour_clusters"), size),
        map_model("both", main_maps(plus, split), size),
        map_model("both, appearance on whole images", with_appearance(plus, split, main_maps(plus, split)), size),
        looked("iteration 0", plus, split, trained[0]),
        in_one_piece("iteration 0, one piece", plus, split, trained[0]),
        *(looked(f"iteration 0, {name}", plus, split, trained[0], **changes) for name, changes in LOOKS.items()),
    ]
    for k, stage in enumerate(trained[1:], start=1):
        models += [looked(f"iteration {k}", plus, split, stage)]
        models += [looked(f"iteration {k}, {EVERYTHING}", plus, split, stage, **LOOKS[EVERYTHING])]
    models += [looked("student", plus, split, student)]
    models += [looked("student, second look", plus, split, student, **LOOKS["second look"])]
    return score_models(run, "steps", split, models)


def ablations(run: Run, *, complete: bool = True) -> Stage | None:
    """Score the answer with one part more, as ``tables/parts/<split>``. Nothing is trained.

    Args:
        run: the run, as for :func:`steps`.
        complete: make what :func:`steps` lacks; else ``None`` where it is not there.
    """
    if steps(run, complete=complete) is None:
        return None
    plus = plus_of(run, share=complete)
    trained = plus.open(f"05-segmenter/iteration-{plus.config.refinement.iterations - 1}")
    split = score_split(run)
    names = QUICK_PARTS if run.config.profile == "quick" else PARTS
    models = [looked(name, plus, split, trained, **PARTS[name]) for name in names]
    return score_models(run, "parts", split, models)


def together(lines: Mapping[int, Run], *, complete: bool = True) -> Stage | None:
    """Score trainings of several seeds one by one and as an ensemble, all on the images of the first.

    An ensemble's map is the mean of its members' maps, cut like any other. It costs as many passes as it has members.
    The last iteration's has a second row, with the parts that had :data:`ADDED` something put in.

    Args:
        lines: the runs, as for :func:`steps`, by seed.
        complete: make what :func:`steps` lacks; else ``None`` where it is not there.

    Returns:
        The stage ``tables/together/<split>`` of the first run; ``None`` for one seed.
    """
    if len(lines) < 2 or not all([steps(line, complete=complete) for line in lines.values()]):
        return None
    first = next(iter(lines.values()))
    members = {seed: plus_of(line, share=False) for seed, line in lines.items()}
    plus, split, models = plus_of(first, share=complete), score_split(first), []
    names = {f"iteration {k}": f"05-segmenter/iteration-{k}" for k in range(plus.config.refinement.iterations)}
    for name, stage in (names | {"student": STUDENT}).items():
        trained = {seed: member.open(stage) for seed, member in members.items()}
        models += [looked(f"{name}, seed {seed}", plus, split, each) for seed, each in trained.items()]
        models.append(ensemble(f"{name}, {TOGETHER}", models[-len(trained) :]))
        if name == list(names)[-1]:
            added = {key: value for part in ADDED for key, value in PARTS[part].items()}
            helped = [looked(f"{name}, seed {seed}", plus, split, each, **added) for seed, each in trained.items()]
            models.append(ensemble(f"{name}, {TOGETHER}, {', '.join(ADDED)}", helped))
    return score_models(first, "together", split, models)


def ensemble(name: str, members: Sequence[Model]) -> Model:
    """Make a row of the mean of other rows' maps."""

    def maps() -> np.ndarray:
        return np.mean([member.maps() for member in members], axis=0, dtype=np.float64).astype(np.float32)

    fingerprints = [member.stage.manifest.fingerprint for member in members]
    return Model(name, members[0].stage, maps, {"members": fingerprints})


def looked(name: str, run: Run, split: str, trained: Stage, **changes: Any) -> Model:
    """Make a row of a way to look at images with a trained segmenter."""
    varied = looking(run, **changes)
    load = load_student if trained.name == STUDENT else load_segmenter

    def maps() -> np.ndarray:
        return look_over(varied, split, load(trained))

    settings = look_settings(varied.config)
    if varied.config.look.twice:
        settings["fine images"] = prepare_fine_images(varied, split).manifest.fingerprint
    return Model(name, trained, maps, settings)


def in_one_piece(name: str, run: Run, split: str, trained: Stage) -> Model:
    """Make a row of one look, of which the piece is kept that the uncertainty module would choose."""
    rules = run.config.uncertainty

    def maps() -> np.ndarray:
        probability = look_over(run, split, load_segmenter(trained))
        return select_component(probability, run.config.evaluation.threshold, rules)

    return Model(name, trained, maps, {"rules": rules.settings()})


def looking(run: Run, **changes: Any) -> Run:
    """Open the same run with another way to look at images."""
    look = run.config.look.model_copy(update=changes)
    return replace(run, config=run.config.model_copy(update={"look": look}))


def labels_of(run: Run) -> Sequence[Stage]:
    """Open the stages that hold labels, in the order of the iterations that learnt from them.

    Each holds labels.npy, keep.npy and images.csv of the training images.
    """
    later = [run.open(f"05-segmenter/iteration-{k}") for k in range(1, run.config.refinement.iterations)]
    return [run.open("04-labels"), *later]


def where_to_stop(rows: Sequence[Mapping[str, float]]) -> int:
    """Choose an iteration without a mask: the first that would teach the next one what it has itself learnt.

    Args:
        rows: as :func:`agreement` gives them.

    Returns:
        The iteration: the first before labels that agree to :data:`AGREED` with those before, or else the last.
    """
    settled = [k for k, row in enumerate(rows) if row.get("agreement", 0) >= AGREED]
    return settled[0] - 1 if settled else len(rows) - 1


def agreement(run: Run) -> list[dict[str, float]]:
    """Say, of each iteration's labels, how sure they are and how far they agree with those before. No mask is read.

    Returns:
        A row an iteration: kept and certain, shares of the images and of their pixels; agreement, the mean Dice
        between its foreground and that of the iteration before, over the training images.
    """
    rows, before = [], None
    for stage in labels_of(run):
        labels, keep = load_labels(stage)
        certain, dice = 0, []
        for first in range(0, len(labels), AT_ONCE):
            part = labels[first : first + AT_ONCE]
            certain += np.count_nonzero(part != 1)
            if before is not None:
                found, then = part == 2, before[first : first + AT_ONCE] == 2
                both, all_of = (found & then).sum((1, 2)), found.sum((1, 2)) + then.sum((1, 2))
                dice.append(np.where(all_of > 0, 2 * both / np.maximum(all_of, 1), 1))
                forget(before)
            forget(labels)
        row = {"kept": float(keep.mean()), "certain": certain / labels.size}
        rows.append(row | ({"agreement": float(np.concatenate(dice).mean())} if dice else {}))
        before = labels
    return rows
