"""Ground truth touches nothing but the score: by what is imported, and by scrambling every mask."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import uslnet_core
from uslnet_core import pipeline, reproduce
from uslnet_core.contrastive import health
from uslnet_core.runs import Run
from uslnet_core.stages import Stage

PACKAGE = Path(uslnet_core.__file__).parent
FORBIDDEN = ("uslnet_core.data.masks", "uslnet_core.evaluation")


# --- by what is imported ---------------------------------------------------------------------------------------------


def training_modules() -> list[str]:
    """Everything that trains, orients, labels or sets a threshold."""
    names = ("uncertainty", "components", "labels", "segmenter", "refine", "losses", "encoder", "transformer", "loop")
    looks = ("second_look", "windows", "priors", "artefacts")  # past the paper, labels are made of them
    files = [PACKAGE / f"{name}.py" for name in (*names, *looks, "checkpoints", "data/augment")]
    files += [file for folder in ("contrastive", "saliency", "weights") for file in PACKAGE.glob(f"{folder}/*.py")]
    return sorted(name_of(file) for file in files)


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_of(name: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*name.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def imports(source: str, module: str) -> set[str]:
    """Modules of the package that a source names in an import, anywhere in it, functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("uslnet_core") and file_of(name)}


def reachable(module: str) -> set[str]:
    """Modules that a module imports, and those that they import."""
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        file = file_of(name)
        for other in imports(file.read_text(encoding="utf-8"), name) - seen:
            seen.add(other)
            todo.append(other)
    return seen


def forbidden(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(FORBIDDEN)}


def test_the_list_of_what_trains_is_not_empty():
    names = training_modules()
    assert {"uslnet_core.contrastive.pretrain", "uslnet_core.saliency.ccam", "uslnet_core.refine"} <= set(names)
    assert all(file_of(name) for name in names), "a module was renamed: this test looked at less than it says"


@pytest.mark.parametrize("module", training_modules())
def test_no_module_that_trains_can_reach_masks_or_scores(module):
    assert forbidden(reachable(module)) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from uslnet_core.data.masks import MaskSet",
        "from uslnet_core.data import masks",
        "import uslnet_core.evaluation",
        "def late():\n    from uslnet_core.evaluation.masks import score",
        "from ..data.masks import read_mask",
        "from ..data import masks",
    ],
)
def test_the_check_can_fail(source):
    assert forbidden(imports(source, "uslnet_core.contrastive.pretrain"))


def test_the_check_follows_imports():
    assert forbidden(reachable("uslnet_core.pipeline"))


# --- by scrambling every mask ----------------------------------------------------------------------------------------

PARTS = {"train": 12, "validation": 4}


def scramble(root: Path) -> int:
    """Turn every mask into noise."""
    rng, masks = np.random.default_rng(1), sorted(root.rglob("*_segmentation.png"))
    for path in masks:
        Image.fromarray(rng.integers(0, 2, (48, 48), dtype=np.uint8) * 255).save(path)
    return len(masks)


@pytest.fixture
def train_everything(train):
    """All that a run does, masks prepared before anything trains, as the notebooks do."""

    def make(run: Run) -> list[Stage]:
        for split in PARTS:
            pipeline.prepare_images(run, split)
            pipeline.prepare_masks(run, split)
        return train(run)

    return make


