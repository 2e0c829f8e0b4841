"""Words to pieces, pieces to windows, and which window owns a word.

A text longer than the model takes is read through overlapping windows. Each word is *owned* by exactly one of
them, the one that sees it with most context on its poorer side; loss and scores count owned words only, so that
every word counts once and none is cut away with its label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """The W windows of a list of documents, as positions in the list of all their words; all arrays are (W,)."""

    begin: Ints
    """First word seen."""
    end: Ints
    """One past the last word seen."""
    own_begin: Ints
    """First word owned."""
    own_end: Ints
    """One past the last word owned; never equal to own_begin."""


def plan_windows(pieces: Ints, documents: Ints, capacity: int, stride: int) -> Windows:
    """Cut documents into windows of at most ``capacity`` pieces, at word borders.

    Args:
        pieces: (words,) pieces of each word, from 1 to ``capacity``.
        documents: (documents + 1,) where each document begins in ``pieces``, and the end of the last.
        capacity: pieces a window holds, special ones not counted.
        stride: pieces by which two windows of a document overlap, as far as word borders allow.

    Returns:
        windows in reading order; each word is owned by exactly one.
    """
    assert 0 <= stride < capacity, (stride, capacity)
    assert len(pieces) == 0 or (pieces.min() >= 1 and pieces.max() <= capacity)
    total = np.concatenate([[0], np.cumsum(pieces)])  # pieces before each word
    size = total[documents[1:]] - total[documents[:-1]]
    short = (size <= capacity) & (documents[1:] > documents[:-1])
    begin, end = documents[:-1][short], documents[1:][short]
    parts = [Windows(begin, end, begin, end)]
    parts.extend(
        _plan_long(total, int(documents[i]), int(documents[i + 1]), capacity, stride)
        for i in np.flatnonzero(size > capacity)
    )
    fields = [np.concatenate([getattr(part, f) for part in parts]) for f in ("begin", "end", "own_begin", "own_end")]
    order = np.argsort(fields[2], kind="stable")
    return Windows(*(field[order] for field in fields))


def _plan_long(total: Ints, first: int, last: int, capacity: int, stride: int) -> Windows:
    """The windows of one document, words ``first`` to ``last``, that is longer than one of them."""
    begins, ends = [], []
    begin = first
    while True:
        end = int(np.searchsorted(total, total[begin] + capacity, side="right")) - 1
        begins.append(begin)
        ends.append(min(end, last))
        if end >= last:
            break
        # Go back by the overlap, but not so far that the next word would not fit or nothing new would be seen.
        overlap = max(total[end] - stride, total[end + 1] - capacity)
        begin = max(int(np.searchsorted(total, overlap, side="left")), begin + 1)
    begin_at, end_at = np.array(begins, np.int64), np.array(ends, np.int64)
    # Of two neighbours that both see word w, the earlier has total[its end] - total[w + 1] pieces after it, the later
    # total[w] - total[its begin] before it, and these are the poorer sides wherever the two differ. The border is
    # the first word at which the later one has more.
    middle = total[first:last] + total[first + 1 : last + 1]
    border = first + np.searchsorted(middle, total[end_at[:-1]] + total[begin_at[1:]], side="right")
    own_begin = np.concatenate([[first], border])
    own_end = np.concatenate([border, [last]])
    kept = own_end > own_begin
    return Windows(begin_at[kept], end_at[kept], own_begin[kept], own_end[kept])
