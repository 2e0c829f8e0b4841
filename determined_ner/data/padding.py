"""To which length batches are padded, and what share of them is padding."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from determined_ner.data.batches import Ints, evaluation_batches
from determined_ner.data.split import Split


@dataclass(frozen=True)
class Padding:
    """To which length L the windows of a batch are padded: that of the longest, or what suits the machine better."""

    multiple: int = 1
    """L is a multiple of this,"""
    least: int = 0
    """at least this,"""
    most: int = sys.maxsize
    """and at most this: the size of a window."""

    def __call__(self, longest: Ints) -> Ints:
        """Round lengths.

        Args:
            longest: (batches,) pieces of the longest window of each.

        Returns:
            (batches,) L.
        """
        rounded = -(-longest // self.multiple) * self.multiple
        return np.minimum(np.maximum(rounded, self.least), self.most)


def evaluation_padding(split: Split, specials: int, padding: Padding) -> float:
    """Share of padding in the batches that a split is evaluated in."""
    lengths = split.lengths(specials)
    batches = [batch.windows for batch in evaluation_batches(np.arange(len(lengths)), lengths)]
    order = np.concatenate(batches)
    borders = np.cumsum([0, *map(len, batches)])
    return padding_share(lengths[order], borders, padding)


def padding_share(lengths: Ints, borders: Ints, padding: Padding) -> float:
    """Share of padding in batches.

    Args:
        lengths: (windows,) pieces, in the order of the batches.
        borders: (batches + 1,) where each batch begins.
    """
    return 1 - float(lengths.sum() / padded_sizes(lengths, borders, padding).sum())


def padded_sizes(lengths: Ints, borders: Ints, padding: Padding) -> Ints:
    """(batches,) windows × padded length; 0 for a batch without windows, which slots may have."""
    sizes = np.diff(borders)
    padded = np.zeros(len(sizes), np.int64)
    filled = sizes > 0
    longest = np.maximum.reduceat(lengths, borders[:-1][filled])
    padded[filled] = sizes[filled] * padding(longest)
    return padded
