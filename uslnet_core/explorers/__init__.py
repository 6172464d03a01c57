"""Explorers: pictures that answer to sliders and clicks, and compute in the page, with a kernel and without.

Each function takes arrays, yours or a run's, and gives an `Explorer`. In a notebook the call is the cell's last line;
`Explorer.save` writes a page of its own. Nothing is asked of the web.
"""

from uslnet_core.explorers.explorer import Explorer
from uslnet_core.explorers.make import (
    explore_curtain,
    explore_iterations,
    explore_loss,
    explore_painting,
    explore_split,
    explore_views,
)

__all__ = [
    "Explorer",
    "explore_curtain",
    "explore_iterations",
    "explore_loss",
    "explore_painting",
    "explore_split",
    "explore_views",
]
