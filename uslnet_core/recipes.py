"""What each contrastive method leaves to its authors: temperature and augmentation (paper 3.2, figure 3)."""

from __future__ import annotations

from typing import Any

# As each method's authors publish it; the temperature of SimCLR is one for small sets.
RECIPES: dict[str, dict[str, Any]] = {
    "simclr": {
        "temperature": 0.2,
        "crop_area": (0.08, 1.0),
        **{"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2},
        **{"jitter": 0.8, "grey": 0.2, "blur": 0.5},
    },
    "moco_v1": {
        "temperature": 0.07,
        "crop_area": (0.2, 1.0),
        **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.4},
        **{"jitter": 1.0, "grey": 0.2, "blur": 0.0},
    },
    "moco_v2": {
        "temperature": 0.2,
        "crop_area": (0.2, 1.0),
        **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        **{"jitter": 0.8, "grey": 0.2, "blur": 0.5},
    },
}
# Small images, few epochs: milder changes, and crops that nearly always hold some lesion.
SMALL_RECIPES: dict[str, dict[str, Any]] = {
    "simclr": {
        "crop_area": (0.2, 1.0),
        **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.08, "blur": 0.0},
    }
}
