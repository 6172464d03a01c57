"""Two colours an image: lesions are found where skin, frames, charts, hair and light would mislead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb
from torch import Tensor

from uslnet_core.config import UncertaintyConfig
from uslnet_core.data import synthetic
from uslnet_core.labels import select_component
from uslnet_core.saliency import colour_clusters
from uslnet_core.saliency.clusters import even_light, two_means

SKIN, LESION = (70.0, 15.0, 20.0), (40.0, 20.0, 20.0)
SIDE = 64


def scene(skin=SKIN, lesion=LESION, radius=0.2, centre=(0.5, 0.5)) -> tuple[np.ndarray, np.ndarray]:
    """A disc of one colour on another, in Lab (S, S, 3), and where the disc is."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    inside = np.hypot(y - centre[0], x - centre[1]) < radius
    return np.where(inside[..., None], lesion, skin).astype(np.float64), inside


def image_of(lab: np.ndarray) -> Tensor:
    """An image (1, 3, S, S) float32 in [0, 1] of colours in Lab."""
    return torch.from_numpy(lab2rgb(lab)).permute(2, 0, 1)[None].float()


def overlap(lab: np.ndarray, inside: np.ndarray) -> float:
    found = colour_clusters(image_of(lab))[0].numpy() > 0.5
    return 2 * (found & inside).sum() / (found.sum() + inside.sum())


@pytest.mark.parametrize(
    ("skin", "lesion"),
    [(SKIN, LESION), ((35, 15, 20), (20, 12, 12)), ((70, 15, 20), (62, 35, 25)), ((85, 5, 10), (60, 15, 25))],
    ids=["brown", "dark skin", "red", "pale skin"],
)
def test_a_lesion_is_found_on_any_skin(skin, lesion):
    assert overlap(*scene(skin, lesion)) > 0.93


def test_a_lesion_at_the_border_is_found():
    assert overlap(*scene(centre=(0.25, 0.1), radius=0.25)) > 0.93


def test_black_corners_are_no_lesion():
    lab, inside = scene()
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    corner = np.hypot(y, x) > 0.55
    lab[corner] = (3, 0, 0)
    assert overlap(lab, inside) > 0.93
    found = colour_clusters(image_of(lab))[0].numpy()[corner]
    assert (found == 0).mean() > 0.97 and (found < 0.5).mean() > 0.99


def test_a_chart_at_the_border_is_no_lesion():
    lab, inside = scene()
    lab[10:50, 52:] = (80, 5, 80)
    assert overlap(lab, inside) > 0.93


def test_tinted_light_is_no_chart():
    """All skin is bluish: that is the lamp, and the lesion is still the other colour."""
    assert overlap(*scene(skin=(75, -2, -18), lesion=(25, 5, 2))) > 0.93


def test_hair_does_not_become_the_second_colour():
    lab, inside = scene(lesion=(58, 25, 28))
    lab[5::12] = (10, 2, 2)
    assert overlap(lab, inside) > 0.85


def test_light_that_falls_off_is_evened_out():
    lab, inside = scene(lesion=(58, 22, 25))
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    lab[..., 0] -= 12 * (x * x + y * y) + 6 * x
    assert overlap(lab, inside) > 0.9
    colour = torch.from_numpy(lab).float()[None]
    even = even_light(colour, torch.ones(1, SIDE, SIDE, dtype=torch.bool))[0]
    assert even[~torch.from_numpy(inside)][:, 0].std() < 1 < colour[0][~torch.from_numpy(inside)][:, 0].std()


def test_a_lesion_that_darkens_the_middle_is_no_light():
    lab, _ = scene(radius=0.45)
    colour = torch.from_numpy(lab).float()[None]
    even = even_light(colour, torch.ones(1, SIDE, SIDE, dtype=torch.bool))
    assert (even - colour).abs().max() < 5, "a bowl that is brighter outside stays"


def test_two_means_by_hand():
    lab, inside = scene()
    everywhere = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    ring = everywhere.clone()
    ring[:, 4:-4, 4:-4] = False
    centres = two_means(torch.from_numpy(lab).float()[None], everywhere, ring)
    assert torch.allclose(centres[0], torch.tensor([SKIN, LESION]), atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_image_of_one_colour_has_no_lesion(level):
    assert (colour_clusters(torch.full((2, 3, 32, 32), level)) == 0).all()


def test_it_is_a_source_and_no_image_hangs_on_another(cpu):
    images = torch.from_numpy(np.stack([synthetic.image(i, size=SIDE, seed=0) for i in range(6)]))
    images = images.permute(0, 3, 1, 2).float() / 255
    found = colour_clusters(images)
    assert found.shape == (6, SIDE, SIDE) and found.dtype == torch.float32
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    alone = torch.cat([colour_clusters(image[None]) for image in images])
    assert torch.allclose(found, alone, atol=1e-5)
    assert torch.allclose(colour_clusters(images.flip(3)), found.flip(2), atol=1e-3), "mirrored as its image is"


def test_synthetic_lesions_are_found_better_than_by_distance_alone():
    from uslnet_core.saliency import colour_distance

    rows = range(24)
    images = torch.from_numpy(np.stack([synthetic.image(i, size=96, seed=0) for i in rows])).permute(0, 3, 1, 2) / 255
    truth = np.stack([synthetic.mask(i, size=96, seed=0) for i in rows])

    def dice(source) -> float:
        found = select_component(source(images.float()).numpy(), 0.5, UncertaintyConfig())
        return float((2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2)))).mean())

    assert dice(colour_clusters) > max(0.6, dice(colour_distance))
