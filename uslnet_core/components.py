"""Connected components of many masks at once, by horizontal runs (Algorithm 1's connectivity search).

A lesion's map has a few hundred horizontal runs against tens of thousands of pixels, so runs are what is
joined. Two exact ways give the same numbers: numpy with scipy's graph search on the CPU, and torch operations
alone, which keep a GPU's tensors where they are. All masks lie behind one another in one flat row of pixels,
with an empty row above each and an empty column to the right, so that no run and no neighbourhood crosses an
edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from uslnet_core import run_bits
from uslnet_core.errors import DataError


@dataclass(frozen=True)
class Runs:
    """Horizontal runs of set pixels, in raster order, and the components that they form.

    Attributes:
        images, height, width: the batch's shape.
        mask: (B, H + 1, W + 1) bool, the set pixels below an empty row and beside an empty column.
        image, y, x, length: (R,) int64, where each run starts and its pixels.
        component: (R,) int64 in 0 … components − 1, numbered over the batch in the raster order of first
            pixels.
        first: (components,) int64, each component's first run.
    """

    images: int
    height: int
    width: int
    mask: Tensor
    image: Tensor
    y: Tensor
    x: Tensor
    length: Tensor
    component: Tensor
    first: Tensor

    @property
    def components(self) -> int:
        """How many components the whole batch has."""
        return len(self.first)


def find_runs(maps: Tensor, threshold: float | Tensor, neighbours: int, on_device: bool | None = None) -> Runs:
    """Label the connected components of ``maps > threshold``.

    Args:
        maps: (B, H, W) float32, float64 or uint8, on the CPU or a CUDA device.
        threshold: a number that the maps' dtype holds exactly, or one a map: (B,), of that dtype and device.
        neighbours: 4 or 8.
        on_device: True takes torch alone, False numpy and scipy; None chooses by the device. Both give the
            same.

    Returns:
        Runs and components, on the maps' device.
    """
    images, height, width = maps.shape
    if on_device is None:
        on_device = maps.device.type != "cpu"
    # Runs whose columns overlap touch; with 8 neighbours also those whose ends are diagonal.
    reach = 1 if neighbours == 8 else 0
    join = _join_torch if on_device else _join_numpy
    return Runs(images, height, width, *join(maps, threshold, reach))


def _join_numpy(maps: Tensor, threshold: float | Tensor, reach: int) -> tuple[Tensor, ...]:
    """The mask; image, row, column, length and component of each run; first run of each component."""
    values = maps.numpy()
    mask = np.greater(values, np.asarray(threshold, values.dtype).reshape(-1, 1, 1), order="C")
    start, stop, image, y, x, lower, degree = run_bits.find(mask, reach)
    ends = np.cumsum(degree)
    pointers = np.concatenate([[0], ends]).astype(np.int32)
    links = np.repeat(lower - (ends - degree), degree) + np.arange(pointers[-1])
    graph = csr_array((np.ones(len(links)), links.astype(np.int32), pointers), shape=(len(start),) * 2)
    count, component = connected_components(graph, directed=False) if len(start) else (0, start)

    # Number by first run, whatever order the search took: written backwards, the first run's number stays.
    first = np.empty(count, np.int64)
    first[component[::-1]] = np.arange(len(start) - 1, -1, -1)
    order = np.argsort(first, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    arrays = (mask, image, y, x, stop - start, rank[component], first[order])
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def _join_torch(maps: Tensor, threshold: float | Tensor, reach: int) -> tuple[Tensor, ...]:
    """The same by torch alone: minimum labels spread over the links, with pointer jumping, until nothing changes.

    The host waits for the device a few times for the batch (to size arrays, and once or twice a round), never
    for one map.
    """
    images, height, width = maps.shape
    stride = width + 1
    mask = torch.zeros((images, height + 1, stride), dtype=torch.bool, device=maps.device)
    mask[:, 1:, :width] = maps > torch.as_tensor(threshold, dtype=maps.dtype, device=maps.device).view(-1, 1, 1)
    flat = mask.view(-1)
    bounds = (flat[1:] ^ flat[:-1]).nonzero().squeeze(1) + 1
    start, stop = bounds[0::2].contiguous(), bounds[1::2].contiguous()
    run = torch.arange(len(start), device=maps.device)

    lower = torch.searchsorted(stop, start + (stride - reach), right=True)
    upper = torch.searchsorted(start, stop + (stride + reach))
    degree = (upper - lower).clamp_(min=0)
    above = torch.repeat_interleave(run, degree)
    links = above.new_zeros(len(start)) if not len(start) else lower - (degree.cumsum(0) - degree)
    below = torch.repeat_interleave(links, degree) + torch.arange(len(above), device=maps.device)

    label = run.clone()  # each run points to an earlier run of its component, or to itself
    while True:
        one, other = label[above], label[below]
        least = torch.minimum(one, other)
        if bool((one == other).all()):
            break
        # Both ends' roots point to the smaller one of them; then every run is led to its root.
        label.scatter_reduce_(0, torch.maximum(one, other), least, "amin")
        while True:
            jumped = label[label]
            if torch.equal(jumped, label):
                break
            label = jumped
    root = label == run
    component = (root.cumsum(0) - 1)[label]
    row = start // stride
    image = row // (height + 1)
    y, x = row - image * (height + 1) - 1, start - row * stride
    return mask, image, y, x, stop - start, component, root.nonzero().squeeze(1)


def pixels_of(runs: Runs, chosen: Tensor) -> Tensor:
    """The pixels of the chosen components.

    Args:
        runs: runs and components.
        chosen: (components,) bool.

    Returns:
        (B, H, W) bool, on the runs' device.
    """
    # A lesion's map has few set pixels outside the chosen components: start from all and take those away.
    run = (~chosen.index_select(0, runs.component)).nonzero().squeeze(1)
    image, y, x, length = (t.index_select(0, run) for t in (runs.image, runs.y, runs.x, runs.length))
    rows, stride = runs.mask.shape[1:]
    above = rows - runs.height
    start = (image * rows + y + above) * stride + x
    # Pixel j of all these runs, put one behind the other, is pixel j − (pixels before its run) of its run.
    before = length.cumsum(0) - length
    pixels = runs.mask.clone()
    if pixels.device.type == "cpu":  # numpy does the same several times faster
        index = np.repeat((start - before).numpy(), length.numpy())
        index += np.arange(len(index))
        pixels.numpy().reshape(-1)[index] = False
    else:
        index = torch.repeat_interleave(start - before, length)
        index += torch.arange(len(index), device=index.device)
        pixels.view(-1)[index] = False
    return pixels[:, above:, : runs.width]


def distance_sums(runs: Runs, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum over each component of its pixels' distances to (H/2, W/2) (equation 2): exact, rounded once to float64.

    Args:
        runs: runs and components.
        total: adds a (R,) int64 of runs up to (components,) int64.

    Returns:
        (components,) float64, in pixels; equal to ``math.fsum`` over the pixels in any order.
    """
    table, shift = distance_table(runs.height, runs.width, runs.length.device)
    start = runs.y * runs.width + runs.x
    stop = start + runs.length
    # (index_select is several times faster than indexing by a tensor)
    high, low = (total(part) for part in (table.index_select(0, stop) - table.index_select(0, start)).unbind(1))
    # Carry over what the fine part holds in whole coarse steps: then both parts are float64 exactly, and
    # adding them is the one and only rounding.
    carry = low >> (53 - shift)
    high, low = high + carry, low - (carry << (53 - shift))
    return high.double() * 2.0**-shift + low.double() * 2.0**-53


