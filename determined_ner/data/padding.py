"""Windows as rows of one length: to which length they are padded, what lies where, and what share is padding."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.batches import Ints, evaluation_batches
from determined_ner.data.split import Split
from determined_ner.data.tokenizer import WordTokenizer


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


@dataclass(frozen=True)
class PaddedWindows:
    """B windows as rows of one length L: what a model takes, and where in it P pieces lie."""

    input_ids: Ints
    """(B, L) pieces, special ones and padding included."""
    attention_mask: Ints
    """(B, L), 1 where there is no padding."""
    rows: Ints
    """(P,) row of each piece of the windows, special ones not counted."""
    columns: Ints
    """(P,) its column."""
    pieces: Ints
    """(P,) its place among all pieces of the text."""

    def place(self, values: NDArray[Any], elsewhere: Any, dtype: type) -> NDArray[Any]:
        """What is known of each piece of the text, where the piece lies in the batch.

        Args:
            values: (pieces of the text,).
            elsewhere: what stands at special pieces and padding.
            dtype: of the result.

        Returns:
            (B, L).
        """
        placed: NDArray[Any] = np.full(self.input_ids.shape, elsewhere, dtype)
        placed[self.rows, self.columns] = values[self.pieces]
        return placed


def pad_windows(
    ids: NDArray[np.int32],
    borders: Ints,
    chosen: Sequence[int] | Ints,
    tokenizer: WordTokenizer,
    padding: Padding | None = None,
) -> PaddedWindows:
    """Pad some windows of a text to one length, with their special pieces.

    Args:
        ids: (pieces,) of the text, special ones not among them.
        borders: (windows + 1,) where each window begins in ``ids``.
        chosen: (B,) the windows, one at least.
        padding: None: to the length of the longest.
    """
    windows = np.array(chosen, np.int64)
    begins = borders[windows]
    sizes = borders[windows + 1] - begins
    prefix, suffix = tokenizer.prefix, tokenizer.suffix
    length = int((padding or Padding())(sizes.max() + len(prefix) + len(suffix)))
    rows = np.repeat(np.arange(len(windows)), sizes)
    inner = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns, pieces = inner + len(prefix), inner + np.repeat(begins, sizes)

    input_ids = np.full((len(windows), length), tokenizer.pad_id, np.int64)
    input_ids[:, : len(prefix)] = prefix
    input_ids[rows, columns] = ids[pieces]
    ends = sizes + len(prefix)
    for i, piece in enumerate(suffix):
        input_ids[np.arange(len(windows)), ends + i] = piece
    mask = np.arange(length) < (ends + len(suffix))[:, None]
    return PaddedWindows(input_ids, mask.astype(np.int64), rows, columns, pieces)


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
