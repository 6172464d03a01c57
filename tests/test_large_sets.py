"""Memory grows with the batch and not with the data: parts in place of wholes, the same to the last bit."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch

from uslnet_core import pipeline
from uslnet_core.compute import batches, generator
from uslnet_core.config import configure
from uslnet_core.data.images import HELD, ImageSet
from uslnet_core.data.storage import forget, growing, in_order, save_parts
from uslnet_core.errors import DataError, TrainingError
from uslnet_core.loop import Loop
from uslnet_core.pipeline.saliency import load_maps, maps_in_parts
from uslnet_core.pipeline.training import write_labels
from uslnet_core.saliency import health
from uslnet_core.saliency.source import map_images, map_parts
from uslnet_core.segmenter import predict, predict_parts

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- files that grow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [1], [3, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, bool])
def test_parts_make_the_file_that_the_whole_makes(tmp_path, rng, cuts, kind):
    whole = (rng.random((10, 4, 3)) * 2).astype(kind)
    save_parts(tmp_path / "parts.npy", (part.copy(order="F") for part in np.split(whole, cuts)))
    np.save(tmp_path / "whole.npy", whole)
    assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_nothing_makes_an_empty_file_and_an_odd_part_is_refused(tmp_path):
    save_parts(tmp_path / "none.npy", [])
    assert np.load(tmp_path / "none.npy").shape == (0,)
    for odd in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.uint8)):
        with pytest.raises(ValueError, match="A part of"), growing(tmp_path / "odd.npy") as add:
            add(np.zeros((2, 3), np.float32))
            add(odd)


# --- threads that decode ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 50])
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(count, workers):
    assert list(in_order(lambda item: item * 2, range(count), workers)) == [item * 2 for item in range(count)]


def test_a_slow_item_holds_up_no_other_and_few_results_are_held():
    """The first ends only once all that may wait behind it are done; one more is begun for each that is handed out."""
    done, lock, others = [], threading.Lock(), threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert others.wait(20)
        with lock:
            done.append(item)
            if len(done) == 15:
                others.set()
        return item

    handed = in_order(work, range(100), 2)
    assert next(handed) == 0 and done[:15] == list(range(1, 16)), "eight a thread"
    seventeenth = threading.Event()
    watched = in_order(lambda item: seventeenth.set() if item == 16 else item, range(100), 2)
    next(watched)
    assert seventeenth.wait(20), "begun when the first was handed out"
    for each in (handed, watched):
        each.close()


def test_what_goes_wrong_is_told_in_its_turn_and_nothing_more_is_begun():
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise OSError("item 3")
        return item

    got = []
    with pytest.raises(OSError, match="item 3"):
        for each in in_order(work, range(1000), 2):
            got.append(each)
    assert got == [0, 1, 2] and len(begun) <= 19


# --- memory maps -----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path) -> np.ndarray:
    """A sparse memory map of 128 MiB, of nothing."""
    size = 64
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.uint8, (128 * 2**20 // (3 * size * size), size, size, 3))
    return np.load(tmp_path / "large.npy", mmap_mode="r")


def held() -> int:
    """MiB of files that this process holds in memory."""
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssFile")).split()[1]) >> 10


@on_linux
def test_a_pass_over_a_set_holds_a_part_of_it(large, monkeypatch):
    monkeypatch.setattr("uslnet_core.data.images.HELD", 8 * 2**20)
    images, before, most = ImageSet([str(n) for n in range(len(large))], large), held(), 0
    for part in torch.arange(len(large)).split(64):
        images.pixels(part)
        most = max(most, held() - before)
    assert most < 48, "of 128 MiB"
    assert HELD < 2**30


@on_linux
def test_what_is_forgotten_is_let_go_and_comes_back(large):
    before = held()
    assert large.sum() == 0 and held() - before > 100
    forget(large[3:])
    assert held() - before < 10 and large.sum() == 0


def test_what_was_written_is_not_lost_and_other_arrays_are_left_alone(tmp_path):
    shared = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (9000,))
    shared[:] = 7
    forget(shared)
    assert (shared == 7).all() and (np.load(tmp_path / "a.npy") == 7).all()
    own = np.load(tmp_path / "a.npy", mmap_mode="c")
    own[:] = 8
    forget(own)
    plain = np.ones(3)
    forget(plain)
    assert (own == 8).all() and (plain == 1).all()


# --- parts are the whole ---------------------------------------------------------------------------------------------


def test_maps_and_predictions_by_parts(pictures, cpu, trained_run):
    model = pipeline.load_segmenter(trained_run.open("05-segmenter/iteration-0"))
    parts = list(predict_parts(model, pictures, cpu, batch_size=5))
    assert [len(part) for part in parts] == [5, 5, 5, 1]
    assert np.array_equal(np.concatenate(parts), predict(model, pictures, cpu, batch_size=5))

    def redness(images: torch.Tensor) -> torch.Tensor:
        return images[:, 0]

    parts = list(map_parts(redness, pictures, cpu, batch_size=5))
    assert np.array_equal(np.concatenate(parts), map_images(redness, pictures, cpu))
    with pytest.raises(DataError, match="empty set"):
        next(map_parts(redness, ImageSet([], pictures.images[:0]), cpu))


def test_maps_are_enlarged_by_parts(trained_run, monkeypatch):
    stage = trained_run.open("03-saliency/main")
    monkeypatch.setattr("uslnet_core.pipeline.saliency.AT_ONCE", 3)
    parts = list(maps_in_parts(stage, 32))
    assert max(map(len, parts)) == 3 and np.array_equal(np.concatenate(parts), load_maps(stage, 32))


def test_labels_of_parts_are_those_of_the_whole(tmp_path, rng):
    maps, config = rng.random((9, 16, 16)).astype(np.float32), configure(uncertainty={"min_area": 0.0}).uncertainty
    facts = {}
    for name, given in (("whole", maps), ("parts", iter(np.split(maps, [2, 7])))):
        (tmp_path / name).mkdir()
        facts[name] = write_labels(given, config, tmp_path / name)
    assert facts["whole"] == facts["parts"] and facts["whole"]["images"] == 9
    for file in ("labels.npy", "keep.npy", "images.csv", "regions.csv"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_fused_maps_by_parts(tmp_path, rng, monkeypatch):
    from uslnet_core.pipeline import fusion

    maps = [rng.random((7, cells, cells)).astype(np.float32) for cells in (4, 6)]
    folders = [tmp_path / name for name in "ab"]
    for folder, each in zip(folders, maps, strict=True):
        folder.mkdir()
        np.save(folder / "maps.npy", each)
    monkeypatch.setattr(fusion, "AT_ONCE", 3)
    parts = list(fusion.together(folders, 4))
    assert [len(first) for first, _ in parts] == [3, 3, 1]
    assert np.array_equal(np.concatenate([first for first, _ in parts]), maps[0]), "of this size already: untouched"
    smaller = fusion.upsample(torch.from_numpy(maps[1]), 4).numpy()
    assert np.array_equal(np.concatenate([second for _, second in parts]), smaller)


def test_the_health_of_maps_by_parts(rng, monkeypatch):
    maps = rng.random((11, 5, 5)).astype(np.float32)
    maps[3], maps[4, 0], maps[9, 1] = 0.5, 0, 1
    whole = health.map_health(maps)
    monkeypatch.setattr(health, "AT_ONCE", 4)
    assert health.map_health(maps) == whole
    assert whole["constant"] == 1 / 11 and whole["skin"] >= 5 / 275 and whole["lesion"] >= 5 / 275
    maps[10, 2, 2] = np.nan
    with pytest.raises(TrainingError, match="in 1 of 11 images, first in image 10"):
        health.check_maps(maps)


# --- the next batch is read while this one is learnt from ------------------------------------------------------------


@pytest.fixture
def loop(cpu) -> Loop:
    model = torch.nn.Linear(1, 1)
    options = {"learning_rate": 1e-3, "weight_decay": 0.0, "warm_up": 0.1, "rng": generator(3), "fabric": cpu}
    return Loop(model, count=10, batch_size=3, epochs=2, **options)


def test_batches_come_in_order_and_are_read_ahead(loop):
    expected, events = batches(10, 3, generator(3), drop_last=True), []
    read = [threading.Event() for _ in expected]

    def reader(part: torch.Tensor) -> torch.Tensor:
        assert threading.current_thread() is not threading.main_thread()
        events.append(part.tolist())
        read[len(events) - 1].set()
        return part * 2

    for number, batch in enumerate(loop.rest_of_epoch(reader)):
        assert torch.equal(batch, expected[number] * 2)
        assert [part.tolist() for part in loop.waiting] == [part.tolist() for part in expected[number + 1 :]]
        if number + 1 < len(expected):
            assert read[number + 1].wait(10), "the next is read meanwhile"
    assert events == [part.tolist() for part in expected]


def test_what_was_read_and_not_handed_out_is_read_again(loop):
    handed = loop.rest_of_epoch(lambda part: part)
    first = next(handed)
    handed.close()
    rest = list(loop.rest_of_epoch(lambda part: part))
    expected = batches(10, 3, generator(3), drop_last=True)
    assert torch.equal(torch.stack([first, *rest]), torch.stack(expected))


def test_what_goes_wrong_while_reading_is_told(loop):
    def broken(part: torch.Tensor) -> torch.Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(loop.rest_of_epoch(broken))
    assert len(loop.waiting) == 3
