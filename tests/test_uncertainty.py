"""The uncertainty module against a slow, literal reading of Algorithm 1, on both of its paths."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from uslnet_core import components, uncertainty
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.uncertainty import UncertaintyModule

# --- the oracle ------------------------------------------------------------------------------------------------------


def flood(candidate, height, width, neighbours):
    """Algorithm 1's search: pick a pixel, grow its region until nothing is left, and again; in raster order."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if neighbours == 8:
        steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    seen, regions = set(), []
    for seed in ((y, x) for y in range(height) for x in range(width)):
        if not candidate[seed] or seed in seen:
            continue
        region, frontier = [], [seed]
        seen.add(seed)
        while frontier:
            y, x = frontier.pop()
            region.append((y, x))
            for dy, dx in steps:
                pixel = (y + dy, x + dx)
                inside = 0 <= pixel[0] < height and 0 <= pixel[1] < width
                if inside and candidate[pixel] and pixel not in seen:
                    seen.add(pixel)
                    frontier.append(pixel)
        regions.append(region)
    return regions


def literal(saliency, low, high, min_area, neighbours, rule, exclusion):
    """One map's label, reason and rows of the table, by METHOD's six points and nothing else."""
    height, width = saliency.shape
    low, high = (torch.tensor(t, dtype=saliency.dtype).item() for t in (low, high))
    values = {(y, x): saliency[y, x].item() for y in range(height) for x in range(width)}
    label = np.full((height, width), 0.5, np.float32)
    for pixel, value in values.items():
        if value < low:
            label[pixel] = 0
    regions = flood({pixel: value > high for pixel, value in values.items()}, height, width, neighbours)
    rows, best, chosen = [], math.inf, None
    for number, region in enumerate(regions):
        distances = [math.sqrt((y - height / 2) * (y - height / 2) + (x - width / 2) * (x - width / 2))
                     for y, x in region]  # fmt: skip
        weight = math.fsum(distances)
        mean = weight / len(region)
        centroid = (sum(y for y, _ in region) / len(region), sum(x for _, x in region) / len(region))
        small = len(region) < round(min_area * height * width)
        rows.append([len(region), *centroid, mean, "too small" if small else "less central"])
        if not small and (mean if rule == "mean" else weight) < best:
            best, chosen = (mean if rule == "mean" else weight), number
    if chosen is None:
        return label, "no component left", rows
    rows[chosen][-1] = "chosen"
    for pixel in regions[chosen]:
        label[pixel] = 1
    dy, dx = rows[chosen][1] - height / 2, rows[chosen][2] - width / 2
    far = math.sqrt(dy * dy + dx * dx) > min(height, width) * exclusion
    return label, "too far from the centre" if far else "kept", rows


@pytest.fixture(params=["numpy", "torch"])
def path(request, monkeypatch):
    """Both ways to find components, on the CPU."""
    use(monkeypatch, request.param)
    return request.param


def use(monkeypatch, name):
    find = components.find_runs
    monkeypatch.setattr(uncertainty, "find_runs", lambda *a: find(*a, on_device=name == "torch"))


SETTINGS = {"low": 0.35, "high": 0.65, "min_area": 0.02, "neighbours": 8, "rule": "mean", "exclusion": 1 / 3}


def check(saliency, **changes):
    """Compare a batch with the oracle: labels, flags, reasons and every number of the table, to the last bit."""
    given_settings = SETTINGS | changes
    before = saliency.clone()
    out = UncertaintyModule(**given_settings)(saliency)
    assert torch.equal(saliency, before)
    expected = [literal(one, **given_settings) for one in saliency]
    assert out.label.dtype == torch.float32 and out.label.shape == saliency.shape
    for image, (label, reason, _) in enumerate(expected):
        np.testing.assert_array_equal(out.label[image].numpy(), label)
        assert out.reason[image] == reason
        assert bool(out.keep[image]) is (reason == "kept")
    rows = [[image, *row] for image, (_, _, table) in enumerate(expected) for row in table]
    frame = out.regions_frame()
    columns = ["image", "area", "centroid_y", "centroid_x", "mean_distance", "reason"]
    assert frame[columns].values.tolist() == rows
    assert frame["chosen"].tolist() == [row[-1] == "chosen" for row in rows]
    return out


# --- maps ------------------------------------------------------------------------------------------------------------


