"""How fast the uncertainty module is, as a ratio to scipy in the same process.

    python benchmarks/uncertainty.py [--out table.csv] [--images 64] [--size 224] [--rounds 15]

Every contender labels the same batch in turn, round by round, so that a busy machine slows them alike; a ratio is the
median of the rounds' ratios. What ours gives is first checked against scipy's. Where there is a GPU, ours on it is
timed against kornia's union-find on the same card and scipy on one core, and must give the CPU's labels bit for bit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from datetime import date
from functools import partial

import numpy as np
import pandas as pd
import scipy
import torch
from _timing import arguments, circumstances, in_turn, judged, tell_goals
from kornia.contrib import connected_components_union_find
from scipy import ndimage
from skimage import measure as skimage_measure

from uslnet_core.components import find_runs
from uslnet_core.uncertainty import UncertaintyModule

LOW, HIGH, LEAST = np.float32(0.35), np.float32(0.65), 500 / 224**2
STRUCTURE = np.ones((3, 3), bool)


def lesion_maps(images: int, size: int, noise: float, seed: int = 0) -> torch.Tensor:
    """Saliency like CCAM's: a soft, irregular blob near the centre, sometimes with smaller ones; then noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    maps = np.empty((images, size, size), np.float32)
    for one in maps:
        level = np.full((size, size), -3.0)
        for blob in range(1 + rng.poisson(1)):
            spread = 0.08 if blob == 0 else 0.3
            cy, cx = rng.normal(0.5, spread, 2)
            radius = rng.uniform(0.15, 0.35) if blob == 0 else rng.uniform(0.02, 0.08)
            level = np.maximum(level, 4 - 5 * np.hypot(y - cy, x - cx) / radius)
        texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 20)
        one[:] = 1 / (1 + np.exp(-level - texture / texture.std()))
    maps += np.float32(noise) * rng.standard_normal(maps.shape, np.float32)
    return torch.from_numpy(maps.clip(0, 1))


def scipy_label_and_areas(maps: torch.Tensor) -> None:
    """The reference as the goal words it: `label` and one `bincount` a map, with nothing made of them."""
    for one in maps.numpy():
        labels, count = ndimage.label(one > HIGH, STRUCTURE)
        np.bincount(labels.ravel(), minlength=count + 1)


