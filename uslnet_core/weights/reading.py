"""Read a checkpoint's tensors without running any code that it holds, and tell how it is laid out."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from uslnet_core.errors import DataError
from uslnet_core.transformer import DEPTH, TRANSFORMERS, WIDTH
from uslnet_core.weights.registry import LAYOUTS, Layout

BACKBONE = re.compile(
    r"(conv1|bn1|layer[1-4]\.\d+)\.|(patch_embed|norm|blocks\.\d+)\.|cls_token$|pos_embed$",
)
"""Names that belong to a backbone: torchvision's for a ResNet, timm's for a transformer."""

_BLOCK = re.compile(r"(layer[1-4]|blocks)\.\d+\.")

Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Content:
    """What was found in a file.

    Attributes:
        tree: its top dictionary.
        flat: whether the format has no dictionaries inside dictionaries, so that a layout's containers are lost.
    """

    tree: Mapping[str, Any]
    flat: bool


def read(path: Path) -> Content:
    """Read a checkpoint, tensors and plain values only.

    Args:
        path: a file written by ``torch.save``, or a ``.safetensors`` file.

    Returns:
        Its content, on the CPU.

    Raises:
        DataError: there is no such file, it is empty, cut short or no checkpoint, or it holds a pickled object.
    """
    if not path.is_file():
        raise DataError(f"No checkpoint at {path}: there is no such file. Check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes), so it holds no weights. Fetch or copy it again.")
    if path.suffix == ".safetensors":
        try:
            return Content(load_file(path), flat=True)
        except SafetensorError as error:
            raise DataError(f"{path} is no whole safetensors file: {error}. Fetch or copy it again.") from None
    with path.open("rb") as file:  # who may not read it is told so here, by the system's own error
        start = file.read(16)
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no checkpoint make the reader stumble in many ways
        raise DataError(_why(path, start, error)) from None
    if not isinstance(tree, Mapping):
        raise DataError(
            f"{path} holds a {type(tree).__name__}, expected a dictionary of tensors. Save a state_dict() to it."
        )
    return Content(tree, flat=False)


def _why(path: Path, start: bytes, error: Exception) -> str:
    """Say why a file could not be read: not trusted, cut short, or something else altogether."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if found:
        return (
            f"{path} holds more than tensors and plain values: a pickled {found[1]}. Reading such things can run any "
            "code, so it was not read. If you trust it, open it elsewhere and save its state_dict() alone, best as "
            ".safetensors."
        )
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return f"{path} is damaged or cut short ({path.stat().st_size} bytes). Fetch or copy it again."
    return (
        f"{path} is no checkpoint: it begins with {start!r}, expected what torch.save writes, or a file named "
        ".safetensors."
    )


