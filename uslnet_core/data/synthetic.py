"""Dermoscopy-like images with exact outlines, made from a seed.

An image is a function of (seed, index) alone: neither the number of images, nor their order, nor the mask
plays a part. The scene is described in units of the frame, so the same lesion appears at every size. What
an image shows is drawn in `synthetic_recipe`, the lesion's shape in `synthetic_outline`, skin and pigment
are painted in `synthetic_pigment`, and what a dermatoscope and its user add (hair, gel, ink, ruler) in
`synthetic_artefacts`.

The mask is the outline of the one main lesion, cut at half of its pigment. Satellites and freckles lie
outside it, as in most expert outlines. Images and masks are separate functions on purpose: what trains asks
for images only.

These images are for teaching and testing. No number obtained on them says anything about real lesions.
"""

from __future__ import annotations

import operator
import re
from dataclasses import asdict

import numpy as np

from uslnet_core.data.synthetic_artefacts import add_artefacts
from uslnet_core.data.synthetic_outline import Outline, draw_outline, pixel_centres
from uslnet_core.data.synthetic_pigment import paint
from uslnet_core.data.synthetic_recipe import Recipe, draw_recipe
from uslnet_core.errors import DataError

COUNTS = {"train": 320, "validation": 64, "test": 64}
"""Images per split that the quick profile makes, unless told otherwise."""

OFFSETS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
"""First index of each split: the splits cannot overlap below a million images."""

_SPLIT_SPAN = 1_000_000
_SIZES = (16, 2048)
_LIMIT = 2**32  # one 32-bit word each, so that (seed, index) is never read as another pair


def image(index: int, *, size: int, seed: int) -> np.ndarray:
    """Paint one image.

    Args:
        index: which image, 0 … 2³² − 1; `index_of` gives it for an id.
        size: height and width in pixels, 16 … 2048.
        seed: seed of the whole set, 0 … 2³² − 1.

    Returns:
        (size, size, 3) uint8, RGB.

    Raises:
        DataError: an argument is no integer or out of range.
    """
    index, seed, size = _whole("index", index), _whole("seed", seed), _size(size)
    recipe, outline, (paint_rng, grain_rng) = _scene(index, seed)
    canvas = paint(paint_rng, recipe, outline, 2 * size)  # (2 size, 2 size, 3)
    canvas = _halve(add_artefacts(paint_rng, recipe, canvas))
    grain = grain_rng.normal(0.0, 0.006, size=canvas.shape[:2] + (1,)).astype(np.float32)
    return np.rint(255 * np.clip(canvas + grain, 0, 1)).astype(np.uint8)


def mask(index: int, *, size: int, seed: int) -> np.ndarray:
    """Outline the main lesion of one image; for scoring alone.

    Args:
        index: which image, as for `image`.
        size: height and width in pixels, 16 … 2048.
        seed: seed of the whole set.

    Returns:
        (size, size) bool, true on the lesion.

    Raises:
        DataError: an argument is no integer or out of range.
    """
    index, seed, size = _whole("index", index), _whole("seed", seed), _size(size)
    _, outline, _ = _scene(index, seed)
    side = 2 * size
    # The share of each sub-pixel that is inside, so that averages of exactly one half do not pile up.
    coverage = np.clip(outline.depth(pixel_centres(side)).depth * side + 0.5, 0, 1)
    return _halve(coverage) > 0.5


def describe(index: int, *, seed: int) -> dict[str, float | int | bool | str]:
    """Say what one image shows, without painting it.

    Args:
        index: which image, as for `image`.
        seed: seed of the whole set.

    Returns:
        The fields of `synthetic_recipe.Recipe`, and `border`: the lesion reaches the frame. `area_fraction`
        is the share of the frame, `contrast` the share of green light that the lesion's base pigment
        absorbs, `skin_tone` the individual typology angle in degrees (above 55 very light, under −30 dark);
        `hair`, `stubble`, `bubbles` and `satellites` are counts.

    Raises:
        DataError: an argument is no integer or out of range.
    """
    index, seed = _whole("index", index), _whole("seed", seed)
    recipe, outline, _ = _scene(index, seed)
    return {**asdict(recipe), "border": outline.touches_border}


def ids(split: str, count: int | None = None) -> list[str]:
    """Name the first images of a split.

    Args:
        split: "train", "validation" or "test".
        count: how many, 0 … 1 000 000; by default `COUNTS[split]`.

    Returns:
        Names such as "synthetic_train_0007", in order.

    Raises:
        DataError: an unknown split, or a count out of range.
    """
    if split not in OFFSETS:
        raise DataError(f"Unknown split {split!r} of the synthetic images: choose one of {', '.join(OFFSETS)}.")
    number = COUNTS[split] if count is None else _whole("count", count, _SPLIT_SPAN + 1)
    return [f"synthetic_{split}_{i:04d}" for i in range(number)]


def index_of(image_id: str) -> int:
    """Give the index of an id made by `ids`.

    Args:
        image_id: such as "synthetic_validation_0003".

    Returns:
        The index for `image`, `mask` and `describe`; no two ids share one.

    Raises:
        DataError: not an id of a synthetic image.
    """
    match = re.fullmatch(r"synthetic_(train|validation|test)_(\d{4,6})", str(image_id), flags=re.ASCII)
    # More than four digits never start with 0, else two ids would mean one image.
    if match is None or (len(match[2]) > 4 and match[2].startswith("0")):
        raise DataError(
            f"{image_id!r} is no id of a synthetic image: expected a name such as 'synthetic_train_0007', "
            "as synthetic.ids() makes them."
        )
    return OFFSETS[match[1]] + int(match[2])


def _scene(index: int, seed: int) -> tuple[Recipe, Outline, list[np.random.Generator]]:
    """Recipe and outline of one image, and independent generators for its paint and its grain."""
    children = np.random.SeedSequence([seed, index]).spawn(4)
    recipe_rng, shape_rng, *rest = (np.random.default_rng(child) for child in children)
    recipe = draw_recipe(recipe_rng)
    return recipe, draw_outline(shape_rng, recipe.area_fraction, off_centre=recipe.off_centre), rest


def _halve(array: np.ndarray) -> np.ndarray:
    """Average blocks of 2 × 2 pixels: (2n, 2n, …) → (n, n, …)."""
    rows = array[::2] + array[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _whole(name: str, value: int, limit: int = _LIMIT) -> int:
    """Check a whole number, 0 … limit − 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, (bool, np.bool_)) or not 0 <= number < limit:
        raise DataError(f"The {name} of a synthetic image is {value!r}: expected a whole number from 0 to {limit - 1}.")
    return number


def _size(value: int) -> int:
    """Check an image size in pixels."""
    smallest, largest = _SIZES
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, (bool, np.bool_)) or not smallest <= number <= largest:
        raise DataError(
            f"The size of a synthetic image is {value!r}: expected whole pixels from {smallest} "
            f"to {largest}. Choose a size in that range."
        )
    return number
