"""A second look, past the paper: what a first pass found is cropped, seen again at full size, and put back.

A lesion of three hundredths of the image is a few cells of the features wide. Cut out and enlarged it is as large as
any, and its outline can be drawn. No label is read: the window comes from the first pass alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from uslnet_core.windows import crop, put_back, windows_around

Predict = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) float32 in [0, 1] to probabilities of lesion (B, S, S) float32 in [0, 1]."""

Choose = Callable[[Tensor], Tensor]
"""Probabilities (B, S, S) to the lesion's pixels (B, S, S) bool, such as the most central piece above one half."""

Settle = Callable[[Tensor, Tensor], Tensor]
"""Images and their probabilities to better ones, such as :func:`~uslnet_core.saliency.appearance.appearance`."""


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
        settle: what is done with the maps of windows at the end; none, and they stay.
    """

    predict: Predict
    choose: Choose
    beside: Predict | None = None
    share: float = 0.5
    widen: float = 2.0
    settle: Settle | None = None

    def once(self, images: Tensor) -> Tensor:
        """Look once, and settle what is seen: (B, 3, S, S) to probabilities (B, S, S), every piece."""
        maps = self.predict(images)
        return maps if self.settle is None else self.settle(images, maps)

    def __call__(self, images: Tensor, fine: Tensor | None = None) -> Tensor:
        """Look twice.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].
            fine: (B, 3, F, F), the same images in finer pixels, which windows are cut from.

        Returns:
            (B, S, S) float32 in [0, 1]: 0 outside the windows. Where nothing is found the window is the whole image.
        """
        return self.whole(*self.seen(images, fine), images.shape[-1])

    def seen(self, images: Tensor, fine: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map what is seen at the second look.

        Args:
            images: as above.
            fine: as above.

        Returns:
            (B, S, S) float32 in [0, 1], maps of windows, and (B, 3), where the windows lie, in pixels of S.
        """
        steps = self.apart(images, fine)
        return steps["settled"], steps["windows"]

    def apart(self, images: Tensor, fine: Tensor | None = None) -> dict[str, Tensor]:
        """Do the same, and keep every step.

        Args:
            images: as above.
            fine: as above.

        Returns:
            windows (B, 3); crops (B, 3, S, S) float32 in [0, 1]; maps of them (B, S, S) float32 in [0, 1]: predicted;
            beside, if there is another source; mixed; settled.
        """
        size = images.shape[-1]
        windows = windows_around(self.choose(self.predict(images)), self.widen)
        crops = crop(images if fine is None else fine, windows, size, size)
        steps = {"windows": windows, "crops": crops, "predicted": self.predict(crops)}
        mixed = steps["predicted"]
        if self.beside is not None:
            steps["beside"] = self.beside(crops)
            mixed = (1 - self.share) * mixed + self.share * steps["beside"]
        return steps | {"mixed": mixed, "settled": mixed if self.settle is None else self.settle(crops, mixed)}

    def whole(self, maps: Tensor, windows: Tensor, size: int) -> Tensor:
        """Put maps of windows, as :meth:`seen` gives them, back into whole ones of any size: the chosen piece alone."""
        nothing = torch.zeros(len(maps), size, size, device=maps.device)
        whole = put_back(maps, windows * (size / maps.shape[-1]), nothing)
        return alone(whole, self.choose(whole))
