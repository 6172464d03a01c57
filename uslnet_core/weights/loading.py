"""From a checkpoint's file to a network: every weight of the backbone, or an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uslnet_core.download import digest
from uslnet_core.encoder import BACKBONES, MEAN, STD, Encoder
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.transformer import TransformerEncoder
from uslnet_core.weights.reading import BACKBONE, outside, read, recognise, recognise_as, tensors_in
from uslnet_core.weights.registry import CHECKPOINTS, LAYOUTS, Layout
from uslnet_core.weights.store import need

COUNTER = "num_batches_tracked"
"""Batch norm's count of batches: some files lack it, and nothing here reads it."""


@dataclass(frozen=True)
class LoadReport:
    """What of a checkpoint was loaded and what was not.

    Attributes:
        source: the checkpoint's name, or the file's; never its folder.
        architecture: of the network.
        layout: of the file.
        normalised: whether the network takes ImageNet's mean and deviation out of its images; if not, its ``mean`` is 0
            and its ``std`` 1. Both are no part of a state_dict: who saves the network keeps this beside it.
        sha256: of the file.
        loaded: the file's keys that are in the network now.
        dropped: its other tensors beside them: heads, key encoder, queue.
        ignored: what lies in the file outside these tensors: epoch, optimiser and the like.
        absent: counters of batch norm that the file lacks; they stay 0.
    """

    source: str
    architecture: str
    layout: str
    normalised: bool
    sha256: str
    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    ignored: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def fraction(self) -> float:
        """Share of the file's tensors that loaded. Far below 1 if it holds a key encoder; never for lack of weights."""
        return len(self.loaded) / (len(self.loaded) + len(self.dropped))

    def summary(self) -> str:
        """Say it in a line or two, for a notebook or the command line."""
        tensors = len(self.loaded) + len(self.dropped)
        lines = [
            f"{self.source}: a whole {self.architecture} (layout {self.layout}, sha256 {self.sha256[:12]}…), "
            f"{len(self.loaded)} of the file's {tensors} tensors ({self.fraction:.0%})."
        ]
        if self.dropped:
            lines.append(f"Dropped: {', '.join(_families(self.dropped))}.")
        if self.absent:
            lines.append(f"The file lacks {len(self.absent)} counters of batch norm, which nothing reads.")
        if not self.normalised:
            lines.append("Images go in as they are, in [0, 1]: no mean and deviation.")
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """Give what a manifest keeps, as JSON values."""
        return {
            "source": self.source,
            "architecture": self.architecture,
            "layout": self.layout,
            "normalised": self.normalised,
            "sha256": self.sha256,
            "loaded": len(self.loaded),
            "fraction": self.fraction,
            "dropped": _families(self.dropped),
            "absent": len(self.absent),
        }


