"""Profiles and methods: what they change in a configuration, by section."""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, dict[str, Any]] = {
    # The whole book on synthetic images in minutes on two cores.
    "quick": {
        "contrastive": {"epochs": 12, "batch_size": 64, "momentum": 0.99},
        "saliency": {"epochs": 40, "samples": 4},
    },
    # Real images, two cores, under an hour.
    "workshop": {
        "images": {"size": 128},
        "contrastive": {"crop": 96, "momentum": 0.99},
        "saliency": {"margin": 0},
        "refinement": {"first_epochs": 6, "epochs": 4},
    },
    # The paper's sizes and epochs. Meant for a GPU.
    "paper": {
        "backbone": "resnet50",
        "encoders": ("simclr", "moco_v1", "moco_v2"),
        "images": {"size": 224},
        "contrastive": {"epochs": 200, "batch_size": 256, "crop": 224, "last_stride": 1, "hidden": 2048},
        "saliency": {"epochs": 20, "margin": 0},
        "segmenter": {"batch_size": 64},
        "refinement": {"iterations": 5, "first_epochs": 300, "epochs": 300},
    },
}

METHODS: dict[str, dict[str, Any]] = {
    # The paper's, as the profiles have it.
    "usl-net": {},
    # Past the paper (chapter 15); the page on deviations says of each value how it was chosen.
    "usl-plus": {
        "saliency": {"also": ("colour_clusters",)},
        "uncertainty": {"low": 0.4, "high": 0.6},
        "refinement": {"iterations": 3, "warm_start": True},
        "look": {"teach": True},
    },
}
# In quick, what one sees at a glance.
SHORTER: dict[str, dict[str, Any]] = {"usl-plus": {"iterations": 2, "first_epochs": 3, "epochs": 5}}


def changes_of(method: str, profile: str) -> dict[str, dict[str, Any]]:
    """Give what a method changes in a profile, by section."""
    changes = METHODS[method]
    if profile == "quick" and method in SHORTER:
        changes = changes | {"refinement": changes["refinement"] | SHORTER[method]}
    return changes
