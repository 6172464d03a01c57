"""Several processes learn what one learns with the whole batch, and what one alone does is done once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import ranks_worker as worker
import torch

from uslnet_core import ranks
from uslnet_core.compute import generator
from uslnet_core.contrastive import health
from uslnet_core.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")
PROCESSES = 2


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same trainings in this process, and a folder with the states of one of them."""
    folder = tmp_path_factory.mktemp("ranks")
    before = health.STUCK, health.GUESSING
    health.STUCK = health.GUESSING = 9.0
    torch.set_num_threads(1)
    fabric, brief = worker.compute(), worker.compute(precision="bf16-mixed")
    (folder / "alone").mkdir()
    with worker.in_double():
        learnt = {
            name: worker.learn(name, fabric, worker.Keeps(folder / "alone") if name == worker.STOPPED else None)
            for name in [*worker.CONTRASTIVE, *worker.SEGMENTER]
        }
    learnt |= {f"{name}, bf16": worker.learn(name, brief) for name in worker.BRIEF}
    yield folder, learnt, fabric
    health.STUCK, health.GUESSING = before


@pytest.fixture(scope="module")
def together(alone):
    """What each of two processes saw."""
    folder = alone[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": PROCESSES, "TORCHELASTIC_RUN_ID": "test"}
    command = [sys.executable, worker.__file__, str(folder), str(PROCESSES)]
    started = []
    for rank in range(PROCESSES):
        own = {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": PROCESSES, "OMP_NUM_THREADS": 1}
        environment = os.environ | {name: str(value) for name, value in (shared | own).items()}
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        said = [process.communicate(timeout=1800)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * PROCESSES, "\n".join(said)[-4000:]
    return [torch.load(folder / f"seen-{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


def assert_alike(found: dict, expected: dict) -> None:
    """Equal but for the rounding of float64, which four steps of AdamW enlarge."""
    assert found["history"].keys() == expected["history"].keys()
    for name, column in expected["history"].items():
        assert found["history"][name] == pytest.approx(column, rel=1e-9), name
    assert found["model"].keys() == expected["model"].keys()
    for name, value in expected["model"].items():
        assert torch.allclose(found["model"][name], value, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("name", [*worker.CONTRASTIVE, *worker.SEGMENTER])
def test_two_processes_learn_what_one_learns_with_the_whole_batch(alone, together, name):
    assert_alike(together[0][name], alone[1][name])


@pytest.mark.parametrize("name", [*worker.CONTRASTIVE, *worker.SEGMENTER])
def test_all_processes_end_with_the_same_weights(together, name):
    first, second = (seen[name] for seen in together)
    assert first["history"] == second["history"]
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key


@pytest.mark.parametrize("name", worker.BRIEF)
def test_two_processes_learn_in_bf16_too(alone, together, name):
    """All alike; and for the two steps of the first epoch, before roundings pile up, what one learns, to seven bits."""
    name = f"{name}, bf16"
    one, (first, second) = alone[1][name], [seen[name] for seen in together]
    assert first["history"] == second["history"]
    assert first["history"]["loss"][0] == pytest.approx(one["history"]["loss"][0], rel=2**-7)
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key


@pytest.mark.parametrize("name", worker.CONTRASTIVE)
def test_no_image_is_read_twice_in_an_epoch_and_the_parts_are_the_batch(alone, together, name):
    one, (first, second) = alone[1][name]["read"], [seen[name]["read"] for seen in together]
    assert [a + b for a, b in zip(first, second, strict=True)] == one, "in the order of the batch"
    each, size = len(one) // 2, worker.CONTRASTIVE[name][1]
    for epoch in (one[:each], one[each:]):  # there are two
        read = sum(epoch, [])
        assert len(read) == len(set(read)) == 16 // size * size, "a short last batch is left out"
    assert one[:each] != one[each:]


@pytest.mark.parametrize("name", [name for name, (method, *_) in worker.CONTRASTIVE.items() if method == "moco_v2"])
def test_the_queue_is_the_same_in_all_processes_after_each_step(alone, together, name):
    one, (first, second) = alone[1][name]["queues"], [seen[name]["queues"] for seen in together]
    assert len(one) == len(first) == len(second) > 1
    for expected, found, other in zip(one, first, second, strict=True):
        assert torch.equal(found, other)
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8), "and what one process puts into it"
    assert not torch.equal(first[0], first[1])


def test_the_trainings_do_not_compare_equal_to_each_other(alone):
    """The tests above can fail: a batch of one image less is another training."""
    with pytest.raises(AssertionError):
        assert_alike(alone[1]["simclr"], alone[1]["simclr, parts of 4 and 3"])


def test_only_the_first_process_keeps_states_and_all_go_on_from_those_of_one(alone, together):
    folder, learnt, fabric = alone
    assert len(list((folder / "of-0").iterdir())) == 2 and not list((folder / "of-1").iterdir())
    assert_alike(together[0]["gone on"], learnt[worker.STOPPED])
    with worker.in_double():
        one_of_two = worker.learn(worker.STOPPED, fabric, worker.Keeps(begin=folder / "of-0" / "step-1.pt"))
    assert_alike(one_of_two, learnt[worker.STOPPED])


def test_what_one_does_is_done_once_and_told_to_all(together):
    for seen in together:
        assert seen["once"] == [0, 1, "within"], "by the first process, as if alone"
        assert seen["worlds"] == [PROCESSES, 1]
        assert seen["refused"] == "the first process says no"


def test_one_process_is_a_world_of_its_own():
    assert (ranks.world(), ranks.rank(), ranks.alone(), ranks.once(lambda: 5)) == (1, 0, False, 5)


@pytest.mark.parametrize(
    ("count", "processes", "groups", "expected"),
    [
        (8, 2, 1, (4, 4)),
        (7, 2, 1, (4, 3)),
        (10, 2, 4, (6, 4)),  # groups of 3, 3, 2 and 2
        (10, 4, 4, (3, 3, 2, 2)),
        (9, 4, 2, (3, 2, 2, 2)),  # groups of 5 and 4, two processes each
        (3, 3, 1, (1, 1, 1)),
        (5, 1, 4, (5,)),
    ],
)
def test_processes_take_whole_groups_or_share_one(count, processes, groups, expected):
    assert ranks.shares(count, processes, groups) == expected


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match=r"4 processes cannot share a batch of 3 images. Use 3 or fewer"):
        ranks.shares(3, 4)
    with pytest.raises(ConfigError, match=r"in 4 groups, which 3 processes cannot share.*contrastive\.groups"):
        ranks.shares(12, 3, 4)


def test_shares_draw_what_one_process_draws_and_keep_their_part():
    def draws(rng, count):
        return [ranks.rand(rng, count), ranks.rand(rng, count, 2), ranks.randint(rng, 9, count)]

    whole, order = draws(stream := generator(3), 7), ranks.permutation(stream, 7)
    parts = [ranks.Share(generator(3), (4, 3), rank) for rank in range(2)]
    drawn = [draws(parts[0], 4), draws(parts[1], 3)]
    for number, expected in enumerate(whole):
        assert torch.equal(torch.cat([each[number] for each in drawn]), expected)
    assert all(torch.equal(ranks.permutation(part, len(order)), order) for part in parts)
    assert [ranks.own(torch.arange(7), part).tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6]]


def test_the_mean_of_weighted_losses_is_the_mean_over_all_images():
    losses, parts = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0]), [ranks.Share(generator(0), (3, 2), r) for r in range(2)]
    weighted = [ranks.mean_of_all(ranks.own(losses, part).mean(), part) for part in parts]
    assert float(sum(weighted) / 2) == pytest.approx(4.0)
    assert float(ranks.mean_of_all(losses.mean(), generator(0))) == 4.0
