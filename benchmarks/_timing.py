"""What the benchmarks share: their options, taking turns, and where they ran."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def arguments(description: str, **numbers: int) -> argparse.Namespace:
    """Read ``--out`` and some whole numbers from the command line, and keep torch to one thread."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    for name, usual in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    torch.set_num_threads(1)
    return parser.parse_args()


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time contenders in turn, round by round, so that a busy machine slows them alike: seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def circumstances() -> tuple[str, str]:
    """Name the machine and the versions."""
    machine = f"{processor()}, 1 thread, {platform.system()}"
    return machine, f"Python {platform.python_version()}, torch {torch.__version__}"


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
