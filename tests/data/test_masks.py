"""Masks: read as the challenge's scorer does, in the images' order, for scoring alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image

from uslnet_core.data.images import ImageSource, write_images
from uslnet_core.data.masks import MaskSet, MaskSource, read_mask, shrink, write_masks
from uslnet_core.errors import DataError, RunError


def saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def literal_shrink(mask, size):
    """Share of lesion in each cell as an exact fraction, one overlap at a time."""
    out = np.zeros((size, size), dtype=bool)
    height, width = mask.shape

    def overlaps(cell, length):
        low, high = Fraction(cell * length, size), Fraction((cell + 1) * length, size)
        return [
            (pixel, part)
            for pixel in range(length)
            if (part := min(high, Fraction(pixel + 1)) - max(low, Fraction(pixel))) > 0
        ]

    for row in range(size):
        for column in range(size):
            area = sum(a * b for y, a in overlaps(row, height) for x, b in overlaps(column, width) if mask[y, x])
            out[row, column] = area >= Fraction(height, size) * Fraction(width, size) / 2
    return out


@given(nps.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 7))
def test_shrink_is_the_exact_area_average(mask, size):
    assert np.array_equal(shrink(mask, size), literal_shrink(mask, size))


def test_shrink_by_hand():
    mask = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    assert shrink(mask, 2).tolist() == [[True, False], [True, False]]  # shares 1, ¼, ½, 0


def test_shrink_of_a_large_mask_equals_pillows_box_away_from_ties(rng):
    mask = np.zeros((450, 674), dtype=bool)
    mask[100:300, 150:500] = True
    mask ^= rng.random(mask.shape) < 0.2
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((64, 64), Image.Resampling.BOX), dtype=float)
    found = shrink(mask, 64)
    # Pillow's box takes whole pixels, so compare where the share is clear.
    assert found[share > 0.6].all() and not found[share < 0.4].any()


def test_cut_is_above_128(tmp_path):
    values = np.array([[0, 127, 128, 129, 255, 0, 0, 0]] * 8, dtype=np.uint8)
    expected = [False, False, False, True, True, False, False, False]
    assert read_mask(saved(tmp_path / "m.png", values))[0].tolist() == expected


@pytest.mark.parametrize("kind", ["L", "1", "RGB", "P", "LA", "RGBA", "I;16"])
def test_every_kind_of_mask_is_read(tmp_path, kind):
    truth = np.zeros((12, 10), dtype=bool)
    truth[3:8, 2:7] = True
    grey = Image.fromarray((truth * 255).astype(np.uint8))
    image = Image.fromarray((truth * 65535).astype(np.uint16)) if kind == "I;16" else grey.convert(kind)
    image.save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png")
    assert found.dtype == bool and np.array_equal(found, truth)


def test_mask_of_zeros_and_ones_is_refused_and_an_empty_one_is_not(tmp_path):
    one = np.zeros((16, 16), dtype=np.uint8)
    assert not read_mask(saved(tmp_path / "empty.png", one)).any()
    one[4:8] = 1
    with pytest.raises(DataError, match="0 and 255"):
        read_mask(saved(tmp_path / "ones.png", one))


def test_bad_mask_files(tmp_path):
    (tmp_path / "text.png").write_text("no mask")
    with pytest.raises(DataError, match=r"text\.png is not an image"):
        read_mask(tmp_path / "text.png")
    whole = saved(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8))
    whole.write_bytes(whole.read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.png is damaged or cut short"):
        read_mask(whole)
    with pytest.raises(DataError, match="No such image"):
        read_mask(tmp_path / "missing.png")


# --- the cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, rng):
    """Five images of 30 × 20 in a cache, masks for four of them; the third mask has another size."""
    pictures = rng.integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)
    images = [ImageSource(f"i{n}", saved(tmp_path / "in" / f"i{n}.png", array)) for n, array in enumerate(pictures)]
    write_images(images, tmp_path / "images", 16)
    masks = []
    for n in (3, 2, 1, 0):
        truth = np.zeros((20, 30) if n != 2 else (21, 30), dtype=np.uint8)
        truth[: 4 + n, 5:20] = 255
        masks.append(MaskSource(f"i{n}", saved(tmp_path / "truth" / f"i{n}_mask.png", truth)))
    return tmp_path / "images" / "index.csv", masks


@pytest.mark.parametrize("workers", [1, 2])
def test_masks_follow_the_images_and_bad_ones_are_flagged(tmp_path, made, workers):
    index, sources = made
    skipped = write_masks(sources, index, tmp_path / "masks", 16, workers=workers)
    masks = MaskSet.open(tmp_path / "masks")
    assert masks.ids == ("i0", "i1", "i2", "i3", "i4") and len(masks) == 5
    assert masks.has_mask.tolist() == [True, True, False, True, False]
    assert masks.scored_ids == ("i0", "i1", "i3")
    assert [each.id for each in skipped] == ["i2"]
    assert "30 × 21" in skipped[0].reason and "30 × 20" in skipped[0].reason
    noted = (tmp_path / "masks" / "skipped.csv").read_text()
    assert "i2_mask.png" in noted and str(tmp_path) not in noted
    by_id = {source.id: source for source in sources}
    chosen = masks.select(["i3", "i0"])
    assert chosen.dtype == bool and chosen.shape == (2, 16, 16)
    assert np.array_equal(chosen, [read_mask(by_id[each].path, 16) for each in ("i3", "i0")])
    assert chosen.any() and not masks.masks[[2, 4]].any()


def test_select_refuses_what_cannot_be_scored(tmp_path, made):
    write_masks(made[1], made[0], tmp_path / "masks", 16)
    masks = MaskSet.open(tmp_path / "masks")
    for unusable, message in (("i4", "has no mask"), ("i2", "has no mask"), ("other", "No image 'other'")):
        with pytest.raises(DataError, match=message):
            masks.select(["i0", unusable])


def test_strict_refuses_a_mask_of_another_size_and_leaves_nothing(tmp_path, made):
    with pytest.raises(DataError, match=r"i2_mask\.png is 30 × 21 pixels, but its image is 30 × 20"):
        write_masks(made[1], made[0], tmp_path / "masks", 16, strict=True)
    assert list((tmp_path / "masks").iterdir()) == []


def test_masks_of_images_that_are_not_there_are_not_read(tmp_path, made):
    stranger = MaskSource("stranger", tmp_path / "no such file.png")
    good = [source for source in made[1] if source.id != "i2"]
    assert write_masks([stranger, *good], made[0], tmp_path / "masks", 16, strict=True) == []
    assert "stranger" not in MaskSet.open(tmp_path / "masks").ids


def test_no_usable_mask(tmp_path, made):
    for sources in ([], [source for source in made[1] if source.id == "i2"]):
        with pytest.raises(DataError, match="nothing to score"):
            write_masks(sources, made[0], tmp_path / "masks", 16)
        assert list((tmp_path / "masks").iterdir()) == []


def test_two_masks_for_one_image(tmp_path, made):
    with pytest.raises(DataError, match="'i3'"):
        write_masks([*made[1], made[1][0]], made[0], tmp_path / "masks", 16)


def test_room_and_a_full_disk(tmp_path, made, disk, request):
    disk(64 * 2**20 + 5 * 16 * 16 - 1)
    with pytest.raises(DataError, match="Not enough room"):
        write_masks(made[1], made[0], tmp_path / "masks", 16)
    assert not (tmp_path / "masks").exists()
    disk(10**12)
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match="disk became full"):
        write_masks(made[1], made[0], tmp_path / "masks", 16)
    assert list((tmp_path / "masks").iterdir()) == []


def test_missing_inputs_name_the_command(tmp_path, made):
    with pytest.raises(RunError, match="uslnet run 01"):
        write_masks(made[1], tmp_path / "nowhere.csv", tmp_path / "masks", 16)
    with pytest.raises(RunError, match="uslnet run 01"):
        MaskSet.open(tmp_path / "masks")
    write_masks(made[1], made[0], tmp_path / "masks", 16)
    np.save(tmp_path / "masks" / "masks.npy", np.zeros((4, 16, 16), dtype=bool))
    with pytest.raises(RunError, match="damaged"):
        MaskSet.open(tmp_path / "masks")


def test_source_needs_one_origin():
    with pytest.raises(DataError, match="either"):
        MaskSource("a")
