"""The state of a training between two steps: all that the next step hangs on, so that it can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from uslnet_core.batch_norm import plain, synchronise
from uslnet_core.compute import Keeper, batches, generator, one_cycle
from uslnet_core.encoder import Encoder
from uslnet_core.ranks import Share, Stream, own, shares

Read = TypeVar("Read")


class Loop:
    """Epochs over shuffled images with AdamW and a one-cycle schedule, which can be kept and restored at any step.

    Several processes share each batch. What is kept names none of them, so any number of them can go on from it.

    Args:
        model: what learns; its memory format is kept.
        count: number of training images.
        batch_size: images a step.
        epochs: passes over the images.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's.
        warm_up: share of the steps that the learning rate climbs.
        rng: orders the images; what else is random in a step must be drawn from it, too.
        fabric: device, precision, and the processes that train together.
        groups: groups of a batch that the model's batch norm sees apart.
        figures: names of the numbers that each step reports; the history holds their means by epoch.
        compiled: compile the model's encoders, in place: parameters and buffers keep their names.

    Raises:
        ConfigError: the processes cannot share a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        count: int,
        batch_size: int,
        epochs: int,
        learning_rate: float,
        weight_decay: float,
        warm_up: float,
        rng: torch.Generator,
        fabric: Fabric,
        groups: int = 1,
        figures: Sequence[str] = ("loss",),
        compiled: bool = False,
    ) -> None:
        self.count, self.batch_size, self.epochs = count, batch_size, epochs
        self.rng, self.fabric, self.figures = rng, fabric, tuple(figures)
        self.draws: Stream = rng  # what a step draws from
        if fabric.world_size > 1:
            sizes = shares(min(batch_size, count), fabric.world_size, groups)  # a short last batch is left out
            self.draws = Share(rng, sizes, fabric.global_rank)
            model = synchronise(model, fabric.device.type == "cuda", groups)
        self.compiled = [part for part in model.modules() if isinstance(part, Encoder)] if compiled else []
        for part in self.compiled:
            part.compile()
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=weight_decay)
        self.model, self.optimizer = fabric.setup(model.train(), optimizer)
        self.steps = len(batches(count, batch_size, generator(0), drop_last=True)) * epochs
        self.schedule = one_cycle(self.optimizer, max(1, self.steps), warm_up)
        self.epoch, self.steps_done, self.steps_of_epoch = 0, 0, 0
        self.waiting: list[Tensor] | None = None  # batches left in this epoch; None before it begins
        self.totals = torch.zeros(len(self.figures), dtype=torch.float64)
        self.rows: list[dict[str, float]] = []

    def rest_of_epoch(self, read: Callable[[Tensor], Read]) -> Iterator[Read]:
        """Hand out the batches that are left of this epoch. While one is learnt from, a thread reads the next.

        Args:
            read: called with the positions of a batch's images, of a shared batch those of this process's part, an
                int64 tensor of shape (B,); nothing in it may be random, since what is read and not yet handed out is
                read again after a stop.

        Yields:
            What it gives.
        """
        if self.waiting is None:
            self.waiting = batches(self.count, self.batch_size, self.rng, drop_last=True)
            self.totals, self.steps_of_epoch = torch.zeros_like(self.totals), 0
        with ThreadPoolExecutor(1) as reader:

            def begin() -> Future[Read] | None:
                return reader.submit(read, own(self.waiting[0], self.draws)) if self.waiting else None

            coming = begin()
            while self.waiting:
                batch = coming.result()
                self.waiting.pop(0)
                coming = begin()
                yield batch

    def step(self, loss: Tensor, *figures: Tensor) -> None:
        """Follow the gradient of a loss; note it and the other figures, scalars in the order of their names.

        With several processes the gradient, and each figure, is the mean of theirs.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        reported = torch.stack([loss.detach(), *figures])
        if self.fabric.world_size > 1:
            reported = self.fabric.all_reduce(reported, reduce_op="mean")
        self.totals += reported.double().cpu()
        self.steps_done += 1
        self.steps_of_epoch += 1

    def close_epoch(self, **more: float) -> None:
        """Add the epoch's means to the history, and what else is to stand there."""
        means = dict(zip(self.figures, (self.totals / self.steps_of_epoch).tolist(), strict=True))
        rate = self.schedule.get_last_lr()[0]
        self.epoch += 1
        self.waiting = None
        self.rows.append({"epoch": self.epoch, **means, **more, "learning_rate": rate})

    def keep(self, keeper: Keeper) -> None:
        """Offer the state to a keeper; of several processes, which all have the same, the first alone does."""
        if self.fabric.is_global_zero:
            keeper.offer(self.state)

    def trained(self) -> nn.Module:
        """Give the model on the CPU, in evaluation mode, with nothing left of other processes, and not compiled."""
        for part in self.compiled:
            part._compiled_call_impl = None  # what torch calls in place of it; there is no public way back
        return plain(self.model.module).cpu().eval()

    def state(self) -> dict[str, Any]:
        """Give everything that the next step hangs on."""
        return {
            "model": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": self.rng.get_state(),
            "totals": self.totals,
            "waiting": self.waiting,
            "rows": self.rows,
            "counts": [self.epoch, self.steps_done, self.steps_of_epoch],
        }

    def fits(self, state: dict[str, Any]) -> bool:
        """Say whether a state reports the same figures; one of another version may not."""
        return len(state["totals"]) == len(self.figures)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that was kept."""
        self.model.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.set_state(state["rng"])
        self.totals, self.waiting, self.rows = state["totals"], state["waiting"], state["rows"]
        self.epoch, self.steps_done, self.steps_of_epoch = state["counts"]
