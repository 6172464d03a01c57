"""The grid of a sweep: ``high=0.55,0.65`` read, checked against the parameters cells, and laid out as named cells."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uslnet_core.config import check_choice
from uslnet_core.errors import ConfigError
from uslnet_core.parameters import Parameter, check_method, check_parameters, parse_parameter, read_parameters, settle
from uslnet_core.stages import digest

LONGEST = 80  # letters of a cell's name; folders' names may have 255, and a stage's temporary folder adds some
SEED = Parameter("seed", "int", 0, "seed of everything random")
ANY_NOTEBOOK = ("dataset", "profile", "data", "name", "runs", "method")


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Attributes:
        name: readable and safe as part of a folder's name, for example ``high=0.55,seed=1``.
        values: what the grid names, in its order: the seed among it, if it is swept.
        seed: seed of everything random.
        extra: values by notebook number, checked, as ``uslnet run`` has them.
        encoders: where they are among the values.
    """

    name: str
    values: dict[str, Any]
    seed: int
    extra: dict[str, dict[str, Any]]
    encoders: tuple[str, ...] | None = None


def split_values(text: str) -> list[str]:
    """Split at commas, save inside of brackets and quotes: ``[0,1],[2]`` are two values.

    A value that stands in quotes altogether loses them.
    """
    parts = re.findall(r"""(?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+|(?<=,)(?=,|$)|^(?=,|$)""", text)
    return [re.sub(r"""^(["'])(.*)\1$""", r"\2", part.strip()) for part in parts]


def read_axes(
    texts: list[str], numbers: list[str], available: dict[str, Path]
) -> dict[str, list[tuple[Any, dict[str, dict[str, Any]]]]]:
    """Read what is varied, and check each value as ``uslnet run`` would.

    Args:
        texts: as typed, for example ``high=0.55,0.65`` or ``seed=0,1,2``.
        numbers: of the notebooks that are run.
        available: all notebooks by number.

    Returns:
        By parameter, its values: each as it is meant, and as each notebook takes it, by number.

    Raises:
        ConfigError: no ``=``, an unknown name, a value that is empty, of the wrong type, or there twice.
    """
    axes: dict[str, list[tuple[Any, dict[str, dict[str, Any]]]]] = {}
    for text in texts:
        name, equals, raw = text.partition("=")
        if not equals:
            raise ConfigError(f"-p {text!r}: expected name=value or name=value,value,…, for example -p high=0.6,0.7.")
        if name in ANY_NOTEBOOK:
            raise ConfigError(f"-p {text}: give it as an option instead, --{name} …; one sweep has one {name}.")
        if name in axes:
            raise ConfigError(f"-p {text}: {name} is given twice. Give all its values at once: -p {name}=…,…")
        axes[name] = []
        for value in split_values(raw):
            if not value:
                raise ConfigError(
                    f"-p {text}: a value is empty. Expected for example -p {name}=1,2 (no comma at an end)."
                )
            meant, taken = meaning(name, value, numbers, available)
            if any(repr(meant) == repr(other) for other, _ in axes[name]):
                raise ConfigError(f"-p {text}: the value {value} is there twice. Each cell is run once: leave one out.")
            axes[name].append((meant, taken))
    return axes


def meaning(
    name: str, value: str, numbers: list[str], available: dict[str, Path]
) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Turn one value into its type, by the first notebook that has the parameter; all that have it must take it."""
    if name == SEED.name:
        return parse_parameter(f"seed={value}", {"seed": SEED}, ", ".join(numbers))[1], {}
    taken = check_parameters([f"{name}={value}"], numbers, available)
    number, meant = next((number, values[name]) for number, values in taken.items() if name in values)
    kinds = read_parameters(available[number])[name].kind.split(" | ")
    if "float" in kinds and isinstance(meant, int):
        meant = float(meant)  # 1 and 1.0 are one value
    return meant, taken


def read_grid(
    texts: list[str], numbers: list[str], available: dict[str, Path], seed: int = 0, method: str = "usl-net"
) -> list[Cell]:
    """Read and check a whole grid, before anything runs.

    Args:
        texts: as for :func:`read_axes`.
        numbers: of the notebooks that are run, two digits each.
        available: all notebooks by number.
        seed: where the grid names none.
        method: ``usl-net`` or ``usl-plus``.

    Returns:
        The cells, the last parameter varying fastest.

    Raises:
        ConfigError: a notebook, a parameter or a value is not what it should be.
    """
    for number in numbers:
        check_choice("notebook", number, available)
    check_method(method, numbers, available)
    axes = read_axes(texts, numbers, available)
    cells = []
    for point in itertools.product(*axes.values()):
        values = {name: meant for name, (meant, _) in zip(axes, point, strict=True)}
        extra = {n: {k: v for _, taken in point for k, v in taken.get(n, {}).items()} for n in numbers}
        encoders = settle(extra, available)
        own = values.get(SEED.name, seed)
        named = values | ({SEED.name: own} if own else {})  # runs of two seeds must not share a folder
        cells.append(Cell(cell_name(named), values, own, extra, tuple(encoders) if encoders else None))
    return cells


def cell_name(values: dict[str, Any]) -> str:
    """Name a cell by its values, with letters that every file system takes: ``high=0.55,seed=1``; none: ``as-is``."""
    name = ",".join(f"{key}={word(value)}" for key, value in values.items()) or "as-is"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{digest(values)[:8]}"


def word(value: Any) -> str:
    """Write a value in letters, digits and ``. + - _``; what had to be changed gets a mark that keeps it apart."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return "+".join(word(each) for each in value)
    plain = re.sub(r"[^a-z0-9.+_-]", "_", str(value).lower())
    # Capital letters too: some file systems do not tell them from small ones.
    return plain if plain == str(value) else f"{plain}-{digest(value)[:6]}"
