"""What a dermatoscope and its user add: hair, gel, ink, ruler, sticker, uneven light and dark corners.

Each layer takes a canvas and returns a new one. Lengths are fractions of the frame's side, so a scene does
not change with the number of pixels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from uslnet_core.data.synthetic_outline import discs, pixel_centres, smooth_field, white
from uslnet_core.data.synthetic_recipe import Recipe

_STICKERS = (
    (0.10, 0.50, 0.85),
    (0.95, 0.55, 0.15),
    (0.25, 0.65, 0.45),
    (0.85, 0.82, 0.15),
    (0.85, 0.2, 0.15),
)


def add_artefacts(rng: np.random.Generator, recipe: Recipe, canvas: np.ndarray) -> np.ndarray:
    """Lay the recipe's artefacts over skin and lesion, in the order in which they lie in front of each other.

    Args:
        rng: source of randomness, drawn from alike for every canvas size.
        recipe: what to show.
        canvas: (n, n, 3) float32, about [0, 1].

    Returns:
        (n, n, 3) float32, about [0, 1].
    """
    if recipe.ink:
        canvas = _ink(rng, canvas)
    if recipe.hair or recipe.stubble:
        canvas = _hair(rng, recipe, canvas)
    if recipe.sticker:
        canvas = _sticker(rng, canvas)
    if recipe.bubbles:
        canvas = _bubbles(rng, recipe.bubbles, canvas)
    if recipe.ruler:
        canvas = _ruler(rng, canvas)
    if recipe.glare:
        canvas = _glare(rng, canvas)
    return canvas * _lighting(rng, recipe, len(canvas))[..., None]


def _blend(canvas: np.ndarray, alpha: np.ndarray, colour: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Mix a colour into the canvas by alpha (n, n)."""
    return canvas + alpha[..., None].astype(np.float32) * (np.asarray(colour, dtype=np.float32) - canvas)


def _strokes(paths: np.ndarray, widths: np.ndarray, sigma: float, side: int) -> np.ndarray:
    """Draw curves with soft edges.

    Args:
        paths: (curves, points, 2) x, y in frame sides; drawn only where inside the frame.
        widths: (curves,) in frame sides.
        sigma: softness across the curve, frame sides.
        side: canvas side in pixels.

    Returns:
        (side, side) float32 in [0, 1].
    """
    ends = np.diff(paths, axis=1)
    steps = max(2, int(np.ceil(1.2 * side * np.sqrt((ends**2).sum(-1)).max())))
    part = np.linspace(0, 1, steps, endpoint=False)[:, None]
    points = paths[:, :-1, None] + ends[:, :, None] * part  # (curves, segments, steps, 2)
    length = np.sqrt((ends**2).sum(-1))[..., None] / steps * side  # pixels between two points
    weight = np.broadcast_to(length * widths[:, None, None] * side, points.shape[:3]).ravel()
    place = points.reshape(-1, 2) * side - 0.5
    cell = np.floor(place).astype(np.intp)
    part = place - cell
    total = np.zeros((side + 2) * (side + 2))
    inside = ((cell >= -1) & (cell < side)).all(axis=1)
    cell, part, weight = cell[inside] + 1, part[inside], weight[inside]
    for dx in (0, 1):  # each point is shared among its four pixels
        for dy in (0, 1):
            share = weight * np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            flat = (cell[:, 1] + dy) * (side + 2) + cell[:, 0] + dx
            total += np.bincount(flat, weights=share, minlength=len(total))
    area = total.reshape(side + 2, side + 2)[1:-1, 1:-1].astype(np.float32)
    return np.clip(gaussian_filter(area, sigma * side, truncate=2.5), 0, 1)


def _hair(rng: np.random.Generator, recipe: Recipe, canvas: np.ndarray) -> np.ndarray:
    """Long curved hair and short stubble, dark or fair."""
    t = np.linspace(0, 1, 14)[:, None]
    fair = rng.random() < 0.2
    colour = np.array((0.86, 0.80, 0.68) if fair else (0.13, 0.09, 0.08)) * rng.uniform(0.8, 1.1)
    flow = rng.uniform(0, math.tau)
    thick = rng.uniform(0.0035, 0.0085)
    for count, longest, bend, tangle in ((recipe.hair, 0.9, 0.22, 0.55), (recipe.stubble, 0.07, 0.006, 1.0)):
        if not count:
            continue
        start = rng.uniform(-0.1, 1.1, (count, 1, 2))
        angle = flow + rng.normal(0, tangle, (count, 1))
        reach = longest * rng.uniform(0.35, 1.0, (count, 1))
        heading = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (count, 1, 2)
        across = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
        bow, twist = rng.normal(0, bend, (2, count, 1, 1))
        paths = start + heading * reach[..., None] * (t - 0.5) + across * (bow * t * (1 - t) * 4 + twist * t**3)
        widths = thick * rng.uniform(0.6, 1.2, count)
        canvas = _blend(canvas, 0.9 * _strokes(paths, widths, 0.0028, len(canvas)), colour)
    return canvas