def smooth_maps(images, height, width, rng, noise=0.0):
    """Blurred blobs near the centre and elsewhere, like lesions and artefacts."""
    maps = ndimage.gaussian_filter(rng.standard_normal((images, height, width)), (0, height / 12, width / 12))
    y, x = np.mgrid[:height, :width]
    for one in maps:
        cy, cx = rng.normal(height / 2, height / 8), rng.normal(width / 2, width / 8)
        one /= np.abs(one).max()
        one -= 4 * np.hypot((y - cy) / height, (x - cx) / width) - 1
    maps = 1 / (1 + np.exp(-4 * maps)) + noise * rng.standard_normal(maps.shape)
    return torch.from_numpy(np.clip(maps, 0, 1).astype(np.float32))


def spiral(size):
    """One arm, a pixel wide, winding to the middle: the longest chain of runs that a map can hold."""
    arm = np.zeros((size, size), np.float32)
    y, x, dy, dx = 0, 0, 0, 1
    arm[0, 0] = 1
    while True:
        for _ in range(2):
            ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
            free = all(0 <= c < size for c in ahead) and not arm[ahead]
            if free and not (all(0 <= c < size for c in beyond) and arm[beyond]):
                y, x = ahead
                arm[y, x] = 1
                break
            dy, dx = dx, -dy
        else:
            return torch.from_numpy(arm)


def shapes():
    size = 24
    y, x = np.mgrid[:size, :size]
    frame = (y == 0) | (y == size - 1) | (x == 0) | (x == size - 1)
    one = np.zeros((size, size))
    one[12, 12] = 1
    comb = (x % 2 == 0) | (y == size - 1)  # teeth that only meet in the last row
    zigzag = np.abs((x + y) % 10 - 5) == (y % 5)
    border = np.hypot(y - 2, x - 12) < 7
    rings = (np.maximum(np.abs(y - 12), np.abs(x - 12)) % 3) == 0
    rows_touch = (y % 2 == 0) & (x >= size - 2) | (y % 2 == 1) & (x < 2)  # last and first columns are no neighbours
    return {
        "empty": np.zeros((size, size)), "full": np.ones((size, size)), "uncertain": np.full((size, size), 0.5),
        "one pixel": one, "checkerboard": (y + x) % 2, "checkerboard 2": (y // 2 + x // 2) % 2, "frame": frame,
        "comb": comb, "comb up": comb[::-1], "zigzag": zigzag, "border": border, "corner": np.hypot(y, x) < 9,
        "rings": rings, "rows touch": rows_touch, "diagonal": y == x, "antidiagonal": y + x == size - 1,
        "spiral": spiral(size).numpy(), "inverse spiral": 1 - spiral(size).numpy(),
    }  # fmt: skip


# --- against the oracle ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["mean", "sum"])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("min_area", [0.0, 0.02])
def test_shapes(path, neighbours, rule, min_area):
    maps = torch.from_numpy(np.stack([np.asarray(s, np.float32) for s in shapes().values()]))
    check(maps, neighbours=neighbours, rule=rule, min_area=min_area)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (33, 50), (50, 31)])
@pytest.mark.parametrize("noise", [0, 0.15])
def test_smooth_and_noisy(path, neighbours, height, width, noise):
    maps = smooth_maps(6, height, width, np.random.default_rng(3), noise)
    out = check(maps, neighbours=neighbours, min_area=0.01)
    assert out.keep.any()
    check(maps, neighbours=neighbours, rule="sum")


