"""How right pseudo-labels are, by threshold and by what the paper leaves open (section 4.5.2, figure 8).

For analysis alone: everything here reads the experts' masks. No setting of a run may be chosen by it, and the
settings that this project uses were fixed before (see the deviations).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import torch

from uslnet_core.errors import ConfigError, DataError
from uslnet_core.evaluation.checks import as_array, as_mask, require_same_shape
from uslnet_core.evaluation.masks import label_accuracy, ratio
from uslnet_core.uncertainty import UncertaintyModule

#: The ways to make a label of a map that `threshold_curves` compares.
CURVES = ("threshold x", "threshold 1 − x", "split only", "UM")

#: What the paper leaves open or prints otherwise, for `label_variants`: one setting changed at a time. A function
#: makes the new value of the one that is there.
OPEN_CHOICES: dict[str, dict[str, Any]] = {
    "as settled": {},
    "printed sum": {"rule": "sum"},
    "4 neighbours": {"neighbours": 4},
    "least area halved": {"min_area": lambda area: area / 2},
    "least area doubled": {"min_area": lambda area: area * 2},
    "exclusion 1/4": {"exclusion": 1 / 4},
    "exclusion 1/2": {"exclusion": 1 / 2},
    "no exclusion": {"exclusion": math.inf},
}

# Maps go through in groups, so that thousands of them need little memory
_GROUP = 256


def threshold_curves(
    saliency: np.ndarray | torch.Tensor,
    truth: np.ndarray | torch.Tensor,
    x: Sequence[float],
    module_settings: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Compare plain thresholds with the uncertainty module over the distance of its thresholds (figure 8).

    Mind what is compared: a plain threshold answers for every pixel of every image, the module for the pixels
    that it is certain of, in the images that it keeps. It may choose the easy ones; so the share that it
    answers for stands beside. On the pixels it is certain of, ``split only`` says the same as any plain threshold
    between x and 1 − x.

    Args:
        saliency: (N, H, W) floating-point in [0, 1], as large as the truth.
        truth: (N, H, W) bool, the experts' masks.
        x: The lower thresholds, in [0, 0.5); the upper ones are 1 − x.
        module_settings: Other settings of `UncertaintyModule`; the paper's where left out.

    Returns:
        Tidy, one row per x and curve: x; curve (`CURVES`: lesion above x; lesion above 1 − x; background below x,
        lesion above 1 − x and uncertain between; the same with the module's components, centrality and
        exclusion); accuracy of the certain pixels, mean of the images counted; pooled accuracy of the same pixels
        thrown together; certain, the share of the pixels of the images counted that is certain; images, how many are
        counted (kept by the module and with a certain pixel), and n_images. Fractions in [0, 1]; NaN where no image
        is counted.

    Raises:
        DataError: Shapes or types are wrong, no image, no x, or one lies outside [0, 0.5).
        ConfigError: An unknown setting, or one that x gives.
    """
    saliency, truth = _checked(saliency, truth)
    thresholds = [float(low) for low in x]
    if not thresholds or not all(0 <= low < 0.5 for low in thresholds):
        raise DataError(f"The thresholds x are {thresholds}; expected at least one, and all in [0, 0.5).")
    settings = dict(module_settings or {})
    if given := {"low", "high"} & set(settings):
        raise ConfigError(f"The settings name {sorted(given)}, which x gives: leave them out.")
    modules = [_module({**settings, "low": low, "high": 1 - low}) for low in thresholds]
    found: dict[tuple[int, str], list[pd.DataFrame]] = {}
    for maps, masks in _groups(saliency, truth):
        for k, module in enumerate(modules):
            for curve, (label, keep) in _labels_of(maps, module).items():
                found.setdefault((k, curve), []).append(label_accuracy(label, masks).assign(keep=keep))
    rows = []
    for (k, curve), parts in found.items():
        per_image = pd.concat(parts)
        counted = per_image[per_image["keep"] & per_image["accuracy"].notna()]
        right = (counted["accuracy"] * counted["certain"]).sum()  # images are of one size: shares weigh like pixels
        rows.append(
            {
                "x": thresholds[k],
                "curve": curve,
                "accuracy": counted["accuracy"].mean(),
                "pooled": float(ratio(right, counted["certain"].sum(), when_undefined=np.nan)),
                "certain": counted["certain"].mean(),
                "images": len(counted),
                "n_images": len(per_image),
            }
        )
    return pd.DataFrame(rows)


