"""The synthetic images: exact, reproducible, varied, and too hard for colour clustering alone."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.interpolate import BSpline

from uslnet_core.data import synthetic, synthetic_recipe
from uslnet_core.data.synthetic_outline import discs, pixel_centres, smooth_field, white
from uslnet_core.errors import DataError

SIZE, SEED, COUNT = 64, 7, 64


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """(64, 64, 64, 3) uint8."""
    return np.stack([synthetic.image(i, size=SIZE, seed=SEED) for i in range(COUNT)])


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """(64, 64, 64) bool."""
    return np.stack([synthetic.mask(i, size=SIZE, seed=SEED) for i in range(COUNT)])


@pytest.fixture(scope="module")
def facts() -> list[dict]:
    """What the 64 images are said to show."""
    return [synthetic.describe(i, seed=SEED) for i in range(COUNT)]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_shapes_and_types():
    picture, outline = synthetic.image(3, size=50, seed=1), synthetic.mask(3, size=50, seed=1)
    assert picture.shape == (50, 50, 3) and picture.dtype == np.uint8
    assert outline.shape == (50, 50) and outline.dtype == np.bool_


def test_same_bytes_whatever_was_made_before(images, masks):
    for i in (41, 3, 17):  # another order, a mask before and after
        assert np.array_equal(synthetic.mask(i, size=SIZE, seed=SEED), masks[i])
        assert np.array_equal(synthetic.image(i, size=SIZE, seed=SEED), images[i])
        assert np.array_equal(synthetic.mask(i, size=SIZE, seed=SEED), masks[i])


def test_global_random_state_plays_no_part(images):
    np.random.seed(0)  # noqa: NPY002 — the legacy state is what is tested
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert np.array_equal(synthetic.image(5, size=SIZE, seed=SEED), images[5])
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_image_never_calls_mask(images, monkeypatch):
    monkeypatch.setattr(synthetic, "mask", lambda *a, **k: pytest.fail("image() asked for a mask"))
    assert np.array_equal(synthetic.image(8, size=SIZE, seed=SEED), images[8])


def test_indices_and_seeds_differ(images):
    assert len({picture.tobytes() for picture in images}) == COUNT
    assert not np.array_equal(synthetic.image(0, size=SIZE, seed=SEED + 1), images[0])
    # (seed, index) is a pair, not a sum
    assert not np.array_equal(synthetic.image(1, size=SIZE, seed=0), synthetic.image(0, size=SIZE, seed=1))


def test_numpy_integers_are_welcome(images):
    assert np.array_equal(synthetic.image(np.int64(2), size=np.int32(SIZE), seed=np.uint8(SEED)), images[2])


def test_areas_are_as_described_and_widely_spread(masks, facts):
    areas = masks.mean(axis=(1, 2))
    said = np.array([fact["area_fraction"] for fact in facts])
    low, high = synthetic_recipe.AREA_RANGE
    assert ((said >= low) & (said <= high)).all()
    assert np.abs(areas - said).max() < 0.012
    assert 0.12 < np.median(areas) < 0.22
    assert areas.min() < 0.05 and areas.max() > 0.40


def test_a_mask_is_one_lesion(masks):
    for outline in masks:
        labels, _ = ndimage.label(outline, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        assert sizes.max() >= 0.97 * sizes.sum()


def test_lesions_lie_near_the_centre_and_some_reach_the_border(masks, facts):
    centres = np.array([ndimage.center_of_mass(outline) for outline in masks]) / SIZE - 0.5
    distance = np.hypot(*centres.T)
    assert np.median(distance) < 0.12 and (distance > 0.2).any()
    reaches = np.array([np.r_[m[0], m[-1], m[:, 0], m[:, -1]].any() for m in masks])
    said = np.array([fact["border"] for fact in facts])
    assert 2 <= said.sum() <= 0.35 * COUNT
    assert (reaches == said).mean() > 0.95  # a lesion that grazes the frame may miss the last pixel


@pytest.mark.parametrize(
    "name",
    [
        *("faint", "off_centre", "network", "globules", "regression", "satellites", "hair", "stubble"),
        *("bubbles", "ruler", "ink", "sticker", "glare", "corners"),
    ],
)
def test_each_property_is_met_but_not_everywhere(facts, name):
    assert 2 <= sum(bool(fact[name]) for fact in facts) <= 0.8 * COUNT


def test_skin_and_lesions_of_all_kinds(facts):
    tones = np.array([fact["skin_tone"] for fact in facts])
    assert (tones > 55).any() and (tones < -10).any() and ((tones > 10) & (tones < 41)).any()
    assert {fact["kind"] for fact in facts} == {"tan", "brown", "dark", "blue-black", "reddish"}


def test_faint_means_less_contrast(facts):
    faint = [fact["contrast"] for fact in facts if fact["faint"]]
    plain = [fact["contrast"] for fact in facts if not fact["faint"]]
    assert max(faint) < np.median(plain)


def test_skin_tone_shows_on_the_image(images, masks, facts):
    light = [images[i][~masks[i]].mean() for i in range(COUNT) if facts[i]["skin_tone"] > 50]
    dark = [images[i][~masks[i]].mean() for i in range(COUNT) if facts[i]["skin_tone"] < 5]
    assert np.median(light) > np.median(dark) + 40


def test_lesions_are_darker_in_green_than_the_skin_around(images, masks):
    drop = []
    for picture, outline in zip(images, masks, strict=True):
        ring = ndimage.binary_dilation(outline, iterations=8) & ~ndimage.binary_dilation(outline, iterations=3)
        drop.append(np.median(picture[ring, 1]) - np.median(picture[outline, 1].astype(float)))
    assert (np.array(drop) > 5).mean() > 0.9


def test_the_scene_does_not_change_with_the_size():
    for i in range(6):
        small, large = (synthetic.mask(i, size=size, seed=SEED) for size in (96, 192))
        halved = large.reshape(96, 2, 96, 2).mean(axis=(1, 3)) > 0.5
        assert abs(small.mean() - large.mean()) < 0.004
        assert dice(small, halved) > 0.97
        coarse, fine = (synthetic.image(i, size=size, seed=SEED).astype(float) for size in (96, 192))
        assert np.abs(fine.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3)) - coarse).mean() < 4


def test_two_colours_are_not_enough(images, masks):
    """K-means with two colours, the cluster with less of the border taken as lesion."""
    scores = []
    for picture, outline in zip(images, masks, strict=True):
        _, cluster = kmeans2(picture.reshape(-1, 3) / 255.0, 2, minit="++", rng=np.random.default_rng(0))
        cluster = cluster.reshape(SIZE, SIZE).astype(bool)
        border = np.r_[cluster[0], cluster[-1], cluster[:, 0], cluster[:, -1]].mean()
        scores.append(dice(cluster if border < 0.5 else ~cluster, outline))
    assert 0.60 < np.mean(scores) < 0.85  # not trivial, nor absurd


def test_splits_do_not_overlap():
    indices = [synthetic.index_of(name) for split in synthetic.OFFSETS for name in synthetic.ids(split)]
    assert len(set(indices)) == len(indices) == sum(synthetic.COUNTS.values())
    assert synthetic.index_of("synthetic_train_0007") == 7
    assert synthetic.index_of("synthetic_validation_0003") == 1_000_003
    assert synthetic.index_of("synthetic_test_0000") == 2_000_000


def test_ids_in_order():
    assert synthetic.ids("train", 3) == [
        "synthetic_train_0000",
        "synthetic_train_0001",
        "synthetic_train_0002",
    ]
    assert synthetic.ids("test", 0) == []
    last = synthetic.ids("train", 12_346)[-1]
    assert last == "synthetic_train_12345" and synthetic.index_of(last) == 12_345


@pytest.mark.parametrize("index", [-1, 2**32, 1.0, "3", None, True])
def test_a_bad_index_is_refused(index):
    for call in (
        lambda: synthetic.image(index, size=32, seed=0),
        lambda: synthetic.mask(index, size=32, seed=0),
        lambda: synthetic.describe(index, seed=0),
    ):
        with pytest.raises(DataError, match="index"):
            call()


@pytest.mark.parametrize("size", [0, 15, 2049, -96, 96.0, "96", None, True])
def test_a_bad_size_is_refused(size):
    for make in (synthetic.image, synthetic.mask):
        with pytest.raises(DataError, match="size"):
            make(0, size=size, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(DataError, match="seed"):
        synthetic.image(0, size=32, seed=seed)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "synthetic_train_7",
        "synthetic_all_0007",
        "synthetic_train_00007",
        "ISIC_0000000",
        "synthetic_train_0007\n",
    ],
)
def test_a_foreign_id_is_refused(name):
    with pytest.raises(DataError, match="no id"):
        synthetic.index_of(name)


def test_a_bad_split_or_count_is_refused():
    with pytest.raises(DataError, match="split"):
        synthetic.ids("all", 3)
    for count in (-1, 1_000_001, 2.5):
        with pytest.raises(DataError, match="count"):
            synthetic.ids("train", count)


def test_the_smallest_size_works():
    assert synthetic.image(0, size=16, seed=0).shape == (16, 16, 3)
    assert synthetic.mask(0, size=16, seed=0).any()


def test_smooth_field_is_the_spline_of_its_coefficients():
    cells = 5
    coefficients = white(np.random.default_rng(0), cells)[0]
    x, y = pixel_centres(7), pixel_centres(4)
    knots = np.arange(-3, cells + 4) / cells
    basis = [BSpline.design_matrix(t.astype(float), knots, 3).toarray() for t in (y, x)]
    expected = basis[0] @ coefficients @ basis[1].T * 315 / 151
    np.testing.assert_allclose(smooth_field(coefficients, x, y), expected, atol=1e-5)


def test_smooth_field_has_unit_deviation():
    field = smooth_field(white(np.random.default_rng(0), 60), pixel_centres(240), pixel_centres(240))
    assert field.std() == pytest.approx(1, abs=0.05)


def test_discs_add_up_and_may_hang_over_the_frame():
    """A disc's sum is its strength times its area; the literal version is a loop over all pixels."""
    spots = [(0.5, 0.4, 0.2, 1.0), (0.55, 0.45, 0.1, -0.5), (1.0, 1.0, 0.3, 2.0), (3.0, 3.0, 0.1, 9.0)]
    expected = np.zeros((20, 20))
    for row in range(20):
        for column in range(20):
            for x, y, radius, strength in spots:
                distance = np.hypot((column + 0.5) / 20 - x, (row + 0.5) / 20 - y) / radius
                expected[row, column] += strength * np.clip((1 + 0.25 - distance) / 0.5, 0, 1)
    np.testing.assert_allclose(discs(20, spots, 0.5), expected, atol=1e-6)
