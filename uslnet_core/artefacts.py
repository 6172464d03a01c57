"""What an image shows besides skin and lesion: dark frames, colour charts, hair (paper 5, its failures).

All of it is found by plain rules on colour and place; nothing here was learnt, and no mask is read. Lengths are
shares of the image's side, so that the same things are found at every size.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor

BLACK, COLOURLESS = 15.0, 12.0  # CIE Lab: lighter or more colourful than this is no frame
VIVID, COLD = 60.0, -12.0  # more chroma than skin ever has; green or blue as skin never is
HAIR = 10.0  # lightness that a hair lacks against its surroundings
THIN, RIM = 1 / 32, 1 / 64  # shares of the side: radius of what counts as a hair; blur at the edge of a frame


def to_lab(images: Tensor) -> np.ndarray:
    """Convert images to CIE Lab.

    Args:
        images: (B, 3, S, S) float32 in [0, 1], sRGB.

    Returns:
        (B, S, S, 3) float32: lightness in [0, 100], then green to red and blue to yellow.
    """
    return rgb2lab(images.permute(0, 2, 3, 1).cpu().numpy()).astype(np.float32)


def find_frame(lab: np.ndarray) -> np.ndarray:
    """Find black bars and corners, which the dermatoscope leaves: dark, colourless, and at the image's border.

    Args:
        lab: (B, S, S, 3) float32, CIE Lab.

    Returns:
        (B, S, S) bool, a little wider than what is black, since its edge is blurred.
    """
    black = (lab[..., 0] < BLACK) & (np.hypot(lab[..., 1], lab[..., 2]) < COLOURLESS)
    return _widen(_from_border(_thick(black)), RIM)


def find_charts(lab: np.ndarray) -> np.ndarray:
    """Find colour charts and stickers: at the border, and of a colour that skin does not have.

    Args:
        lab: (B, S, S, 3) float32, CIE Lab.

    Returns:
        (B, S, S) bool. Where most of the border has such a colour it is the light that is tinted, and nothing is found.
    """
    vivid = (np.hypot(lab[..., 1], lab[..., 2]) > VIVID) | (lab[..., 1] < COLD) | (lab[..., 2] < COLD)
    found = _from_border(_thick(vivid))
    edge = np.concatenate([found[:, 0], found[:, -1], found[:, :, 0], found[:, :, -1]], axis=1)  # (B, 4 · S)
    found[edge.mean(1) > 0.4] = False
    return _widen(found, RIM)


def find_hair(lab: np.ndarray) -> np.ndarray:
    """Find what is thin and darker than what is beside it: hair, and the marks of a ruler.

    Args:
        lab: (B, S, S, 3) float32, CIE Lab.

    Returns:
        (B, S, S) bool. A closing fills in whatever is thinner than its disk; where that brightens much, there was hair.
    """
    light = lab[..., 0]
    return ndimage.grey_closing(light, footprint=_flat(THIN, lab.shape[1])) - light > HAIR


def _from_border(where: np.ndarray) -> np.ndarray:
    """Keep what is connected to the border of its image: (B, S, S) bool."""
    border = np.zeros_like(where)
    border[:, [0, -1]] = border[:, :, [0, -1]] = True
    return ndimage.binary_propagation(where & border, structure=_within_images(), mask=where)


def _thick(where: np.ndarray) -> np.ndarray:
    """Drop what is as thin as a hair; beyond the border, all is taken to go on: (B, S, S) bool."""
    disk = _flat(RIM, where.shape[1])
    return where & ndimage.binary_dilation(ndimage.binary_erosion(where, disk, border_value=1), disk)


def _widen(where: np.ndarray, share: float) -> np.ndarray:
    """Widen what was found by a share of the side: (B, S, S) bool."""
    times = max(1, round(share * where.shape[1]))
    return ndimage.binary_dilation(where, _within_images(), iterations=times)


def _within_images() -> np.ndarray:
    """Give the neighbours of a pixel, none of them in another image of the batch: (3, 3, 3) bool."""
    return np.stack([np.zeros((3, 3), bool), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3), bool)])


def _flat(share: float, side: int) -> np.ndarray:
    """Make a disk of a radius that is a share of the side, for one image at a time: (1, d, d) bool."""
    radius = max(2, round(share * side))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y * y + x * x <= radius * radius)[None]
