"""Random views of images: what the network must learn to overlook (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from uslnet_core.config import Recipe
from uslnet_core.data.augment import blurs, changed, crops, greys, jitters
from uslnet_core.ranks import Stream


def random_view(images: Tensor, recipe: Recipe, rng: Stream) -> Tensor:
    """Make one random view of each image: crop, flips, colour jitter, grey, blur.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        recipe: the method's settings; each image draws its own amounts from them.
        rng: stream of the random numbers.

    Returns:
        (B, 3, crop, crop) float32 in [0, 1].
    """
    count, device = len(images), images.device
    amounts = {name: getattr(recipe, name) for name in ("brightness", "contrast", "saturation", "hue")}
    with torch.autocast(device.type, enabled=False):  # eight bits would show as steps of grey
        steps = [
            crops(count, recipe.crop, recipe.crop_area, rng, device),
            jitters(count, rng, device, share=recipe.jitter, **amounts),
            greys(count, recipe.grey, rng, device),
        ]
        if recipe.blur:
            steps.append(blurs(count, recipe.crop, rng, device, recipe.blur))
        return changed(images, recipe.crop, *steps)
