"""The uncertainty module against a slow, literal reading of Algorithm 1, on both of its paths."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from uncertainty_oracle import check, shapes, smooth_maps, spiral, ways

from uslnet_core import components, uncertainty
from uslnet_core.uncertainty import UncertaintyModule

every_way = pytest.mark.parametrize("way", ways())


# --- against the oracle ----------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("rule", ["mean", "sum"])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("min_area", [0.0, 0.02])
def test_shapes(way, neighbours, rule, min_area):
    maps = torch.from_numpy(np.stack([np.asarray(s, np.float32) for s in shapes().values()]))
    check(maps, way, neighbours=neighbours, rule=rule, min_area=min_area)


@every_way
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (33, 50), (50, 31)])
@pytest.mark.parametrize("noise", [0, 0.15])
def test_smooth_and_noisy(way, neighbours, height, width, noise):
    maps = smooth_maps(6, height, width, np.random.default_rng(3), noise)
    out = check(maps, way, neighbours=neighbours, min_area=0.01)
    assert out.keep.any()
    check(maps, way, neighbours=neighbours, rule="sum")


@every_way
@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 4), st.integers(1, 11), st.integers(1, 11)),
    levels=st.sampled_from([(0.0, 1.0), (0.2, 0.35, 0.5, 0.65, 0.9), (0.0, 0.9, 0.9, 0.9)]),
    neighbours=st.sampled_from([4, 8]),
    rule=st.sampled_from(["mean", "sum"]),
    min_area=st.sampled_from([0.0, 0.02, 0.05, 0.2, 1.0]),
    exclusion=st.sampled_from([0.0, 0.2, 1 / 3, 0.5, math.inf]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_random(way, data, size, levels, neighbours, rule, min_area, exclusion, dtype):
    pixels = data.draw(st.lists(st.sampled_from(levels), min_size=math.prod(size), max_size=math.prod(size)))
    maps = torch.tensor(pixels, dtype=torch.float64).reshape(size).to(dtype)
    check(maps, way, neighbours=neighbours, rule=rule, min_area=min_area, exclusion=exclusion)


@every_way
def test_many_random_maps_of_pixels_and_specks(way):
    rng = np.random.default_rng(0)
    for density in (0.2, 0.4, 0.6, 0.8):
        maps = torch.from_numpy((rng.random((40, 13, 17)) < density).astype(np.float32))
        check(maps, way, neighbours=8, min_area=0)
        check(maps, way, neighbours=4, min_area=3 / (13 * 17))


def test_the_two_paths_agree_on_large_maps():
    maps = torch.cat([smooth_maps(4, 224, 224, np.random.default_rng(1), n) for n in (0, 0.1, 0.3)])
    maps = torch.cat([maps, torch.nn.functional.pad(spiral(221), (1, 2, 1, 2))[None]])
    for neighbours in (4, 8):
        one, other = (components.find_runs(maps, 0.65, neighbours, on_device=d) for d in (False, True))
        for name in ("image", "y", "x", "length", "component", "first"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        every = torch.ones(one.components, dtype=torch.bool)
        for runs in (one, other):
            assert torch.equal(components.pixels_of(runs, every), maps > np.float32(0.65))
        structure = np.ones((3, 3)) if neighbours == 8 else None
        expected = [ndimage.label(m.numpy() > np.float32(0.65), structure)[1] for m in maps]
        assert torch.bincount(one.image[one.first], minlength=len(maps)).tolist() == expected


def test_numbering_does_not_depend_on_the_graph_search(monkeypatch):
    maps = smooth_maps(3, 30, 30, np.random.default_rng(4), 0.2)
    search = components.connected_components

    def shuffled(*args, **kwargs):
        count, component = search(*args, **kwargs)
        return count, np.random.default_rng(0).permutation(count).astype(np.int32)[component]

    monkeypatch.setattr(components, "connected_components", shuffled)
    check(maps)


@every_way
def test_groups_of_images(way, monkeypatch):
    maps = smooth_maps(7, 20, 20, np.random.default_rng(5), 0.2)
    whole = check(maps, way)
    monkeypatch.setattr(uncertainty, "_GROUP_PIXELS", 2 * 400)
    parts = check(maps, way)
    assert torch.equal(whole.label, parts.label)


@every_way
@pytest.mark.parametrize("height", [1, 2, 3, 7])
def test_one_row_and_one_column(way, height):
    line = torch.tensor([1.0, 1, 0, 1, 0.5, 1, 1])
    check(line.repeat(height, 1)[None], way, min_area=0)
    check(line.repeat(height, 1).T[None].contiguous(), way, min_area=0)
    check(line.repeat(height, 1).T[None], way, min_area=0)  # not contiguous


@every_way
def test_no_image_and_one_image(way):
    out = UncertaintyModule()(torch.zeros(0, 5, 6), way)
    assert out.label.shape == (0, 5, 6) and out.keep.shape == out.reason.shape == (0,)
    assert len(out.regions) == 0 and len(out.regions_frame()) == 0
    check(smooth_maps(1, 20, 20, np.random.default_rng(0)), way)


# --- by hand ---------------------------------------------------------------------------------------------------------


@every_way
def test_worked_by_hand(way):
    saliency = torch.tensor(
        [
            [0.9, 0.9, 0.1, 0.1, 0.1, 0.1],
            [0.9, 0.4, 0.1, 0.1, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.8, 0.5, 0.1],
            [0.1, 0.1, 0.8, 0.8, 0.8, 0.1],
            [0.1, 0.1, 0.1, 0.5, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.1, 0.1, 0.7],
        ]
    )
    h, f = 0.5, 1.0
    expected = [
        [h, h, 0, 0, 0, 0],
        [h, h, 0, 0, 0, 0],
        [0, 0, 0, f, h, 0],
        [0, 0, f, f, f, 0],
        [0, 0, 0, h, 0, 0],
        [0, 0, 0, 0, 0, h],
    ]
    out = UncertaintyModule(min_area=2 / 36)(saliency[None], way)
    assert out.label[0].tolist() == expected
    assert out.reason.tolist() == ["kept"]
    frame = out.regions_frame()
    assert frame["reason"].tolist() == ["less central", "chosen", "too small"]
    assert frame["area"].tolist() == [3, 4, 1]
    # The centre is (3, 3): the cross is 1, 1, 0 and 1 away, the speck √8, the corner √18, √13 and √13.
    mean = [(math.sqrt(18) + 2 * math.sqrt(13)) / 3, 0.75, math.sqrt(8)]
    np.testing.assert_allclose(frame["mean_distance"], mean, rtol=1e-15)
    np.testing.assert_allclose(frame["centroid_y"], [1 / 3, 2.75, 5])
    np.testing.assert_allclose(frame["centroid_x"], [1 / 3, 3, 5])


@every_way
def test_mean_and_sum_choose_differently(way):
    saliency = torch.zeros(1, 30, 30)
    saliency[0, 10:21, 10:21] = 1  # large, around the centre
    saliency[0, 15, 26] = 1  # one pixel, 11 from the centre: a sum of 11, against hundreds
    mean, printed = (check(saliency, way, rule=rule, min_area=0).label for rule in ("mean", "sum"))
    assert mean[0, 15, 15] == 1 and mean[0, 15, 26] == 0.5
    assert printed[0, 15, 15] == 0.5 and printed[0, 15, 26] == 1


@every_way
def test_corner_contact_joins_only_with_eight_neighbours(way):
    saliency = torch.zeros(1, 6, 6)
    saliency[0, 2, 2] = saliency[0, 3, 3] = 1
    assert len(check(saliency, way, neighbours=8, min_area=0).regions) == 1
    assert len(check(saliency, way, neighbours=4, min_area=0).regions) == 2


@every_way
def test_thresholds_compare_in_the_dtype_of_the_map(way):
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        low, high = torch.tensor(0.35, dtype=dtype), torch.tensor(0.65, dtype=dtype)
        step = torch.finfo(dtype).eps / 4
        saliency = torch.stack([low, high, low - step, high + 2 * step]).reshape(1, 1, 4)
        assert saliency[0, 0, 2] < low and saliency[0, 0, 3] > high
        label = check(saliency, way, min_area=0).label
        assert label.tolist() == [[[0.5, 0.5, 0, 1]]]  # equality is uncertain


@every_way
def test_least_area_stays_if_equal(way):
    saliency = torch.zeros(2, 10, 10)
    saliency[0, 4:6, 4:6] = 1
    saliency[1, 4:6, 4:6] = saliency[1, 6, 5] = 1
    assert check(saliency, way, min_area=0.05).reason.tolist() == ["no component left", "kept"]
    assert check(saliency, way, min_area=0.04).keep.all()
    # Halves round to the even number: 4.5 is 4, 5.5 would be 6.
    assert check(saliency, way, min_area=0.045).keep.all()
    assert not check(saliency, way, min_area=0.055).keep.any()


def test_the_paper_s_least_area_at_its_size():
    saliency = torch.zeros(2, 224, 224)
    saliency[0, 100:125, 100:120] = saliency[1, 100:125, 100:120] = 1  # 500 pixels
    saliency[1, 100, 100] = 0  # 499
    assert UncertaintyModule()(saliency).keep.tolist() == [True, False]


@every_way
def test_equal_to_the_exclusion_distance_is_kept(way):
    saliency = torch.zeros(2, 12, 30)
    saliency[0, 6, 19] = 1  # min(12, 30) / 3 = 4 from (6, 15)
    saliency[1, 6, 20] = 1
    out = check(saliency, way, min_area=0)
    assert out.reason.tolist() == ["kept", "too far from the centre"]
    assert out.label[1, 6, 20] == 1  # the label of an excluded image still shows what was chosen
    assert check(saliency, way, min_area=0, exclusion=math.inf).keep.all()


# --- ties ------------------------------------------------------------------------------------------------------------


def mirrored(turn):
    """A random blob and its mirror image about the centre (H/2, W/2), where row 0 has no partner."""
    rng = np.random.default_rng(7)
    for _ in range(30):
        blob = np.zeros((24, 24), np.float32)
        # 8 of 12: below the centre row, so that the two never touch
        blob[14:22, 2:22] = ndimage.binary_opening(rng.random((8, 20)) < 0.75)
        other = np.zeros_like(blob)
        other[1:] = blob[:0:-1]
        pair = np.maximum(blob, other)
        yield torch.from_numpy(pair.T.copy() if turn else pair)


@every_way
@pytest.mark.parametrize("turn", [False, True])
def test_mirror_images_are_equal_and_the_first_wins(way, turn):
    ties = 0
    for pair in mirrored(turn):
        out = check(pair[None], way, min_area=0, exclusion=math.inf)
        table = out.regions_frame()
        best = table.index[table.mean_distance == table.mean_distance.min()]
        assert len(best) % 2 == 0  # each has its twin, to the last bit, though its pixels come in another order
        assert table.chosen[best[0]]
        ties += table.area[best[0]] > 3
    assert ties > 10


# --- properties ------------------------------------------------------------------------------------------------------


@every_way
def test_three_values_and_one_connected_foreground(way):
    maps = smooth_maps(20, 40, 40, np.random.default_rng(8), 0.12)
    out = UncertaintyModule(min_area=0.01)(maps, way)
    assert set(out.label.unique().tolist()) == {0.0, 0.5, 1.0}
    for label, has in zip(out.label.numpy(), out.reason != "no component left", strict=True):
        assert ndimage.label(label == 1, np.ones((3, 3)))[1] == int(has)
    assert torch.equal(out.label == 0, maps < 0.35)  # dropped candidates never become background
    assert ((out.label == 1) <= (maps > 0.65)).all()


@every_way
def test_transposing_transposes(way):
    # Distances to (H/2, W/2) know no rows from columns, and these maps hold no ties. A left-right flip is no such
    # symmetry: column 0 has no mirror image about W/2.
    maps = smooth_maps(12, 40, 30, np.random.default_rng(9), 0.1)
    um = UncertaintyModule(min_area=0.01)
    one, other = um(maps, way), um(maps.transpose(1, 2), way)
    assert torch.equal(one.label, other.label.transpose(1, 2)) and torch.equal(one.keep, other.keep)


@every_way
def test_an_image_s_label_does_not_depend_on_its_batch(way):
    maps = smooth_maps(6, 30, 30, np.random.default_rng(10), 0.1)
    um = UncertaintyModule()
    together = um(maps, way)
    alone = [um(maps[i : i + 1], way) for i in range(6)]
    assert torch.equal(together.label, torch.cat([a.label for a in alone]))
    assert torch.equal(together.regions.mean_distance, torch.cat([a.regions.mean_distance for a in alone]))


@every_way
def test_no_gradient_and_inference_mode(way):
    maps = smooth_maps(2, 20, 20, np.random.default_rng(0))
    expected = UncertaintyModule()(maps, way).label
    assert not UncertaintyModule()(maps.clone().requires_grad_(), way).label.requires_grad
    with torch.inference_mode():
        assert torch.equal(UncertaintyModule()(maps.clone(), way).label, expected)


@every_way
def test_steps_above_one_that_upsampling_leaves_are_ones(way):
    out = UncertaintyModule()(torch.full((1, 8, 8), 1 + 2 * torch.finfo(torch.float32).eps), way)
    assert (out.label == 1).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same_bits_and_stays_there():
    maps = smooth_maps(16, 224, 224, np.random.default_rng(11), 0.1)
    um = UncertaintyModule()
    host, device = um(maps), um(maps.cuda())
    assert device.label.is_cuda and device.keep.is_cuda and device.regions.area.is_cuda
    assert torch.equal(host.label, device.label.cpu()) and torch.equal(host.keep, device.keep.cpu())
    assert host.regions_frame().equals(device.regions_frame())
