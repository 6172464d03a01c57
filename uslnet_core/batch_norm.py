"""Batch norm over the images of several processes, as if one had them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uslnet_core.ranks import Share


def synchronise(model: nn.Module, on_gpu: bool, groups: int = 1) -> nn.Module:
    """Let every batch norm see the images of all processes, or of those that share a group.

    Args:
        model: changed in place; parameters and buffers stay the same tensors, under the same names.
        on_gpu: take torch's own, which knows GPUs alone; :class:`SyncedBatchNorm` elsewhere.
        groups: groups of a batch that are normalised apart. With as many as there are processes, or more, there is
            nothing to synchronise.

    Returns:
        The model; itself a new module only if it is a batch norm.
    """
    together = dist.get_world_size() // groups
    if together < 2:
        return model
    group = dist.new_subgroups(together)[0] if groups > 1 else None
    kind = nn.SyncBatchNorm if on_gpu else SyncedBatchNorm
    return _replaced(model, lambda norm: _like(norm, kind(norm.num_features, process_group=group)))


def plain(model: nn.Module) -> nn.Module:
    """Undo :func:`synchronise`."""

    def usual(norm: _BatchNorm) -> _BatchNorm:
        return _like(norm, norm.usual(norm.num_features))

    return _replaced(model, usual, (SyncedBatchNorm, nn.SyncBatchNorm))


def _replaced(model: nn.Module, by: Any, kinds: Any = _BatchNorm) -> nn.Module:
    """Replace modules of some kinds throughout a model."""
    if isinstance(model, kinds):
        return by(model)
    for name, child in model.named_children():
        setattr(model, name, _replaced(child, by, kinds))
    return model


def _like(norm: _BatchNorm, fresh: _BatchNorm) -> _BatchNorm:
    """Give a new batch norm the tensors and the settings of another."""
    fresh.usual = getattr(norm, "usual", type(norm))
    fresh.eps, fresh.momentum, fresh.affine = norm.eps, norm.momentum, norm.affine
    fresh.weight, fresh.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(fresh, name, getattr(norm, name))
    return fresh.train(norm.training)


class SyncedBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are those of all processes' images, on any device.

    Args:
        channels: C.
        process_group: the processes; ``None`` for all.
    """

    def __init__(self, channels: int, process_group: dist.ProcessGroup | None = None) -> None:
        super().__init__(channels)
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, H, W) of any floating type."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        y, mean, var, count = _Normalised.apply(x, self.weight, self.bias, self.eps, self.process_group)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1).clamp_min(1)), self.momentum)
        return y


class _Normalised(torch.autograd.Function):
    """The batch's mean and variance, put together from the processes' own, and the gradient through both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Any) -> tuple[Tensor, ...]:
        var, mean = torch.var_mean(x.float(), _all_but_channels(x), correction=0)
        own = torch.cat([mean, var, mean.new_tensor([x.numel() // x.shape[1]])])
        each = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(each, own, group=group)
        means, variances, counts = torch.stack(each).double().split([len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        var = ((variances + (means - mean).square()) * counts).sum(0) / count  # within the parts, and between them
        mean, var = mean.float(), var.float()
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.group, ctx.count = eps, group, float(count)
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        shape, dims = [1, -1] + [1] * (x.ndim - 2), _all_but_channels(x)
        scale = (var + ctx.eps).rsqrt()
        g, normal = gradient.float(), (x.float() - mean.view(shape)) * scale.view(shape)
        own = torch.cat([g.sum(dims), (g * normal).sum(dims)])
        total = own.clone()
        dist.all_reduce(total, group=ctx.group)
        plainly, along = (total / ctx.count).chunk(2)
        inner = g - plainly.view(shape) - normal * along.view(shape)
        of_bias, of_weight = own.chunk(2)  # parameters are this process's own: the mean is taken where all others' is
        return (inner * (scale * weight).view(shape)).to(x.dtype), of_weight, of_bias, None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


@contextmanager
def in_order(model: nn.Module, share: Share, groups: int) -> Iterator[None]:
    """Let running statistics follow all groups of a batch in their order, though each process sees but some of them.

    A running value after G groups is (1 − m)^G of the one before, and (1 − m)^(G − 1 − i) m of what group i says. So
    each process adds what its own groups say, faded by those that come after them.

    Args:
        model: its batch norms are in training mode; in here each process shows it its own groups.
        share: this process's share of the batch.
        groups: G, of the whole batch.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    running = [tensor for norm in norms for tensor in _running(norm)]
    keep = torch.cat([torch.full_like(t, 1 - n.momentum, dtype=torch.float64) for n in norms for t in _running(n)])
    before = torch.cat(running).double()
    yield
    processes = len(share.sizes)
    own, several = max(1, groups // processes), max(1, processes // groups)  # groups a process, processes a group
    later = groups - (share.rank // several + 1) * own
    said = (torch.cat(running).double() - keep**own * before) * keep**later / several
    dist.all_reduce(said)
    after = keep**groups * before + said
    for tensor, value in zip(running, after.split([len(tensor) for tensor in running]), strict=True):
        tensor.data.copy_(value)  # not seen by autograd, which keeps the tensor for the way back, and reads it no more
    for norm in norms:
        norm.num_batches_tracked += groups - own


def _running(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    return norm.running_mean, norm.running_var
