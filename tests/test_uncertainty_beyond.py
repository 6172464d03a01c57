"""The uncertainty module past the paper: adaptive thresholds, size, a band of doubt; all off unless asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from uncertainty_oracle import SETTINGS, check, shapes, smooth_maps

from uslnet_core.components import find_runs
from uslnet_core.config import UncertaintyConfig
from uslnet_core.doubt import adapted
from uslnet_core.uncertainty import UncertaintyModule

BEYOND = {"thresholds": "adaptive", "doubt": 0.2, "band": 0.05, "rule": "relative"}


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_each_equals_the_literal_reading(name, noise):
    maps = smooth_maps(6, 26, 31, np.random.default_rng(5), noise)
    check(maps, **{name: BEYOND[name], "doubt": 0.2})


@pytest.mark.parametrize("name", shapes())
def test_all_together_on_every_shape(name):
    check(torch.from_numpy(np.asarray(shapes()[name], np.float32))[None], **BEYOND)


@given(
    maps=arrays(np.float32, (2, 7, 9), elements=st.floats(0, 1, width=32)),
    doubt=st.floats(0, 0.99),
    band=st.floats(0, 0.5),
    rule=st.sampled_from(["mean", "sum", "relative"]),
)
def test_on_random_maps(maps, doubt, band, rule):
    check(torch.from_numpy(maps), thresholds="adaptive", doubt=doubt, band=band, rule=rule, min_area=0.03)


@given(arrays(np.float32, (3, 6, 6), elements=st.floats(0, 1, width=32)), st.floats(0, 0.9))
def test_thresholds_only_move_outwards_and_leave_the_share_in_doubt(maps, doubt):
    maps = torch.from_numpy(maps)
    low, high = adapted(maps, 0.35, 0.65, doubt)
    assert (low <= np.float32(0.35)).all() and (high >= np.float32(0.65)).all()
    for each, under, over in zip(maps.flatten(1), low, high, strict=True):
        for side, sure, extreme in ((each < 0.5, each < under, each.min()), (each > 0.5, each > over, each.max())):
            enough = int((side & ~sure).sum()) >= doubt * int(side.sum())
            alike = int((side & (each != extreme)).sum()) < doubt * int(side.sum())  # too many at the extreme
            assert enough or alike


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_pixel_just_above_the_middle_is_above_it(dtype):
    # In float32 both thresholds are rounded down, so their middle is a little under a half; a half is the float32
    # number nearest to it, all the same. The least quarter of the three pixels above the middle is that half.
    maps = torch.zeros(1, 7, 9, dtype=dtype)
    maps[0, 0, :3] = torch.tensor([1, 0.5, 0.75])
    table = check(maps, thresholds="adaptive", doubt=0.25, min_area=0).regions
    if dtype is torch.float32:
        low, high = np.float32(0.35).item(), np.float32(0.65).item()
        assert (low + high) / 2 < 0.5 == np.float32((low + high) / 2)
        assert table.area.tolist() == [1, 1]


def test_the_share_is_counted_exactly():
    maps = torch.cat([torch.linspace(0, 0.34, 100), torch.full((100,), 0.9)]).view(1, 10, 20)
    low, _ = adapted(maps, 0.35, 0.65, 0.29)
    assert int((maps < low).sum()) == 100 - 29
    nine = torch.cat([torch.linspace(0, 0.34, 9), torch.full((9,), 0.9)]).view(1, 2, 9)
    assert int((nine < adapted(nine, 0.35, 0.65, 0.1)[0]).sum()) == 8, "a share of nine, at least"


def test_a_map_that_is_sure_of_everything_is_still_asked():
    ramp = torch.sigmoid(40 * (torch.linspace(-1, 1, 40)[None, :] - torch.linspace(-1, 1, 40)[:, None].abs() + 0.5))[
        None
    ]
    fixed = (UncertaintyModule(min_area=0)(ramp).label != 0.5).float().mean()
    kept = (UncertaintyModule(min_area=0, thresholds="adaptive", doubt=0.1)(ramp).label != 0.5).float().mean()
    assert fixed > 0.95 and 0.85 < kept < 0.91


def test_a_mask_stays_a_mask():
    mask = torch.zeros(1, 20, 20)
    mask[0, 5:14, 6:15] = 1
    label = UncertaintyModule(thresholds="adaptive", doubt=0.5)(mask).label
    assert torch.equal(label, mask), "no threshold parts pixels that are alike"


def test_relative_to_size_a_large_lesion_wins_over_a_dot_in_the_middle():
    maps = torch.zeros(1, 40, 40)
    maps[0, 8:30, 4:18] = 1
    maps[0, 19:22, 22:25] = 1
    chosen = {rule: UncertaintyModule(min_area=0, rule=rule)(maps).label[0] == 1 for rule in ("mean", "relative")}
    assert chosen["mean"].sum() == 9 and chosen["relative"].sum() == 22 * 14


def test_a_band_lies_on_both_sides_of_the_outline_and_not_along_the_frame():
    maps = torch.zeros(1, 20, 20)
    maps[0, :10, 5:15] = 1  # cut by the frame above
    label = UncertaintyModule(band=0.1)(maps).label[0]
    assert (label[0, 5:15] == torch.tensor([0.5, 0.5, 1, 1, 1, 1, 1, 1, 0.5, 0.5])).all()
    assert (label[:14, 10] == torch.tensor([1.0] * 8 + [0.5] * 4 + [0, 0])).all()
    assert (label[:, :3] == 0).all()


def test_one_threshold_a_map_by_both_ways_of_joining():
    maps = smooth_maps(5, 20, 24, np.random.default_rng(2), 0.3)
    highs = torch.tensor([0.3, 0.5, 0.65, 0.8, 0.2])
    for on_device in (False, True):
        together = find_runs(maps, highs, 8, on_device)
        alone = [find_runs(each[None], float(high), 8, on_device) for each, high in zip(maps, highs, strict=True)]
        assert torch.equal(together.mask, torch.cat([each.mask for each in alone]))
        assert together.components == sum(each.components for each in alone)


def test_what_stands_beside_the_paper_is_in_a_key_only_where_it_is_used():
    names = set(UncertaintyConfig().settings())
    assert names == set(SETTINGS)
    assert set(UncertaintyConfig(thresholds="adaptive").settings()) == names | {"thresholds", "doubt"}
    assert set(UncertaintyConfig(band=0.01).settings()) == names | {"band"}
