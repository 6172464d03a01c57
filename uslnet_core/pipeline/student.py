"""The student: one small network that learns what the whole method says of the training images. Imports no masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from uslnet_core.checkpoints import DiskKeeper
from uslnet_core.config import Config
from uslnet_core.data.images import ImageSet
from uslnet_core.encoder import Encoder
from uslnet_core.pipeline.features import common_settings, fabric_of
from uslnet_core.pipeline.images import image_size, prepare_fine_images, train_split
from uslnet_core.pipeline.looks import lesson_settings, seen_twice
from uslnet_core.pipeline.training import load_segmenter
from uslnet_core.refine import SOFT, train_segmenter
from uslnet_core.runs import Run
from uslnet_core.segmenter import Segmenter
from uslnet_core.stages import Stage

STUDENT = "08-student"
BACKBONE, WIDTH = "slim18", 64
STREAM = 99  # its random numbers are no iteration's


def train_student(run: Run, epochs: int | None = None) -> Stage:
    """Train the student on what the run's last segmenter sees of the training images at two looks (``08-student``).

    Args:
        run: the run, its last iteration trained.
        epochs: passes over the images; by default as many as all iterations together had.

    Returns:
        The stage: segmenter.safetensors in float16, history.csv.
    """
    config, fabric, split = run.config, fabric_of(run), train_split(run)
    options = config.refinement
    teacher = run.open(f"05-segmenter/iteration-{options.iterations - 1}")
    fine = prepare_fine_images(run, split)
    keeper = DiskKeeper(run.folder, STUDENT)
    epochs = epochs or options.first_epochs + (options.iterations - 1) * options.epochs

    def compute(folder: Path) -> dict[str, Any]:
        image_set = ImageSet.open(fine.folder)
        seen = taught(run, split, teacher, len(image_set), image_set.size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1000 + STREAM)
            student = empty_student()
        trained = train_segmenter(
            student,
            image_set,
            seen,
            np.ones(len(seen), bool),
            config,
            fabric,
            iteration=STREAM,
            size=image_size(run),
            cut=config.look.cut,
            scale=SOFT,
            epochs=epochs,
            progress=lambda _, done, total: run.progress("student", done, total),
            keeper=keeper,
        )
        weights = {name: value.half() for name, value in trained.model.state_dict().items()}
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / "segmenter.safetensors")
        trained.history.to_csv(folder / "history.csv", index=False)
        return {"parameters": sum(p.numel() for p in trained.model.parameters())}

    settings = common_settings(run, fabric) | {
        "segmenter": config.segmenter.model_dump(mode="json", exclude={"encoder"}),
        "network": [BACKBONE, WIDTH],
        "epochs": epochs,
        "size": image_size(run),
        **taught_by(config),
    }
    inputs = [fine, teacher]
    return run.make(STUDENT, compute, settings=settings, inputs=inputs, device=str(fabric.device), keeper=keeper)


def taught_by(config: Config) -> dict[str, Any]:
    """Give what the student learns from besides its teacher: second looks, whatever later iterations learn from."""
    look = config.look.model_copy(update={"teach": True})
    return lesson_settings(config.model_copy(update={"look": look}))


def has_student(run: Run) -> bool:
    """Say whether the run's student is there, and learnt what it would learn now."""
    wanted = taught_by(run.config)
    return run.has(STUDENT) and all(run.open(STUDENT).manifest.settings.get(k) == wanted[k] for k in wanted)


def taught(run: Run, split: str, teacher: Stage, count: int, size: int) -> np.ndarray:
    """Give what the teacher sees of every image, (count, size, size) uint8, 255 times the probability."""
    out, done = np.empty((count, size, size), dtype=np.uint8), 0
    for (seen, windows), look in seen_twice(run, split, load_segmenter(teacher)):
        part = slice(done, done := done + len(seen))
        out[part] = (look.whole(seen, windows, size) * SOFT).round().to(torch.uint8).numpy()
    return out


def empty_student() -> Segmenter:
    """Build the student, its weights random."""
    return Segmenter(Encoder(BACKBONE), width=WIDTH)


def load_student(folder: Path | Stage) -> Segmenter:
    """Load a student from its folder: float16 weights, to compute in float32; in evaluation mode."""
    weights = load_file(folder / "segmenter.safetensors")
    student = empty_student()
    student.load_state_dict(weights)  # copies values into the student's own number format
    return student.eval()
