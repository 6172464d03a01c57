"""Skin and pigment of the synthetic images.

Colour is made as tissue makes it: pigments absorb, so the light left is skin · exp(−Σ density · spectrum).
Brown, black, red and blue-grey lesions then come out on every skin tone without a table of colours.
"""

from __future__ import annotations

import math

import numpy as np
from skimage.color import lab2rgb

from uslnet_core.data.synthetic_outline import Outline, Placed, discs, pixel_centres, smooth_field, white
from uslnet_core.data.synthetic_recipe import Recipe

# Absorption in red, green, blue for density 1. Ratios set by eye against photographs, not measured spectra.
_SPECTRA = np.array(
    [
        [0.52, 1.00, 1.36],  # melanin: takes blue first, leaves brown
        [0.20, 1.00, 0.85],  # blood: leaves red
        [1.35, 1.05, 0.70],  # deep pigment: scattered light makes it blue-grey
    ],
    dtype=np.float32,
)


def skin_colour(tone: float) -> np.ndarray:
    """Give a skin colour on a ramp from very light to dark.

    Args:
        tone: individual typology angle, atan((L* − 50) / b*), degrees in [−50, 65].

    Returns:
        (3,) float32 RGB in [0, 1].
    """
    dark = (64 - tone) / 112
    yellow = 15 + 3 * np.sin(np.pi * np.clip(dark, 0, 1))
    lightness = 50 + yellow * np.tan(np.deg2rad(tone))
    return lab2rgb(np.array([lightness, 8 + 4 * dark, yellow])).astype(np.float32)


def paint(rng: np.random.Generator, recipe: Recipe, outline: Outline, side: int) -> np.ndarray:
    """Paint skin and lesion, before anything lies on them.

    Args:
        rng: source of randomness, drawn from alike for every `side`.
        recipe: what to show.
        outline: the lesion's outline.
        side: height and width in pixels.

    Returns:
        (side, side, 3) float32, about [0, 1].
    """
    t = pixel_centres(side)
    placed = outline.depth(t)
    slow = smooth_field(white(rng, 3, 3), t, t)
    mottle = smooth_field(white(rng, 14, 3), t, t)
    fine = smooth_field(white(rng, 48, 2), t, t)
    furrows = _furrows(rng, t, slow, mottle)
    veins = np.exp(-((mottle[2] / rng.uniform(0.05, 0.25)) ** 2)) * np.clip(slow[2], 0, 1)
    melanin = 0.03 * slow[0] + 0.022 * mottle[0] + 0.030 * fine[0] + rng.uniform(0.0, 0.045) * furrows
    blood = 0.05 * slow[1] + 0.030 * mottle[1] + 0.015 * fine[1] + rng.uniform(0, 0.16) * veins
    melanin += _freckles(rng, side)
    lesion, pallor = _pigment(rng, recipe, outline, placed, slow, mottle, fine)
    density = np.stack([melanin + lesion[0], blood + lesion[1], lesion[2]]).reshape(3, -1)
    light = 1.06 * np.exp(rng.normal(0.0, (0.03, 0.045, 0.085)))  # white balance
    base = skin_colour(recipe.skin_tone) * light.astype(np.float32)
    canvas = np.ascontiguousarray((np.exp(-_SPECTRA.T @ density) * base[:, None]).T).reshape(side, side, 3)
    if pallor is not None:
        # whiter than the skin around
        scar = 0.75 * base + 0.25 * np.array((0.92, 0.92, 1.0), dtype=np.float32)
        canvas += pallor[..., None] * (scar - canvas)
    return canvas


def _furrows(rng: np.random.Generator, t: np.ndarray, slow: np.ndarray, mottle: np.ndarray) -> np.ndarray:
    """Crossing skin lines: (n, n) in about [−1, 1]."""
    angle, pitch = rng.uniform(0, math.pi), rng.uniform(22, 46)
    total = np.zeros_like(slow[0])
    for turn in (angle, angle + rng.uniform(0.9, 1.6)):
        phase = math.tau * pitch * (math.cos(turn) * t + math.sin(turn) * t[:, None])
        total += np.sin(phase + 3 * slow[0] + 1.6 * mottle[0])
    return 0.5 * total


def _freckles(rng: np.random.Generator, side: int) -> np.ndarray:
    """Small spots all over the skin: (n, n) density of melanin."""
    count = int(rng.integers(0, 12)) if rng.random() < 0.45 else 0
    return discs(side, rng.uniform((0, 0, 0.004, 0.05), (1, 1, 0.016, 0.25), (count, 4)), 1.2)


