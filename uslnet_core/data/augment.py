"""Augmentation of whole batches on the device, with parameters of its own for every sample.

Geometry is one ``grid_sample`` per batch; colour is a few element-wise steps. Random numbers come from the generator
that is passed in, so a seed gives the same views everywhere. All of a batch's are drawn before any image is changed: on
a processor, a few images then go through all steps together, and stay in its cache from one to the next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.ranks import Stream, rand, randint

GREY = (0.299, 0.587, 0.114)
CACHE = 2**20  # bytes of images that are changed at a time on each core

Change = Callable[[Tensor, slice], Tensor]
"""Changes some images of a batch, (b, 3, S, S), into others; the slice says which of the batch they are."""


def uniform(shape: tuple[int, ...], low: float, high: float, rng: Stream) -> Tensor:
    """Draw float32 numbers from [low, high) on the CPU; the first of the shape counts images."""
    return rand(rng, *shape) * (high - low) + low


def parts_of(images: Tensor) -> Iterator[slice]:
    """Cut a batch into parts that fit into the processor's cache; on other devices it stays whole."""
    room = CACHE * torch.get_num_threads() // (4 * max(1, images[:1].numel()))
    # Two at least, and no smaller rest: of a single image, torch shares out sums among threads in another order.
    parts = len(images) // max(2, room) if images.device.type == "cpu" else 1
    ends = [len(images) * part // max(1, parts) for part in range(max(1, parts) + 1)]
    return (slice(*each) for each in itertools.pairwise(ends))


def changed(images: Tensor, size: int, *steps: Change) -> Tensor:
    """Take a batch through some steps, a few images at a time.

    Args:
        images: (B, 3, S, S) float32 in [0, 1]; they stay as they are.
        size: side of the results, pixels.
        steps: what is done to them, in order, with all random numbers drawn.

    Returns:
        (B, 3, size, size) float32.
    """
    out = images.new_empty(*images.shape[:2], size, size)
    for some in parts_of(out):
        part = images[some]
        for step in steps:
            part = step(part, some)
        out[some] = part
    return out


def random_resized_crop(images: Tensor, size: int, area: tuple[float, float], rng: Stream) -> Tensor:
    """Cut a random rectangle of each image, flip it at random in both directions and resize it.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        size: side of the result, pixels.
        area: least and largest area of the rectangle, share of the image. The aspect ratio lies in [3/4, 4/3].
        rng: stream of the random numbers.

    Returns:
        (B, 3, size, size) float32 in [0, 1].
    """
    return changed(images, size, crops(len(images), size, area, rng, images.device))


def crops(count: int, size: int, area: tuple[float, float], rng: Stream, device: torch.device) -> Change:
    """Draw what :func:`random_resized_crop` does to each of ``count`` images."""
    share = uniform((count,), *area, rng)
    ratio = torch.exp(uniform((count,), math.log(3 / 4), math.log(4 / 3), rng))
    width = (share * ratio).sqrt().clamp(max=1.0)  # (B,), share of the side
    height = (share / ratio).sqrt().clamp(max=1.0)
    centre_x = uniform((count,), -1, 1, rng) * (1 - width)  # the crop stays inside [-1, 1]
    centre_y = uniform((count,), -1, 1, rng) * (1 - height)
    flip_x = torch.where(rand(rng, count) < 0.5, -1.0, 1.0)
    flip_y = torch.where(rand(rng, count) < 0.5, -1.0, 1.0)
    # The sides of a crop lie along the axes, so a row and a column of places say it all: the same numbers as
    # torch's affine_grid gives, which multiplies matrices for every pixel, in a tenth of the time.
    places = torch.linspace(-1, 1, size) * (size - 1) / size
    across = ((width * flip_x)[:, None] * places + centre_x[:, None]).to(device)  # (B, size)
    down = ((height * flip_y)[:, None] * places + centre_y[:, None]).to(device)

    def change(part: Tensor, some: slice) -> Tensor:
        grid = torch.stack(torch.broadcast_tensors(across[some, None, :], down[some, :, None]), dim=-1)
        return F.grid_sample(part, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    return change


def colour_jitter(
    images: Tensor,
    rng: Stream,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float = 0.0,
    share: float = 1.0,
) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image by amounts of its own.

    Hue turns the colour around the grey axis (a rotation in RGB, exact for small angles and without HSV's branches).

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        rng: stream of the random numbers.
        brightness: largest relative change.
        contrast: largest relative change, around the image's mean grey.
        saturation: largest relative change, around the pixel's grey.
        hue: largest turn, in turns of the colour circle.
        share: probability that an image is changed at all.

    Returns:
        (B, 3, S, S) float32 in [0, 1].
    """
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue, "share": share}
    return changed(images, images.shape[-1], jitters(len(images), rng, images.device, **amounts))


def jitters(
    count: int,
    rng: Stream,
    device: torch.device,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    share: float,
) -> Change:
    """Draw what :func:`colour_jitter` does to each of ``count`` images."""
    active = (rand(rng, count) < share).float()

    def factor(amount: float) -> Tensor:
        return (1 + uniform((count,), -amount, amount, rng) * active).view(-1, 1, 1, 1).to(device)

    bright, contr, satur = factor(brightness), factor(contrast), factor(saturation)
    angle = (uniform((count,), -hue, hue, rng) * active * 2 * math.pi).to(device)
    weights = torch.tensor(GREY, device=device).view(1, 3, 1, 1)
    # Saturation and hue are linear in the three channels: one 3 × 3 matrix per image, applied by one product.
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    eye, third = torch.eye(3, device=device), torch.full((3, 3), 1 / 3, device=device)
    skew = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device) / math.sqrt(3)
    turn = cos * eye + (1 - cos) * third + sin * skew  # (B, 3, 3), Rodrigues about (1, 1, 1)
    s = satur.view(-1, 1, 1)
    fade = s * eye + (1 - s) * torch.tensor(GREY, device=device).expand(3, 3)
    matrix = turn @ fade

    def change(part: Tensor, some: slice) -> Tensor:
        x = (part * bright[some]).clamp_(0, 1)
        mean = (x * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        x = x.sub_(mean).mul_(contr[some]).add_(mean)
        return torch.einsum("bij,bjhw->bihw", matrix[some], x).clamp_(0, 1)

    return change


def random_grey(images: Tensor, share: float, rng: Stream) -> Tensor:
    """Turn a share of the images grey. Shapes and range as :func:`colour_jitter`."""
    return changed(images, images.shape[-1], greys(len(images), share, rng, images.device))


def greys(count: int, share: float, rng: Stream, device: torch.device) -> Change:
    """Draw which of ``count`` images :func:`random_grey` turns grey."""
    chosen, weights = rand(rng, count) < share, torch.tensor(GREY, device=device).view(1, 3, 1, 1)

    def change(part: Tensor, some: slice) -> Tensor:
        these = chosen[some].nonzero().flatten().to(device)
        if not len(these):
            return part
        grey = (part[these] * weights).sum(1, keepdim=True)
        return part.index_copy(0, these, grey.expand(-1, 3, -1, -1))

    return change


def dihedral(batch: Tensor, turns: Tensor, mirrored: Tensor) -> Tensor:
    """Turn each sample by quarter turns and mirror it: exact, no interpolation.

    Args:
        batch: (B, ..., S, S), any dtype: images, labels or features.
        turns: (B,) int64, quarter turns.
        mirrored: (B,) bool, left and right exchanged after the turn.

    Returns:
        A tensor of the same shape and dtype.
    """
    out = torch.empty_like(batch)
    for turn in range(4):
        for mirror in (False, True):
            chosen = ((turns % 4 == turn) & (mirrored == mirror)).nonzero().flatten().to(batch.device)
            if len(chosen):
                part = torch.rot90(batch[chosen], turn, dims=(-2, -1))
                out[chosen] = part.flip(-1) if mirror else part
    return out


def random_dihedral(count: int, rng: Stream) -> tuple[Tensor, Tensor]:
    """Draw quarter turns and mirrorings for ``count`` samples, as :func:`dihedral` takes them."""
    return randint(rng, 4, count), rand(rng, count) < 0.5


def gaussian_blur(
    images: Tensor, rng: Stream, *, share: float, least: float = 0.1, most: float = 2.0, at: int = 224
) -> Tensor:
    """Blur a share of the images, each with a width of its own.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        rng: stream of the random numbers.
        share: probability that an image is blurred at all.
        least: least standard deviation, in pixels of an image of ``at`` pixels; it shrinks with the image.
        most: largest standard deviation, likewise.
        at: the size that ``least`` and ``most`` are meant for.

    Returns:
        (B, 3, S, S) float32 in [0, 1].
    """
    size = images.shape[-1]
    return changed(images, size, blurs(len(images), size, rng, images.device, share, least=least, most=most, at=at))


def blurs(
    count: int,
    size: int,
    rng: Stream,
    device: torch.device,
    share: float,
    *,
    least: float = 0.1,
    most: float = 2.0,
    at: int = 224,
) -> Change:
    """Draw what :func:`gaussian_blur` does to each of ``count`` images of ``size`` pixels."""
    chosen, scale = rand(rng, count) < share, size / at
    sigma = uniform((count,), least * scale, most * scale, rng)
    reach = max(1, math.ceil(3 * most * scale))  # beyond three deviations a Gaussian is nothing
    kernels = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None]) ** 2)  # (B, k)
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(device)[..., None, None, None]  # (B, k, 1, 1, 1)

    def change(part: Tensor, some: slice) -> Tensor:
        these = chosen[some].nonzero().flatten().to(device)
        if not len(these):
            return part
        kernel, blurred = kernels[some][these], part[these]
        # A Gaussian is two passes. Shifted copies are summed: a grouped convolution is many times slower on the CPU.
        for axis in (-1, -2):
            rim = [reach, reach, 0, 0] if axis == -1 else [0, 0, reach, reach]
            padded, shifted = F.pad(blurred, rim, mode="reflect"), torch.empty_like(blurred)
            blurred = kernel[:, 0] * padded.narrow(axis, 0, size)
            for k in range(1, 2 * reach + 1):
                blurred += torch.mul(kernel[:, k], padded.narrow(axis, k, size), out=shifted)
        return part.index_copy(0, these, blurred.clamp_(0, 1))

    return change
