"""Horizontal runs of many masks and the links between them, by numpy on 64 pixels a word (for `components`).

A mask is packed into bits, one flat row for the whole batch. Where a run starts and where it ends are then a few
operations on words; and how many runs start or end before a pixel is a running sum of the words' population counts,
which finds the runs that touch in the next row without a search.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ONE = np.uint64(1)


class Bits:
    """A flat row of bits in little-endian words, with one empty word more than it needs.

    Args:
        words: (n,) "<u8".
    """

    def __init__(self, words: np.ndarray) -> None:
        self.words = words
        self.before = np.zeros(len(words), np.int64)
        np.cumsum(np.bitwise_count(words[:-1]), out=self.before[1:])

    def positions(self) -> np.ndarray:
        """(k,) int64, where the set bits are, in order."""
        # Few words hold a bit: only those are opened.
        some = np.flatnonzero(self.words != 0)  # (of bool it is three times faster)
        at = np.flatnonzero(np.unpackbits(self.words[some].view(np.uint8), bitorder="little").view(bool))
        return (some << 6)[at >> 6] + (at & 63)

    def count_before(self, position: np.ndarray) -> np.ndarray:
        """(k,) int64, how many bits are set before each position."""
        word = position >> 6
        below = (_ONE << (position & 63).astype(np.uint64)) - _ONE
        return self.before[word] + np.bitwise_count(self.words[word] & below)


def packed(mask: np.ndarray) -> np.ndarray:
    """Pack a bool array into "<u8" words, its first pixel in the lowest bit; at least one empty word follows."""
    octets = np.packbits(mask, bitorder="little")
    words = np.zeros(len(octets) // 8 + 2, "<u8")
    words.view(np.uint8)[: len(octets)] = octets
    return words


@lru_cache(maxsize=4)
def _row_ends(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Words with a bit at the first pixel of each row, and with a bit at the last."""
    first, last = np.zeros((2, rows, width), bool)
    first[:, 0] = last[:, -1] = True
    return packed(first), packed(last)


def find(mask: np.ndarray, reach: int) -> tuple[np.ndarray, ...]:
    """Find the runs of a batch of masks, and which touch in the row below.

    Args:
        mask: (B, H, W) bool, contiguous.
        reach: 1 where corners touch, else 0.

    Returns:
        (R,) int64 starts and stops in the flat batch; (R,) int64 image, row and column of each start; (R,) int64
        the first run below that each touches, and how many.
    """
    images, height, width = mask.shape
    words = packed(mask)
    first, last = _row_ends(images * height, width)
    carried, coming = words << _ONE, words >> _ONE  # each pixel's left and right neighbour
    carried[1:] |= words[:-1] >> np.uint64(63)
    coming[:-1] |= words[1:] << np.uint64(63)
    starts, ends = Bits(words & (~carried | first)), Bits(words & (~coming | last))
    start, stop = starts.positions(), ends.positions() + 1

    row = start // width
    image = row // height
    y = row - image * height
    below = (row + 1) * width  # the row below: its first pixel, and past its last one; none below the last row
    beyond = np.where(y == height - 1, 0, below + width)
    # A run touches those below that end at its first column or later and start at its last or before.
    lower = ends.count_before(np.minimum(np.maximum(start + (width - reach), below), mask.size))
    upper = starts.count_before(np.minimum(stop + (width + reach), beyond))
    return start, stop, image, y, start - row * width, lower, np.maximum(upper - lower, 0)
