"""Random views of images: what the network must learn to overlook (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from uslnet_core.config import Recipe
from uslnet_core.data.augment import colour_jitter, gaussian_blur, random_grey, random_resized_crop
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
    with torch.autocast(images.device.type, enabled=False):  # eight bits would show as steps of grey
        view = random_resized_crop(images, recipe.crop, recipe.crop_area, rng)
        view = colour_jitter(
            view,
            rng,
            brightness=recipe.brightness,
            contrast=recipe.contrast,
            saturation=recipe.saturation,
            hue=recipe.hue,
            share=recipe.jitter,
        )
        view = random_grey(view, recipe.grey, rng)
        return gaussian_blur(view, rng, share=recipe.blur) if recipe.blur else view
