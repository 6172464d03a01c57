"""Seeds, batches, the learning rate's curve, and the choice of a device."""

from __future__ import annotations

import inspect
import logging
import math
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uslnet_core.compute import batches, generator, make_fabric, one_cycle, peak_memory, quiet
from uslnet_core.config import ComputeConfig
from uslnet_core.errors import ConfigError


def rates(steps: int, warm_up: float) -> list[float]:
    """The learning rate that each step uses, and after them the one that is left."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = one_cycle(optimizer, steps, warm_up)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*used, schedule.get_last_lr()[0]]


def test_streams_repeat_and_differ():
    drawn = [
        torch.rand(4, generator=generator(*seeds)).tolist() for seeds in [(0, 5, 1), (0, 5, 1), (0, 5, 2), (1, 5, 1)]
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(d) for d in drawn}) == 3


def test_the_order_of_seeds_matters():
    assert generator(1, 2).initial_seed() != generator(2, 1).initial_seed()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 100))
def test_batches_hold_every_index_once(count, size, seed):
    parts = batches(count, size, generator(seed), drop_last=False)
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert all(len(part) == size for part in parts[:-1]) and 1 <= len(parts[-1]) <= size


@given(st.integers(1, 60), st.integers(1, 20))
def test_a_short_last_batch_is_left_out_unless_it_is_the_only_one(count, size):
    lengths = [len(part) for part in batches(count, size, generator(0), drop_last=True)]
    assert lengths == ([size] * (count // size) if count >= size else [count])


def test_batches_are_shuffled_anew_by_one_stream():
    rng = generator(0)
    first, second = batches(50, 50, rng, drop_last=True)[0], batches(50, 50, rng, drop_last=True)[0]
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [1 / 25, 1.0]), (2, [1 / 25, 1.0, 0.0]), (3, [1 / 25, 1.0, 0.5, 0.0])],
)
def test_one_cycle_of_few_steps(steps, expected):
    assert rates(steps, 0.1) == pytest.approx(expected, abs=1e-9)


def test_one_cycle_climbs_in_a_line_and_falls_along_a_cosine():
    found = rates(100, 0.2)
    expected = [(1 + 24 * k / 20) / 25 for k in range(20)] + [(1 + math.cos(math.pi * k / 80)) / 2 for k in range(81)]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("warm_up", [0.0, 1.0])
def test_one_cycle_at_the_ends_of_the_warm_up(warm_up):
    found = rates(10, warm_up)
    assert all(0 <= rate <= 1 for rate in found) and max(found) == 1.0


def test_one_cycle_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates(12, 0.1)


def test_cpu_and_precision_as_asked():
    fabric = make_fabric(ComputeConfig(device="cpu", precision="32-true"))
    assert fabric.device.type == "cpu" and fabric.strategy.precision.precision == "32-true"
    assert make_fabric(ComputeConfig(device="cpu", precision="bf16-mixed")).strategy.precision.precision == "bf16-mixed"


@pytest.mark.parametrize(("gains", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_takes_bf16_only_where_the_processor_has_it(monkeypatch, gains, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: gains)
    fabric = make_fabric(ComputeConfig())
    assert fabric.device.type == "cpu" and fabric.strategy.precision.precision == expected


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU.*'auto' or 'cpu'"):
        make_fabric(ComputeConfig(device="gpu"))


def test_quiet_says_nothing(capsys):
    quiet("x", 1, 2)
    assert capsys.readouterr().out == ""


def test_more_processes_than_were_started_are_refused():
    with pytest.raises(ConfigError, match=r"processes is 2, but 1 was started.*uslnet train --processes 2"):
        make_fabric(ComputeConfig(processes=2, device="cpu"))


def test_the_peak_of_memory_stays():
    before = peak_memory()
    held = b"x" * (64 * 2**20)
    with_it = peak_memory()
    del held
    slack = 8  # MiB: the system counts by threads, and adds up now and then
    assert 0 < before <= with_it + slack and with_it <= peak_memory() + slack


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere each program has a peak of its own")
def test_the_peak_of_memory_is_not_that_of_the_program_that_began_it():
    # The function alone, since what it stands in imports torch, which is large itself.
    small = f"import sys\nfrom pathlib import Path\n{inspect.getsource(peak_memory)}\nprint(peak_memory())"
    large = f"import subprocess, sys; held = b'x' * (256 * 2**20); subprocess.run([sys.executable, '-c', {small!r}])"
    told = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True).stdout
    assert 0 < int(told) < 128, "256 MiB are another program's"


def test_no_library_says_which_number_format_it_was_given(monkeypatch) -> None:
    """Every stage makes a fabric, and a page would show the sentence as often."""
    said = logging.Handler()
    said.emit = lambda record: pytest.fail(record.getMessage())
    for name in ("lightning_fabric", "lightning_fabric.utilities.rank_zero", ""):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [said])
    make_fabric(ComputeConfig(device="cpu", precision="bf16-mixed"))
