"""What one of several processes does for test_ranks.py, which starts them: the same trainings, and what only one does.

python ranks_worker.py <folder> <processes>, with torchrun's variables in the environment
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from tiny_settings import TINY

from uslnet_core import ranks, refine
from uslnet_core.compute import make_fabric
from uslnet_core.config import ComputeConfig, Config, configure
from uslnet_core.contrastive import health, learner
from uslnet_core.contrastive import pretrain as pretraining
from uslnet_core.contrastive.moco import MoCo
from uslnet_core.contrastive.pretrain import pretrain
from uslnet_core.data import synthetic
from uslnet_core.data.images import ImageSet, as_floats
from uslnet_core.encoder import Encoder
from uslnet_core.errors import TrainingError
from uslnet_core.refine import train_segmenter
from uslnet_core.segmenter import Segmenter

# By name: the method, the images a batch, and the groups that batch norm sees apart.
CONTRASTIVE = {
    "simclr": ("simclr", 8, 1),
    "simclr, parts of 4 and 3": ("simclr", 7, 1),
    "moco, two groups each": ("moco_v2", 10, 4),
    "moco, one group for both": ("moco_v2", 8, 1),
}
SEGMENTER = {"segmenter": 8, "segmenter, parts of 3 and 2": 5}
BRIEF = ("simclr", "moco, one group for both")  # once more with networks in bf16
STOPPED = "moco, two groups each"  # the training that is stopped halfway and goes on with other processes


class Keeps:
    """A keeper that writes every state, and begins from a given one."""

    def __init__(self, folder: Path | None = None, begin: Path | None = None) -> None:
        self.folder, self.begin, self.steps = folder, begin, 0

    def load(self) -> dict[str, Any] | None:
        return self.begin and torch.load(self.begin, weights_only=True)

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        self.steps += 1
        if self.folder:
            torch.save(state(), self.folder / f"step-{self.steps}.pt")


def config_of(batch_size: int, groups: int = 4, **changes: Any) -> Config:
    views = {"batch_size": batch_size, "groups": groups, "epochs": 2, "momentum": 0.9, "learning_rate": 1e-3}
    full = {"crop_area": (0.3, 1.0), "jitter": 0.8, "grey": 0.3, "blur": 0.5, "temperature": 0.5}
    sections = TINY | {"contrastive": TINY["contrastive"] | views | full}
    sections |= {"segmenter": TINY["segmenter"] | {"batch_size": batch_size, "learning_rate": 1e-3}}
    return configure("quick", **sections | changes)


@contextmanager
def in_double() -> Iterator[None]:
    """Compute everything in float64, where rounding cannot hide a difference; undone at the end."""
    before, single, readers = torch.get_default_dtype(), torch.Tensor.float, (learner, refine)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    for module in readers:
        module.as_floats = lambda *given: as_floats(*given).double()
    try:
        yield
    finally:
        for module in readers:
            module.as_floats = as_floats
        torch.set_default_dtype(before)
        torch.Tensor.float = single


def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder("slim18")


def pictures() -> ImageSet:
    ids = synthetic.ids("train", 16)
    return ImageSet(ids, np.stack([synthetic.image(synthetic.index_of(i), size=32, seed=0) for i in ids]))


@contextmanager
def noted() -> Iterator[dict[str, list]]:
    """Note which images this process reads for each step, and what MoCo's queue holds after it."""
    notes: dict[str, list] = {"read": [], "queues": []}
    read, enqueue = pretraining.read, MoCo._enqueue

    def note_read(images: ImageSet, device: torch.device, indices: torch.Tensor) -> torch.Tensor:
        notes["read"].append(indices.tolist())
        return read(images, device, indices)

    def note_queue(model: MoCo, key: torch.Tensor) -> None:
        enqueue(model, key)
        notes["queues"].append(torch.cat([model.queue.flatten(), model.pointer[None]]))

    pretraining.read, MoCo._enqueue = note_read, note_queue
    try:
        yield notes
    finally:
        pretraining.read, MoCo._enqueue = read, enqueue


def learn(name: str, fabric: Fabric, keeper: Keeps | None = None) -> dict[str, Any]:
    """Make one of the trainings above: its history, its weights and running values, and what was noted on the way."""
    if name in SEGMENTER:
        config, labels = config_of(SEGMENTER[name]), np.random.default_rng(0).integers(0, 3, (16, 32, 32))
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = Segmenter(encoder(), (2, 3), 16)  # stage 4 takes no part
        keep, options = np.ones(16, bool), {"size": 32, "cut": 0.3, "epochs": 2}
        trained = train_segmenter(
            model, pictures(), labels.astype(np.uint8), keep, config, fabric, iteration=0, **options
        )
        return {"history": trained.history.to_dict("list"), "model": trained.model.state_dict()}
    method, batch_size, groups = CONTRASTIVE[name]
    config = config_of(batch_size, groups)
    with noted() as notes:
        trained = pretrain(pictures(), config, fabric, method=method, start=encoder(), keeper=keeper)
    model = {f"encoder.{key}": value for key, value in trained.encoder.state_dict().items()}
    model |= {f"head.{key}": value for key, value in trained.head.state_dict().items()}
    return {"history": trained.history.to_dict("list"), "model": model} | notes


def refused() -> None:
    raise TrainingError("the first process says no")


def compute(processes: int = 1, precision: str = "32-true") -> Fabric:
    return make_fabric(ComputeConfig(device="cpu", precision=precision, processes=processes))


def main() -> None:
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    health.STUCK = health.GUESSING = 9.0  # a few steps teach nothing, which is no matter here
    torch.set_num_threads(1)
    fabric = compute(processes)
    rank = ranks.rank()
    own = folder / f"of-{rank}"
    own.mkdir()
    with in_double():
        seen: dict[str, Any] = {name: learn(name, fabric) for name in [*CONTRASTIVE, *SEGMENTER]}
        learn(STOPPED, fabric, Keeps(own))
        seen["gone on"] = learn(STOPPED, fabric, Keeps(begin=folder / "alone" / "step-1.pt"))
    brief = compute(processes, "bf16-mixed")
    seen |= {f"{name}, bf16": learn(name, brief) for name in BRIEF}
    seen["once"] = ranks.once(lambda: [rank, ranks.world(), ranks.once(lambda: "within")])
    inside = ranks.once(lambda: compute(processes).world_size)
    seen["worlds"] = [ranks.world(), inside]
    try:
        ranks.once(refused)
    except TrainingError as error:
        seen["refused"] = str(error)
    torch.save(seen, folder / f"seen-{rank}.pt")


if __name__ == "__main__":
    main()
