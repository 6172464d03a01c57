"""Public checkpoints: where they lie and on what terms, the folder that keeps them, and strict loading."""

from uslnet_core.weights.loading import LoadReport, load_checkpoint, load_public, set_normalised
from uslnet_core.weights.reading import recognise
from uslnet_core.weights.registry import CHECKPOINTS, LAYOUTS, Checkpoint, Layout, checkpoint, licence_notice
from uslnet_core.weights.store import CHECKSUMS, Checked, check, fetch, need

__all__ = [
    "CHECKPOINTS",
    "CHECKSUMS",
    "LAYOUTS",
    "Checked",
    "Checkpoint",
    "Layout",
    "LoadReport",
    "check",
    "checkpoint",
    "fetch",
    "licence_notice",
    "load_checkpoint",
    "load_public",
    "need",
    "recognise",
    "set_normalised",
]
