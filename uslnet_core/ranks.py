"""Several processes that train one network together: who does which part of a batch, and what is done only once.

What is computed is what one process computes with the whole batch. Each process draws the whole batch's random numbers
from the same stream and keeps those of its own images. It gives a loss whose mean over the processes is the batch's;
then the mean of their gradients, which is what DistributedDataParallel takes, is the gradient of the batch, as long as
whatever passes between processes passes its gradient back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from uslnet_core.errors import ConfigError

T = TypeVar("T")
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)  # the first process works, and the others wait for it


def world() -> int:
    """Count the processes that work together just now; 1 within what is done only once."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _ALONE.get() else 1


def rank() -> int:
    """Give this process's number among them; the first is 0, and it alone writes files."""
    return dist.get_rank() if world() > 1 else 0


def alone() -> bool:
    """Say whether this process does just now what only one does, while others may wait for it."""
    return _ALONE.get()


def once(work: Callable[[], T]) -> T:
    """Let the first process do something, and all have what it gives.

    Args:
        work: called in the first process alone, where it may call ``once`` again; what it gives can be pickled.

    Returns:
        What ``work`` gave.

    Raises:
        Exception: in all processes, what ``work`` raised.
    """
    if world() == 1:
        return work()
    told: list[Any] = [None]
    if rank() == 0:
        token = _ALONE.set(True)
        try:
            told = [(work(), None)]
        except Exception as error:  # the others wait, and must be told
            told = [(None, error)]
        finally:
            _ALONE.reset(token)
    dist.broadcast_object_list(told)
    result, error = told[0]
    if error is not None:
        raise error
    return result


def shares(count: int, processes: int, groups: int = 1) -> tuple[int, ...]:
    """Say how many images of a batch each process takes, in order; they may differ by one.

    Args:
        count: images in the batch.
        processes: that share it.
        groups: groups of the batch that batch norm sees apart. Each process takes whole groups, or several share one.

    Returns:
        Images of each process.

    Raises:
        ConfigError: there are fewer images than processes, or groups and processes do not go into each other.
    """
    if count < processes:
        raise ConfigError(f"{processes} processes cannot share a batch of {count} images. Use {count} or fewer.")
    if max(groups, processes) % min(groups, processes):
        raise ConfigError(
            f"A batch is normalised in {groups} groups, which {processes} processes cannot share. Use a number of "
            f"processes that {groups} is a multiple of, or change contrastive.groups."
        )
    sizes = [len(part) for part in torch.arange(count).tensor_split(groups)]
    if processes <= groups:
        each = groups // processes
        return tuple(sum(sizes[i : i + each]) for i in range(0, groups, each))
    return tuple(len(part) for size in sizes for part in torch.arange(size).tensor_split(processes // groups))


class Share:
    """One process's share of a batch; it stands where one process has its stream of random numbers.

    Args:
        stream: in the same state in all processes.
        sizes: images of each process, in order.
        rank: number of this process.
    """

    def __init__(self, stream: torch.Generator, sizes: tuple[int, ...], rank: int) -> None:
        self.stream, self.sizes, self.rank = stream, sizes, rank
        self.count, before = sum(sizes), sum(sizes[:rank])
        self.own = slice(before, before + sizes[rank])


Stream = torch.Generator | Share
"""Where random numbers come from: a stream, or the share of it that one of several processes has."""


def rand(rng: Stream, count: int, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Draw numbers from [0, 1) for each of ``count`` images, in a tensor of (count, *shape) on the CPU."""
    return _drawn(rng, count, lambda n, stream: torch.rand(n, *shape, generator=stream, dtype=dtype))


def randint(rng: Stream, high: int, count: int) -> Tensor:
    """Draw a whole number below ``high`` for each of ``count`` images: (count,) int64, on the CPU."""
    return _drawn(rng, count, lambda n, stream: torch.randint(high, (n,), generator=stream))


def permutation(rng: Stream, count: int) -> Tensor:
    """Draw an order of the whole batch, of which ``count`` images are this process's: int64, on the CPU."""
    if isinstance(rng, Share):
        return torch.randperm(rng.count, generator=rng.stream)
    return torch.randperm(count, generator=rng)


def _drawn(rng: Stream, count: int, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
    return draw(rng.count, rng.stream)[rng.own] if isinstance(rng, Share) else draw(count, rng)


def own(batch: Tensor, rng: Stream) -> Tensor:
    """Cut this process's part out of what belongs to the whole batch; one process has it all."""
    return batch[rng.own] if isinstance(rng, Share) else batch


def whole(part: Tensor, rng: Stream) -> Tensor:
    """Gather what all processes have of a batch, in its order: (b, …) to (B, …). Gradients flow back to all parts."""
    return _Whole.apply(part, rng.sizes, rng.own) if isinstance(rng, Share) else part


def mean_of_all(loss: Tensor, rng: Stream) -> Tensor:
    """Weigh the mean over this process's images so that the mean over the processes is that over all images."""
    return loss * (len(rng.sizes) * rng.sizes[rng.rank] / rng.count) if isinstance(rng, Share) else loss


class _Whole(torch.autograd.Function):
    """Parts of all processes, one after the other; the gradient of a part is the sum of what all say of it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: tuple[int, ...], own: slice) -> Tensor:
        ctx.own = own
        padded = part.new_zeros(max(sizes), *part.shape[1:])  # all must hand in as much
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([each[:size] for each, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None, None
