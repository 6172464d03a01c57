"""The uncertainty module by numpy, torch and numba: the same, refusals included; and what "auto" takes."""

import builtins
import math
import sys
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from uncertainty_oracle import check, smooth_maps, spiral, ways

from uslnet_core import uncertainty
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.uncertainty import UncertaintyModule

every_way = pytest.mark.parametrize("way", ways())
compiled = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


def same(one, other):
    """Labels, flags and every number of the table, bit for bit."""
    for name in ("label", "keep", "reason_code"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name, column in vars(one.regions).items():
        assert column.dtype == getattr(other.regions, name).dtype
        assert torch.equal(column, getattr(other.regions, name)), name


def large_maps():
    rng = np.random.default_rng(1)
    maps = [smooth_maps(3, 224, 224, rng, noise) for noise in (0, 0.1, 0.3)]
    maps.append(torch.nn.functional.pad(spiral(221), (1, 2, 1, 2))[None])
    maps.append((torch.arange(224)[:, None] + torch.arange(224) & 1).float()[None])
    maps += [torch.zeros(1, 224, 224), torch.ones(1, 224, 224), torch.from_numpy(rng.random((2, 224, 224), np.float32))]
    one = torch.zeros(1, 224, 224)
    one[0, 223, 223] = 1
    return torch.cat([*maps, one])


@pytest.mark.parametrize("settings", [{}, {"neighbours": 4, "rule": "sum", "min_area": 0}])
@pytest.mark.parametrize("beyond", [{}, {"thresholds": "adaptive", "doubt": 0.2, "band": 0.02}])
def test_all_ways_agree_on_large_maps(settings, beyond):
    maps, um = large_maps(), UncertaintyModule(**settings, **beyond)
    expected = um(maps, "numpy")
    assert 1 < len(expected.regions) and expected.keep.any() and not expected.keep.all()
    for way in ("torch", "numba") if find_spec("numba") else ("torch",):
        same(um(maps, way), expected)
        same(um(maps.double(), way), um(maps.double(), "numpy"))


@every_way
@pytest.mark.parametrize("width", [63, 64, 65, 127, 128, 130])
def test_runs_at_the_ends_of_words(way, width):
    # Words of 64 pixels: runs that begin, end and go on where one word ends and where a row does.
    maps = torch.zeros(3, 5, width)
    maps[0, :, -1] = maps[1, :, 0] = maps[2, 1::2] = 1
    maps[1, 2, 60:] = maps[0, 0, : width - 2] = 1
    for neighbours in (4, 8):
        check(maps, way, neighbours=neighbours, min_area=0)
    check((torch.rand(6, 4, width, generator=torch.Generator().manual_seed(0)) < 0.6).float(), way, min_area=0)


@every_way
def test_more_components_than_there_is_room_for_at_once(way):
    maps = (torch.arange(12)[:, None] + torch.arange(12) & 1).float().expand(5, 12, 12)
    assert len(check(maps, way, neighbours=4, min_area=0).regions) == 5 * 72


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_values_out_of_range_are_refused_and_what_is_just_in_range_passes(way, dtype):
    most = 1 + 4 * torch.finfo(dtype).eps
    for value, wrong in ((math.nan, "NaN"), (-0.01, "ranges from"), (math.inf, "to inf"), (1.2, "to 1.2")):
        maps = torch.full((3, 9, 70), 0.5, dtype=dtype)
        maps[2, 8, 69] = value
        with pytest.raises(DataError, match=rf"{wrong}.*image 2 (at )?(at )?row 8, column 69"):
            UncertaintyModule()(maps, way)
        with pytest.raises(DataError, match=wrong):
            UncertaintyModule(thresholds="adaptive")(maps, way)
    maps[2, 8, 69] = most
    assert check(maps, way, min_area=0).label[2, 8, 69] == 1
    maps[2, 8, 69] = -0.0
    assert check(maps, way, min_area=0).label[2, 8, 69] == 0


def test_a_way_that_is_none():
    with pytest.raises(ConfigError, match="way is 'opencv', but must be one of 'auto', 'numpy', 'torch', 'numba'"):
        UncertaintyModule()(torch.zeros(1, 4, 4), "opencv")


def test_without_numba_all_goes_on_by_numpy(monkeypatch):
    load = builtins.__import__

    def none(name, *args, **kwargs):
        if name.split(".")[0] == "numba":
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", none)
    monkeypatch.delitem(sys.modules, "uslnet_core.fused", raising=False)
    monkeypatch.delattr("uslnet_core.fused", raising=False)
    monkeypatch.setattr(uncertainty, "_NUMBA_PIXELS", 1)
    uncertainty._numba.cache_clear()
    try:
        check(smooth_maps(2, 20, 20, np.random.default_rng(0)))
        with pytest.raises(ConfigError, match="numba cannot be imported or does not compile here: install it"):
            UncertaintyModule()(torch.zeros(1, 4, 4), "numba")
    finally:
        uncertainty._numba.cache_clear()


@compiled
def test_where_numba_does_not_compile_all_goes_on_by_numpy(monkeypatch):
    from uslnet_core import fused

    def broken(*_):
        raise OSError("no cache")

    monkeypatch.setattr(fused, "_label", broken)
    monkeypatch.setattr(uncertainty, "_NUMBA_PIXELS", 1)
    uncertainty._numba.cache_clear()
    try:
        check(smooth_maps(2, 20, 20, np.random.default_rng(0)))
        with pytest.raises(ConfigError, match="does not compile here"):
            UncertaintyModule()(torch.zeros(1, 4, 4), "numba")
    finally:
        uncertainty._numba.cache_clear()


class Waits(TorchDispatchMode):
    """Write down the operations whose result a GPU's host must wait for: sizes that depend on values, and numbers."""

    WAITED_FOR = ("aten.nonzero", "aten.repeat_interleave.Tensor", "aten.equal", "aten._local_scalar_dense")

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if str(operation).startswith(self.WAITED_FOR):
            self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("beyond", [{}, {"thresholds": "adaptive", "band": 0.05}])
def test_the_torch_way_waits_as_often_whatever_the_number_of_maps(beyond):
    maps, um, found = smooth_maps(2, 30, 40, np.random.default_rng(2), 0.2), UncertaintyModule(**beyond), []
    for times in (1, 6):
        with Waits() as waits:
            um(maps.repeat(times, 1, 1), "torch")
        found.append(waits.names)
    assert found[0] == found[1]
    assert {name.split(".")[1] for name in found[0]} == {name.split(".")[1] for name in Waits.WAITED_FOR}


@compiled
def test_auto_takes_numba_for_large_batches_alone(monkeypatch):
    taken, load = [], uncertainty._numba
    monkeypatch.setattr(uncertainty, "_numba", lambda: taken.append(1) or load())
    monkeypatch.setattr(uncertainty, "_NUMBA_PIXELS", 3 * 400)
    maps = smooth_maps(3, 20, 20, np.random.default_rng(0))
    small = UncertaintyModule()(maps[:2])
    assert not taken
    whole = UncertaintyModule()(maps)
    assert taken and torch.equal(whole.label[:2], small.label)


@pytest.mark.parametrize("way", [way for way in ways() if way != "torch"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_memory_is_at_most_twice_the_input(way, noise, monkeypatch):
    # numpy's arrays are counted; torch's are not, but here the label is the only large one: once the input.
    maps, um = smooth_maps(32, 224, 224, np.random.default_rng(0), noise), UncertaintyModule()
    um(maps, way)  # tables that are kept, and compiling
    tracemalloc.start()
    try:
        um(maps, way)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    label = maps.numel() * 4
    assert 0 < peak and peak + label <= 2 * label
