"""What a sweep does: each cell is a chain of notebooks, and what several cells have in common is done once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uslnet_core import book
from uslnet_core.runs import Run
from uslnet_core.stages import Stage, base_seed, digest, file_hash, notebook_of
from uslnet_core.sweep.grid import Cell
from uslnet_core.sweep.steps import Step

MASKS = "01-data/masks"  # never handed on: scoring makes them itself, and nothing that trains stands on them


@dataclass(frozen=True)
class Plan:
    """A whole sweep.

    Attributes:
        cells: the grid.
        numbers: the notebooks that were asked for.
        steps: by key; each stands after those that it stands on.
        chains: keys of each cell's steps, by its name.
        taken: numbers of the notebooks whose stages are taken from the run that is swept, by cell.
        runs: folder of each cell's own run, by cell.
        folder: of the sweep: records, table, picture.
    """

    cells: list[Cell]
    numbers: list[str]
    steps: dict[str, Step]
    chains: dict[str, tuple[str, ...]]
    taken: dict[str, list[str]]
    runs: dict[str, Path]
    folder: Path


def chain(numbers: list[str]) -> list[str]:
    """List the notebooks that are asked for and all that they need, in order."""
    found, waiting = set(), list(numbers)
    while waiting:
        number = waiting.pop()
        found.add(number)
        waiting += [n for n in book.READS.get(number, []) if n not in found]
    return sorted(found)


def name_of(name: str, numbers: list[str], cell: Cell) -> str:
    """Name a cell's run: the name of the run that is swept, the notebooks, and the cell."""
    return "-".join(filter(None, [name, *numbers, cell.name]))


def make_plan(
    cells: list[Cell],
    numbers: list[str],
    common: dict[str, Any],
    available: dict[str, Path],
    *,
    folder: Path,
    device: str = "auto",
) -> Plan:
    """Lay out the steps of a sweep; nothing is written.

    What stands before the notebooks asked for is taken from the run that is swept, as far as it is whole there and has
    the cell's seed; the rest is made, once for all cells that agree in it.

    Args:
        cells: the grid.
        numbers: the notebooks asked for, in order.
        common: values for the parameters that all notebooks share, as :func:`uslnet_core.book.common_parameters` has
            them; its seed does not matter.
        available: all notebooks by number.
        folder: of the sweep.
        device: auto, cpu or gpu.
    """
    steps: dict[str, Step] = {}
    chains, taken, runs = {}, {}, {}
    hashes = {number: file_hash(available[number]) for number in chain(numbers)}
    for cell in cells:
        own = common | {"seed": cell.seed}
        base = book.open_run(**own, encoders=cell.encoders)
        given, stages = take_over(base, cell, numbers)
        left = [number for number in chain(numbers) if number not in given]
        keys: list[str] = []
        name = name_of(common["name"], numbers, cell)
        runs[cell.name] = book.open_run(**own | {"name": name}).folder
        settings = [{k: own[k] for k in ("dataset", "profile", "data", "seed", "method")}, cell.encoders, stages]
        for number in left:
            values = cell.extra.get(number, {})
            key = digest([keys[-1:] or settings, number, hashes[number], values])
            job = {
                "key": key,
                "number": number,
                "cell": cell.name,
                "common": own | {"name": name},
                "encoders": list(cell.encoders) if cell.encoders else None,
                "values": values,
                "base": str(base.folder),
                "given": stages,
                "before": list(keys),
                "folder": str(folder),
                "device": device,
            }
            steps.setdefault(key, Step(key, number, cell.name, tuple(keys), job))
            keys.append(key)
        chains[cell.name], taken[cell.name] = tuple(keys), given
    return Plan(cells, numbers, steps, chains, taken, runs, folder)


def take_over(base: Run, cell: Cell, numbers: list[str]) -> tuple[list[str], dict[str, str]]:
    """Choose what a cell takes from the run that is swept.

    Args:
        base: that run, opened with the cell's seed and encoders.
        cell: the cell.
        numbers: the notebooks asked for, which are always run.

    Returns:
        Numbers of the notebooks that need not run for it, and fingerprints of the stages that it takes, by name.
    """
    if base_seed(base.folder, [cell.seed]) != cell.seed:
        return [], {}
    whole = base.whole()
    count = next((cell.extra[n]["iterations"] for n in ("06", "07") if cell.extra.get(n, {}).get("iterations")), None)
    given, needed = [], set()
    for number in chain(numbers):
        made = book.made_by(base, number, count)
        if number in numbers or cell.extra.get(number) or not made <= set(whole):
            break
        given.append(number)
        needed |= made
    return given, {name: whole[name].manifest.fingerprint for name in sorted(with_inputs(needed, whole))}


def with_inputs(names: set[str], stages: dict[str, Stage]) -> set[str]:
    """Add all that some stages were made from, save for masks."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in stages and name not in found and not name.startswith(MASKS):
            found.add(name)
            waiting += stages[name].manifest.inputs
    return found


def stages_of(run: Run, number: str) -> dict[str, str]:
    """Give the fingerprints of the whole stages that a notebook has made in a run, by name."""
    return {name: stage.manifest.fingerprint for name, stage in run.whole().items() if notebook_of(name) == number}
