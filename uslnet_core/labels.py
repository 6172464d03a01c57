"""From saliency to labels: the uncertainty module, and the plain masks that the paper sets beside it (4.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from uslnet_core.config import LabelsConfig, UncertaintyConfig
from uslnet_core.uncertainty import UncertaintyModule, UncertaintyOutput

RULES = ("min_area", "neighbours", "rule", "exclusion")


def make_labels(saliency: Tensor, config: UncertaintyConfig, kind: LabelsConfig | None = None) -> UncertaintyOutput:
    """Label a batch of saliency maps as a run is configured to.

    Args:
        saliency: (B, H, W) float in [0, 1].
        config: the uncertainty section.
        kind: the labels section; by default the uncertainty module's three-way labels.

    Returns:
        As the uncertainty module gives it. *Selected* labels are the module's at one threshold, where all that is not
        the chosen component is background (Model 2 of table 8); every image that has one is kept, however far out it
        lies. *Plain* labels know the threshold and nothing else, and keep every image.
    """
    kind = kind or LabelsConfig()
    rules = {name: getattr(config, name) for name in RULES}
    if kind.kind == "uncertain":
        return UncertaintyModule(**config.model_dump())(saliency)
    out = at_threshold(saliency, kind.threshold, **rules)
    if kind.kind == "selected":
        keep = (out.label == 1).flatten(1).any(1)
        return replace(out, keep=keep, reason_code=torch.where(keep, 0, out.reason_code))  # 0: "kept"
    everything = (saliency > kind.threshold).to(saliency.dtype)
    kept = torch.ones(len(saliency), dtype=torch.bool, device=saliency.device)
    return UncertaintyOutput(everything, kept, torch.zeros_like(out.reason_code), out.regions)


def at_threshold(saliency: Tensor, threshold: float, **rules: object) -> UncertaintyOutput:
    """Choose the most central component above one threshold; all else is background."""
    # What lies between the module's two thresholds is uncertain there and background here, so `low` does not matter.
    out = UncertaintyModule(low=threshold / 2, high=threshold, **rules)(saliency)
    return UncertaintyOutput((out.label == 1).to(out.label.dtype), out.keep, out.reason_code, out.regions)


def select_component(saliency: np.ndarray, threshold: float, config: UncertaintyConfig) -> np.ndarray:
    """Cut maps at a threshold and keep the most central component that is large enough (Model 2 of table 8).

    Args:
        saliency: (N, H, W) float32 in [0, 1].
        threshold: values above are lesion.
        config: the rules of size, neighbours and centrality.

    Returns:
        (N, H, W) bool; empty where no component is large enough. How far out the component lies plays no part: an
        image is never left out of a score.
    """
    rules = {name: getattr(config, name) for name in RULES}
    masks = [at_threshold(part, threshold, **rules).label == 1 for part in torch.from_numpy(saliency).split(64)]
    return torch.cat(masks).numpy()
