"""Past the paper: what a segmenter learns where its lesson is another one. Everything here is trained, and scored once.

Each row is a variation of USL-plus with one thing changed, so that what the steps of
:mod:`~uslnet_core.pipeline.beyond` are made of can be told apart. Masks are read at the very end, to score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uslnet_core.data.images import ImageSet
from uslnet_core.pipeline.ablations import Model, finished, score_models
from uslnet_core.pipeline.beyond import SHARED, looked, plus_of, steps
from uslnet_core.pipeline.features import fabric_of
from uslnet_core.pipeline.images import image_size, train_split
from uslnet_core.pipeline.saliency import make_saliency
from uslnet_core.pipeline.scoring import score_split
from uslnet_core.pipeline.training import load_segmenter, make_labels, train_iteration, write_labels
from uslnet_core.pipeline.variants import vary
from uslnet_core.runs import Run
from uslnet_core.saliency.fuse import mean_maps
from uslnet_core.segmenter import predict_parts
from uslnet_core.stages import Stage

FIRST, NEXT = "iteration 0", "iteration 1"
# What iteration 0 learns from: other sources, or the same under other rules of the uncertainty module.
SOURCES: dict[str, dict[str, Any]] = {
    "CCAM alone": {"also": ()},
    "colour clusters alone": {"cam": "colour_clusters", "also": ()},
    "each source by how sure it is": {"weigh": "by_sureness"},
}
RULES: dict[str, dict[str, Any]] = {
    "the paper's thresholds": {"low": 0.35, "high": 0.65},
    "adaptive thresholds": {"thresholds": "adaptive"},
    "centrality relative to size": {"rule": "relative"},
    "doubt along the outline": {"band": 0.02},
}
# What iteration 1 learns from, and where it starts.
LATER: dict[str, dict[str, dict[str, Any]]] = {
    "labels of one look": {"look": {"teach": False}},
    "no windows that cut": {"look": {"cut": 0.0}},
    "second looks without colour": {"look": {"colour": 0.0}},
    "second looks without appearance": {"look": {"appearance": False}},
    "started again": {"refinement": {"warm_start": False}},
}
TWO_TEACHERS = "two teachers that must agree"
QUICK = ("colour clusters alone", "adaptive thresholds")  # in quick, what one sees at a glance
MAPS = ("03-saliency/ccam", "03-saliency/colour")  # parts of what is fused


def other_lessons(run: Run, *, complete: bool = True) -> Stage | None:
    """Train a segmenter on each other lesson and score it in one look, as ``tables/lessons/<split>``.

    Args:
        run: the run, as for :func:`~uslnet_core.pipeline.beyond.steps`.
        complete: train what is missing; else only rows that are there are scored.

    Returns:
        The stage, as :func:`~uslnet_core.pipeline.ablations.table_8` writes it; ``None`` where the steps are not there.
    """
    if steps(run, complete=complete) is None:
        return None
    plus, split = plus_of(run, share=complete), score_split(run)
    quick = run.config.profile == "quick"

    def rows(group: Mapping[str, dict[str, Any]], iteration: int, share: Sequence[str]) -> list[Model]:
        trained = {}
        for name, changes in group.items():
            if not quick or name in QUICK:
                trained[name] = otherwise(plus, name, iteration, share, changes, complete=complete)
        return [looked(name, found[0], split, found[1]) for name, found in trained.items() if found]

    before = ["01-data", "02-", "03-", "04-", "05-segmenter/iteration-0"]
    models = [looked(FIRST, plus, split, plus.open("05-segmenter/iteration-0"))]
    models += rows({name: {"saliency": changes} for name, changes in SOURCES.items()}, 0, [*SHARED, *MAPS])
    models += rows({name: {"uncertainty": changes} for name, changes in RULES.items()}, 0, [*SHARED, "03-"])
    models += [looked(NEXT, plus, split, plus.open("05-segmenter/iteration-1"))]
    models += rows(LATER, 1, before)
    if not quick and (agreed := two_teachers(plus, complete=complete)):
        models.append(looked(TWO_TEACHERS, agreed[0], split, agreed[1]))
    return score_models(run, "lessons", split, models)


def otherwise(
    plus: Run, name: str, iteration: int, share: Sequence[str], changes: dict[str, Any], *, complete: bool
) -> tuple[Run, Stage] | None:
    """Train one iteration of a variation of USL-plus; ``None`` if it is not there and shall not be made."""
    varied = vary(plus, label_of(name), share if complete else (), **changes)
    if not complete:
        return finished(varied, plus, share, iteration)
    if not iteration:
        make_saliency(varied)
        make_labels(varied)
    return varied, train_iteration(varied, iteration)


def two_teachers(plus: Run, *, complete: bool) -> tuple[Run, Stage] | None:
    """Train a segmenter on what two others say together: one learnt from CCAM alone, one from colour alone.

    Where they disagree their mean is near one half, and the uncertainty module leaves the pixel out.
    """
    alone = {name: vary(plus, label_of(name), (), saliency=SOURCES[name]) for name in list(SOURCES)[:2]}
    share = [*SHARED, "03-"]
    varied = vary(plus, label_of(TWO_TEACHERS), share if complete else ())
    if not complete:
        return finished(varied, plus, share)
    teachers = [each.open("05-segmenter/iteration-0") for each in alone.values()]
    images, fabric = varied.open(f"01-data/images/{train_split(varied)}"), fabric_of(varied)
    rules = varied.config.uncertainty

    def compute(folder: Path) -> dict[str, Any]:
        seen = ImageSet.open(images.folder)
        both = [predict_parts(load_segmenter(each), seen, fabric, progress=varied.progress) for each in teachers]
        return write_labels(map(mean_maps, zip(*both, strict=True)), rules, folder)

    settings = {"uncertainty": rules.settings(), "size": image_size(varied)}
    settings["teachers"] = [each.manifest.fingerprint for each in teachers]
    varied.make("04-labels", compute, settings=settings, inputs=[images])
    return varied, train_iteration(varied, 0)


def label_of(name: str) -> str:
    """Make of a row's name what its variation's folder is called: ``the-papers-thresholds``."""
    return name.lower().replace("'", "").replace(" ", "-")
