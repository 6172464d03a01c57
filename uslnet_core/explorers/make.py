"""The explorers, each a function that takes arrays and gives something to play with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from uslnet_core.config import Recipe, UncertaintyConfig
from uslnet_core.errors import DataError
from uslnet_core.explorers.encode import numbers, picture_url, small_numbers
from uslnet_core.explorers.explorer import Explorer
from uslnet_core.figures.outlines import as_images, as_maps

if TYPE_CHECKING:
    from uslnet_core.figures.outlines import Images

#: Images an explorer holds at most: all of them stand in the page.
MOST_IMAGES = 12
_LARGEST = 512  # pixels a side
_EASEL = 48

# What a view hangs on, of a contrastive method's settings
_RECIPE = ("crop_area", "brightness", "contrast", "saturation", "hue", "jitter", "grey", "blur")


def explore_split(
    images: Images,
    saliency: Images,
    *,
    titles: Sequence[str] | None = None,
    rules: UncertaintyConfig | None = None,
) -> Explorer:
    """Drag the rules of the uncertainty module over saliency maps; split, regions and verdict follow at once.

    The page computes Algorithm 1 itself, with the labels of `UncertaintyModule` to the last pixel. What stands beside
    the paper (adaptive thresholds, a band of doubt) it leaves out.

    Args:
        images: N images, (N, H, W, 3) uint8 or (N, 3, H, W) float in [0, 1]; at most 12, of at most 512 pixels a side.
        saliency: (N, h, w) float in [0, 1], all of one size.
        titles: one an image; numbers where there are none.
        rules: where the sliders begin; empty: the paper's values.

    Returns:
        The explorer, shown by a notebook where it is a cell's last value.

    Raises:
        DataError: numbers, shapes or ranges are not as above.
    """
    pictures, titles = _pictures(images, titles)
    maps = as_maps(saliency, len(pictures), "saliency")
    height, width = _one_size(maps, "saliency maps")
    for title, one in zip(titles, maps, strict=True):
        if not np.isfinite(one).all() or one.min() < 0 or one.max() > 1:
            raise DataError(
                f"The saliency map of {title!r} runs from {one.min()} to {one.max()}; expected numbers in [0, 1]. "
                "Scale it first: (map - map.min()) / (map.max() - map.min())."
            )
    items = [
        {"title": title, "picture": picture_url(picture), "map": numbers(one)}
        for title, picture, one in zip(titles, pictures, maps, strict=True)
    ]
    data = {"height": height, "width": width, "rules": _rules(rules), "items": items}
    return Explorer("split", "Drag the rules of the uncertainty module", data)


def explore_painting(*, size: int = _EASEL, rules: UncertaintyConfig | None = None) -> Explorer:
    """Paint a saliency map by hand, or bring a picture as one, and see what the uncertainty module makes of it.

    Args:
        size: side of the map, 8 to 128 pixels.
        rules: where the sliders begin; empty: the paper's values.

    Returns:
        The explorer.

    Raises:
        DataError: the size is out of range.
    """
    if not 8 <= size <= 128:
        raise DataError(f"size is {size}; expected 8 to 128 pixels, so that pixels can be seen and painted.")
    return Explorer("paint", "Paint a saliency map", {"size": size, "rules": _rules(rules)})


def explore_loss(probabilities: np.ndarray, labels: np.ndarray) -> Explorer:
    """Click at the labels of a small map and see what each pixel pays in the uncertainty loss (equation 3).

    Args:
        probabilities: (s, s) float, the network's answer, above 0 and below 1; s from 2 to 8.
        labels: (s, s), 0 background, 0.5 uncertain, 1 foreground.

    Returns:
        The explorer.

    Raises:
        DataError: shapes differ, or a value is not one of these.
    """
    probabilities, labels = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=float)
    side = len(labels)
    if probabilities.shape != labels.shape or labels.shape != (side, side) or not 2 <= side <= 8:
        raise DataError(
            f"probabilities and labels have the shapes {probabilities.shape} and {labels.shape}; expected the same "
            "(s, s) with s from 2 to 8."
        )
    if not ((probabilities > 0) & (probabilities < 1)).all() or not np.isin(labels, (0, 0.5, 1)).all():
        raise DataError("Probabilities must lie between 0 and 1, and labels be 0, 0.5 or 1.")
    data = {
        "side": side,
        "probabilities": probabilities.ravel().tolist(),
        "labels": (2 * labels).astype(int).ravel().tolist(),
    }
    return Explorer("loss", "What does each pixel pay?", data)


def explore_iterations(
    images: Images,
    labels: Mapping[str, Images],
    *,
    titles: Sequence[str] | None = None,
    truth: Images | None = None,
) -> Explorer:
    """Slide through the iterations of the refinement and see the labels of an image change.

    Args:
        images: N images, as in `explore_split`.
        labels: for each iteration by name, in order, (N, H, W) whole numbers 0, 1, 2: twice the label, as stored.
        titles: one an image; numbers where there are none.
        truth: (N, H, W) bool of the labels' size, outlined in white for judging them.

    Returns:
        The explorer.

    Raises:
        DataError: numbers or shapes differ, or a label is none.
    """
    pictures, titles = _pictures(images, titles)
    of_names = {name: as_maps(each, len(pictures), name) for name, each in labels.items()}
    masks = None if truth is None else as_maps(truth, len(pictures), "truth")
    height, width = _one_size([*itertools.chain(*of_names.values()), *(masks or ())], "labels and masks")
    for name, each in of_names.items():
        if not np.isin(each, (0, 1, 2)).all():
            raise DataError(f"Labels of {name!r} hold other values than 0, 1 and 2, twice the label.")
    items = [
        {
            "title": title,
            "picture": picture_url(pictures[k]),
            "labels": [small_numbers(each[k]) for each in of_names.values()],
            **_truth(masks, k),
        }
        for k, title in enumerate(titles)
    ]
    data = {"height": height, "width": width, "names": list(of_names), "items": items}
    return Explorer("iterations", "From iteration to iteration", data)


def explore_curtain(
    images: Images,
    predictions: Mapping[str, Images],
    *,
    titles: Sequence[str] | None = None,
    truth: Images | None = None,
    told: Mapping[str, Sequence[str]] | None = None,
) -> Explorer:
    """Draw a curtain between the masks of two models on one image.

    Args:
        images: N images, as in `explore_split`.
        predictions: by the model's name, (N, H, W) bool; two models or more.
        titles: one an image; numbers where there are none.
        truth: (N, H, W) bool of the predictions' size; what is too much and too little is tinted.
        told: by the model's name, a sentence an image, such as its score; empty: the area of its mask.

    Returns:
        The explorer.

    Raises:
        DataError: numbers or shapes differ, or there is only one model.
    """
    if len(predictions) < 2:
        raise DataError(f"A curtain hangs between two models; got {list(predictions)}. Give two or more.")
    pictures, titles = _pictures(images, titles)
    of_models = {name: as_maps(each, len(pictures), name) for name, each in predictions.items()}
    masks = None if truth is None else as_maps(truth, len(pictures), "truth")
    height, width = _one_size([*itertools.chain(*of_models.values()), *(masks or ())], "masks")
    if told is None:
        told = {name: [f"{name}: {one.mean():.0%} of the image" for one in each] for name, each in of_models.items()}
    if set(told) != set(of_models) or any(len(each) != len(pictures) for each in told.values()):
        raise DataError(f"`told` needs a sentence for each of {len(pictures)} images and each of {list(of_models)}.")
    items = [
        {
            "title": title,
            "picture": picture_url(pictures[k]),
            "masks": [small_numbers(each[k] > 0.5) for each in of_models.values()],
            "told": [told[name][k] for name in of_models],
            **_truth(masks, k),
        }
        for k, title in enumerate(titles)
    ]
    data = {"height": height, "width": width, "models": list(of_models), "items": items}
    return Explorer("curtain", "Two models, one image", data)


def explore_views(images: Images, recipes: Mapping[str, Recipe], *, titles: Sequence[str] | None = None) -> Explorer:
    """Draw random views of an image anew at a click: what the encoder must learn to overlook (paper 3.2).

    The page does what `uslnet_core.contrastive.views.random_view` does, with random numbers of its own.

    Args:
        images: N square images, as in `explore_split`.
        recipes: by name, the settings of a contrastive method; the size of a view is the first one's.
        titles: one an image; numbers where there are none.

    Returns:
        The explorer.

    Raises:
        DataError: an image is not square, or there is no recipe.
    """
    pictures, titles = _pictures(images, titles)
    if not recipes:
        raise DataError("There is no recipe to draw views by: got {}. Give one, such as config.recipe('simclr').")
    for title, picture in zip(titles, pictures, strict=True):
        if picture.shape[0] != picture.shape[1]:
            raise DataError(f"The image {title!r} has {picture.shape[:2]} pixels; expected a square. Cut or resize it.")
    items = [{"title": title, "picture": picture_url(picture)} for title, picture in zip(titles, pictures, strict=True)]
    chosen = {name: {field: getattr(recipe, field) for field in _RECIPE} for name, recipe in recipes.items()}
    data = {"size": next(iter(recipes.values())).crop, "recipes": chosen, "items": items}
    return Explorer("views", "Two views of one image", data)


def _pictures(images: Images, titles: Sequence[str] | None) -> tuple[list[np.ndarray], list[str]]:
    """Bring images and titles into shape, and refuse what a page could not hold."""
    pictures = as_images(images)
    if len(pictures) > MOST_IMAGES:
        raise DataError(
            f"Got {len(pictures)} images; expected at most {MOST_IMAGES}, since all stand in the page. Choose some."
        )
    for picture in pictures:
        if max(picture.shape[:2]) > _LARGEST:
            raise DataError(
                f"An image has {picture.shape[:2]} pixels; expected at most {_LARGEST} a side. Resize it first."
            )
    titles = [f"image {k + 1}" for k in range(len(pictures))] if titles is None else list(titles)
    if len(titles) != len(pictures):
        raise DataError(f"Got {len(titles)} titles for {len(pictures)} images; expected one each.")
    return pictures, titles


def _one_size(maps: Sequence[np.ndarray], what: str) -> tuple[int, int]:
    """The size that all have, or an error."""
    sizes = {one.shape for one in maps}
    if len(sizes) != 1:
        raise DataError(f"The {what} have the shapes {sorted(sizes)}; expected one for all.")
    return sizes.pop()


def _rules(rules: UncertaintyConfig | None) -> dict[str, Any]:
    """The paper's rules, under the names that the script has for them."""
    rules = rules or UncertaintyConfig()
    return {
        "low": rules.low,
        "high": rules.high,
        "minArea": rules.min_area,
        "neighbours": rules.neighbours,
        "rule": rules.rule,
        "exclusion": rules.exclusion,
    }


def _truth(masks: Sequence[np.ndarray] | None, k: int) -> dict[str, str]:
    """One image's mask, where there are any."""
    return {} if masks is None else {"truth": small_numbers(masks[k] > 0.5)}
