"""The one look of the book: its colours, its fonts, and how a figure function hands its figure over.

The colours are those of Okabe and Ito, which people with the common colour blindnesses tell apart. The three
labels also run from dark to light with rising saliency, so they survive a black-and-white printer. Outlines
carry a black halo, which makes them visible on any skin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

P = ParamSpec("P")

# One colour, one meaning, in every figure.
FOREGROUND = "#F0E442"  # yellow
UNCERTAIN = "#999999"  # grey
BACKGROUND = "#0072B2"  # blue
TRUTH = "#FFFFFF"  # white: outlines only, always with their black halo
PREDICTION = "#56B4E9"  # sky blue
OVER = "#D55E00"  # vermilion: predicted, but not lesion
UNDER = "#009E73"  # bluish green: lesion, but not predicted
REFERENCE = "#000000"  # black: the paper's numbers, uniform levels
HALO = "#000000"

#: Lines that mean nothing of the above.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: Pseudo-labels 0, 0.5, 1 with `LABEL_NORM`.
LABEL_COLOURS = ListedColormap([BACKGROUND, UNCERTAIN, FOREGROUND], name="uslnet_labels")
LABEL_NORM = BoundaryNorm([-0.25, 0.25, 0.75, 1.25], ncolors=3)
LABEL_NAMES = ("background (0)", "uncertain (0.5)", "foreground (1)")

#: Saliency in [0, 1]; blue, grey and yellow as the labels it is cut into.
SALIENCY_COLOURS = "cividis"

TEXT_WIDTH = 7.5  # inches, the book's column

_STYLE: dict[str, Any] = {
    "figure.dpi": 130,
    "savefig.dpi": 130,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.hspace": 0.02,
    "figure.constrained_layout.wspace": 0.02,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.facecolor": "white",
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style within a `with` block, and leave matplotlib's settings as they were.

    The functions of this package need no such block; it is for figures of your own.
    """
    with plt.style.context(["default", _STYLE]):
        yield


def use_style() -> None:
    """Draw everything from here on in the book's style; for a notebook's first cell, never for the package.

    It loads matplotlib's backend, too. A notebook's would else be loaded by the first figure function, inside `style`,
    which then takes back what it had switched on, and figures drawn by hand would never be shown.
    """
    plt.switch_backend(mpl.get_backend())
    mpl.rcParams.update(_STYLE)


def drawn(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in the book's style and hand over a closed figure.

    A figure that stays open is shown by a notebook once when the cell ends and once more as the cell's value,
    and stays in memory. A closed one is shown where it is the cell's value: end the cell with the call,
    without a semicolon. `figure.savefig(path)` works as ever.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            before = set(plt.get_fignums())
            try:
                return function(*args, **kwargs)
            finally:
                # Whatever the function opened, also when it failed on the way
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)

    return wrapper