def tensors_in(content: Content, layout: Layout) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Follow a layout's containers to the tensors.

    Args:
        content: a file's content.
        layout: how it may be laid out.

    Returns:
        The containers followed, and the tensors by their whole names; empty if there is no backbone of this layout.
    """
    for way in ((),) if content.flat else layout.containers:
        inner: Any = content.tree
        for key in way:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            found = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
            if any(name.startswith(layout.prefix) and _BLOCK.match(name, len(layout.prefix)) for name in found):
                return way, found
    return (), {}


def shape_of(tensors: Mapping[str, Tensor]) -> Shape:
    """Tell the kind of a backbone from its names and shapes.

    Args:
        tensors: a backbone's, without prefix.

    Returns:
        ``("resnet", bottleneck, blocks of each stage)`` or ``("vit", width, blocks, patch, layer scale)``; a missing or
        renamed tensor here and there does not change it.
    """
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    if blocks:
        patch = tensors.get("patch_embed.proj.weight")
        width, side = (patch.shape[0], patch.shape[-1]) if patch is not None and patch.ndim == 4 else (None, None)
        return "vit", width, max(blocks) + 1, side, any(".ls1." in name for name in tensors)
    counts = [0, 0, 0, 0]
    for name in tensors:
        if found := re.match(r"layer([1-4])\.(\d+)\.", name):
            stage, block = int(found[1]) - 1, int(found[2])
            counts[stage] = max(counts[stage], block + 1)
    return "resnet", any(re.match(r"layer[1-4]\.\d+\.conv3\.", name) for name in tensors), tuple(counts)


SHAPES: dict[str, Shape] = {
    "resnet18": ("resnet", False, (2, 2, 2, 2)),
    "resnet50": ("resnet", True, (3, 4, 6, 3)),
    **{name: ("vit", WIDTH, DEPTH, each.patch, each.layer_scale) for name, each in TRANSFORMERS.items()},
}
"""What `shape_of` gives for each architecture; heads leave no trace, so two transformers share one."""

OTHERS = {
    ("resnet", False, (3, 4, 6, 3)): "a resnet34",
    ("resnet", True, (3, 4, 23, 3)): "a resnet101",
    ("resnet", True, (3, 8, 36, 3)): "a resnet152",
}


def describe(shape: Shape) -> str:
    """Name a kind of backbone for a message."""
    known = [name for name, each in SHAPES.items() if each == shape]
    if known:
        return f"a {' or '.join(known)}"
    if shape[0] == "resnet":
        blocks = ", ".join(map(str, shape[2]))
        return OTHERS.get(shape, f"a ResNet of {blocks} blocks {'with' if shape[1] else 'without'} bottlenecks")
    width, blocks, patch = (value if value is not None else "?" for value in shape[1:4])
    return f"a transformer of {blocks} blocks, width {width}, patch {patch}"


def recognise(content: Content, source: str, hint: str = "") -> tuple[Layout, str]:
    """Find the one known layout that a file has.

    Args:
        content: a file's content.
        source: names the file in messages.
        hint: the layout to prefer where several fit; may be empty.

    Returns:
        The layout and the architecture.

    Raises:
        DataError: no layout fits, several do, or the backbone is of an architecture that is not known.
    """
    fits, strangers = [], []
    for layout in LAYOUTS.values():
        names, shape = _architectures(content, layout)
        fits += [(layout, name) for name in names]
        strangers += [shape] if shape else []
    fits = [each for each in fits if each[0].name == hint] or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise DataError(
            f"{source} fits several layouts, which differ in what is done to the images before: "
            f"{'; '.join(_wants(layout) for layout, _ in fits)}. Say which with "
            f"{' or '.join(f'-p init={layout.name}:PATH' for layout, _ in fits)}."
        )
    if strangers:
        raise DataError(
            f"{source} holds {describe(strangers[0])}, expected one of {', '.join(SHAPES)}. Take another checkpoint."
        )
    known = "".join(f"\n  {layout.describe()}" for layout in LAYOUTS.values())
    raise DataError(f"{source} is of no known layout; its first keys are {first_keys(content)}. Known layouts:{known}")


def recognise_as(content: Content, layout: Layout, source: str) -> str:
    """Find the architecture of a file whose layout is known.

    Args:
        content: a file's content.
        layout: its layout.
        source: names the file in messages.

    Returns:
        The architecture.

    Raises:
        DataError: it has another layout, or an architecture that is none of the layout's.
    """
    names, shape = _architectures(content, layout)
    if shape is None:
        raise DataError(
            f"{source} has not the layout that was expected, {layout.describe()}; its first keys are "
            f"{first_keys(content)}. Take the right file, or give its path alone as init, and its layout is looked for."
        )
    if not names:
        raise DataError(
            f"{source} holds {describe(shape)}, expected {' or '.join(layout.architectures)}. Take another checkpoint."
        )
    return names[0]


def _architectures(content: Content, layout: Layout) -> tuple[list[str], Shape | None]:
    """List which of a layout's architectures a file fits; also its shape, None if it has not this layout at all."""
    _, tensors = tensors_in(content, layout)
    if not tensors:
        return [], None
    prefix = layout.prefix
    shape = shape_of({name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)})
    return [name for name in layout.architectures if SHAPES[name] == shape], shape


def _wants(layout: Layout) -> str:
    return f"{layout.name} ({'mean and deviation taken out' if layout.normalised else 'left in [0, 1]'})"


def outside(content: Content, way: tuple[str, ...]) -> tuple[str, ...]:
    """List what lies in a file beside its tensors: epoch, optimiser and the like, each by its way from the top."""
    found, level = [], content.tree
    for depth, step in enumerate(way):
        found += [" → ".join((*way[:depth], str(key))) for key in level if key != step]
        level = level[step]
    return (*found, *(" → ".join((*way, str(key))) for key, value in level.items() if not isinstance(value, Tensor)))


def first_keys(content: Content, count: int = 5) -> str:
    """Show a file's first keys, those of a dictionary inside included."""
    names = []
    for key, value in content.tree.items():
        inner = [f"{key} → {each}" for each in list(value)[:count]] if isinstance(value, Mapping) and value else [key]
        names += map(str, inner)
    return ", ".join(names[:count]) or "nothing at all"
