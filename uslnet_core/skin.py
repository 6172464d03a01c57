"""The tone of skin in an image: the individual typology angle, ITA (Chardon et al. 1991), for analysis alone.

The angle was made for a colorimeter on bare skin. A dermoscopy photograph is lit by the dermatoscope and its colours
are seldom calibrated, so the angle sorts images from light to dark and does not say which skin a person has.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from uslnet_core.artefacts import find_charts, find_frame, find_hair

# From light to dark: the name of a group, and the angle in degrees that its members lie above.
TONES = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -90.0}
MARGIN = 1 / 16  # share of the side: skin nearer to a lesion may be its pale rim
LEAST = 1 / 200  # share of the image: of fewer pixels of skin no tone is told


def find_skin(lab: np.ndarray, masks: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Find bare skin: what is no lesion and not near one, no dark frame, no colour chart, no hair and no ruler.

    Args:
        lab: (B, S, S, 3) float32, CIE Lab, as :func:`uslnet_core.artefacts.to_lab` gives it.
        masks: (B, S, S) bool, the lesions, as predicted.
        margin: how far from a lesion skin begins, share of the side.

    Returns:
        (B, S, S) bool. Ink and reflections are taken for skin where they are like it; medians forgive a little of both.
    """
    near = widened(masks, max(1, round(margin * masks.shape[1])))
    return ~(near | widened(find_hair(lab), 1) | find_frame(lab) | find_charts(lab))


def typology_angle(lab: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Measure the individual typology angle, the arc tangent of (L* − 50) / b*, as a median over pixels.

    Args:
        lab: (B, S, S, 3) float32, CIE Lab.
        where: (B, S, S) bool, the pixels to measure, as :func:`find_skin` finds them.

    Returns:
        (B,) float64 in degrees, from −90 (dark) to 90 (light). Pixels that are blue rather than yellow (b* of 0 or
        less) are no skin and are left out; NaN where less than a two-hundredth of the image is left.
    """
    angles = np.full(len(lab), np.nan)
    for row, (image, chosen) in enumerate(zip(lab, where, strict=True)):
        lightness, _, yellow = image[chosen].astype(np.float64).T
        warm = yellow > 0
        if warm.sum() >= LEAST * chosen.size:
            angles[row] = np.median(np.degrees(np.arctan((lightness[warm] - 50) / yellow[warm])))
    return angles


def tone_of(angles: np.ndarray) -> np.ndarray:
    """Name the group of each typology angle, ``very light`` to ``dark``; empty where there is no angle.

    Args:
        angles: (N,) degrees.

    Returns:
        (N,) texts. A group holds its upper end: 55 is light, 28 is tan.
    """
    names, ends = [*TONES], np.array([*TONES.values()])
    places = (np.asarray(angles)[:, None] <= ends).sum(axis=1).clip(max=len(names) - 1)
    return np.where(np.isnan(angles), "", np.array(names)[places])


def widened(masks: np.ndarray, steps: int) -> np.ndarray:
    """Widen what is set in (B, S, S) bool masks by some steps, diagonal ones included, each image by itself."""
    reach = 2 * steps + 1
    return ndimage.maximum_filter(masks, size=(1, reach, reach), mode="constant")