def _families(names: tuple[str, ...]) -> list[str]:
    """Shorten a list of keys to their beginnings with counts: ``module.encoder_k.* (318)``."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        family = ".".join(parts[: 2 if parts[0] in ("module", "backbone") else 1])
        counts[family] = counts.get(family, 0) + 1
    return [family if count == 1 else f"{family}.* ({count})" for family, count in counts.items()]


Network = Encoder | TransformerEncoder


def load_public(source: str, *, folder: Path | str, backbone: str | None = None) -> tuple[Network, LoadReport]:
    """Load a public checkpoint, or a local file that is laid out like one.

    Args:
        source: a name of ``CHECKPOINTS``, whose file must be in the folder; or a path; or where a path alone does not
            tell, ``NAME:PATH`` with a checkpoint's name or a layout's (``simclr_r50:my.pth``, ``torchvision:my.pth``).
        folder: the weights folder.
        backbone: the architecture that is wanted; None takes what the file holds.

    Returns:
        The network in evaluation mode on the CPU, a ResNet with the stride 2 that it was trained with; and the report.

    Raises:
        ConfigError: the name is not known and is no file; or the file holds another backbone than the one wanted.
        DataError: the file is missing, changed, damaged, not only tensors, or not all of a backbone.
    """
    name, path = _resolve(source)
    if path is not None:
        layout = LAYOUTS[CHECKPOINTS[name].layout if name in CHECKPOINTS else name] if name else None
        return load_checkpoint(path, layout=layout, backbone=backbone)
    known = CHECKPOINTS[source]
    _require_backbone(source, known.architecture, backbone)  # before its file is read: that takes seconds
    path, sha256 = need(source, Path(folder))
    network, report = load_checkpoint(path, layout=LAYOUTS[known.layout], source=source, sha256=sha256)
    if report.architecture != known.architecture:
        raise DataError(
            f"{path} holds a {report.architecture}, but {source} is a {known.architecture}: it is another file under "
            f"this name. Delete it and run `uslnet weights fetch {source}`."
        )
    return network, report


def _resolve(source: str) -> tuple[str | None, Path | None]:
    """Split what the user named into a checkpoint's or layout's name and a path, either of which may be missing."""
    if source in CHECKPOINTS:
        return source, None
    name, colon, rest = source.partition(":")
    if colon and (name in CHECKPOINTS or name in LAYOUTS):
        return name, Path(rest).expanduser()
    path = Path(source).expanduser()
    if path.exists() or len(path.parts) > 1 or path.suffix:
        return None, path
    near = get_close_matches(source, CHECKPOINTS, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(
        f"init is {source!r}, which is neither a file nor a public checkpoint. {hint}Known: {', '.join(CHECKPOINTS)}."
    )


def _require_backbone(source: str, found: str, backbone: str | None) -> None:
    if backbone is not None and found != backbone:
        raise ConfigError(
            f"{source} holds a {found}, but backbone is {backbone}. Use -p backbone={found}, or start from another "
            "checkpoint."
        )


def load_checkpoint(
    path: Path,
    *,
    layout: Layout | None = None,
    backbone: str | None = None,
    source: str = "",
    sha256: str = "",
) -> tuple[Network, LoadReport]:
    """Load one file: tensors only, the backbone whole.

    Args:
        path: a file written by ``torch.save``, or a ``.safetensors`` file.
        layout: how it is laid out; None finds out.
        backbone: the architecture that is wanted; None takes what the file holds.
        source: names it in messages and in the report; empty is the file's name.
        sha256: the file's, if known already.

    Returns:
        The network and the report, as `load_public`.

    Raises:
        ConfigError: the file holds another backbone than the one wanted.
        DataError: as `load_public`.
    """
    content, source = read(path), source or path.name
    if layout is None:
        own = next((each.layout for each in CHECKPOINTS.values() if each.file == path.name), "")
        layout, architecture = recognise(content, source, own)
    else:
        architecture = recognise_as(content, layout, source)
    _require_backbone(source, architecture, backbone)
    way, tensors = tensors_in(content, layout)
    with torch.random.fork_rng(devices=[]):  # the first, random weights are thrown away: the caller's draws stay as is
        network = (
            Encoder(architecture, last_stride=2) if architecture in BACKBONES else TransformerEncoder(architecture)
        )
    loaded, absent = _fill(network, tensors, layout.prefix, source)
    report = LoadReport(
        source=source,
        architecture=architecture,
        layout=layout.name,
        normalised=layout.normalised,
        sha256=sha256 or digest(path),
        loaded=loaded,
        dropped=tuple(sorted(set(tensors) - set(loaded))),
        ignored=outside(content, way),
        absent=absent,
    )
    set_normalised(network, layout.normalised)
    return network.eval(), report


def set_normalised(network: Network, normalised: bool) -> None:
    """Set in place whether a network takes ImageNet's mean and deviation out of its images.

    Args:
        network: an encoder.
        normalised: as the report says; False leaves images in [0, 1] as they are.
    """
    mean, std = (MEAN, STD) if normalised else ((0.0,) * 3, (1.0,) * 3)
    network.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    network.std.copy_(torch.tensor(std).view(1, 3, 1, 1))


def _fill(
    network: Network, tensors: dict[str, Tensor], prefix: str, source: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy a backbone's tensors into a network, all or none.

    Returns:
        The file's keys that were copied, and the counters it lacks.

    Raises:
        DataError: a tensor is missing, unknown, of another shape, or not finite.
    """
    own = network.state_dict()
    theirs = {_their_name(name): name for name in own}  # name behind the prefix → ours
    found = {name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)}
    absent = tuple(name for name in theirs if name not in found and name.endswith(COUNTER))
    missing = [name for name in theirs if name not in found and name not in absent]
    unknown = [name for name in found if name not in theirs and BACKBONE.match(name)]
    here = [name for name in theirs if name in found]
    shapes = [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(own[theirs[name]].shape)}"
        for name in here
        if found[name].shape != own[theirs[name]].shape
    ]
    wild = [name for name in here if not found[name].isfinite().all()]
    parts = (
        (f"lacks {len(missing)} of {len(theirs)} tensors", missing),
        (f"has {len(unknown)} that this network does not", unknown),
        (f"has {len(shapes)} of another shape", shapes),
        (f"has {len(wild)} with values that are not finite", wild),
    )
    if wrong := [f"it {words} ({_few(names)})" for words, names in parts if names]:
        raise DataError(
            f"{source} does not hold a whole {type(network).__name__} behind {prefix or 'no prefix'!r}: "
            f"{'; '.join(wrong)}. Half a backbone is refused. Fetch or copy the file again, or take another."
        )
    network.load_state_dict(own | {theirs[name]: found[name] for name in here}, strict=True)
    return tuple(prefix + name for name in here), absent


def _their_name(name: str) -> str:
    """Translate a key of ours to the name that public files use: torchvision's or timm's."""
    return re.sub(r"^stem\.0\.", "conv1.", re.sub(r"^stem\.1\.", "bn1.", name.removeprefix("vit.")))


def _few(names: list[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
