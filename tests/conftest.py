"""What several tests share: a configuration small enough to train in a second, images for it, and one trained run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from uslnet_core import pipeline
from uslnet_core.compute import make_fabric
from uslnet_core.config import Config, configure
from uslnet_core.data import synthetic
from uslnet_core.data.images import ImageSet
from uslnet_core.runs import Run

TINY = {
    "images": {"count": 16, "size": 32},
    "contrastive": {"epochs": 1, "batch_size": 8, "crop": 32, "hidden": 32, "embedding": 16},
    "saliency": {"epochs": 1, "batch_size": 8},
    "segmenter": {"width": 16, "batch_size": 8},
    "refinement": {"iterations": 2, "first_epochs": 1, "epochs": 1},
    "evaluation": {"resamples": 20},
    "compute": {"device": "cpu", "precision": "32-true"},
}


def make_tiny(dataset: str = "synthetic", seed: int = 0, **changes: dict) -> Config:
    """Configure a training of a second; ``changes`` are a section's fields."""
    sections = {name: TINY.get(name, {}) | changes.get(name, {}) for name in {*TINY, *changes}}
    return configure("quick", dataset=dataset, seed=seed, **sections)


@pytest.fixture(scope="session")
def tiny():
    """A configuration small enough to train in a second: ``tiny(seed=1, segmenter={"width": 8})``."""
    return make_tiny


@pytest.fixture(scope="session")
def cpu() -> Fabric:
    return make_fabric(make_tiny().compute)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order: what must be the same to the last byte is computed by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pictures() -> ImageSet:
    """Sixteen synthetic images of 32 pixels."""
    ids = synthetic.ids("train", 16)
    return ImageSet(ids, np.stack([synthetic.image(synthetic.index_of(i), size=32, seed=0) for i in ids]))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Run:
    """A tiny synthetic run with every stage up to the segmenters. Tests read it; none writes into it."""
    folder: Path = tmp_path_factory.mktemp("shared") / "runs" / "synthetic-quick"
    run = Run(folder, make_tiny())
    pipeline.prepare_images(run, "train")
    pipeline.learn_features(run)
    pipeline.make_saliency(run)
    pipeline.make_labels(run)
    pipeline.train_iteration(run, 0)
    pipeline.refine(run)
    return run
