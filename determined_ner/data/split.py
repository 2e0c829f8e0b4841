"""One tokenized part of the data, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WINDOWS_AT_A_TIME = 1 << 16
"""Counted at once, so that no more of the memory-mapped labels is in memory."""
_PIECES_AT_A_TIME = 1 << 20
IGNORED = -100
"""Label of a piece that no loss is taken over (PyTorch's cross entropy)."""


@dataclass(frozen=True)
class Split:
    """One tokenized part of the data. P pieces in W windows over N words in S sentences; arrays are memory-mapped."""

    name: str
    ids: NDArray[np.int32]
    """(P,) pieces, special ones not among them."""
    labels: NDArray[np.int16]
    """(P,) label id at pieces that training counts, else IGNORED."""
    is_first_piece: NDArray[np.bool_]
    """(P,) first piece of a word, in the window that owns it."""
    windows: NDArray[np.int64]
    """(W + 1,) where each window begins in ids."""
    words: NDArray[np.int64]
    """(W + 1,) first word that each window owns."""
    tags: NDArray[np.int16]
    """(N,) gold tag id of every word; IGNORED where there is none."""
    sentences: NDArray[np.int64]
    """(S + 1,) first word of each sentence."""
    counts: dict[str, int]
    """Words without pieces of their own, words cut to the window, tags repaired."""
    bad_tags: tuple[str, ...] = ()
    """The first of the tags repaired, each with its place."""
    fingerprint: str = ""
    """Equal for the same text and tags, cut into the same pieces in the same way."""

    def lengths(self, specials: int) -> NDArray[np.int64]:
        """(W,) pieces of each window with its special ones."""
        return np.diff(self.windows) + specials

    def counted_pieces(self) -> NDArray[np.int64]:
        """(W,) pieces of each window that the loss is a mean over: those with a label; of a window without any label,
        of which a student learns, the first of each word."""
        counts = np.empty(len(self.windows) - 1, np.int64)
        for begin in range(0, len(counts), _WINDOWS_AT_A_TIME):
            borders = self.windows[begin : begin + _WINDOWS_AT_A_TIME + 1]
            labelled = self.labels[borders[0] : borders[-1]] != IGNORED
            counts[begin : begin + len(borders) - 1] = np.add.reduceat(
                labelled, borders[:-1] - borders[0], dtype=np.int64
            )
        return np.where(counts == 0, np.diff(self.words), counts)

    def words_of(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the words that these windows own, window by window."""
        return words_of(self.words, windows)

    def count_labels(self, labels: int) -> NDArray[np.int64]:
        """(K,) pieces of each of K labels."""
        counts = np.zeros(labels, np.int64)
        for begin in range(0, len(self.labels), _PIECES_AT_A_TIME):
            some = np.asarray(self.labels[begin : begin + _PIECES_AT_A_TIME], np.int64)
            counts += np.bincount(some[some != IGNORED], minlength=labels)
        return counts

    def different_pieces(self) -> NDArray[np.int64]:
        """The pieces that occur, ascending."""
        seen = np.zeros(int(self.ids.max()) + 1, np.bool_)
        for begin in range(0, len(self.ids), _PIECES_AT_A_TIME):  # sorting all would take seconds and their size
            seen[self.ids[begin : begin + _PIECES_AT_A_TIME]] = True
        return np.flatnonzero(seen)


def words_of(words: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the words that windows own, window by window.

    Args:
        words: (W + 1,) first word that each window owns.
        windows: some of the W windows.
    """
    begins = words[windows]
    sizes = words[windows + 1] - begins
    offsets = np.cumsum(sizes) - sizes
    numbers: NDArray[np.int64] = np.arange(int(sizes.sum())) - np.repeat(offsets - begins, sizes)
    return numbers
