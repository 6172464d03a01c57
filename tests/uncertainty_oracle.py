"""A slow, literal reading of Algorithm 1, what it is compared with, and the maps that both are given."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy import ndimage

from uslnet_core.uncertainty import UncertaintyModule

# --- the oracle ------------------------------------------------------------------------------------------------------


def flood(candidate, height, width, neighbours):
    """Algorithm 1's search: pick a pixel, grow its region until nothing is left, and again; in raster order."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if neighbours == 8:
        steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    seen, regions = set(), []
    for seed in ((y, x) for y in range(height) for x in range(width)):
        if not candidate[seed] or seed in seen:
            continue
        region, frontier = [], [seed]
        seen.add(seed)
        while frontier:
            y, x = frontier.pop()
            region.append((y, x))
            for dy, dx in steps:
                pixel = (y + dy, x + dx)
                inside = 0 <= pixel[0] < height and 0 <= pixel[1] < width
                if inside and candidate[pixel] and pixel not in seen:
                    seen.add(pixel)
                    frontier.append(pixel)
        regions.append(region)
    return regions


def outwards(values, low, high, doubt):
    """Thresholds that leave a share of the pixels below their middle, and of those above it, uncertain."""
    middle = (low + high) / 2
    skin = sorted((v for v in values if v < middle), reverse=True)
    lesion = sorted(v for v in values if v > middle)
    for side, extreme in ((skin, min(values)), (lesion, max(values))):
        away = math.ceil(doubt * len(side))
        if away and side[away - 1] != extreme:
            low, high = (min(low, side[away - 1]), high) if side is skin else (low, max(high, side[away - 1]))
    return low, high


def literal(saliency, low, high, min_area, neighbours, rule, exclusion, thresholds="fixed", doubt=0.1, band=0.0):
    """One map's label, reason and rows of the table, by METHOD's six points and what stands beside the paper."""
    height, width = saliency.shape
    low, high = (torch.tensor(t, dtype=saliency.dtype).item() for t in (low, high))
    values = {(y, x): saliency[y, x].item() for y in range(height) for x in range(width)}
    if thresholds == "adaptive":
        low, high = outwards(values.values(), low, high, doubt)
    label = np.full((height, width), 0.5, np.float32)
    for pixel, value in values.items():
        if value < low:
            label[pixel] = 0
    regions = flood({pixel: value > high for pixel, value in values.items()}, height, width, neighbours)
    rows, best, chosen = [], math.inf, None
    for number, region in enumerate(regions):
        distances = [math.sqrt((y - height / 2) * (y - height / 2) + (x - width / 2) * (x - width / 2))
                     for y, x in region]  # fmt: skip
        weight = math.fsum(distances)
        mean = weight / len(region)
        centroid = (sum(y for y, _ in region) / len(region), sum(x for _, x in region) / len(region))
        small = len(region) < round(min_area * height * width)
        rows.append([len(region), *centroid, mean, "too small" if small else "less central"])
        score = {"mean": mean, "sum": weight, "relative": mean / math.sqrt(len(region))}[rule]
        if not small and score < best:
            best, chosen = score, number
    if chosen is None:
        return label, "no component left", rows
    rows[chosen][-1] = "chosen"
    for pixel in regions[chosen]:
        label[pixel] = 1
    inside, reach = set(regions[chosen]), round(band * min(height, width))
    for y, x in values if reach else ():
        around = [(v, u) for v in range(y - reach, y + reach + 1) for u in range(x - reach, x + reach + 1)]
        if {pixel in inside for pixel in around if pixel in values} == {True, False}:
            label[y, x] = 0.5
    dy, dx = rows[chosen][1] - height / 2, rows[chosen][2] - width / 2
    far = math.sqrt(dy * dy + dx * dx) > min(height, width) * exclusion
    return label, "too far from the centre" if far else "kept", rows


SETTINGS = {"low": 0.35, "high": 0.65, "min_area": 0.02, "neighbours": 8, "rule": "mean", "exclusion": 1 / 3}