@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 4), st.integers(1, 11), st.integers(1, 11)),
    levels=st.sampled_from([(0.0, 1.0), (0.2, 0.35, 0.5, 0.65, 0.9), (0.0, 0.9, 0.9, 0.9)]),
    neighbours=st.sampled_from([4, 8]),
    rule=st.sampled_from(["mean", "sum"]),
    min_area=st.sampled_from([0.0, 0.02, 0.05, 0.2, 1.0]),
    exclusion=st.sampled_from([0.0, 0.2, 1 / 3, 0.5, math.inf]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    name=st.sampled_from(["numpy", "torch"]),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_random(data, size, levels, neighbours, rule, min_area, exclusion, dtype, name):
    pixels = data.draw(st.lists(st.sampled_from(levels), min_size=math.prod(size), max_size=math.prod(size)))
    maps = torch.tensor(pixels, dtype=torch.float64).reshape(size).to(dtype)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(monkeypatch, name)
        check(maps, neighbours=neighbours, rule=rule, min_area=min_area, exclusion=exclusion)


def test_many_random_maps_of_pixels_and_specks(path):
    rng = np.random.default_rng(0)
    for density in (0.2, 0.4, 0.6, 0.8):
        maps = torch.from_numpy((rng.random((40, 13, 17)) < density).astype(np.float32))
        check(maps, neighbours=8, min_area=0)
        check(maps, neighbours=4, min_area=3 / (13 * 17))


def test_the_two_paths_agree_on_large_maps():
    maps = torch.cat([smooth_maps(4, 224, 224, np.random.default_rng(1), n) for n in (0, 0.1, 0.3)])
    maps = torch.cat([maps, torch.nn.functional.pad(spiral(221), (1, 2, 1, 2))[None]])
    for neighbours in (4, 8):
        one, other = (components.find_runs(maps, 0.65, neighbours, on_device=d) for d in (False, True))
        for name in ("image", "y", "x", "length", "component", "first", "mask"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
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


def test_groups_of_images(path, monkeypatch):
    maps = smooth_maps(7, 20, 20, np.random.default_rng(5), 0.2)
    whole = check(maps)
    monkeypatch.setattr(uncertainty, "_GROUP_PIXELS", 2 * 400)
    parts = check(maps)
    assert torch.equal(whole.label, parts.label)


@pytest.mark.parametrize("height", [1, 2, 3, 7])
def test_one_row_and_one_column(path, height):
    line = torch.tensor([1.0, 1, 0, 1, 0.5, 1, 1])
    check(line.repeat(height, 1)[None], min_area=0)
    check(line.repeat(height, 1).T[None].contiguous(), min_area=0)
    check(line.repeat(height, 1).T[None], min_area=0)  # not contiguous


def test_no_image_and_one_image(path):
    out = UncertaintyModule()(torch.zeros(0, 5, 6))
    assert out.label.shape == (0, 5, 6) and out.keep.shape == out.reason.shape == (0,)
    assert len(out.regions) == 0 and len(out.regions_frame()) == 0
    check(smooth_maps(1, 20, 20, np.random.default_rng(0)))


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_worked_by_hand(path):
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
    out = UncertaintyModule(min_area=2 / 36)(saliency[None])
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


def test_mean_and_sum_choose_differently(path):
    saliency = torch.zeros(1, 30, 30)
    saliency[0, 10:21, 10:21] = 1  # large, around the centre
    saliency[0, 15, 26] = 1  # one pixel, 11 from the centre: a sum of 11, against hundreds
    mean, printed = (check(saliency, rule=rule, min_area=0).label for rule in ("mean", "sum"))
    assert mean[0, 15, 15] == 1 and mean[0, 15, 26] == 0.5
    assert printed[0, 15, 15] == 0.5 and printed[0, 15, 26] == 1


def test_corner_contact_joins_only_with_eight_neighbours(path):
    saliency = torch.zeros(1, 6, 6)
    saliency[0, 2, 2] = saliency[0, 3, 3] = 1
    assert len(check(saliency, neighbours=8, min_area=0).regions) == 1
    assert len(check(saliency, neighbours=4, min_area=0).regions) == 2


def test_thresholds_compare_in_the_dtype_of_the_map(path):
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        low, high = torch.tensor(0.35, dtype=dtype), torch.tensor(0.65, dtype=dtype)
        step = torch.finfo(dtype).eps / 4
        saliency = torch.stack([low, high, low - step, high + 2 * step]).reshape(1, 1, 4)
        assert saliency[0, 0, 2] < low and saliency[0, 0, 3] > high
        label = check(saliency, min_area=0).label
        assert label.tolist() == [[[0.5, 0.5, 0, 1]]]  # equality is uncertain


def test_least_area_stays_if_equal(path):
    saliency = torch.zeros(2, 10, 10)
    saliency[0, 4:6, 4:6] = 1
    saliency[1, 4:6, 4:6] = saliency[1, 6, 5] = 1
    assert check(saliency, min_area=0.05).reason.tolist() == ["no component left", "kept"]
    assert check(saliency, min_area=0.04).keep.all()
    # Halves round to the even number: 4.5 is 4, 5.5 would be 6.
    assert check(saliency, min_area=0.045).keep.all()
    assert not check(saliency, min_area=0.055).keep.any()


def test_the_paper_s_least_area_at_its_size():
    saliency = torch.zeros(2, 224, 224)
    saliency[0, 100:125, 100:120] = saliency[1, 100:125, 100:120] = 1  # 500 pixels
    saliency[1, 100, 100] = 0  # 499
    assert UncertaintyModule()(saliency).keep.tolist() == [True, False]


def test_equal_to_the_exclusion_distance_is_kept(path):
    saliency = torch.zeros(2, 12, 30)
    saliency[0, 6, 19] = 1  # min(12, 30) / 3 = 4 from (6, 15)
    saliency[1, 6, 20] = 1
    out = check(saliency, min_area=0)
    assert out.reason.tolist() == ["kept", "too far from the centre"]
    assert out.label[1, 6, 20] == 1  # the label of an excluded image still shows what was chosen
    assert check(saliency, min_area=0, exclusion=math.inf).keep.all()


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


@pytest.mark.parametrize("turn", [False, True])
def test_mirror_images_are_equal_and_the_first_wins(path, turn):
    ties = 0
    for pair in mirrored(turn):
        out = check(pair[None], min_area=0, exclusion=math.inf)
        table = out.regions_frame()
        best = table.index[table.mean_distance == table.mean_distance.min()]
        assert len(best) % 2 == 0  # each has its twin, to the last bit, though its pixels come in another order
        assert table.chosen[best[0]]
        ties += table.area[best[0]] > 3
    assert ties > 10


def test_distances_are_summed_exactly():
    # A sum in raster order ends elsewhere in the last bits: the case is not one where every order agrees.
    saliency = smooth_maps(8, 96, 96, np.random.default_rng(0))
    out = UncertaintyModule(min_area=0)(saliency)
    table, naive = out.regions, 0
    y, x = np.mgrid[:96, :96] - 48.0
    for image in range(8):
        labels, count = ndimage.label(saliency[image].numpy() > np.float32(0.65), np.ones((3, 3)))
        distance = np.sqrt(y * y + x * x)
        exact = [math.fsum(distance[labels == k]) / (labels == k).sum() for k in range(1, count + 1)]
        assert table.mean_distance[table.image == image].tolist() == exact
        naive += (np.bincount(labels.ravel(), distance.ravel())[1:] / np.bincount(labels.ravel())[1:] != exact).sum()
    assert naive > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4000), (4000, 3), (700, 900), (2, 500_000)])
