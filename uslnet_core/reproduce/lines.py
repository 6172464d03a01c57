"""The runs that the ablations stand on, and what a table made of them says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uslnet_core import pipeline
from uslnet_core.errors import ConfigError
from uslnet_core.pipeline.saliency import MAIN
from uslnet_core.reproduce.layout import ITERATIONS, Lines, scored_on
from uslnet_core.runs import Run
from uslnet_core.stages import Stage


def open_lines(
    run: Run,
    encoders: Sequence[str] | None = None,
    iterations: int | None = None,
    seeds: Sequence[int] | None = None,
    *,
    complete: bool = True,
) -> dict[int, Run]:
    """Open the runs that the ablations stand on, one a seed.

    Args:
        run: the run at hand.
        encoders: whose maps are fused; by default the run's own in the quick profile, else all three methods.
        iterations: of the segmenter; by default the profile's in quick, else five, as the paper has.
        seeds: by default the run's own alone.
        complete: they are to be completed. If not, only those that are there are opened, or else the run itself.

    Raises:
        ConfigError: no seed, or one twice.
    """
    own, made = pipeline.main_encoders(run), pipeline.as_made(run)
    wanted = tuple(encoders or usual_encoders(run))
    iterations = iterations or (run.config.refinement.iterations if run.config.profile == "quick" else ITERATIONS)
    seeds = [run.config.seed] if seeds is None else list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {seeds}: expected one number or several different ones, for example [0, 1, 2].")
    if complete:
        return {seed: pipeline.line_of(run, wanted, iterations, seed) for seed in seeds}
    lines = {seed: pipeline.line_of(run, wanted, iterations, seed, share=False) for seed in seeds}
    there = {seed: line for seed, line in lines.items() if line.has(MAIN) and stands_on(line, run)}
    fewer = min(made.refinement.iterations, iterations)
    return there or {run.config.seed: pipeline.line_of(run, own, fewer, share=False)}


def usual_encoders(run: Run, *, every: bool = False) -> tuple[str, ...]:
    """Name the encoders that the ablations compare where nobody says which.

    Args:
        run: the run at hand.
        every: all three methods are wanted at any profile, as for table 9.

    Returns:
        All three methods; in quick the run's own, which is less to train. Where the run's own are public, or a public
        start as it is, they are what it is about: then its own.
    """
    own, methods = pipeline.main_encoders(run), tuple(pipeline.ENCODER_TITLES)
    untrained = pipeline.as_made(run).contrastive.epochs == 0  # three methods would be one and the same network
    if untrained or not set(own) <= set(methods):
        return own
    return methods if every or run.config.profile != "quick" else own


def stands_on(line: Run, run: Run) -> bool:
    """Say whether a line that nobody completes now still follows the run at hand: its images, and its encoders."""
    if line.folder == run.folder:
        return True
    encoders = [f"02-contrastive/{name}" for name in pipeline.main_encoders(run) if line.config.seed == run.config.seed]
    shared = [f"01-data/images/{pipeline.train_split(run)}"] if run.config.dataset != "synthetic" else []
    shared += [name for name in encoders if run.has(name)]
    return pipeline.follows(line, run, MAIN, shared)


def caption(lines: Lines, stages: Mapping[int, Stage], part: str | None = "") -> str:
    """Say what numbers stand for: train set, test set, size, profile, seeds, device, date.

    Args:
        lines: the runs.
        stages: what the numbers come from, by seed.
        part: which part of the data was scored, if not the one that scores are for: ``train``. ``None``: nothing was.
    """
    if not stages:
        return "nothing is there yet"
    line, stage = lines[next(iter(stages))], next(iter(stages.values()))
    if stage.name.startswith(
        ("tables/steps/", "tables/parts/", "tables/lessons/", "tables/together/", "tables/larger/")
    ):
        line = pipeline.plus_of(line, share=False)
    config, trained = line.config, pipeline.train_split(line)
    count = line.open(f"01-data/images/{trained}").manifest.facts["images"]
    trainings = list(lines if stage.name.startswith("tables/together/") else stages)
    size, seeds = pipeline.image_size(line), ", ".join(map(str, trainings))
    device = line.open(f"02-contrastive/{pipeline.main_encoders(line)[0]}").manifest.device
    scored = f"scored on {config.dataset}-{part}" if part else f"scored on {scored_on(line)}"
    scored = scored if part is not None else "nothing is scored"
    text = (
        f"trained on {count} images of {config.dataset}-{trained}, no masks · {scored} · "
        f"{size} × {size} pixels · {config.profile} profile, {pipeline.learnt(line)} · {maps_in_words(line)} · "
        f"{'seed' if len(trainings) == 1 else 'seeds'} {seeds}{' (single run)' if len(trainings) == 1 else ''} · "
        f"{device} · {stage.manifest.made_at[:10]}"
    )
    told = config.dataset == "synthetic" or config.profile == "quick"
    return text + (" · shows how the method behaves; no reproduction of the paper" if told else "")


def maps_in_words(line: Run) -> str:
    """Say which maps the labels are made of, and which encoders were left out of them."""
    facts = line.open(MAIN).manifest.facts
    without = " and ".join(pipeline.ENCODER_TITLES.get(name, name) for name in facts["left_out"])
    return f"labels from {pipeline.source_title(facts['source'])}" + (f" without {without}" if without else "")


def masks_read(lines: Lines) -> list[str]:
    """List what was trained or mapped for some lines, or labelled, and says that it has read a mask: nothing must."""
    free = ("01-data/masks", "07-evaluation", "tables")
    return [
        f"{line.folder.name}/{name}"
        for line in lines.values()
        for name, stage in line.whole().items()
        if not name.startswith(free) and any("masks" in read for read in stage.manifest.inputs)
    ]


def part_of(item: str, line: Run) -> str | None:
    """Name the part that an item reads masks of, for its caption: the scored one is empty, none is ``None``."""
    return {"figure-8": pipeline.train_split(line), "figure-1": None}.get(item, "")
