"""One tokenized part of the data, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WINDOWS_AT_A_TIME = 1 << 16
"""Counted at once, so that no more of the memory-mapped labels is in memory."""
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
    """(N,) gold tag id of every word."""
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

    def labelled_pieces(self) -> NDArray[np.int64]:
        """(W,) labelled pieces of each window: what the loss is a mean over."""
        counts = np.empty(len(self.windows) - 1, np.int64)
        for begin in range(0, len(counts), _WINDOWS_AT_A_TIME):
            borders = self.windows[begin : begin + _WINDOWS_AT_A_TIME + 1]
            labelled = self.labels[borders[0] : borders[-1]] != IGNORED
            counts[begin : begin + len(borders) - 1] = np.add.reduceat(
                labelled, borders[:-1] - borders[0], dtype=np.int64
            )
        return counts
