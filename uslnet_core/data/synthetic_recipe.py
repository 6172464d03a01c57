"""What a synthetic image shows, drawn before anything is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

AREA_RANGE = (0.02, 0.60)
"""Smallest and largest share of the frame that a lesion covers."""

_KINDS = ("tan", "brown", "dark", "blue-black", "reddish")
_KIND_SHARES = (0.21, 0.40, 0.17, 0.08, 0.14)
# kind: range of melanin, of blood, of blue-grey pigment (optical density in green)
_DENSITIES = {
    "tan": ((0.36, 0.58), (0.00, 0.12), 0.00),
    "brown": ((0.60, 1.05), (0.00, 0.20), 0.00),
    "dark": ((1.00, 1.60), (0.00, 0.20), 0.15),
    "blue-black": ((0.60, 1.10), (0.00, 0.10), 0.75),
    "reddish": ((0.04, 0.20), (0.34, 0.68), 0.00),
}


@dataclass(frozen=True)
class Recipe:
    """What one image shows, in words and numbers; lengths and areas are fractions of the frame."""

    area_fraction: float
    kind: str
    contrast: float
    faint: bool
    softness: float
    off_centre: bool
    network: bool
    globules: bool
    regression: bool
    satellites: int
    skin_tone: float
    hair: int
    stubble: int
    bubbles: int
    ruler: bool
    ink: bool
    sticker: bool
    glare: bool
    corners: bool
    vignette: float
    melanin: float
    blood: float
    blue: float


def draw_recipe(rng: np.random.Generator) -> Recipe:
    """Draw what an image shows; the shares follow what one meets in dermoscopy archives.

    Args:
        rng: source of randomness.

    Returns:
        The recipe.
    """
    low, high = (ndtr(np.log(bound / 0.165) / 0.85) for bound in AREA_RANGE)
    area = float(0.165 * np.exp(0.85 * ndtri(rng.uniform(low, high))))
    kind = str(rng.choice(_KINDS, p=_KIND_SHARES))
    melanin_range, blood_range, blue = _DENSITIES[kind]
    faint = bool(rng.random() < 0.11)
    strength = rng.uniform(0.35, 0.55) if faint and kind in ("tan", "reddish") else 0.32 if faint else 1.0
    melanin = float(rng.uniform(*melanin_range) * strength)
    blood = float(rng.uniform(*blood_range) * strength)
    blue = float(blue * rng.uniform(0.6, 1.2) * strength)
    pigmented = kind != "reddish"
    off_centre = bool(rng.random() < 0.09)
    hairy, shaved = rng.random() < 0.28, rng.random() < 0.08
    return Recipe(
        area_fraction=area,
        kind=kind,
        contrast=float(1 - np.exp(-melanin - blood - blue)),
        faint=faint,
        softness=float(np.exp(rng.uniform(np.log(0.010), np.log(0.075)))),
        off_centre=off_centre,
        network=bool(pigmented and rng.random() < 0.55),
        globules=bool(rng.random() < 0.40),
        regression=bool(pigmented and rng.random() < 0.20),
        satellites=int(rng.integers(1, 5)) if rng.random() < 0.15 else 0,
        skin_tone=float(rng.uniform(0, 1) ** 2.2 * -112 + 64),
        hair=int(np.exp(rng.uniform(np.log(4), np.log(40)))) if hairy else 0,
        stubble=int(rng.integers(25, 70)) if shaved else 0,
        bubbles=int(rng.integers(2, 14)) if rng.random() < 0.16 else 0,
        ruler=bool(rng.random() < 0.18),
        ink=bool(rng.random() < 0.12),
        sticker=bool(rng.random() < 0.08),
        glare=bool(rng.random() < 0.18),
        corners=bool(rng.random() < 0.19 and area < 0.35 and not off_centre),
        vignette=float(rng.beta(1.1, 2.5) * 0.30),
        melanin=melanin,
        blood=blood,
        blue=blue,
    )
