"""Weights on disk: tensors only, loaded strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from uslnet_core.errors import DataError


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors: tensors only, no code."""
    save_file({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> Any:
    """Load weights strictly: every key must be there and no other.

    Args:
        module: a module of the right architecture; it is changed in place.
        path: a safetensors file.

    Returns:
        The same module, in evaluation mode.

    Raises:
        DataError: keys or shapes differ.
    """
    try:
        module.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise DataError(f"{path.name} does not fit a {type(module).__name__}: {str(error).splitlines()[0]}") from None
    return module.eval()