def scipy_whole(maps: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """All that the module does, with scipy's `label` and a `bincount` for each column of the table."""
    images, height, width = maps.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    distance = np.hypot(rows - height / 2, columns - width / 2).ravel()
    rows, columns = rows.ravel(), columns.ravel()
    out, keep = np.empty(maps.shape, np.float32), np.zeros(images, bool)
    for image, one in enumerate(maps.numpy()):
        labels, count = ndimage.label(one > HIGH, STRUCTURE)
        flat = labels.ravel().astype(np.intp)  # once, or each bincount does it again
        area = np.bincount(flat, minlength=count + 1)
        area[0] = 0
        mean, y, x = (
            np.bincount(flat, weights, count + 1) / np.maximum(area, 1) for weights in (distance, rows, columns)
        )
        np.multiply(one >= LOW, np.float32(0.5), out=out[image])
        mean[area < round(LEAST * height * width)] = np.inf
        best = int(mean.argmin())
        if np.isfinite(mean[best]):
            out[image][labels == best] = 1
            keep[image] = np.hypot(y[best] - height / 2, x[best] - width / 2) <= min(height, width) / 3
    return out, keep


def skimage_regions(maps: torch.Tensor) -> None:
    """scikit-image's table: area and centroid of each region; no labels yet, nor distances."""
    for one in maps.numpy():
        regions = skimage_measure.regionprops(skimage_measure.label(one > HIGH, connectivity=2))
        [(region.area, region.centroid) for region in regions]


def kornia_components(maps: torch.Tensor) -> torch.Tensor:
    """Numbers of components by kornia, on any device; no areas yet."""
    return connected_components_union_find((maps > float(HIGH))[:, None])


SCIPY: dict[str, Callable] = {
    "scipy label + bincount": scipy_label_and_areas,
    "scipy, the whole module": scipy_whole,
}
OURS: dict[str, Callable] = {
    "a copy of the maps (the limit)": lambda maps: COPY.setdefault(maps.shape, torch.empty_like(maps)).copy_(maps),
    "ours (numpy, scipy.sparse)": partial(UncertaintyModule(), way="numpy"),
    "ours (torch alone)": partial(UncertaintyModule(), way="torch"),
    "ours (numba)": partial(UncertaintyModule(), way="numba"),
}
# These take turns with scipy by themselves: their memory, several times the maps', slows whoever comes next.
COPY: dict[torch.Size, torch.Tensor] = {}
OTHERS: dict[str, Callable] = {
    "scikit-image label + regionprops": skimage_regions,
    "kornia union-find": kornia_components,
}


def measure(maps: torch.Tensor, rounds: int) -> pd.DataFrame:
    """Milliseconds a map of each contender and how many times faster than each of scipy's it is."""
    label, keep = scipy_whole(maps)
    for name, contender in OURS.items():
        found = contender(maps)  # and what is prepared once, is
        if not name.startswith("ours"):
            continue
        np.testing.assert_array_equal(found.label.numpy(), label)
        np.testing.assert_array_equal(found.keep.numpy(), keep)
    rows = {}
    for group in (OTHERS, OURS):
        seconds = in_turn({name: partial(contender, maps) for name, contender in (SCIPY | group).items()}, rounds)
        for name, own in seconds.items():  # scipy's own rows are those of its turns with ours
            rows[name] = {"how": name, "ms_per_map": 1000 * statistics.median(own) / len(maps)}
            for column, peer in zip(("times_label", "times_whole"), SCIPY, strict=True):
                rows[name][column] = statistics.median(p / o for p, o in zip(seconds[peer], own, strict=True))
    return pd.DataFrame([rows[name] for name in SCIPY | OTHERS | OURS])


# At least so many times scipy on smooth and on noisy maps.
GOALS = {"ours (numpy, scipy.sparse)": (4.0, 2.0), "ours (numba)": (10.0, 4.0)}
PEERS = {
    "times_whole": ("scipy, the same answer", ""),
    "times_label": ("scipy's label + one bincount", "the peer gives no labels, flags or centroids yet"),
}


def goals(table: pd.DataFrame) -> list[dict[str, object]]:
    """Judge what has a goal, against the peer that gives the same answer and against the one that gives less."""
    found = table.set_index(["maps", "how"])
    return [
        judged(f"{how}, {kind} maps", found.loc[(kind, how), column], f"times {peer}", goal, note=note)
        for how, each in GOALS.items()
        for kind, goal in zip(("smooth", "noisy"), each, strict=True)
        for column, (peer, note) in PEERS.items()
    ]


# At least so many times kornia on the same card, and scipy on one core.
ON_GPU = {"kornia union-find": 10.0, "scipy, the whole module": 200.0, "scipy label + bincount": 200.0}


def on_gpu(maps: torch.Tensor, kind: str, rounds: int) -> list[dict[str, object]]:
    """Time ours on a GPU, the maps being there already; without one, say that it was not measured."""
    name = f"ours (torch) on a GPU, {kind} maps"
    if not torch.cuda.is_available():
        return [judged(name, math.nan, f"times {peer}", goal, note="no GPU here") for peer, goal in ON_GPU.items()]
    module, device = UncertaintyModule(), maps.cuda()
    host, there = module(maps, "numpy"), module(device)
    assert there.label.is_cuda and host.regions_frame().equals(there.regions_frame())
    assert torch.equal(host.label, there.label.cpu()) and torch.equal(host.keep, there.keep.cpu())

    def ended(contender: Callable, batch: torch.Tensor) -> None:
        contender(batch)
        torch.cuda.synchronize()

    contenders = {peer: partial(ended, (SCIPY | OTHERS)[peer], device if "kornia" in peer else maps) for peer in ON_GPU}
    contenders[name] = partial(ended, module, device)
    in_turn(contenders, 1)  # the first call of each loads kernels
    seconds = in_turn(contenders, rounds)
    note = f"{1000 * statistics.median(seconds[name]) / len(maps):.4f} ms a map, {torch.cuda.get_device_name()}"
    ratios = {peer: [p / o for p, o in zip(seconds[peer], seconds[name], strict=True)] for peer in ON_GPU}
    return [judged(name, statistics.median(ratios[peer]), f"times {peer}", ON_GPU[peer], note=note) for peer in ON_GPU]


def main() -> None:
    """Measure, print, and write the table where asked to."""
    args = arguments(__doc__, images=64, size=224, rounds=15)

    tables, cards, told = [], [], []
    for kind, noise in (("smooth", 0.0), ("noisy", 0.1)):
        maps = lesion_maps(args.images, args.size, noise)
        runs = len(find_runs(maps, float(HIGH), 8).length) / len(maps)
        table = measure(maps, args.rounds)
        tables.append(table.assign(maps=kind))
        told.append(f"{kind} maps have {runs:.0f} runs on average")
        cards += on_gpu(maps, kind, args.rounds)
    table = pd.concat(tables)[["maps", "how", "ms_per_map", "times_label", "times_whole"]]
    machine, versions = circumstances()
    versions += f", numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{args.images} maps of {args.size} × {args.size}, {args.rounds} rounds · {machine} · {versions}\n")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"), "; ".join(told), sep="\n\n")
    tell_goals(goals(table) + cards, args.out)
    print("\ntimes_label, times_whole: how many times faster than scipy's label + bincount, than all of it by scipy")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        batch = f"{args.images} maps of {args.size}, {', '.join(told)}, {args.rounds} rounds"
        measured = f"{batch}, {machine}, {versions}, {date.today()}"
        table.assign(measured=[measured, *[""] * (len(table) - 1)]).round(3).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
