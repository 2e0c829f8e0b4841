"""Windows one after the other, without padding, as a GPU takes them.

All sizes are rounded up to one of few, so that what computes a batch of one size can be recorded and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from determined_ner.data.batches import Ints

SMALLEST_UNIT, UNITS = 64, 8
"""Sizes are multiples of 64 up to 1,024; above, 8 sizes between a power of two and the next."""
WINDOWS = 8
"""The number of a batch's windows is raised to a multiple of this, by empty ones."""
SHORTEST = 32
"""Windows are padded for their attention to this length, or to a power of two above it."""


@dataclass(frozen=True)
class Packing:
    """How the padded windows of a batch are packed into R tokens, of which the last fill up."""

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
            - packed_rows: (R,) int64, of each token in the W · S rows of windows that are padded to one length S. What
              fills up R is in windows too; further windows are empty;
            - packed_keys: (W, S) bool, which of these rows can be looked at: those of tokens, and one of an empty
              window, whose attention would be that to nothing.
        """
        place = np.flatnonzero(attention_mask)
        sizes = attention_mask.sum(1)
        length = SHORTEST
        while length < sizes.max():
            length *= 2
        length = min(length, max(self.longest, int(sizes.max())))
        unit = _unit(len(place))
        rounded = -(-len(place) // unit) * unit
        filling = np.clip(rounded - len(place) - np.arange(0, unit, length), 0, length)
        empty = np.zeros(-len(sizes) % WINDOWS, np.int64)
        sizes = np.concatenate([sizes, empty, filling])

        is_token = np.arange(length) < sizes[:, None]
        rows = np.flatnonzero(is_token)
        packed = np.full(rounded, self.pad_id, np.int64)
        packed[: len(place)] = input_ids.ravel()[place]
        return {
            "packed_ids": packed[None],
            "packed_positions": rows[None] % length,
            "packed_place": place,
            "packed_rows": rows,
            "packed_keys": np.arange(length) < np.maximum(sizes, 1)[:, None],
        }

    def added_to(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A batch on the CPU with what packing it gives."""
        packed = self(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
        return batch | {name: torch.from_numpy(array) for name, array in packed.items()}


def _unit(tokens: int) -> int:
    """Of what the size of a batch is a multiple."""
    unit = SMALLEST_UNIT
    while tokens > 2 * UNITS * unit:
        unit *= 2
    return unit
