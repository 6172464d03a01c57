"""The paper's ablation tables and figures, each by one function: what notebooks 09 to 11 show, and one command makes.

An item takes the *lines* (:func:`uslnet_core.pipeline.line_of`), one a seed, makes what they lack, and gives tables as
frames and pictures as figures. On synthetic images nothing stands beside the paper's numbers.
"""

from uslnet_core.reproduce.beyond import larger, lessons, parts, steps, together
from uslnet_core.reproduce.failures import FAILED, failures, failures_of
from uslnet_core.reproduce.items import (
    ITEMS,
    figure_1,
    figure_7,
    figure_8,
    figure_9,
    options,
    table_8,
    table_9,
    table_10,
)
from uslnet_core.reproduce.keep import record, save
from uslnet_core.reproduce.layout import Lines, Reproduced, nothing_found, scores_of
from uslnet_core.reproduce.lines import caption, masks_read, open_lines, part_of, usual_encoders
from uslnet_core.reproduce.parts import encoders_table
from uslnet_core.reproduce.teaching import RULES

__all__ = [
    "FAILED",
    "ITEMS",
    "RULES",
    "Lines",
    "Reproduced",
    "caption",
    "encoders_table",
    "failures",
    "failures_of",
    "figure_1",
    "figure_7",
    "figure_8",
    "figure_9",
    "larger",
    "lessons",
    "masks_read",
    "nothing_found",
    "open_lines",
    "options",
    "part_of",
    "parts",
    "record",
    "save",
    "scores_of",
    "steps",
    "table_8",
    "table_9",
    "table_10",
    "together",
    "usual_encoders",
]
