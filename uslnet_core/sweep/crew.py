"""Who works: processes of this machine, or any dask cluster; and the loop that hands them steps.

Steps are handed out one by one as what they stand on is finished, not as one graph: so a failure stays with its cells,
attempts are counted here, and no result stays in a worker's memory, where it would be lost with the worker.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from uslnet_core import __version__
from uslnet_core.errors import ConfigError, RunError, USLNetError
from uslnet_core.sweep.steps import Outcome, Step

if TYPE_CHECKING:
    from distributed import Client, Future

MEMORY = {"quick": 1500, "workshop": 4000, "paper": 12000}  # MiB of a kernel, where no stage tells
SHARE = 0.8  # of the memory that is free
ANSWER = 15  # seconds until a scheduler must have answered
PATIENCE = 60  # seconds until it must have a worker


@dataclass(frozen=True)
class Crew:
    """How many processes, with how many threads each, and why."""

    workers: int
    threads: int
    why: str


def choose_crew(wanted: int | None, steps: int, need: int, *, gpu: bool = False) -> Crew:
    """Choose how many processes fit this machine.

    Args:
        wanted: as many, whatever fits; ``None`` chooses.
        steps: that could be taken at once.
        need: MiB of memory for one.
        gpu: whether kernels compute on a GPU, which one process at a time may have.
    """
    from uslnet_core.compute import cores  # torch takes seconds, which a worker need not wait for to be there

    free = int(psutil.virtual_memory().available / 2**20)
    fits = max(1, int(SHARE * free) // need)
    chosen = wanted or max(1, min(cores(), fits, steps, 1 if gpu else steps))
    threads = max(1, cores() // chosen)
    why = f"{cores()} cores, {free / 1024:.1f} GiB free, about {need / 1024:.1f} GiB each"
    return Crew(chosen, threads, why + (", one GPU" if gpu else "") + ("" if wanted is None else "; --workers"))


@contextmanager
def interrupt_later() -> Iterator[None]:
    """Let Ctrl-C wait until a few seconds' work is whole; processes that are started meanwhile never see it.

    A terminal sends it to all processes at once. A worker that gets it while it starts dies with pages of its own; here
    the one that was asked ends the others, when all are there. Windows has no such means, and other threads no say.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    resource_tracker.ensure_running()  # the first process started would bring it, and it would let signals through
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by what is started here
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))  # another thread may get it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


