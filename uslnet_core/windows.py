"""Windows: squares laid around a lesion, cut out of images, brought to one size, and put back (past the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.errors import DataError
from uslnet_core.ranks import Stream, rand

LEAST = 1 / 8  # side of the smallest window, share of the image's: what is enlarged more shows no more
CUT = 0.75, 1.5  # sides of windows that cut a lesion, smallest and largest, over the lesion's longer side


def windows_around(masks: Tensor, widen: float = 2.0) -> Tensor:
    """Lay a square window around what is set in each mask, inside the image.

    Args:
        masks: (B, S, S) bool.
        widen: side of the window over the longer side of what is set, 1 or more.

    Returns:
        (B, 3) float64: left edge, top edge and side in pixels. The side is S / 8 at least and S at most, and S where
        nothing is set.

    Raises:
        DataError: the masks are no squares, or ``widen`` is below 1.
    """
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise DataError(f"Windows are laid around masks of shape (B, S, S), but got {tuple(masks.shape)}.")
    if not widen >= 1:
        raise DataError(f"widen is {widen}, but a window must hold what it is laid around: give 1 or more.")
    size = masks.shape[1]
    left, right = _ends(masks.any(dim=1))
    top, bottom = _ends(masks.any(dim=2))
    side = (widen * torch.maximum(right - left, bottom - top)).clamp(LEAST * size, size)
    side = torch.where(masks.flatten(1).any(1), side, float(size))
    corners = [
        ((low + high - side) / 2).clamp_min(0).minimum(size - side) for low, high in ((left, right), (top, bottom))
    ]
    return torch.stack([*corners, side], dim=1)


def random_windows(masks: Tensor, rng: Stream, *, whole: float = 0.5, cut: float = 0.0, tight: float = 1.25) -> Tensor:
    """Draw a window for each mask to learn from: the whole image, anything between it and what is set, or a part.

    Args:
        masks: (B, S, S) bool.
        rng: stream of the random numbers, on the CPU.
        whole: share of the windows that are the whole image.
        cut: share of them that lie as :func:`cutting_windows` has them.
        tight: side of the smallest of the others over the longer side of what is set, 1 or more.

    Returns:
        (B, 3), as :func:`windows_around` gives them; what is set lies inside of all but those that cut.

    Raises:
        DataError: ``whole`` and ``cut`` are more than 1 together.
    """
    if not 0 <= whole <= whole + cut <= 1:
        raise DataError(f"whole is {whole} and cut {cut}: expected shares of all windows, at most 1 together.")
    size, least = masks.shape[1], windows_around(masks, tight).cpu()
    drawn = rand(rng, len(masks), 4, dtype=torch.float64)
    side = least[:, 2] + (size - least[:, 2]) * drawn[:, 0]
    corners = []
    for axis in (0, 1):
        first = (least[:, axis] + least[:, 2] - side).clamp_min(0)
        last = torch.minimum(least[:, axis], size - side)
        corners.append(first + (last - first).clamp_min(0) * drawn[:, 1 + axis])
    all_of_it = torch.tensor([0.0, 0.0, size], dtype=torch.float64)
    windows = torch.where((drawn[:, 3] < whole)[:, None], all_of_it, torch.stack([*corners, side], dim=1))
    if not cut:
        return windows
    return torch.where((drawn[:, 3] >= 1 - cut)[:, None], cutting_windows(masks, rng), windows)


def cutting_windows(masks: Tensor, rng: Stream) -> Tensor:
    """Draw windows that mostly cut what is set, as the frame cuts a lesion: around any of its pixels, about as large.

    Args:
        masks: (B, S, S) bool.
        rng: stream of the random numbers, on the CPU.

    Returns:
        (B, 3), as :func:`windows_around` gives them: the side is 0.75 to 1.5 times the longer side of what is set, the
        middle one of its pixels as far as the image allows; any window where nothing is set.
    """
    count, size = len(masks), masks.shape[1]
    drawn = rand(rng, count, 2, dtype=torch.float64)
    longer = windows_around(masks, 1).cpu()[:, 2]
    side = (longer * (CUT[0] + (CUT[1] - CUT[0]) * drawn[:, 0])).clamp(LEAST * size, size)
    pixels = masks.cpu().flatten(1)
    pixels = pixels | ~pixels.any(1, keepdim=True)
    reached = pixels.cumsum(1)  # the pixel drawn is the first at which this many have been passed
    wanted = (drawn[:, 1] * reached[:, -1]).floor().long() + 1
    middle = torch.searchsorted(reached, wanted[:, None])[:, 0]
    corners = [(along + 0.5 - side / 2).clamp_min(0).minimum(size - side) for along in (middle % size, middle // size)]
    return torch.stack([*corners, side], dim=1)


def _ends(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Find where (B, S) bool begins to be set and where it has ceased to be, (B,) float64 each."""
    first, after = seen.int().argmax(1), seen.shape[1] - seen.flip(1).int().argmax(1)
    return first.double(), after.double()


def crop(images: Tensor, windows: Tensor, size: int, of: int, mode: str = "bilinear") -> Tensor:
    """Cut a window out of each image and bring it to one size.

    Args:
        images: (B, C, F, F) float32; they may be finer than what the windows were laid around.
        windows: (B, 3), as :func:`windows_around` gives them.
        size: side of the result, pixels.
        of: S, the side that the windows are measured in.
        mode: ``bilinear``, or ``nearest`` for labels, between which there is nothing.

    Returns:
        (B, C, size, size) float32.
    """
    if not len(images):
        return images.new_zeros(0, images.shape[1], size, size)
    left, top, side = (windows / of).unbind(1)
    theta = torch.zeros(len(images), 2, 3, dtype=torch.float64)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + side - 1, 2 * top + side - 1
    grid = F.affine_grid(theta.float().to(images.device), [*images.shape[:2], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def put_back(maps: Tensor, windows: Tensor, outside: Tensor) -> Tensor:
    """Put maps of windows back where they were cut out, bilinearly.

    Args:
        maps: (B, s, s) float32, of the windows.
        windows: (B, 3), as :func:`windows_around` gives them.
        outside: (B, S, S) float32, what stands outside the windows.

    Returns:
        (B, S, S) float32.
    """
    if not len(maps):
        return outside
    size = outside.shape[1]
    left, top, side = (windows / size).unbind(1)
    theta = torch.zeros(len(maps), 2, 3, dtype=torch.float64)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / side
    theta[:, 0, 2], theta[:, 1, 2] = (1 - 2 * left - side) / side, (1 - 2 * top - side) / side
    grid = F.affine_grid(theta.float().to(maps.device), [len(maps), 1, size, size], align_corners=False)
    inside = F.grid_sample(maps[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    return torch.where((grid.abs() <= 1).all(-1), inside, outside)
