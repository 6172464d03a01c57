"""Items as files: for a reader's own folder, or recorded for the book."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from uslnet_core.errors import DataError
from uslnet_core.reproduce.layout import Lines, Reproduced
from uslnet_core.reproduce.lines import caption, part_of
from uslnet_core.stages import peek

COMMAND = re.compile(r"\buslnet (?:(?!, )[^;`])+")  # in a table's text, up to the next part


def save(found: Reproduced, folder: Path, name: str, caption: str = "", dpi: int = 110) -> list[Path]:
    """Write an item's tables as CSV and its pictures as PNG: ``table-8.csv``, ``table-8-dice.png`` and so on.

    Args:
        found: the item.
        folder: gets the files.
        name: the item's name.
        caption: what its numbers stand for, for ``table-8.txt``.
        dpi: of the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if caption:
        files.append(folder / f"{name}.txt")
        files[0].write_text(caption + "\n", encoding="utf-8")
    for what, frame in found.tables.items():
        plain = what.replace(" ", "-")
        files.append(folder / (f"{name}.csv" if plain == name else f"{name}-{plain}.csv"))
        frame.to_csv(files[-1], index=False, float_format="%.4f")
    for what, figure in found.figures.items():
        files.append(folder / f"{name}-{what}.png")
        drawn = BytesIO()
        figure.savefig(drawn, dpi=dpi, bbox_inches="tight")
        Image.open(drawn).convert("RGB").save(files[-1], optimize=True)  # opaque: an eighth smaller, which is kept
    return files


def for_a_page(found: Reproduced, options: str) -> Reproduced:
    """Ready an item's tables for a page: commands name no folder of this machine, and are set as code.

    Elsewhere a page would write two hyphens as one dash, and nobody could type what it shows.
    """

    def mend(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        value = value.replace(options, "") if options else value
        return COMMAND.sub(lambda words: f"`{words[0].rstrip()}`", value)

    return replace(found, tables={what: frame.map(mend) for what, frame in found.tables.items()})


def config_of(folder: Path) -> dict[str, Any]:
    """Read back with which configuration a run's segmenters were trained; empty where it has none of its own."""
    trained = [stage for name, stage in peek(folder).items() if name.startswith("05-segmenter/")]
    return trained[-1].manifest.config if trained else {}


def record(item: str, lines: Lines, found: Reproduced, folder: Path) -> list[Path]:
    """Keep an item for the book: its files, and a manifest that says what they were measured by.

    Args:
        item: a name of :data:`ITEMS`.
        lines: the runs it was made from.
        found: the item.
        folder: gets the files of :func:`save`, and ``<item>.json``.

    Raises:
        DataError: the images are synthetic: such scores do not stand beside the paper's.
    """
    first = next(iter(lines.values()))
    if first.config.dataset == "synthetic":
        raise DataError(f"{first.folder.name} is made of synthetic images: only runs on real ones are recorded.")
    told = caption(lines, found.stages, part_of(item, first))
    files = save(for_a_page(found, first.options), folder, item, told)
    seeds = {}
    for seed, stage in found.stages.items():
        manifest = stage.manifest
        runs = {row["run"] for row in manifest.facts.get("rows", {}).values()} | {lines[seed].folder.name}
        behind = {
            f"{run}/{name}": each.manifest
            for run in sorted(runs)
            for name, each in peek(lines[seed].folder.with_name(run)).items()
        }
        seeds[str(seed)] = {
            "run": stage.run_name,
            "stage": stage.name,
            "fingerprint": manifest.fingerprint,
            "made_at": manifest.made_at,
            "device": manifest.device,
            "rows": manifest.facts.get("rows", {}),
            "versions": manifest.versions,
            "config": manifest.config,
            "configs": {name: each for name in sorted(runs) if (each := config_of(lines[seed].folder.with_name(name)))},
            "stages": {
                name: each.model_dump(include={"seconds", "fingerprint", "made_at", "device"})
                for name, each in behind.items()
            },
        }
    described = folder / f"{item}.json"
    content = {"item": item, "caption": told, "seeds": seeds}
    described.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*files, described]
