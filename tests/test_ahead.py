"""Stages that overlap: the same results in the same order as one after the other, few at a time, whole when stopped."""

from __future__ import annotations

import threading
import time

import pytest

from uslnet_core import ahead
from uslnet_core.ahead import at_most, overlap, usual_workers


class Work:
    """Three stages that note what they did; ``fail`` says where to stop, as (stage, item)."""

    def __init__(self, fail: tuple[str, int] | None = None, error: type[BaseException] = ValueError) -> None:
        self.fail, self.error = fail, error
        self.kept: list[int] = []
        self.written: list[int] = []
        self.threads: set[int] = set()
        self.lock, self.held, self.most = threading.Lock(), 0, 0

    def step(self, stage: str, item: int) -> None:
        if self.fail == (stage, item):
            raise self.error(f"{stage} {item}")

    def read(self, item: int) -> int:
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        time.sleep(0.001 * (item % 3))  # so that later ones are ready before earlier ones
        self.step("read", item)
        return item * 10

    def work(self, item: int, was: int) -> int:
        self.threads.add(threading.get_ident())
        self.step("work", item)
        return was + 1

    def write(self, item: int, made: int) -> int:
        time.sleep(0.001 * ((item + 1) % 3))
        self.step("write", item)
        with self.lock:
            self.held -= 1
            self.written.append(made)
        return made

    def keep(self, done: int) -> None:
        self.threads.add(threading.get_ident())
        self.kept.append(done)
        self.step("keep", done // 10)

    def run(self, count: int, workers: int) -> Work:
        overlap(range(count), self.read, self.work, self.write, self.keep, workers)
        return self


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_the_same_as_one_after_the_other_in_order(count, workers):
    work = Work().run(count, workers)
    assert work.kept == [item * 10 + 1 for item in range(count)]
    assert sorted(work.written) == work.kept
    assert work.threads <= {threading.get_ident()}, "work and keep stay in the caller's thread"


@pytest.mark.parametrize("workers", [1, 3])
def test_few_are_held_at_a_time_although_reading_is_faster(workers):
    work = Work()
    slow, work.work = work.work, lambda *call: time.sleep(0.004) or slow(*call)
    assert workers < work.run(40, workers).most <= at_most(workers) < 40


def test_few_are_held_at_a_time_although_writing_is_slower():
    work = Work()
    slow, work.write = work.write, lambda *call: time.sleep(0.004) or slow(*call)
    assert 1 < work.run(40, 2).most <= at_most(2)


def test_stages_do_overlap():
    """Writing of one waits until the next is read: one by one, it would wait in vain."""
    read, wrote = [threading.Event() for _ in range(4)], []

    def write(item: int, made: int) -> int:
        wrote.append(item == 3 or read[item + 1].wait(20))
        return made

    overlap(range(4), lambda item: read[item].set(), lambda item, _: item, write, lambda _: None, 1)
    assert wrote == [True] * 4


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("stage", ["read", "work", "write", "keep"])
def test_whatever_stops_it_all_that_is_written_is_kept(stage, error, workers):
    work = Work((stage, 7), error)
    before = threading.active_count()
    with pytest.raises(error, match=f"{stage} 7"):
        work.run(20, workers)
    assert sorted(work.written) == work.kept, "in order, and none is missing"
    assert threading.active_count() == before, "no thread stays behind"
    if stage in ("read", "work"):
        assert work.kept == [item * 10 + 1 for item in range(7)]
    if stage == "write":
        assert 71 not in work.kept and len(work.kept) < 20


def test_after_a_failure_to_write_nothing_more_is_written_by_that_thread():
    work = Work(("write", 7))
    with pytest.raises(ValueError, match="write 7"):
        work.run(20, 1)
    assert work.written == work.kept == [item * 10 + 1 for item in range(7)]


def test_the_failure_is_told_even_if_an_earlier_item_was_not_begun(monkeypatch):
    """A later item fails before the thread of an earlier one looks: what is raised is the failure."""
    late = threading.Event()

    class Slow(ahead.ThreadPoolExecutor):
        def submit(self, call, *args):
            def held(*args):
                if args[0] == 0 and len(args) == 2:  # the first item's writing
                    late.wait(20)
                return call(*args)

            return super().submit(held, *args)

    def write(item: int, made: int) -> None:
        threading.Timer(0.05, late.set).start()
        raise ValueError(f"write {item}")

    monkeypatch.setattr(ahead, "ThreadPoolExecutor", Slow)
    with pytest.raises(ValueError, match="write 1"):
        overlap(range(2), lambda item: item, lambda item, was: was, write, lambda _: None, 2)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 4), (128, 4)])
def test_threads_follow_the_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(ahead, "cores", lambda: cores)
    assert usual_workers() == expected