def _ink(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Marker strokes: a few scribbled spots near the edges, purple or blue."""
    t = pixel_centres(len(canvas))
    ragged = smooth_field(white(rng, 34), t, t)[0] + 0.8 * smooth_field(white(rng, 9), t, t)[0]
    angle, away, radius = rng.uniform((0, 0.42, 0.05), (math.tau, 0.56, 0.14), (int(rng.integers(1, 5)), 3)).T
    spots = np.stack([0.5 + away * np.cos(angle), 0.5 + away * np.sin(angle), radius, np.ones_like(angle)], axis=1)
    alpha = np.clip(discs(len(canvas), spots, 0.9), 0, 1) * np.clip(0.75 + 0.55 * ragged, 0, 1)
    colour = ((0.34, 0.16, 0.52), (0.20, 0.18, 0.55), (0.16, 0.30, 0.62))[int(rng.integers(3))]
    return _blend(canvas, 0.85 * alpha, colour)


def _sticker(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """A coloured disc that looks in from the frame."""
    angle, radius = rng.uniform(0, math.tau), rng.uniform(0.16, 0.30)
    away = 0.5 + radius * rng.uniform(0.35, 0.75)
    spot = (0.5 + away * math.cos(angle), 0.5 + away * math.sin(angle), radius, 1.0)
    alpha = discs(len(canvas), [spot], 0.05)
    return _blend(canvas, alpha, _STICKERS[int(rng.integers(len(_STICKERS)))])


def _bubbles(rng: np.random.Generator, count: int, canvas: np.ndarray) -> np.ndarray:
    """Air in the gel: a dark rim, a lighter inner rim and a highlight."""
    spots = rng.uniform((0.02, 0.02, 0.008), (0.98, 0.98, 0.026), (count, 3))

    def layer(shift: float, size: float, strength: float, edge: float) -> np.ndarray:
        radius = spots[:, 2:]
        rows = np.hstack([spots[:, :2] - shift * radius, size * radius, np.full_like(radius, strength)])
        return discs(len(canvas), rows, edge)

    shade = layer(0, 1, 0.42, 0.25) + layer(0, 0.78, -0.36, 0.3)
    gleam = layer(0, 0.82, 0.16, 0.3) + layer(0.35, 0.3, 0.75, 0.8)
    canvas = _blend(canvas, np.clip(shade, 0, 1), (0.25, 0.18, 0.15))
    return _blend(canvas, np.clip(gleam, 0, 1), (1.0, 0.98, 0.96))


def _ruler(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """A scale with a tick each millimetre, along an edge or a little turned."""
    count, pitch = int(rng.integers(9, 16)), rng.uniform(0.024, 0.042)
    turn = rng.normal(0, 0.25) + rng.choice([0, np.pi / 2])
    along, up = np.array([np.cos(turn), np.sin(turn)]), np.array([np.sin(turn), -np.cos(turn)])
    side = -up * rng.uniform(0.33, 0.44) * rng.choice([-1, 1])
    origin = 0.5 + side - along * count * pitch / 2 + along * rng.uniform(-0.12, 0.12)
    foot = origin + along * pitch * np.arange(count)[:, None]
    length = np.where(np.arange(count) % 5 == 0, 0.040, 0.022)[:, None]
    ticks = np.stack([foot, foot + up * length], axis=1)  # (count, 2 ends, x and y)
    base = np.stack([foot[0], foot[-1]])[None]
    alpha = np.clip(sum(_strokes(p, np.full(len(p), 0.006), 0.0028, len(canvas)) for p in (ticks, base)), 0, 1)
    return _blend(canvas, 0.85 * alpha, (0.10, 0.09, 0.10))


def _glare(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Light mirrored by the gel: bright patches, denser on one side, and at times the gel's rim."""
    t = pixel_centres(len(canvas))
    field = smooth_field(white(rng, 11), t, t)[0] + 0.9 * smooth_field(white(rng, 30), t, t)[0]
    angle = rng.uniform(0, math.tau)
    side = np.cos(angle) * (t - 0.5) + np.sin(angle) * (t[:, None] - 0.5)
    alpha = np.clip(0.45 * (field + 2.6 * side - rng.uniform(2.0, 2.9)), 0, 0.85)
    if rng.random() < 0.5:
        x, y, radius = rng.uniform((0.4, 0.4, 0.40), (0.6, 0.6, 0.52))
        distance = np.sqrt((t - x) ** 2 + (t[:, None] - y) ** 2) - radius
        rim = np.exp(-((distance / 0.006) ** 2)) - 0.6 * np.exp(-(((distance - 0.012) / 0.008) ** 2))
        canvas = canvas * (1 + 0.28 * rim * np.clip(0.5 + field, 0, 1)).astype(np.float32)[..., None]
    return _blend(canvas, alpha, (1.0, 0.99, 0.98))


def _lighting(rng: np.random.Generator, recipe: Recipe, side: int) -> np.ndarray:
    """Uneven light, vignetting and the dark corners of a round field of view: (n, n) factor."""
    t = pixel_centres(side)
    x, y = t - 0.5, t[:, None] - 0.5
    slope, angle = rng.uniform(0, 0.17), rng.uniform(0, math.tau)
    light = 1 + slope * (math.cos(angle) * x + math.sin(angle) * y)
    squared = (x - rng.normal(0, 0.05)) ** 2 + (y - rng.normal(0, 0.05)) ** 2
    light = light * (1 - recipe.vignette * np.clip(squared / 0.5, 0, 1.3))
    if recipe.corners:
        radius, soft = rng.uniform(0.50, 0.64), math.exp(rng.uniform(math.log(0.006), math.log(0.06)))
        distance = np.sqrt((x - rng.normal(0, 0.025)) ** 2 + (y - rng.normal(0, 0.025)) ** 2)
        light = light * (0.05 + 0.95 / (1 + np.exp(np.clip((distance - radius) / (0.4 * soft), -30, 30))))
    return light * rng.uniform(0.98, 1.16)