def test_scrambled_masks_change_no_trained_byte_and_the_scores(tmp_path, tiny, one_thread, lay_out, train_everything):
    data, config = lay_out(tmp_path / "data", **PARTS), tiny("isic2017")
    # Folders of runs apart, so that the second can take nothing from the first.
    first, second = (Run(tmp_path / name / "isic2017-quick", config, data) for name in ("runs", "runs-scrambled"))
    before, score_before = train_everything(first), pipeline.evaluate(first)
    assert scramble(data) == 16
    after, score_after = train_everything(second), pipeline.evaluate(second)

    assert [stage.name for stage in after] == [
        "02-contrastive/simclr",
        "03-saliency/main",
        "04-labels",
        "05-segmenter/iteration-0",
        "05-segmenter/iteration-1",
    ]
    for one, other in zip(before, after, strict=True):
        assert one.origin == other.origin == "made"
        assert set(one.manifest.files) == set(other.manifest.files) != set()
        for name in one.manifest.files:
            assert (one / name).read_bytes() == (other / name).read_bytes(), f"{one.name}/{name} saw a mask"
        assert (one.manifest.key, one.manifest.facts) == (other.manifest.key, other.manifest.facts)

    masks = [run.open("01-data/masks/train") for run in (first, second)]
    assert (masks[0] / "masks.npy").read_bytes() != (masks[1] / "masks.npy").read_bytes()
    predictions = [(stage / "predictions.npy").read_bytes() for stage in (score_before, score_after)]
    scores = [(stage / "per_image.csv").read_bytes() for stage in (score_before, score_after)]
    assert predictions[0] == predictions[1] and scores[0] != scores[1]


def test_scrambled_masks_change_no_byte_of_any_ablation(tmp_path, tiny, one_thread, lay_out, monkeypatch):
    """The fused encoders, every kind of label, a warm start: everything that is trained beside the main line."""
    monkeypatch.setattr(health, "STUCK", 9.0)
    data, trained, scores = lay_out(tmp_path / "data", **PARTS), [], []
    for name in ("runs", "runs-scrambled"):
        run = Run(tmp_path / name / "isic2017-quick", tiny("isic2017"), data)
        pipeline.prepare_images(run, "train")
        pipeline.complete(run)
        lines = reproduce.open_lines(run, ("simclr", "moco_v2"), 2)
        found = [
            reproduce.table_8(lines),
            reproduce.table_9(lines),
            reproduce.figure_9(lines),
            reproduce.options(lines),
            reproduce.steps(lines),
            reproduce.parts(lines),
            reproduce.lessons(lines),
        ]
        scores.append([(item.stages[0] / "per_image.csv").read_bytes() for item in found])
        files = {}
        for path in (tmp_path / name).rglob("*"):
            place = path.relative_to(tmp_path / name).as_posix()
            if path.is_file() and path.name != "manifest.json" and not re.search("/(01-data/masks|tables)/", place):
                files[place] = hashlib.sha256(path.read_bytes()).hexdigest()
        trained.append(files)
        if name == "runs":
            assert scramble(data) == 16
    assert trained[0] == trained[1] and len(trained[0]) > 100
    variations = {place.split("/")[0] for place in trained[0]}
    assert {
        "isic2017-quick~simclr+moco_v2~model-3",
        "isic2017-quick~simclr+moco_v2~plain-0.3",
        "isic2017-quick~simclr+moco_v2~warm",
        "isic2017-quick~simclr+moco_v2~plus",
    } <= variations
    assert "isic2017-quick~simclr+moco_v2~plus/08-student/segmenter.safetensors" in trained[0]
    assert all(before != after for before, after in zip(*scores, strict=True)), "the scores must notice"


def test_the_pipeline_keeps_training_and_scoring_in_different_files() -> None:
    folder = Path(uslnet_core.__file__).parent / "pipeline"
    reads_masks, training = {}, ("images", "features", "saliency", "fusion", "sources", "looks", "training", "student")
    for name in (*training, "shipped", "variants", "weights", "scoring", "ablations", "beyond"):
        found = imports((folder / f"{name}.py").read_text(encoding="utf-8"), f"uslnet_core.pipeline.{name}")
        # The package itself hands out everything, so a training module may take from its own files alone.
        whole = {"uslnet_core.pipeline", "uslnet_core.pipeline.scoring"}
        reads_masks[name] = bool(forbidden(found) or found & whole)
    assert reads_masks == {name: name in ("scoring", "ablations", "beyond") for name in reads_masks}
