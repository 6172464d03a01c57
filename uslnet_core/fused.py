"""The uncertainty module in one pass over each map, compiled by numba: for large batches on the CPU.

The same rules as in `uncertainty` and `components`, to the last bit, but a map at a time while it lies in the
processor's cache: compare, find runs and join them row by row, measure, choose, paint. Importing this module needs
numba, which is slow to import and compiles on the first call of all (the result is kept on disk); so only what is large
enough asks for it.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from uslnet_core.components import distance_table

#: Codes of the rules that choose a component.
RULES = ("mean", "sum", "relative")

_GATHER = np.uint64(0x0102040810204080)
# A power of two times this number has its exponent's own six bits on top: what it takes to look the exponent up.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_PLACE = np.zeros(64, np.int32)
_PLACE[[((1 << place) * int(_DE_BRUIJN) & (1 << 64) - 1) >> 58 for place in range(64)]] = np.arange(64)


def label_maps(
    maps: Tensor, low: float | Tensor, high: float | Tensor, most: float, least_area: int, neighbours: int, rule: str,
    too_far: float, label: Tensor,
) -> tuple[tuple[Tensor, ...], Tensor] | None:  # fmt: skip
    """Label a group of maps.

    Args:
        maps: (B, H, W) float32 or float64, contiguous, on the CPU.
        low: a threshold that the maps' dtype holds exactly: a number, or one a map: (B,).
        high: the same.
        most: the largest value that passes; the least is 0.
        least_area: pixels; smaller components are dropped.
        neighbours: 4 or 8.
        rule: one of `RULES`.
        too_far: pixels; a chosen centroid farther from the centre than this excludes the image.
        label: (B, H, W) float32, contiguous; written to.

    Returns:
        The table's columns (image, area, centroid_y, centroid_x, mean_distance, chosen, reason_code) and
        the (B,) int8 codes of the images. None where a value lies outside [0, most] or is NaN; ``label``
        then holds nothing of use.
    """
    images, height, width = maps.shape
    values = maps.numpy()
    lows, highs = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(t, values.dtype).reshape(-1), images)) for t in (low, high)
    )
    distances, shift = distance_table(height, width, torch.device("cpu"))
    codes = np.empty(images, np.int8)
    # As many components as one map can hold at most, or a few a map: what does not fit goes into the next part.
    one = (height * width + 1) // 2 if neighbours == 4 else ((height + 1) // 2) * ((width + 1) // 2)
    parts, first = [], 0
    while first < images or not parts:
        table = _table(max(one, 16 * images))
        sums = np.empty((one, 2), np.int64)
        reached, rows = _label(
            values, lows, highs, values.dtype.type(most), neighbours == 8, least_area, RULES.index(rule), too_far,
            distances.numpy(), shift, label.numpy(), codes, table, sums, first,
        )  # fmt: skip
        if reached < 0:
            return None
        parts.append([column[:rows].copy() for column in table])
        first = reached
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return tuple(torch.from_numpy(column) for column in columns), torch.from_numpy(codes)


def _table(rows: int) -> tuple[np.ndarray, ...]:
    """Make room for rows of image, area, centroid_y, centroid_x, mean_distance, chosen and reason_code."""
    types = (np.int64, np.int64, np.float64, np.float64, np.float64, np.bool_, np.int8)
    return tuple(np.empty(rows, dtype) for dtype in types)


@njit(cache=True, nogil=True, error_model="numpy")
def _label(
    maps, lows, highs, most, corners, least_area, rule, too_far,
    distances, shift, label, codes, table, sums, first,
):  # fmt: skip
    """Label images from ``first`` on until the table is full: the next image and the rows, or −1 for a bad value."""
    images, height, width = maps.shape
    room = height * ((width + 1) // 2)
    bounds = np.empty(2 * room, np.int32)  # each run's first column, and the one past its last
    start, stop = bounds[0::2], bounds[1::2]
    parent = np.empty(room, np.int32)  # an earlier run of its component or itself; later its component
    row_first = np.empty(height + 1, np.int32)  # each row's first run
    # Candidates of one row, a byte each, and an empty column at least, which ends its last run.
    row = np.zeros((width // 64 + 1) * 64, np.uint8)
    words = row.view(np.uint64)
    rows = 0
    for image in range(first, images):
        if not _find(maps[image], lows[image], highs[image], most, label[image], row, words, bounds, row_first):
            return -1, 0
        _join(start, stop, parent, row_first, 1 if corners else 0)
        components = _measure(start, stop, parent, row_first, width, distances, table, sums, rows)
        if components < 0:
            return image, rows
        winner = _judge(image, height, width, components, least_area, rule, too_far, shift, table, sums, rows, codes)
        if winner >= 0:
            for y in range(height):
                for run in range(row_first[y], row_first[y + 1]):
                    if parent[run] == winner:
                        for x in range(start[run], stop[run]):  # (a slice's own cost is more than a short run's)
                            label[image, y, x] = np.float32(1)
        rows += components
    return images, rows


@njit(cache=True, nogil=True, error_model="numpy")
def _find(values, low, high, most, label, row, words, bounds, row_first):
    """Write a map's background and uncertain pixels and find its runs; say whether all values are in range."""
    height, width = values.shape
    found, wrong = 0, 0
    for y in range(height):
        for x in range(width):  # without a branch, so that it is compiled for many pixels at once
            value = values[y, x]
            wrong |= not ((value >= 0) & (value <= most))
            label[y, x] = np.float32(0.5) if value >= low else np.float32(0)
            row[x] = value > high
        row_first[y] = found // 2
        # A pixel unlike the one on its left is an edge: a run's first pixel, then the first one past it, and so on.
        left = np.uint64(0)
        for group in range(0, len(words), 8):
            bits = np.uint64(0)
            for word in range(8):  # a byte's lowest bit to one of 64: the product lines up eight in its highest byte
                bits |= ((words[group + word] * _GATHER) >> np.uint64(56)) << np.uint64(8 * word)
            edges = bits ^ (bits << np.uint64(1) | left)
            left = bits >> np.uint64(63)
            while edges:
                lowest = edges & (~edges + np.uint64(1))
                bounds[found] = 8 * group + _PLACE[(lowest * _DE_BRUIJN) >> np.uint64(58)]
                found += 1
                edges ^= lowest
    row_first[height] = found // 2
    return not wrong


