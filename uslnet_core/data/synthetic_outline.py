"""Smooth fields and the irregular outline of the synthetic images.

Everything is defined on the unit square (x to the right, y down, frame side 1), so a scene does not change
with the number of pixels. Smooth random fields are cubic B-splines with random coefficients: separable,
hence two small matrix products each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

_REFERENCE = 64  # grid on which the outline is scaled to its area, whatever the image size
_ANGLES = 1024  # samples of the radius over one turn
_REACH = 3.0  # half width, in lesion radii, of the field that bends the outline


def pixel_centres(side: int) -> np.ndarray:
    """Give the coordinates of pixel centres along one axis.

    Args:
        side: number of pixels.

    Returns:
        (side,) float32 in (0, 1).
    """
    return ((np.arange(side) + 0.5) / side).astype(np.float32)


def smooth_field(coefficients: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Evaluate a cubic B-spline surface on a grid.

    Args:
        coefficients: (..., cells + 3, cells + 3) float32, unit normal for a field of about unit deviation.
        x: (W,) in [0, 1]; values outside are held at the edge.
        y: (H,) in [0, 1]; likewise.

    Returns:
        (..., H, W) float32.
    """
    cells = coefficients.shape[-1] - 3
    # ∫ B(t)² dt = 151/315 per axis: the factor by which a spline of white noise is flatter than the noise
    across = _basis(x, cells)
    down = across if y is x else _basis(y, cells)
    return down @ (coefficients * np.float32(315 / 151)) @ across.T


def white(rng: np.random.Generator, cells: int, count: int = 1) -> np.ndarray:
    """Draw coefficients for `smooth_field`.

    Args:
        rng: source of randomness.
        cells: number of cells along an axis; details are about 1 / cells wide.
        count: number of fields.

    Returns:
        (count, cells + 3, cells + 3) float32.
    """
    return rng.standard_normal((count, cells + 3, cells + 3), dtype=np.float32)


def _basis(t: np.ndarray, cells: int) -> np.ndarray:
    """Values of the cells + 3 cubic B-splines at t: (n, cells + 3) float32."""
    scaled = np.clip(t, 0, 1) * cells
    cell = np.minimum(scaled.astype(np.intp), cells - 1)
    u = (scaled - cell).astype(np.float32)
    v = 1 - u
    uu, vv = u * u, v * v
    basis = np.zeros((len(t), cells + 3), dtype=np.float32)
    first = np.arange(len(t)) * (cells + 3) + cell
    for k, weight in enumerate((v * vv, 3 * uu * u - 6 * uu + 4, 3 * vv * v - 6 * vv + 4, u * uu)):
        basis.ravel()[first + k] = weight / 6
    return basis


def discs(side: int, spots: Iterable[Iterable[float]], edge: float) -> np.ndarray:
    """Add up discs with soft edges.

    Args:
        side: height and width in pixels.
        spots: rows of x, y, radius (frame sides) and strength in the middle.
        edge: width of the soft edge over the radius.

    Returns:
        (side, side) float32.
    """
    field = np.zeros((side, side), dtype=np.float32)
    for x, y, radius, strength in spots:
        reach = radius * (1 + edge) + 1 / side
        left, right = max(int((x - reach) * side), 0), min(int((x + reach) * side) + 1, side)
        top, bottom = max(int((y - reach) * side), 0), min(int((y + reach) * side) + 1, side)
        if left >= right or top >= bottom:
            continue
        dx = (np.arange(left, right) + 0.5) / side - x
        dy = (np.arange(top, bottom) + 0.5) / side - y
        distance = np.sqrt(dx**2 + dy[:, None] ** 2) / radius
        field[top:bottom, left:right] += strength * np.clip((1 + edge / 2 - distance) / edge, 0, 1)
    return field


class Placed(NamedTuple):
    """An outline on a pixel grid, each (n, n) float32."""

    depth: np.ndarray  # distance to the outline along the ray, positive inside, frame sides
    across: np.ndarray  # bent coordinates in lesion radii, for textures that follow the lesion
    down: np.ndarray