def ways():
    """The ways to compute that this machine has, to parametrise tests with."""
    without = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
    return ["numpy", "torch", pytest.param("numba", marks=without)]


def check(saliency, way="auto", **changes):
    """Compare a batch with the oracle: labels, flags, reasons and every number of the table, to the last bit."""
    given_settings = SETTINGS | changes
    before = saliency.clone()
    out = UncertaintyModule(**given_settings)(saliency, way)
    assert torch.equal(saliency, before)
    expected = [literal(one, **given_settings) for one in saliency]
    assert out.label.dtype == torch.float32 and out.label.shape == saliency.shape
    for image, (label, reason, _) in enumerate(expected):
        np.testing.assert_array_equal(out.label[image].numpy(), label)
        assert out.reason[image] == reason
        assert bool(out.keep[image]) is (reason == "kept")
    rows = [[image, *row] for image, (_, _, table) in enumerate(expected) for row in table]
    frame = out.regions_frame()
    columns = ["image", "area", "centroid_y", "centroid_x", "mean_distance", "reason"]
    assert frame[columns].values.tolist() == rows
    assert frame["chosen"].tolist() == [row[-1] == "chosen" for row in rows]
    return out


# --- maps ------------------------------------------------------------------------------------------------------------


def smooth_maps(images, height, width, rng, noise=0.0):
    """Blurred blobs near the centre and elsewhere, like lesions and artefacts."""
    maps = ndimage.gaussian_filter(rng.standard_normal((images, height, width)), (0, height / 12, width / 12))
    y, x = np.mgrid[:height, :width]
    for one in maps:
        cy, cx = rng.normal(height / 2, height / 8), rng.normal(width / 2, width / 8)
        one /= np.abs(one).max()
        one -= 4 * np.hypot((y - cy) / height, (x - cx) / width) - 1
    maps = 1 / (1 + np.exp(-4 * maps)) + noise * rng.standard_normal(maps.shape)
    return torch.from_numpy(np.clip(maps, 0, 1).astype(np.float32))


def spiral(size):
    """One arm, a pixel wide, winding to the middle: the longest chain of runs that a map can hold."""
    arm = np.zeros((size, size), np.float32)
    y, x, dy, dx = 0, 0, 0, 1
    arm[0, 0] = 1
    while True:
        for _ in range(2):
            ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
            free = all(0 <= c < size for c in ahead) and not arm[ahead]
            if free and not (all(0 <= c < size for c in beyond) and arm[beyond]):
                y, x = ahead
                arm[y, x] = 1
                break
            dy, dx = dx, -dy
        else:
            return torch.from_numpy(arm)


def shapes():
    size = 24
    y, x = np.mgrid[:size, :size]
    frame = (y == 0) | (y == size - 1) | (x == 0) | (x == size - 1)
    one = np.zeros((size, size))
    one[12, 12] = 1
    comb = (x % 2 == 0) | (y == size - 1)  # teeth that only meet in the last row
    zigzag = np.abs((x + y) % 10 - 5) == (y % 5)
    border = np.hypot(y - 2, x - 12) < 7
    rings = (np.maximum(np.abs(y - 12), np.abs(x - 12)) % 3) == 0
    rows_touch = (y % 2 == 0) & (x >= size - 2) | (y % 2 == 1) & (x < 2)  # last and first columns are no neighbours
    return {
        "empty": np.zeros((size, size)), "full": np.ones((size, size)), "uncertain": np.full((size, size), 0.5),
        "one pixel": one, "checkerboard": (y + x) % 2, "checkerboard 2": (y // 2 + x // 2) % 2, "frame": frame,
        "comb": comb, "comb up": comb[::-1], "zigzag": zigzag, "border": border, "corner": np.hypot(y, x) < 9,
        "rings": rings, "rows touch": rows_touch, "diagonal": y == x, "antidiagonal": y + x == size - 1,
        "spiral": spiral(size).numpy(), "inverse spiral": 1 - spiral(size).numpy(),
    }  # fmt: skip