def _pigment(
    rng: np.random.Generator,
    recipe: Recipe,
    outline: Outline,
    placed: Placed,
    slow: np.ndarray,
    mottle: np.ndarray,
    fine: np.ndarray,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None]:
    """Densities of melanin, blood and deep pigment, and the share of white scar, (n, n) each."""
    across, down = placed.across, placed.down
    tone = smooth_field(white(rng, 9, 3), across[0] / 6 + 0.5, down[:, 0] / 6 + 0.5)  # patches of lesion size
    patchy = rng.uniform(0.12, 0.55)
    # One side of the edge may be sharp while the other fades; half of the pigment stays at the outline.
    width = recipe.softness * np.exp(0.6 * slow[0])
    inside = 1 / (1 + np.exp(-np.clip(placed.depth / (0.35 * width), -30, 30)))
    rise = np.clip(placed.depth / outline.unit, 0, 1)
    centre_darker = rng.uniform(-0.35, 0.8)
    body = 1 + patchy * tone[0] + centre_darker * (rise - 0.4) + 0.14 * mottle[0] + 0.10 * fine[0]
    body = np.clip(body, 0.25, 2.2)
    second = 1 / (1 + np.exp(-6 * (tone[1] - rng.uniform(0.3, 1.6))))  # a second, darker tone
    body = body + second * rng.uniform(0.2, 0.9)
    if recipe.network:
        where = np.clip(0.75 + 0.5 * tone[2], 0.1, 1.2) * rng.uniform(0.2, 0.6)
        wobble = rng.uniform(0.6, 1.3) * mottle
        body = body * (1 + where * _network(rng, across, down, wobble, outline.unit))
    if recipe.globules:
        body = body + _globules(rng, outline, len(body))
    melanin = recipe.melanin * body * inside
    blood = recipe.blood * np.clip(1 + 0.5 * tone[1] + 0.25 * mottle[1], 0.2, 2) * inside
    if recipe.kind == "reddish" and recipe.globules:
        blood = blood * (1 + 0.35 * np.clip(body - 1, 0, 2))  # dotted vessels
    blue = recipe.blue * np.clip(0.8 + tone[2], 0, 2) * inside
    if recipe.satellites:
        melanin += _satellites(rng, recipe, outline, len(melanin))
    pallor = None
    if recipe.regression:
        pallor = 0.6 / (1 + np.exp(-4 * (tone[2] + 0.3 * mottle[1] - rng.uniform(0.4, 1.1)))) * inside
    return (melanin, blood, blue), pallor


def _network(
    rng: np.random.Generator, across: np.ndarray, down: np.ndarray, wobble: np.ndarray, unit: float
) -> np.ndarray:
    """Honeycomb of dark lines round light holes, bent with the lesion: (n, n) in about [−0.8, 0.8]."""
    pitch = rng.uniform(0.028, 0.048) / unit  # lesion radii; the pitch is one of the skin, not of the lesion
    turn = rng.uniform(0, math.pi / 3)
    total = np.zeros_like(across)
    for third in range(3):
        angle = turn + third * math.pi / 3
        wave = math.tau / pitch
        total += np.cos(wave * math.cos(angle) * across + wave * math.sin(angle) * down + wobble[third])
    return 0.55 * (0.2 - np.clip(total, -1.2, 1.6))


def _globules(rng: np.random.Generator, outline: Outline, side: int) -> np.ndarray:
    """Round clods scattered over the lesion: (n, n) added density, in units of the base."""
    count = int(rng.integers(12, 45))
    places = rng.normal(0, 0.55 * outline.unit * outline.scale, (count, 2)) + outline.centre
    return discs(side, np.hstack([places, rng.uniform((0.007, 0.3), (0.020, 1.1), (count, 2))]), 0.8)


def _satellites(rng: np.random.Generator, recipe: Recipe, outline: Outline, side: int) -> np.ndarray:
    """Small spots just outside the outline: (n, n) density of melanin."""
    angle, away, radius = rng.uniform((0, 1.35, 0.06), (math.tau, 1.8, 0.14), (recipe.satellites, 3)).T
    x = outline.centre[0] + outline.unit * away * np.cos(angle)
    y = outline.centre[1] + outline.unit * away * np.sin(angle)
    strength = np.full(recipe.satellites, max(recipe.melanin, 0.15))
    return discs(side, np.stack([x, y, outline.unit * radius, strength], axis=1), 0.9)