@dataclass(frozen=True)
class Outline:
    """A closed curve: a radius over the angle, stretched, turned and bent by a smooth field."""

    centre: tuple[float, float]
    unit: float  # radius of the disc of the same area, frame sides
    turn: float
    stretch: float
    radius: np.ndarray  # (1024,) over the angle
    bends: tuple[tuple[float, np.ndarray], ...]  # (strength, coefficients (2, n, n))
    scale: float = 1.0
    touches_border: bool = False

    def depth(self, t: np.ndarray) -> Placed:
        """Place the outline on the grid t × t.

        Args:
            t: (n,) pixel centres in [0, 1].

        Returns:
            Depth and lesion coordinates, (n, n) each.
        """
        ratio, radius, across, down = self.ratio(t)
        return Placed((self.scale - ratio) * radius * self.unit, across, down)

    def ratio(self, t: np.ndarray) -> tuple[np.ndarray, ...]:
        """Measure distances from the centre before the outline is scaled to its area.

        Args:
            t: (n,) pixel centres in [0, 1].

        Returns:
            Distance over the radius in that direction, that radius, and both bent coordinates, (n, n) each.
        """
        x, y = (t - self.centre[0]) / self.unit, (t - self.centre[1]) / self.unit
        across, down = np.broadcast_arrays(x[None, :], y[:, None])
        for strength, coefficients in self.bends:
            shift = smooth_field(coefficients, x / (2 * _REACH) + 0.5, y / (2 * _REACH) + 0.5)
            across, down = across + strength * shift[0], down + strength * shift[1]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        major = (cos * across + sin * down) / self.stretch
        minor = (cos * down - sin * across) * self.stretch
        angle = (np.arctan2(minor, major) + math.pi) * (_ANGLES / math.tau)
        cell = angle.astype(np.int32)
        step = np.diff(self.radius, append=self.radius[:1])
        place = cell % _ANGLES
        radius = self.radius[place] + step[place] * (angle - cell.astype(np.float32))
        distance = np.sqrt(major * major + minor * minor)
        return distance / radius, radius, across, down


def draw_outline(rng: np.random.Generator, area: float, *, off_centre: bool) -> Outline:
    """Draw an irregular outline of a given area.

    Args:
        rng: source of randomness.
        area: share of the frame to cover, in (0, 1); what lies outside the frame does not count.
        off_centre: put the lesion near an edge rather than near the centre.

    Returns:
        The outline, scaled so that it covers `area` of the frame.
    """
    unit = math.sqrt(area / math.pi)
    if off_centre:
        direction, away = rng.uniform(0, math.tau), rng.uniform(0.28, 0.40)
        centre = (0.5 + away * math.cos(direction), 0.5 + away * math.sin(direction))
    else:
        centre = tuple(0.5 + np.clip(rng.normal(0, 0.055, 2), -0.13, 0.13))
    irregular = rng.uniform(0.3, 1.0)
    orders = np.arange(2, 40)
    waves = np.zeros(_ANGLES // 2 + 1, dtype=np.complex128)
    size = 0.36 * irregular / orders ** rng.uniform(1.4, 2.0)
    waves[orders] = size * (rng.standard_normal(len(orders)) + 1j * rng.standard_normal(len(orders)))
    lobes = np.fft.irfft(waves) * _ANGLES / 2
    outline = Outline(
        centre=(float(centre[0]), float(centre[1])),
        unit=unit,
        turn=rng.uniform(0, math.pi),
        stretch=math.sqrt(rng.uniform(1.0, 1.9)),
        radius=np.exp(lobes).astype(np.float32),
        # Strength over cell width stays well below 1: the bend folds nowhere, the lesion stays in one piece.
        bends=tuple(
            (strength * irregular * 2 * _REACH / cells, white(rng, cells, 2))
            for cells, strength in ((6, 0.17), (18, 0.14), (44, 0.10))
        ),
    )
    ratio = outline.ratio(pixel_centres(_REFERENCE))[0]
    scale = float(np.quantile(ratio, area))
    edge = min(ratio[0].min(), ratio[-1].min(), ratio[:, 0].min(), ratio[:, -1].min())
    return replace(outline, scale=scale, touches_border=bool(edge < scale))