def test_exact_sums_at_any_size(height, width):
    out = UncertaintyModule(min_area=0)(torch.ones(1, height, width))
    y, x = np.arange(height) - height / 2, np.arange(width) - width / 2
    distance = np.sqrt((y * y)[:, None] + (x * x)[None, :])
    assert out.regions.mean_distance.item() == math.fsum(distance.ravel()) / (height * width)


def test_the_two_parts_of_a_sum_are_rounded_once():
    # Just above a tie, by one part in 2^58: rounding the fine part by itself first would lose that part.
    runs = components.find_runs(torch.ones(1, 2, 500_000), 0.65, 8)
    shift = components._distance_table(2, 500_000, torch.device("cpu"))[2]
    coarse, fine = 1 << (37 + shift), (1 << 57) + (1 << 37) + 1
    parts = iter([torch.tensor([coarse]), torch.tensor([fine])])
    expected = float(Fraction(coarse, 1 << shift) + Fraction(fine, 1 << 53))
    assert expected != coarse / (1 << shift) + fine / (1 << 53)
    assert components.distance_sums(runs, lambda _: next(parts)).item() == expected


def test_too_large_for_exact_sums():
    with pytest.raises(DataError, match=r"1 × 4194304 are too large .* Resize"):
        UncertaintyModule()(torch.zeros(1, 1, 1 << 22))


# --- properties ------------------------------------------------------------------------------------------------------


def test_three_values_and_one_connected_foreground(path):
    maps = smooth_maps(20, 40, 40, np.random.default_rng(8), 0.12)
    out = UncertaintyModule(min_area=0.01)(maps)
    assert set(out.label.unique().tolist()) == {0.0, 0.5, 1.0}
    for label, has in zip(out.label.numpy(), out.reason != "no component left", strict=True):
        assert ndimage.label(label == 1, np.ones((3, 3)))[1] == int(has)
    assert torch.equal(out.label == 0, maps < 0.35)  # dropped candidates never become background
    assert ((out.label == 1) <= (maps > 0.65)).all()


