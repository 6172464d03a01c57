"""Work through a list in three stages that overlap: read ahead, work, write behind; few items at a time, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from uslnet_core.compute import cores

Item = TypeVar("Item")
Was = TypeVar("Was")  # what was read
Made = TypeVar("Made")
Done = TypeVar("Done")

MOST = 4  # threads a stage: more readers than a model can follow only hold memory


def usual_workers() -> int:
    """Threads for each of reading and writing: half of the processor's cores, from 1 to 4."""
    return min(MOST, max(1, cores() // 2))


def at_most(workers: int) -> int:
    """How many items are held at a time, from the moment that one is read until it is written."""
    return 2 * (workers + 1) + 1


def overlap(
    items: Sequence[Item],
    read: Callable[[Item], Was],
    work: Callable[[Item, Was], Made],
    write: Callable[[Item, Made], Done],
    keep: Callable[[Done], object],
    workers: int = 1,
) -> None:
    """Read items ahead in threads, work in this one, write behind in threads; keep what was written, in order.

    Whatever stops it, be it an error or Ctrl-C, what is being written is finished and kept before the error goes on: so
    nothing is written that was not kept. After an error while writing, nothing more is begun.

    Args:
        items: what there is to do.
        read: called in a thread. What it raises stops all when the item's turn comes.
        work: called in this thread, in order, with the item and what was read.
        write: called in a thread, with the item and what ``work`` gave.
        keep: called in this thread, in order, with what ``write`` gave.
        workers: threads that read, and as many that write; :func:`at_most` says how many items they hold.
    """
    ahead: deque[Future[Was]] = deque()
    behind: deque[Future[Done]] = deque()
    failed: list[BaseException] = []

    def guarded(item: Item, made: Made) -> Done:
        if failed:
            raise CancelledError
        try:
            return write(item, made)
        except BaseException as error:
            failed.append(error)
            raise

    def collect() -> None:
        try:
            done = behind.popleft().result()
        except CancelledError:  # by a failure of a later item, in another thread
            raise failed[0] from None
        keep(done)

    readers = ThreadPoolExecutor(workers, thread_name_prefix="read")
    writers = ThreadPoolExecutor(workers, thread_name_prefix="write")
    try:
        for number, item in enumerate(items):
            for following in items[number + len(ahead) : number + workers + 1]:
                ahead.append(readers.submit(read, following))
            made = work(item, ahead.popleft().result())
            while behind and (len(behind) > workers or behind[0].done()):
                collect()
            behind.append(writers.submit(guarded, item, made))
            del made  # or the next one is made while this thread still holds it
        while behind:
            collect()
    finally:
        readers.shutdown(wait=False, cancel_futures=True)
        for future in behind:
            with suppress(Exception):  # what stopped it is what the user must hear
                keep(future.result())
        readers.shutdown()
        writers.shutdown()
