"""A second look, past the paper: what a first pass found is cropped, seen again at full size, and put back.

A lesion of three hundredths of the image is a few cells of the features wide. Cut out and enlarged it is as large as
any, and its outline can be drawn. No label is read: the window comes from the first pass alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uslnet_core.errors import DataError

Predict = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) float32 in [0, 1] to probabilities of lesion (B, S, S) float32 in [0, 1]."""

Choose = Callable[[Tensor], Tensor]
"""Probabilities (B, S, S) to the lesion's pixels (B, S, S) bool, such as the most central piece above one half."""

LEAST = 1 / 8  # side of the smallest window, share of the image's: what is enlarged more shows no more


def eightfold(predict: Predict) -> Predict:
    """Average predictions over the four quarter turns of an image and of its mirror image.

    Args:
        predict: any prediction.

    Returns:
        A prediction that turns and mirrors with its image, up to rounding, since none of the eight comes first.
    """

    def averaged(images: Tensor) -> Tensor:
        total = torch.zeros(len(images), *images.shape[2:], dtype=torch.float64, device=images.device)
        for turn in range(4):
            turned = torch.rot90(images, turn, (-2, -1))
            for seen in (predict(turned), predict(turned.flip(-1)).flip(-1)):
                total += torch.rot90(seen, -turn, (-2, -1))
        return (total / 8).float()

    return averaged


def windows_around(masks: Tensor, widen: float = 1.5) -> Tensor:
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


def _ends(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Find where (B, S) bool begins to be set and where it has ceased to be, (B,) float64 each."""
    first, after = seen.int().argmax(1), seen.shape[1] - seen.flip(1).int().argmax(1)
    return first.double(), after.double()


def crop(images: Tensor, windows: Tensor, size: int, of: int) -> Tensor:
    """Cut a window out of each image and bring it to one size, bilinearly.

    Args:
        images: (B, C, F, F) float32; they may be finer than what the windows were laid around.
        windows: (B, 3), as :func:`windows_around` gives them.
        size: side of the result, pixels.
        of: S, the side that the windows are measured in.

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
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


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


def alone(probability: Tensor, chosen: Tensor, threshold: float = 0.5) -> Tensor:
    """Take every piece but the chosen one out of a map: what else lies above the threshold becomes 0.

    Args:
        probability: (B, S, S) float32 in [0, 1].
        chosen: (B, S, S) bool.
        threshold: above is lesion.

    Returns:
        (B, S, S) float32; along the chosen piece's outline nothing changes.
    """
    return torch.where((probability > threshold) & ~chosen, 0, probability)


@dataclass(frozen=True)
class SecondLook:
    """Two looks at each image: at the whole of it, and at a window around what was found there.

    Attributes:
        predict: gives probabilities of images of the size that it learnt from, and of windows brought to that size.
        choose: which of the pieces that were found is the lesion.
        beside: another source of maps that looks at the window, such as colour; none, and the prediction stands alone.
        share: how much it counts there, in [0, 1].
        widen: side of the window over what was found.
    """

    predict: Predict
    choose: Choose
    beside: Predict | None = None
    share: float = 0.5
    widen: float = 1.5

    def first(self, images: Tensor) -> Tensor:
        """Look at whole images: (B, 3, S, S) to probabilities (B, S, S), the chosen piece alone."""
        probability = self.predict(images)
        return alone(probability, self.choose(probability))

    def __call__(self, images: Tensor, fine: Tensor | None = None) -> Tensor:
        """Look twice.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].
            fine: (B, 3, F, F), the same images in finer pixels, which windows are cut from.

        Returns:
            (B, S, S) float32 in [0, 1]: 0 outside the windows. Where nothing is found the window is the whole image.
        """
        size = images.shape[-1]
        windows = windows_around(self.choose(self.first(images)), self.widen)
        seen = self.window_maps(crop(images if fine is None else fine, windows, size, size))
        whole = put_back(seen, windows, torch.zeros(len(images), size, size, device=images.device))
        return alone(whole, self.choose(whole))

    def window_maps(self, windows: Tensor) -> Tensor:
        """Map what is seen through windows, (B, 3, S, S), to probabilities (B, S, S)."""
        probability = self.predict(windows)
        if self.beside is None:
            return probability
        return (1 - self.share) * probability + self.share * self.beside(windows)