def test_transposing_transposes(path):
    # Distances to (H/2, W/2) know no rows from columns, and these maps hold no ties. A left-right flip is no such
    # symmetry: column 0 has no mirror image about W/2.
    maps = smooth_maps(12, 40, 30, np.random.default_rng(9), 0.1)
    um = UncertaintyModule(min_area=0.01)
    one, other = um(maps), um(maps.transpose(1, 2))
    assert torch.equal(one.label, other.label.transpose(1, 2)) and torch.equal(one.keep, other.keep)


def test_an_image_s_label_does_not_depend_on_its_batch(path):
    maps = smooth_maps(6, 30, 30, np.random.default_rng(10), 0.1)
    um = UncertaintyModule()
    together = um(maps)
    alone = [um(maps[i : i + 1]) for i in range(6)]
    assert torch.equal(together.label, torch.cat([a.label for a in alone]))
    assert torch.equal(together.regions.mean_distance, torch.cat([a.regions.mean_distance for a in alone]))


def test_no_gradient_and_inference_mode(path):
    maps = smooth_maps(2, 20, 20, np.random.default_rng(0))
    expected = UncertaintyModule()(maps).label
    assert not UncertaintyModule()(maps.clone().requires_grad_()).label.requires_grad
    with torch.inference_mode():
        assert torch.equal(UncertaintyModule()(maps.clone()).label, expected)


def test_steps_above_one_that_upsampling_leaves_are_ones(path):
    out = UncertaintyModule()(torch.full((1, 8, 8), 1 + 2 * torch.finfo(torch.float32).eps))
    assert (out.label == 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same_bits_and_stays_there():
    maps = smooth_maps(16, 224, 224, np.random.default_rng(11), 0.1)
    um = UncertaintyModule()
    host, device = um(maps), um(maps.cuda())
    assert device.label.is_cuda and device.keep.is_cuda and device.regions.area.is_cuda
    assert torch.equal(host.label, device.label.cpu()) and torch.equal(host.keep, device.keep.cpu())
    assert host.regions_frame().equals(device.regions_frame())


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"low": 0.7}, r"low is 0\.7 and high is 0\.65, but low must be less"),
        ({"low": 0.65}, "low must be less than high"),
        ({"low": -0.1}, r"low is -0\.1, but saliency lies in \[0, 1\]"),
        ({"high": 1.5}, r"high is 1\.5, but saliency lies in \[0, 1\]"),
        ({"high": math.nan}, "high is nan"),
        ({"low": "0.3"}, r"low must be a number, but is '0\.3'"),
        ({"high": True}, "high must be a number, but is True"),
        ({"min_area": 500}, r"min_area is 500, but it is a fraction .* 500 / 224\*\*2"),
        ({"min_area": -1}, "min_area is -1"),
        ({"neighbours": 6}, r"neighbours is 6, but must be 8 .* or 4"),
        ({"rule": "median"}, "rule is 'median', but must be 'mean' .* or 'sum'"),
        ({"exclusion": -0.5}, r"exclusion is -0\.5, .* 0 or more"),
        ({"exclusion": math.nan}, "exclusion is nan"),
        ({"exclusion": None}, "exclusion must be a number, but is None"),
    ],
)
def test_settings_that_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        UncertaintyModule(**setting)


def spoilt(value, count=1):
    maps = torch.full((2, 4, 5), 0.5)
    maps[1, 2, 3] = value
    maps[1, 3, : count - 1] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.rand(4, 4), r"shape \(B, H, W\), but have \(4, 4\).*unsqueeze\(0\)"),
        (torch.rand(2, 1, 4, 4), r"but have \(2, 1, 4, 4\).*squeeze\(1\)"),
        (torch.rand(4), r"but have \(4,\)"),
        (torch.rand(2, 0, 4), r"at least one pixel, but have the shape \(2, 0, 4\)"),
        (np.zeros((1, 4, 4), np.float32), r"are a ndarray: torch\.from_numpy"),
        ([[0.5]], "are a list"),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), r"are torch\.uint8.*Divide 8-bit values by 255"),
        (spoilt(math.nan, 3), "3 saliency values are NaN, the first in image 1 at row 2, column 3"),
        (spoilt(1.01), r"ranges from 0\.5 to 1\.01; .* image 1 at row 2, column 3.*sigmoid"),
        (spoilt(-0.01), r"ranges from -0\.01 to 0\.5"),
        (spoilt(math.inf), "to inf"),
    ],
)
def test_maps_that_are_refused(maps, message):
    with pytest.raises(DataError, match=message):
        UncertaintyModule()(maps)