@contextmanager
def open_client(scheduler: str, crew: Crew) -> Iterator[Client]:
    """Start worker processes on this machine, or join a cluster; end or leave them at the end.

    Raises:
        ConfigError: dask.distributed is not installed, or no scheduler answers at the address.
        RunError: the cluster has no worker.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigError(
            "uslnet sweep needs the package distributed, which is not installed here. Bring the environment up to date "
            "with make env, or type: pip install distributed"
        ) from None
    if not scheduler:
        # Memory is in the kernels, which dask does not see: how many fit was chosen before, and no limit is set.
        local = {"n_workers": crew.workers, "threads_per_worker": 1, "memory_limit": 0}
        local |= {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}  # nothing that others can reach
        with ExitStack() as open_things:
            with interrupt_later():
                cluster = LocalCluster(**local, processes=True, silence_logs=logging.CRITICAL)
                open_things.enter_context(cluster)
            yield open_things.enter_context(Client(cluster, set_as_default=False))
        return
    try:
        client = Client(scheduler, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"--scheduler {scheduler}: no dask scheduler answers there ({error}). Expected an address as `dask "
            "scheduler` prints it, for example tcp://10.0.0.1:8786."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise RunError(
                f"The scheduler at {scheduler} has no worker. Start one where this project is: dask worker {scheduler} "
                "--nthreads 1"
            ) from None
        yield client


def probe(places: list[str]) -> dict[str, Any]:
    """Say, on a worker, which version it has, which of some folders it does not see, and whose notebooks it takes."""
    from uslnet_core.book import project_root

    missing = [place for place in places if not Path(place).is_dir()]
    return {"version": __version__, "missing": missing, "project": str(project_root())}


def check_workers(client: Client, project: Path, places: list[Path]) -> None:
    """Refuse a cluster that cannot do the work, before it is given any.

    Args:
        client: of dask.
        project: the folder whose notebooks are swept.
        places: further folders that workers need.

    Raises:
        RunError: a worker lacks the package, has another version, does not see one of the folders, or would take
            another project's notebooks.
    """
    try:
        answers = client.run(probe, [str(place) for place in (project, *places)])
    except Exception as error:  # whatever a worker without the package says
        raise RunError(
            f"A worker of the cluster cannot work for this project: {type(error).__name__}: {error}. Start workers in "
            "this project's folder and environment."
        ) from None
    for worker, answer in answers.items():
        if answer["version"] != __version__:
            raise RunError(
                f"Worker {worker} has uslnet {answer['version']}, but this is {__version__}: make them alike."
            )
        if answer["missing"]:
            raise RunError(
                f"Worker {worker} does not see {', '.join(answer['missing'])}. All workers need the project, the runs "
                "and the data at the same places, for example on a shared disk."
            )
        if answer["project"] != str(project):
            raise RunError(
                f"Worker {worker} would run the notebooks of {answer['project']}, but the sweep is of those of "
                f"{project}. Start the worker there: cd {project}"
            )


def carry_out(
    steps: Mapping[str, Step],
    client: Client,
    work: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    environment: dict[str, str] | None = None,
    retries: int = 1,
    tell: Callable[[Step, Outcome], None] = lambda step, outcome: None,
) -> dict[str, Outcome]:
    """Take all steps, each when what it stands on is finished; what fails does not hold up the others.

    Args:
        steps: by key, those that are left; each stands after those that it stands on.
        client: of dask.
        work: takes one step, given its job; it may be called again for what was done already, and must see to that.
        environment: variables for the kernels.
        retries: further attempts for a step that fails, or whose worker dies. What the notebook itself refuses is not
            tried again: the same again would end the same.
        tell: called with each step that ends.

    Returns:
        Outcomes by key; of a step that stands on one that failed, too.
    """
    from distributed import as_completed

    outcomes: dict[str, Outcome] = {}
    attempts: dict[str, int] = {}
    running: dict[str, str] = {}  # keys of steps by those of futures

    def submit(step: Step) -> Future:
        attempts[step.key] = attempts.get(step.key, 0) + 1
        job = step.job | {"environment": environment or {}}
        name = f"{step.number}-{step.cell}-{step.key[:16]}-{attempts[step.key]}"
        # What others stand on comes first.
        future = client.submit(work, job, key=name, pure=False, retries=0, priority=-len(step.before))
        running[name] = step.key
        return future

    def ready() -> list[Step]:
        busy = set(running.values())
        return [
            step
            for key, step in steps.items()
            if key not in outcomes
            and key not in busy
            and all(each in outcomes for each in step.before if each in steps)
        ]

    def settle(step: Step, outcome: Outcome) -> None:
        outcomes[step.key] = outcome
        tell(step, outcome)
        if outcome.record is None:
            for later in steps.values():
                if step.key in later.before and later.key not in outcomes:
                    outcomes[later.key] = Outcome(None, outcome.error, 0)

    pending = as_completed([submit(step) for step in ready()], loop=client.loop)
    for future in pending:
        if future.status in ("pending", "lost"):  # its worker died before the result was fetched: it comes again
            pending.add(future)
            continue
        step = steps[running.pop(future.key)]
        if future.status == "finished":
            settle(step, Outcome(future.result(), attempts=attempts[step.key]))
        elif future.cancelled():
            settle(step, Outcome(None, "The scheduler was lost.", attempts[step.key]))
        else:
            error = future.exception()
            if attempts[step.key] <= retries and not is_settled(error):
                pending.add(submit(step))
            else:
                settle(step, Outcome(None, in_words(error), attempts[step.key]))
        for each in ready():
            pending.add(submit(each))
    return outcomes


def is_settled(error: BaseException) -> bool:
    """Say whether the same again would end the same: the notebook, or this package, refused."""
    return getattr(error, "settled", isinstance(error, USLNetError))


def in_words(error: BaseException) -> str:
    """Put an error in words; one of ours is its message."""
    if type(error).__name__ == "KilledWorker":
        return "The worker died again and again, most likely for want of memory. Use fewer of them: --workers 1."
    return str(error) if isinstance(error, USLNetError) else f"{type(error).__name__}: {error}"