@njit(cache=True, nogil=True, error_model="numpy")
def _root(parent, run):
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@njit(cache=True, nogil=True, error_model="numpy")
def _join(start, stop, parent, row_first, reach):
    """Point each run to an earlier one of its component, or to itself where it is the first."""
    for y in range(len(row_first) - 1):
        above = row_first[y - 1] if y else 0
        last = row_first[y]
        for run in range(row_first[y], row_first[y + 1]):
            parent[run] = run
            while above < last and stop[above] + reach <= start[run]:
                above += 1
            touching = above
            while touching < last and start[touching] < stop[run] + reach:
                one, other = _root(parent, touching), _root(parent, run)
                if one < other:
                    parent[other] = one
                else:
                    parent[one] = other
                touching += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(start, stop, parent, row_first, width, distances, table, sums, rows):
    """Turn ``parent`` into numbers of components and add their pixels up; how many, or −1 if the table is full."""
    _, area, total_y, total_x, _, _, _ = table
    components = 0
    for y in range(len(row_first) - 1):
        for run in range(row_first[y], row_first[y + 1]):
            if parent[run] == run:
                component = components
                components += 1
                at = rows + component
                if at == len(area):
                    return -1
                area[at], total_y[at], total_x[at] = 0, 0.0, 0.0
                sums[component, 0], sums[component, 1] = 0, 0
            else:
                component = parent[parent[run]]  # an earlier run: it holds its component's number by now
                at = rows + component
            parent[run] = component
            begin, end = np.int64(start[run]), np.int64(stop[run])
            length = end - begin
            area[at] += length
            total_y[at] += y * length  # whole numbers below 2^53: exact
            total_x[at] += (begin + end - 1) * length // 2
            sums[component, 0] += distances[y * width + end, 0] - distances[y * width + begin, 0]
            sums[component, 1] += distances[y * width + end, 1] - distances[y * width + begin, 1]
    return components


@njit(cache=True, nogil=True, error_model="numpy")
def _judge(image, height, width, components, least_area, rule, too_far, shift, table, sums, rows, codes):
    """Fill one image's rows of the table and its code; the chosen component, or −1."""
    images, area, centroid_y, centroid_x, mean_distance, chosen, reason = table
    best, winner = np.inf, -1
    for component in range(components):
        at = rows + component
        carry = sums[component, 1] >> (53 - shift)  # as in `components.distance_sums`: rounded once
        high, low = sums[component, 0] + carry, sums[component, 1] - (carry << (53 - shift))
        distance = np.float64(high) * 2.0 ** -np.float64(shift) + np.float64(low) * 2.0**-53
        count = np.float64(area[at])
        images[at] = image
        centroid_y[at] /= count
        centroid_x[at] /= count
        mean_distance[at] = distance / count
        chosen[at] = False
        big = area[at] >= least_area
        reason[at] = 2 if big else 1
        score = distance if rule == 1 else mean_distance[at]
        if rule == 2:
            score /= np.sqrt(count)
        if big and score < best:
            best, winner = score, component
    codes[image] = 1
    if winner >= 0:
        at = rows + winner
        chosen[at], reason[at] = True, 0
        dy, dx = centroid_y[at] - height / 2, centroid_x[at] - width / 2
        codes[image] = 2 if np.sqrt(dy * dy + dx * dx) > too_far else 0
    return winner
