"""Steps taken by worker processes: each once, also when a worker is killed, and failures stay where they are."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from uslnet_core.book import project_root
from uslnet_core.errors import ConfigError, RunError
from uslnet_core.locks import held
from uslnet_core.sweep.crew import Crew, carry_out, check_workers, choose_crew, interrupt_later, open_client
from uslnet_core.sweep.steps import Outcome, Step


def steps_of(folder: Path, chains: dict[str, tuple[str, ...]], **more: str) -> dict[str, Step]:
    """Steps by name, each standing on those named before it."""
    job = {"folder": str(folder), "rules": more}
    return {key: Step(key, "04", key, before, job | {"key": key}) for key, before in chains.items()}


def mark(folder: Path, name: str) -> None:
    """Write a file that must not be there yet."""
    with (folder / name).open("x"):
        pass


def stub(job: dict) -> dict:
    """Take a step as the real work does: a record on disk is believed, and a finished step leaves one."""
    folder, key, rule = Path(job["folder"]), job["key"], job["rules"].get(job["key"], "")
    with held(folder / f"{key}.lock"):
        if (folder / f"{key}.done").exists():
            return {"key": key, "now": False}
        tries = len(list(folder.glob(f"{key}.try-*")))
        mark(folder, f"{key}.try-{tries}")
        if rule == "die" and not tries:
            os.kill(os.getpid(), signal.SIGKILL)
        if rule == "fail" or (rule == "stumble" and not tries):
            raise ValueError(f"{key} went wrong")
        if rule == "refuse":
            raise ConfigError("no such value")
        time.sleep(0.05)
        mark(folder, f"{key}.done")
        return {"key": key, "now": True, "tries": tries, "threads": os.environ.get("SOME")}


@pytest.fixture(scope="module")
def client():
    with open_client("", Crew(2, 1, "")) as client:
        yield client


def test_each_step_is_taken_once_and_after_what_it_stands_on(client, tmp_path):
    chains = {"a": (), "a1": ("a",), "a2": ("a",), "b": (), "b1": ("b",)}
    order = []
    outcomes = carry_out(steps_of(tmp_path, chains), client, stub, tell=lambda step, outcome: order.append(step.key))
    assert set(outcomes) == set(chains) and all(each.record["now"] for each in outcomes.values())
    assert order.index("a") < min(order.index("a1"), order.index("a2")) and order.index("b") < order.index("b1")
    assert len(list(tmp_path.glob("*.try-*"))) == 5


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(client, tmp_path):
    names = [f"c{k}" for k in range(8)]
    outcomes = carry_out(steps_of(tmp_path, dict.fromkeys(names, ()), c2="die"), client, stub, retries=0)
    assert [outcomes[name].error for name in names] == [""] * 8
    assert {path.stem for path in tmp_path.glob("*.done")} == set(names)
    tries = {name: len(list(tmp_path.glob(f"{name}.try-*"))) for name in names}
    # Its neighbours in time may have been on the worker that died, but what was done is done once: see mark().
    assert tries["c2"] == 2 and sum(tries.values()) == 9


def test_a_failure_is_named_tried_again_and_holds_up_no_other(client, tmp_path):
    chains = {"bad": (), "after": ("bad",), "good": (), "lame": (), "refused": ()}
    steps = steps_of(tmp_path, chains, bad="fail", lame="stumble", refused="refuse")
    outcomes = carry_out(steps, client, stub, retries=1)
    assert outcomes["good"].record and outcomes["lame"].attempts == 2 and outcomes["lame"].record
    assert outcomes["bad"] == Outcome(None, "ValueError: bad went wrong", 2)
    assert outcomes["after"] == Outcome(None, "ValueError: bad went wrong", 0)
    assert outcomes["refused"] == Outcome(None, "no such value", 1)  # the same again would end the same
    assert not (tmp_path / "after.try-0").exists()


def test_what_is_done_is_believed(client, tmp_path):
    steps = steps_of(tmp_path, {"a": (), "b": ("a",)})
    carry_out(steps, client, stub)
    again = carry_out(steps, client, stub)
    assert [each.record["now"] for each in again.values()] == [False, False]


def test_workers_are_asked_what_they_see(client, tmp_path):
    project = project_root()
    check_workers(client, project, [tmp_path])
    with pytest.raises(RunError, match="does not see .*nowhere"):
        check_workers(client, project, [tmp_path, tmp_path / "nowhere"])
    with pytest.raises(RunError, match="would run the notebooks of"):  # a copy of the project, in which it was started
        check_workers(client, tmp_path, [])


def test_no_scheduler_is_one_sentence(monkeypatch):
    monkeypatch.setattr("uslnet_core.sweep.crew.ANSWER", 0.5)
    with (
        pytest.raises(ConfigError, match="tcp://127.0.0.1:9: no dask scheduler answers"),
        open_client("tcp://127.0.0.1:9", Crew(1, 1, "")),
    ):
        pass


def test_as_many_workers_as_cores_memory_and_steps_allow(monkeypatch):
    class Memory:
        available = 10 * 2**30

    monkeypatch.setattr("uslnet_core.sweep.crew.psutil.virtual_memory", lambda: Memory)
    monkeypatch.setattr("uslnet_core.compute.cores", lambda: 8)
    fits = functools.partial(choose_crew, None)
    assert fits(20, 500).workers == 8  # cores
    assert (fits(20, 2048).workers, fits(20, 2048).threads) == (4, 2)  # memory: 8 of 10 GiB
    assert (fits(2, 500).workers, fits(2, 500).threads) == (2, 4)  # steps
    assert fits(20, 50_000).workers == 1  # never none
    assert fits(20, 500, gpu=True).workers == 1
    assert choose_crew(5, 1, 50_000).workers == 5  # as told


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no signals to hold back")
def test_an_interrupt_waits_while_workers_start_and_they_never_see_it():
    whole = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it must come at the block's end, not in it
        with interrupt_later():
            os.kill(os.getpid(), signal.SIGINT)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                blocked = pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ()))
            whole.append(signal.SIGINT in blocked)
    assert whole == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