@lru_cache(maxsize=16)
def distance_table(height: int, width: int, device: torch.device) -> tuple[Tensor, int]:
    """Running sums over the raster of each pixel's distance, as integers: steps of 2^-shift, and the rest of 2^-53.

    (H · W + 1, 2) int64, both parts side by side, as they are always asked for together; and the shift.

    A float64 distance is 0 or at least ½, so it is a whole number of 2^-53: the two parts hold it without
    loss.
    """
    dy, dx = np.arange(height) - height / 2, np.arange(width) - width / 2
    distance = np.sqrt((dy * dy)[:, None] + (dx * dx)[None, :]).reshape(-1)
    bits = int(distance.max() * distance.size).bit_length() + 1  # of any sum's whole part, with one to spare
    if bits + distance.size.bit_length() > 62:
        raise DataError(
            f"Maps of {height} × {width} are too large for exact distance sums in 64 bits. "
            "Resize them: the uncertainty module is meant for the size that training takes (6000 × 6000 still goes)."
        )
    shift = 53 - bits
    coarse = np.floor(distance * 2.0**shift)
    fine = (distance * 2.0**shift - coarse) * 2.0**bits
    table = np.zeros((distance.size + 1, 2), np.int64)
    for part, column in zip((coarse, fine), table.T, strict=True):
        np.cumsum(part.astype(np.int64), out=column[1:])
    return torch.from_numpy(table).to(device), shift
