"""The uncertainty module (UM): a saliency map becomes background, uncertain and foreground.

Low saliency is background; of the connected high-saliency components the most central one that is large
enough is foreground; everything else is uncertain (section 3.4 of the paper: Algorithm 1 and equation 2).
Exactly:

0. Pixels have integer coordinates 0 … H−1 and 0 … W−1, the centre is (H/2, W/2). Thresholds are rounded to
   the map's own dtype and compared there. A centroid farther than ``exclusion`` · min(H, W) from the centre
   is too far.
1. ``C < low`` is background, ``C > high`` a candidate, anything else uncertain, equality included.
2. Candidates fall into connected components (8 neighbours, or 4).
3. A component under ``round(min_area · H · W)`` pixels is dropped (Python's ``round``: halves go to the even
   number); one of exactly that size stays.
4. Of the rest, the least mean (or, as printed, the least sum) of the pixels' distances to the centre wins.
   Each distance is a float64, their sum is the exact one rounded once to float64 (that of ``math.fsum``), the
   mean is that sum over the area in float64. So no order of summation, thread or device can break a tie:
   mirror images are equal, and equals go to the component whose first pixel comes first in raster order.
5. Dropped and unchosen candidates are uncertain, never background.
6. An image with no component left, or whose chosen component is too far out, is not kept. Its label is still
   what the rules above give: in the second case with the foreground that was chosen.

Past the paper, and off unless asked for: thresholds that adapt to each map, a rule that also weighs size, and a
band of doubt along the outline (`UncertaintyModule` says how).

How it is fast: horizontal runs of candidates are labelled instead of pixels, for the whole batch at once.
`uslnet_core.components` finds the runs and joins them; here they are measured, judged and painted. For large batches
on the CPU `uslnet_core.fused` does all of it in one compiled pass, where numba is installed. Every way gives the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from numbers import Real
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from uslnet_core.checked_maps import check_form, check_values, largest
from uslnet_core.components import Runs, distance_sums, find_runs, pixels_of
from uslnet_core.doubt import adapted, along_outline
from uslnet_core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

#: What `UncertaintyOutput.reason_code` and `Regions.reason_code` count.
IMAGE_REASONS = ("kept", "no component left", "too far from the centre")
REGION_REASONS = ("chosen", "too small", "less central")

#: The ways to compute it, all with the same result.
WAYS = ("auto", "numpy", "torch", "numba")

# Images go through in groups of about this many pixels, so that a batch of any size needs the same working
# memory.
_GROUP_PIXELS = 5 << 18

# From here on (21 maps of 224 × 224) numba is asked for unless told otherwise. Importing it takes about a second, once
# in a process: a single small batch should not wait for that.
_NUMBA_PIXELS = 1 << 20


@dataclass(frozen=True)
class Regions:
    """Every candidate component of a batch: a row each, by image and then by first pixel in raster order.

    Attributes:
        image: (n,) int64, the image's index in the batch.
        area: (n,) int64, in pixels.
        centroid_y: (n,) float64, mean row, in pixels.
        centroid_x: (n,) float64, mean column, in pixels.
        mean_distance: (n,) float64, of the pixels to (H/2, W/2), in pixels (equation 2 over the area).
        chosen: (n,) bool, whether it is its image's foreground.
        reason_code: (n,) int8, index into `REGION_REASONS`.
    """

    image: Tensor
    area: Tensor
    centroid_y: Tensor
    centroid_x: Tensor
    mean_distance: Tensor
    chosen: Tensor
    reason_code: Tensor

    def __len__(self) -> int:
        return len(self.image)

    @property
    def reason(self) -> np.ndarray:
        """(n,) strings: "chosen", "too small" or "less central"."""
        return np.array(REGION_REASONS)[self.reason_code.cpu().numpy()]


@dataclass(frozen=True)
class UncertaintyOutput:
    """What the uncertainty module says of a batch; tensors are on the device of its input.

    Attributes:
        label: (B, H, W) float32, the pseudo-label: 0 background, 0.5 uncertain, 1 foreground.
        keep: (B,) bool, whether the image takes part in this iteration's training.
        reason_code: (B,) int8, index into `IMAGE_REASONS`.
        regions: the table of components.
    """

    label: Tensor
    keep: Tensor
    reason_code: Tensor
    regions: Regions

    @property
    def reason(self) -> np.ndarray:
        """(B,) strings: "kept", or why not: "no component left", "too far from the centre"."""
        return np.array(IMAGE_REASONS)[self.reason_code.cpu().numpy()]

    def regions_frame(self) -> pd.DataFrame:
        """The table of components with the columns image, area, …, chosen, reason."""
        import pandas as pd  # only the tables need it, and it is slow to import

        columns = {f.name: getattr(self.regions, f.name).cpu().numpy() for f in fields(Regions)}
        del columns["reason_code"]
        return pd.DataFrame({**columns, "reason": self.regions.reason.astype(object)})


@dataclass(frozen=True)
class UncertaintyModule:
    """Turn saliency maps into three-valued pseudo-labels (section 3.4, Algorithm 1, equation 2).

    Args:
        low: saliency below it is background. In [0, 1], below ``high``.
        high: saliency above it is a candidate for foreground. In [0, 1].
        min_area: components under this fraction of the image's area are dropped. In [0, 1]. The paper's 500
            pixels at 224 × 224 are ``500 / 224**2``.
        neighbours: 8 or 4, which pixels touch.
        rule: "mean" (the most central component has the least mean distance), "sum" (the equation as
            printed, which favours small components), or past the paper "relative" (mean distance over the square root
            of the area, which is the same for a centred disc of any size: what is small must lie closer).
        exclusion: an image is excluded when the chosen centroid lies farther from the centre than this
            fraction of its shorter side. 0 or more; ``math.inf`` excludes none.
        thresholds: "fixed", or past the paper "adaptive": ``low`` falls and ``high`` rises in each map until at least
            a share ``doubt`` of the pixels on either side of their middle is uncertain. They never move towards each
            other, and where so many pixels have the most extreme value that no threshold could part them, the fixed
            one stays. So a segmenter that is sure of everything is still asked about what it is least sure of.
        doubt: that share, in [0, 1).
        band: past the paper, pixels this near to the outline of the chosen component, on both sides, are uncertain; a
            fraction of the shorter side, in [0, 1].

    Raises:
        ConfigError: a setting is of the wrong type or out of range.
    """

    low: float = 0.35
    high: float = 0.65
    min_area: float = 500 / 224**2
    neighbours: int = 8
    rule: str = "mean"
    exclusion: float = 1 / 3
    thresholds: str = "fixed"
    doubt: float = 0.1
    band: float = 0.0

    def __post_init__(self) -> None:
        for name in ("low", "high", "min_area", "exclusion", "doubt", "band"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ConfigError(f"{name} must be a number, but is {value!r}.")
        for name in ("low", "high"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but saliency lies in [0, 1]: choose {name} there.")
        if not self.low < self.high:
            raise ConfigError(
                f"low is {self.low} and high is {self.high}, but low must be less than high: "
                "what lies between them is uncertain. Lower low or raise high."
            )
        if not 0 <= self.min_area <= 1:
            raise ConfigError(
                f"min_area is {self.min_area}, but it is a fraction of the image's area, in [0, 1]: "
                "divide pixels by height × width (500 pixels at 224 × 224 are 500 / 224**2)."
            )
        if isinstance(self.neighbours, bool) or self.neighbours not in (4, 8):
            raise ConfigError(f"neighbours is {self.neighbours!r}, but must be 8 (corners touch) or 4 (sides only).")
        if self.rule not in ("mean", "sum", "relative"):
            raise ConfigError(
                f"rule is {self.rule!r}, but must be 'mean' (the default), 'sum' (as printed) or 'relative' (to size)."
            )
        if self.thresholds not in ("fixed", "adaptive"):
            raise ConfigError(f"thresholds is {self.thresholds!r}, but must be 'fixed' (the default) or 'adaptive'.")
        for name, most in (("doubt", "below 1"), ("band", "1 at most")):
            if not 0 <= getattr(self, name) <= 1 or (name == "doubt" and self.doubt == 1):
                raise ConfigError(f"{name} is {getattr(self, name)}, but it is a share: 0 or more, and {most}.")
        if not self.exclusion >= 0:
            raise ConfigError(
                f"exclusion is {self.exclusion}, but it is a fraction of the shorter side, 0 or more: "
                "1/3 is the default, math.inf excludes no image."
            )

    def __call__(self, saliency: Tensor, way: str = "auto") -> UncertaintyOutput:
        """Label a batch of maps.

        Args:
            saliency: (B, H, W) float32 (or float64, float16, bfloat16) in [0, 1], on any device. B may be 0.
                One map needs its batch axis: ``saliency.unsqueeze(0)``. Values up to 4 float steps above 1,
                which upsampling leaves behind, pass. No gradient flows through.
            way: "numpy" or "numba" (CPU), "torch" (any device), or "auto": torch on a GPU; on the CPU numba for
                large batches where it is installed, else numpy.

        Returns:
            Labels, keep flags, reasons and the table of components, on the map's device (where that has no
            float64, as Apple's has not, the table stays on the CPU). CPU and GPU agree bit for bit.

        Raises:
            DataError: not a floating-point tensor of that shape, or it holds NaN or values outside [0, 1].
            ConfigError: no such way, or not for this device, or numba is not installed or does not compile.
        """
        check_form(saliency)
        given, device, saliency = saliency, saliency.device, saliency.detach()
        if device.type not in ("cpu", "cuda"):
            saliency = saliency.cpu()
        way = _way(way, saliency)
        if way != "numba":  # it looks at the values as it goes
            check_values(given)
        # Rounded to the map's dtype first, the thresholds compare exactly in any wider one.
        low, high = (torch.tensor(float(t), dtype=saliency.dtype).item() for t in (self.low, self.high))
        if saliency.dtype in (torch.float16, torch.bfloat16):
            saliency = saliency.float()

        images, height, width = saliency.shape
        label = torch.empty(saliency.shape, dtype=torch.float32, device=saliency.device)
        group = max(1, _GROUP_PIXELS // (height * width))
        parts = []
        for first in range(0, max(images, 1), group):
            maps, part = saliency[first : first + group], label[first : first + group]
            lows, highs = (low, high) if self.thresholds == "fixed" else adapted(maps, low, high, self.doubt)
            if way == "numba":
                judged = self._fused(maps, lows, highs, largest(given.dtype), first, part)
                if judged is None:
                    check_values(given)  # raises, and says where
                parts.append(judged)
                foreground = None
            else:
                runs = find_runs(maps, highs, self.neighbours, on_device=way == "torch")
                parts.append(self._judge(runs, first))
                foreground = pixels_of(runs, parts[-1][0].chosen)
                _write(part, maps, lows, foreground)
            if radius := round(self.band * min(height, width)):
                foreground = part == 1 if foreground is None else foreground
                part.masked_fill_(along_outline(foreground, radius), 0.5)
        regions, reason_code = zip(*parts, strict=True)
        regions = Regions(*(torch.cat([getattr(r, f.name) for r in regions]) for f in fields(Regions)))
        reason_code = torch.cat(reason_code).to(device)
        return UncertaintyOutput(label.to(device), reason_code == 0, reason_code, regions)

    def _fused(
        self, maps: Tensor, low: float | Tensor, high: float | Tensor, most: float, first_image: int, label: Tensor
    ) -> tuple[Regions, Tensor] | None:
        """All of one group by numba, ``label`` (B, H, W) filled; None where a value is out of range."""
        height, width = maps.shape[1:]
        found = _numba().label_maps(
            maps.contiguous(), low, high, most, round(self.min_area * height * width), self.neighbours, self.rule,
            min(height, width) * float(self.exclusion), label,
        )  # fmt: skip
        if found is None:
            return None
        (image, *columns), image_code = found
        return Regions(image + first_image, *columns), image_code

    def _judge(self, runs: Runs, first_image: int) -> tuple[Regions, Tensor]:
        """Measure the components of one group, choose each image's foreground, and say which images stay."""
        height, width = runs.height, runs.width
        device, n = runs.length.device, runs.components

        def total(of_run: Tensor) -> Tensor:
            return torch.zeros(n, dtype=torch.int64, device=device).scatter_add_(0, runs.component, of_run)

        area = total(runs.length)
        count = area.double()
        centroid_y = total(runs.y * runs.length) / count
        centroid_x = total((2 * runs.x + runs.length - 1) * runs.length // 2) / count
        distance = distance_sums(runs, total)
        mean_distance = distance / count
        image = runs.image.index_select(0, runs.first)

        # Least score of each image; then, among the components that reach it, the first in raster order.
        big = area >= round(self.min_area * height * width)
        score = {"mean": mean_distance, "sum": distance, "relative": mean_distance / count.sqrt()}[self.rule]
        score = torch.where(big, score, math.inf)
        least = score.new_full((runs.images,), math.inf).scatter_reduce_(0, image, score, "amin")
        order = torch.arange(n, device=device)
        contender = torch.where(big & (score == least.index_select(0, image)), order, n)
        winner = order.new_full((runs.images,), n).scatter_reduce_(0, image, contender, "amin")

        # Row n stands for "none": an image without a component left points there.
        chosen = torch.zeros(n + 1, dtype=torch.bool, device=device)
        chosen[winner] = True
        chosen = chosen[:n]
        dy, dx = centroid_y - height / 2, centroid_x - width / 2
        far = torch.sqrt(dy * dy + dx * dx) > min(height, width) * float(self.exclusion)
        far = torch.cat([far, far.new_zeros(1)])[winner]
        image_code = torch.where(winner == n, 1, 2 * far.to(torch.int8)).to(torch.int8)
        region_code = torch.where(chosen, 0, 2 - (~big).to(torch.int8)).to(torch.int8)
        table = Regions(image + first_image, area, centroid_y, centroid_x, mean_distance, chosen, region_code)
        return table, image_code


def _write(label: Tensor, maps: Tensor, low: float | Tensor, foreground: Tensor) -> None:
    """Fill ``label`` (B, H, W): half for a saliency of ``low`` (one, or one a map) or more, and half for foreground."""
    low = torch.as_tensor(low, dtype=maps.dtype, device=maps.device).view(-1, 1, 1)
    if label.device.type != "cpu":
        torch.ge(maps, low, out=label).mul_(0.5).masked_fill_(foreground, 1.0)
        return
    low = low.expand(len(maps), 1, 1).numpy()
    # A few maps at a time stay in the processor's cache. Each step by whoever is faster at it: numpy compares, torch
    # widens bytes to floats.
    values, inside, few = maps.numpy(), foreground.numpy().view(np.uint8), 8
    above = np.empty((min(few, len(maps)), *maps.shape[1:]), bool)
    for first in range(0, len(maps), few):
        some = slice(first, first + few)
        level = above[: len(maps) - first]
        np.greater_equal(values[some], low[some], out=level)
        level = level.view(np.uint8)
        level += inside[some]
        label[some].copy_(torch.from_numpy(level)).mul_(0.5)


@cache
def _numba() -> ModuleType | None:
    """Import the compiled way and try it on one pixel; None without numba, or where it cannot compile or keep that."""
    try:
        from uslnet_core import fused  # slow to import: not before it is needed

        fused.label_maps(torch.zeros(1, 1, 1), 0.35, 0.65, 1.0, 1, 8, "mean", math.inf, torch.empty(1, 1, 1))
    except Exception:  # whatever is amiss with a compiler on some machine, the plain way gives the same
        return None
    return fused


def _way(way: str, maps: Tensor) -> str:
    """Choose or check a way to compute: "numpy", "torch" or "numba"."""
    if way not in WAYS:
        raise ConfigError(f"way is {way!r}, but must be one of {', '.join(map(repr, WAYS))}.")
    if maps.device.type != "cpu":
        if way in ("numpy", "numba"):
            raise ConfigError(
                f"way is {way!r}, which needs maps on the CPU, but they are on {maps.device}: leave it out."
            )
        return "torch"
    if way == "auto":
        return "numba" if maps.numel() >= _NUMBA_PIXELS and _numba() else "numpy"
    if way == "numba" and _numba() is None:
        raise ConfigError(
            "way is 'numba', but numba cannot be imported or does not compile here: install it (pip install numba), "
            "or leave way out: numpy gives the same."
        )
    return way
