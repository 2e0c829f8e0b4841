"""Windows one after the other, without padding, as a GPU takes them.

Their total is rounded up to one of few sizes, so that what computes a batch of one size can be recorded and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.batches import Ints

SMALLEST_UNIT, UNITS = 64, 8
"""Sizes are multiples of 64 up to 1,024; above, 8 sizes between a power of two and the next."""
WINDOWS = 8
"""The number of windows is a multiple of this, empty ones among them."""


@dataclass(frozen=True)
class Packing:
    """How the padded windows of a batch are packed into R tokens, of which the last are of no window."""

    longest: int
    """Pieces of a window at most, special ones included."""
    pad_id: int
    """Of the piece that fills up R."""

    def __call__(self, input_ids: Ints, attention_mask: Ints) -> dict[str, NDArray[Any]]:
        """Pack a batch.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), padding on the right.

        Returns:
            - packed_ids: (1, R) int64;
            - packed_positions: (1, R) int64, from 0 in each window;
            - packed_place: (T,) int64, of each token of a window in the batch's own (B · L);
            - packed_borders: (W + 1,) int32, where each window begins. What fills up R is in windows too, so that its
              attention is defined; further windows are empty.
        """
        sizes = attention_mask.sum(1)
        place = np.flatnonzero(attention_mask)
        unit = _unit(len(place))
        rounded = -(-len(place) // unit) * unit
        filling = np.minimum(np.arange(0, unit, self.longest) + self.longest, rounded - len(place))
        borders = np.concatenate([[0], np.cumsum(sizes), len(place) + filling])
        windows = -(-(len(borders) - 1) // WINDOWS) * WINDOWS
        borders = np.append(borders, np.full(windows + 1 - len(borders), rounded)).astype(np.int32)
        packed = np.full(rounded, self.pad_id, np.int64)
        packed[: len(place)] = input_ids.ravel()[place]
        positions = np.arange(rounded) - np.repeat(borders[:-1], np.diff(borders))
        return {
            "packed_ids": packed[None],
            "packed_positions": positions[None],
            "packed_place": place,
            "packed_borders": borders,
        }


def _unit(tokens: int) -> int:
    """Of what the size of a batch is a multiple."""
    unit = SMALLEST_UNIT
    while tokens > 2 * UNITS * unit:
        unit *= 2
    return unit
