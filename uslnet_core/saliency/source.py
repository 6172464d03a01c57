"""Where saliency maps come from: one small interface, which every method here fills (paper 3.3).

A source takes a batch of images and gives a map for each. A plain function is a source, and so is a network whose
forward pass gives maps. `map_images` runs one over a whole set and refuses what cannot be a saliency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from uslnet_core.compute import Progress, quiet
from uslnet_core.data.images import ImageSet
from uslnet_core.errors import DataError
from uslnet_core.saliency.health import check_maps

Source = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) float32 in [0, 1], on the run's device, to maps (B, h, w) float32 in [0, 1], of any h and w."""

ROUNDING = 1e-6  # an interpolation of ones may end this far above 1, and that is no mistake


def map_images(
    source: Source,
    images: ImageSet,
    fabric: Fabric,
    *,
    batch_size: int = 64,
    progress: Progress = quiet,
    check: bool = True,
) -> np.ndarray:
    """Map every image, at the source's own resolution.

    Args:
        source: a function or a module; a module is moved to the run's device and held in evaluation mode meanwhile.
        images: any images.
        fabric: device and precision.
        batch_size: images at a time.
        progress: told of every batch.
        check: whether to refuse maps that cannot be a saliency (`check_maps`), as is right once they are oriented.

    Returns:
        (N, h, w) float32 in [0, 1].

    Raises:
        DataError: no image, or what the source gives are not maps: wrong type, shape or range.
        TrainingError: the maps cannot be a saliency: not a number, constant, or all on one side.
    """
    maps = np.concatenate(list(map_parts(source, images, fabric, batch_size=batch_size, progress=progress)))
    return check_maps(maps, name_of(source)) if check else maps


@torch.no_grad()
def map_parts(
    source: Source, images: ImageSet, fabric: Fabric, *, batch_size: int = 64, progress: Progress = quiet
) -> Iterator[np.ndarray]:
    """Map as `map_images` does, a batch at a time and unchecked, for sets of which all maps do not fit into memory.

    Yields:
        (B, h, w) float32 in [0, 1], in the order of the images.

    Raises:
        DataError: as `map_images`.
    """
    name = name_of(source)
    if not len(images):
        raise DataError(f"{name} got an empty set of images; expected at least one. Notebook 01 makes them.")
    if isinstance(source, nn.Module):
        source = source.to(fabric.device)
    size = None
    with resting(source):
        for part in torch.arange(len(images)).split(batch_size):
            with fabric.autocast():
                maps = source(images.batch(part).to(fabric.device, memory_format=torch.channels_last))
            maps = check_batch(maps, len(part), name).float().cpu().clamp(0, 1)
            size, found = size or tuple(maps.shape[1:]), tuple(maps.shape[1:])
            if found != size:
                raise DataError(f"{name} gave maps of {size} and then of {found}; expected one size for all.")
            yield maps.numpy()
            progress("saliency maps", int(part[-1]) + 1, len(images))


def check_batch(maps: Tensor, count: int, name: str) -> Tensor:
    """Refuse what a source must not give. NaN is left to `check_maps`, which knows what to advise.

    Args:
        maps: what the source gave.
        count: B, the images it got.
        name: the source's name, for the message.

    Returns:
        The same maps.

    Raises:
        DataError: not a floating-point tensor (B, h, w) in [0, 1].
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise DataError(f"{name} gave {kind}; expected a float32 tensor. torch.from_numpy() and .float() make one.")
    if maps.ndim != 3 or len(maps) != count or 0 in maps.shape:
        hint = " Drop the channel axis with [:, 0]." if maps.ndim == 4 else ""
        raise DataError(f"{name} gave maps of shape {tuple(maps.shape)}; expected ({count}, h, w).{hint}")
    low, high = maps.nan_to_num(0.5).aminmax()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise DataError(
            f"{name} gave values from {float(low):g} to {float(high):g}; expected [0, 1]. Divide by the largest value "
            "that there can be, or apply a sigmoid."
        )
    return maps


def name_of(source: Source) -> str:
    """Give a function's name, or an object's class."""
    return getattr(source, "__name__", type(source).__name__)


@contextmanager
def resting(source: Source) -> Iterator[None]:
    """Hold a module in evaluation mode, its parameters without gradients, and then give it back as it was."""
    modules = list(source.modules()) if isinstance(source, nn.Module) else []
    parameters = [p for module in modules for p in module.parameters(recurse=False)]
    before = [m.training for m in modules], [p.requires_grad for p in parameters]
    try:
        for module in modules[:1]:  # the first is the whole
            module.eval().requires_grad_(False)
        yield
    finally:
        for module, training in zip(modules, before[0], strict=True):
            module.training = training
        for parameter, wanted in zip(parameters, before[1], strict=True):
            parameter.requires_grad_(wanted)


def upsample(maps: Tensor, size: int) -> Tensor:
    """Bring (B, h, w) maps to (B, size, size) bilinearly; values stay in [0, 1] (paper 3.3)."""
    return F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)