def label_variants(
    saliency: np.ndarray | torch.Tensor,
    truth: np.ndarray | torch.Tensor,
    variants: Mapping[str, Mapping[str, Any]] = OPEN_CHOICES,
    base: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Say what becomes of the labels where another of the open choices is taken.

    Args:
        saliency: (N, H, W) floating-point in [0, 1], as large as the truth.
        truth: (N, H, W) bool, the experts' masks.
        variants: Name to the settings of `UncertaintyModule` that it changes, or to functions of the base's value.
        base: The settings that all start from and are compared with; the paper's where left out.

    Returns:
        One row per variant, in order: variant; kept, how many images take part in training, and n_images; certain,
        the share of certain pixels, accuracy of those, and of those labelled foreground and background, all means
        over the images kept that have such a pixel, in [0, 1]; differs, in how many of all images another set of
        pixels is foreground than with the base's settings; touches, the share of the images kept whose foreground
        has a pixel on the lesion.
        NaN where nothing is kept.

    Raises:
        DataError: Shapes or types are wrong, no image, or no variant.
        ConfigError: An unknown setting, or a value out of range.
    """
    saliency, truth = _checked(saliency, truth)
    if not variants:
        raise DataError("There are no variants: expected at least one name with the settings that it changes.")
    start = _module(base or {})
    modules = {name: _module({**(base or {}), **_changed(start, changes)}) for name, changes in variants.items()}
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in modules}
    for maps, masks in _groups(saliency, truth):
        usual = start(torch.from_numpy(maps)).label.numpy() == 1
        for name, module in modules.items():
            out = module(torch.from_numpy(maps))
            label = out.label.numpy()
            chosen = label == 1
            found[name].append(
                label_accuracy(label, masks).assign(
                    keep=out.keep.numpy(),
                    differs=(chosen != usual).any(axis=(1, 2)),
                    touches=(chosen & masks).any(axis=(1, 2)),
                )
            )
    rows = []
    for name, parts in found.items():
        per_image = pd.concat(parts)
        kept = per_image[per_image["keep"]]
        rows.append(
            {
                "variant": name,
                "kept": len(kept),
                "n_images": len(per_image),
                **kept[["certain", "accuracy", "foreground", "background"]].mean(),
                "differs": int(per_image["differs"].sum()),
                "touches": kept["touches"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _checked(saliency: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    saliency, truth = as_array(saliency), as_mask(truth, "truth")
    require_same_shape("saliency", saliency, truth)
    if len(truth) == 0:
        raise DataError("There are no images: got 0 maps, expected at least 1.")
    return saliency, truth


def _module(settings: Mapping[str, Any]) -> UncertaintyModule:
    known = [field.name for field in fields(UncertaintyModule)]
    if unknown := [name for name in settings if name not in known]:
        raise ConfigError(f"The uncertainty module has no setting {unknown}; expected some of {known}.")
    return UncertaintyModule(**settings)


def _changed(base: UncertaintyModule, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Work out settings that are given as functions of the base's."""
    return {name: value(getattr(base, name)) if callable(value) else value for name, value in changes.items()}


def _groups(saliency: np.ndarray, truth: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, len(truth), _GROUP):
        yield np.ascontiguousarray(saliency[first : first + _GROUP]), truth[first : first + _GROUP]


def _labels_of(maps: np.ndarray, module: UncertaintyModule) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label maps in each of the ways: curve to the labels (N, H, W) and which images are kept (N,)."""
    out = module(torch.from_numpy(maps))
    every = np.ones(len(maps), dtype=bool)
    # In the maps' own precision, as the module compares
    low, high = (maps.dtype.type(threshold) for threshold in (module.low, module.high))
    split = np.where(maps < low, 0, np.where(maps > high, 1, 0.5))
    labels = (maps > low, maps > high, split, out.label.numpy())
    kept = (every, every, every, out.keep.numpy())
    return dict(zip(CURVES, zip(labels, kept, strict=True), strict=True))
