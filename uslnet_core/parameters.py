"""Parameters of notebooks: the annotated cell near the top of each, and ``name=value`` checked against it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uslnet_core.config import check_choice
from uslnet_core.errors import ConfigError, RunError


@dataclass(frozen=True)
class Parameter:
    """One annotated literal of a notebook's parameters cell."""

    name: str
    kind: str
    default: Any
    comment: str


TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list[int]": (list,),
    "list[str]": (list,),
}


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the annotated parameters cell of a notebook.

    Raises:
        RunError: the notebook has no cell tagged ``parameters``.
        ConfigError: the cell is no Python, or a value in it is not a literal.
    """
    import nbformat  # here, since every kernel imports this module and nbformat takes seconds

    cells = nbformat.read(notebook, as_version=4).cells
    source = next((c.source for c in cells if "parameters" in c.metadata.get("tags", [])), None)
    if source is None:
        raise RunError(f"{notebook.name} has no cell tagged 'parameters'.")
    lines, found = source.splitlines(), {}
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ConfigError(f"{notebook.name}, parameters cell, line {error.lineno}: {error.msg}.") from None
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comment = lines[node.end_lineno - 1].partition("#")[2].strip()
            try:
                default = ast.literal_eval(node.value)
            except ValueError:
                raise ConfigError(
                    f"{notebook.name}, parameters cell: {node.target.id} = {ast.unparse(node.value)} is no literal. "
                    "Write the number or the text itself."
                ) from None
            found[node.target.id] = Parameter(node.target.id, ast.unparse(node.annotation), default, comment)
    return found


def parse_parameter(text: str, known: Mapping[str, Parameter], notebook: str) -> tuple[str, Any]:
    """Turn ``name=value`` into a typed value, checked against the notebook's parameters cell.

    Args:
        text: for example ``high=0.7``.
        known: the notebook's parameters.
        notebook: its number, for the message.

    Returns:
        Name and value.

    Raises:
        ConfigError: no ``=``, an unknown name (the nearest are named), or a value of the wrong type.
    """
    name, equals, raw = text.partition("=")
    if not equals:
        raise ConfigError(f"-p {text!r}: expected name=value, for example -p high=0.7.")
    check_choice(f"parameter of notebook {notebook}", name, known)
    kinds = [k.strip() for k in known[name].kind.split("|")]
    try:
        value = ast.literal_eval(raw)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False, "none": None}.get(raw.lower(), raw)
    if "str" in kinds and not (value is None and "None" in kinds):
        return name, raw
    fits = value is None and "None" in kinds
    if lists := [kind for kind in kinds if kind.startswith("list")]:
        value = value if fits else parse_list(raw, lists[0])
    fits = fits or any(
        isinstance(value, TYPES.get(kind, ())) and (kind == "bool") == isinstance(value, bool) for kind in kinds
    )
    if not fits:
        raise ConfigError(
            f"-p {text}: {name} of notebook {notebook} is {known[name].kind} ({known[name].comment}), "
            f"but {raw!r} is not. Its own value is {known[name].default!r}."
        )
    return name, value


def parse_list(raw: str, kind: str) -> list[Any] | None:
    """Read ``[0, 1, 2]``, ``0,1,2`` or ``simclr,moco_v2``; None if it is no list of that kind."""
    parts = [part.strip().strip("\"'") for part in raw.strip().removeprefix("[").removesuffix("]").split(",")]
    if kind == "list[str]":
        return parts if all(parts) else None
    return [int(part) for part in parts] if all(part.lstrip("-").isdecimal() for part in parts) else None


def check_parameters(texts: list[str], numbers: list[str], available: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Check ``-p`` values against the notebooks asked for, before anything runs.

    A name must be known to at least one of them; each notebook gets those that it knows.
    """
    known = {n: read_parameters(available[n]) for n in numbers}
    values: dict[str, dict[str, Any]] = {n: {} for n in numbers}
    for text in texts:
        name = text.partition("=")[0]
        if name in ("dataset", "profile", "data", "seed", "name", "runs", "method"):
            raise ConfigError(f"-p {text}: give it as an option instead, --{name} …, so that all stages agree.")
        takers = [n for n in numbers if name in known[n]]
        if not takers:
            merged = {k: v for n in numbers for k, v in known[n].items()}
            parse_parameter(text, merged, " and ".join(numbers))  # raises, with the nearest names
        for n in takers:
            key, value = parse_parameter(text, known[n], n)
            values[n][key] = value
    return values


def check_method(method: str, numbers: list[str], available: dict[str, Path]) -> None:
    """Refuse a method other than the paper's for notebooks that are about the paper's alone."""
    others = [n for n in numbers if n != "00" and "method" not in read_parameters(available[n])]
    if method != "usl-net" and others:
        raise ConfigError(
            f"--method {method}: notebook {', '.join(others)} is about the paper's own method. Leave out one of them."
        )


def known_to(notebook: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of some values those that a notebook has parameters for."""
    known = read_parameters(notebook)
    return {name: value for name, value in values.items() if name in known}


def absolute_start(init: str) -> str:
    """Make the path in ``init`` absolute, if it is one; a layout or checkpoint may be named before it."""
    if Path(init).is_file():  # asked first: on Windows a path may hold a colon of its own
        return str(Path(init).resolve())
    layout, colon, rest = init.partition(":")
    return f"{layout}{colon}{Path(rest).resolve()}" if Path(rest).is_file() else init


def settle(extra: dict[str, dict[str, Any]], available: Mapping[str, Path]) -> list[str] | None:
    """Bring checked values into the form that all notebooks agree on, in place.

    Which encoders there are is the run's affair, so chapters 2 and 3 both get them, also if one of the two is made as
    an input; and a start that is a file gets its whole path, since kernels run in another folder.

    Args:
        extra: values by notebook number, as :func:`check_parameters` gives them.
        available: the notebooks by number.

    Returns:
        The encoders, where some are given.
    """
    if init := extra.get("02", {}).get("init"):
        extra["02"]["init"] = absolute_start(init)
    encoders = next((extra[n]["encoders"] for n in ("02", "03") if extra.get(n, {}).get("encoders")), None)
    for number in ("02", "03") if encoders else ():
        extra.setdefault(number, {}).update(known_to(available[number], {"encoders": encoders}))
    return encoders
