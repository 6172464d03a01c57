"""Augmentation of whole batches on the device, with parameters of its own for every sample.

Geometry is one ``grid_sample`` per batch; colour is a few element-wise steps. Random numbers come from the generator
that is passed in, so a seed gives the same views everywhere. All of a batch's are drawn before any image is changed: on
a processor, a few images are then changed at a time, which stay in its cache from step to step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.ranks import Stream, rand, randint

GREY = (0.299, 0.587, 0.114)
CACHE = 2**20  # bytes of images that are changed at a time on each core


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
    count = len(images)
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
    across = ((width * flip_x)[:, None] * places + centre_x[:, None]).to(images.device)  # (B, size)
    down = ((height * flip_y)[:, None] * places + centre_y[:, None]).to(images.device)
    out = images.new_empty(count, images.shape[1], size, size)
    for some in parts_of(out):
        grid = torch.stack(torch.broadcast_tensors(across[some, None, :], down[some, :, None]), dim=-1)
        out[some] = F.grid_sample(images[some], grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return out


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
    count, device = len(images), images.device
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
    matrix, out = turn @ fade, torch.empty_like(images, memory_format=torch.contiguous_format)
    for some in parts_of(images):
        x = (images[some] * bright[some]).clamp_(0, 1)
        mean = (x * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        x = x.sub_(mean).mul_(contr[some]).add_(mean)
        out[some] = torch.einsum("bij,bjhw->bihw", matrix[some], x).clamp_(0, 1)
    return out


def random_grey(images: Tensor, share: float, rng: Stream) -> Tensor:
    """Turn a share of the images grey. Shapes and range as :func:`colour_jitter`."""
    chosen = (rand(rng, len(images)) < share).nonzero().flatten().to(images.device)
    grey = (images[chosen] * torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return images.index_copy(0, chosen, grey.expand(-1, 3, -1, -1))


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
    chosen = (rand(rng, len(images)) < share).nonzero().flatten()
    scale = images.shape[-1] / at
    sigma = uniform((len(images),), least * scale, most * scale, rng)[chosen]
    if not len(chosen):
        return images
    reach = max(1, math.ceil(3 * most * scale))  # beyond three deviations a Gaussian is nothing
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None]) ** 2)  # (b, k)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.device)[..., None, None, None]  # (b, k, 1, 1, 1)
    blurred, chosen = images[chosen.to(images.device)], chosen.to(images.device)
    for some in parts_of(blurred):
        part = blurred[some]
        # A Gaussian is two passes. Shifted copies are summed: a grouped convolution is many times slower on the CPU.
        for axis in (-1, -2):
            rim = [reach, reach, 0, 0] if axis == -1 else [0, 0, reach, reach]
            padded, side, shifted = F.pad(part, rim, mode="reflect"), part.shape[axis], torch.empty_like(part)
            part = kernel[some, 0] * padded.narrow(axis, 0, side)
            for k in range(1, 2 * reach + 1):
                part += torch.mul(kernel[some, k], padded.narrow(axis, k, side), out=shifted)
        blurred[some] = part.clamp_(0, 1)
    return images.index_copy(0, chosen, blurred)
