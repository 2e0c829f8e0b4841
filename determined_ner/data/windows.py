"""Words to pieces, pieces to windows, and which window owns a word.

A text longer than the model takes is read through overlapping windows. Each word is *owned* by exactly one of
them, the one that sees it with most context on its poorer side; loss and scores count owned words only, so that
every word counts once and none is cut away with its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.errors import HyperparameterError

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
        windows in reading order; each word is owned by exactly one. Windows that would own none are left out.
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
    """The windows of a document that is longer than one of them.

    Args:
        total: (words + 1,) pieces before each word.
        first: its first word.
        last: one past its last word.
    """
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


def window_size(asked: int | None, limit: int) -> int:
    """Pieces of a window: as asked, else what the model takes, at most 512.

    Args:
        asked: ``data.max_seq_length``.
        limit: pieces that the model takes.

    Raises:
        HyperparameterError: asked for more than the model takes.
    """
    if asked is None:
        return min(limit, 512)
    if asked > limit:
        raise HyperparameterError(
            "data.max_seq_length",
            f"{asked} is more than the {limit} pieces that this model takes",
            f"write at most {limit} (longer texts are read through overlapping windows, nothing is lost)",
        )
    return asked


def window_room(max_seq_length: int, stride: int | None, tokenizer: WordTokenizer) -> tuple[int, int]:
    """How many pieces windows hold, and by how many they overlap.

    Args:
        max_seq_length: pieces a window holds, special ones included.
        stride: pieces by which two windows overlap; None: a quarter of max_seq_length.

    Returns:
        capacity, the pieces a window holds beside its special ones; and the stride.

    Raises:
        HyperparameterError: a stride that leaves no room.
    """
    capacity = max_seq_length - tokenizer.specials
    stride = max_seq_length // 4 if stride is None else stride
    if not 0 <= stride < capacity:
        raise HyperparameterError(
            "data.stride",
            f"{stride} must be less than the {capacity} pieces that a window of data.max_seq_length {max_seq_length} "
            f"holds beside its {tokenizer.specials} special ones",
        )
    return capacity, stride


@dataclass(frozen=True)
class CutTexts:
    """S texts of N words as W windows of P pieces, special ones not among them."""

    ids: NDArray[np.int32]
    """(P,) pieces."""
    word: Ints
    """(P,) the word that a piece belongs to."""
    owned: NDArray[np.bool_]
    """(P,) piece of a word, in the window that owns it."""
    is_first_piece: NDArray[np.bool_]
    """(P,) first piece of a word, in the window that owns it."""
    windows: Ints
    """(W + 1,) where each window begins in ids."""
    words: Ints
    """(W + 1,) first word that each window owns."""
    sentences: Ints
    """(S + 1,) first word of each text."""
    unknown_words: int
    """Words without a piece of their own."""
    cut_words: int
    """Words longer than a window, of which only the first pieces are kept."""


def cut_windows(
    tokenizer: WordTokenizer,
    texts: Sequence[Sequence[str]],
    documents: Sequence[int] | NDArray[np.integer[Any]] | None,
    capacity: int,
    stride: int,
) -> CutTexts:
    """Tokenize texts given as words and cut them into windows: what training, evaluation and prediction read.

    Args:
        documents: (S,) each text's document, all of whose texts a window may see; None: its own text only.
        capacity: pieces a window holds, special ones not counted.
        stride: pieces by which two windows overlap.
    """
    sentences = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    borders = sentences
    if documents is not None:
        changes = np.flatnonzero(np.diff(documents)) + 1
        borders = sentences[np.concatenate([[0], changes, [len(texts)]]).astype(np.int64)]

    ids, per_word, unknown_words = tokenizer.pieces(texts)
    cut_words = int((per_word > capacity).sum())
    starts = np.concatenate([[0], np.cumsum(per_word)])  # of each word in ids
    per_word = np.minimum(per_word, capacity)
    windows = plan_windows(per_word, borders, capacity, stride)

    # Words seen by each window, then pieces of each word, both laid out flat.
    seen = _ranges(windows.begin, windows.end)
    window_of = np.repeat(np.arange(len(windows.begin)), windows.end - windows.begin)
    owned = (seen >= windows.own_begin[window_of]) & (seen < windows.own_end[window_of])
    lengths = per_word[seen]
    pieces = _ranges(starts[seen], starts[seen] + lengths)
    is_first_piece = np.zeros(len(pieces), np.bool_)
    is_first_piece[(np.cumsum(lengths) - lengths)[owned]] = True
    sizes = np.bincount(window_of, weights=lengths, minlength=len(windows.begin))
    return CutTexts(
        ids=ids[pieces],
        word=np.repeat(seen, lengths),
        owned=np.repeat(owned, lengths),
        is_first_piece=is_first_piece,
        windows=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        words=np.concatenate([[0], windows.own_end]).astype(np.int64),
        sentences=sentences,
        unknown_words=unknown_words,
        cut_words=cut_words,
    )


def _ranges(begin: Ints, end: Ints) -> Ints:
    """begin[0] … end[0] - 1, begin[1] … end[1] - 1, … in one array."""
    lengths = end - begin
    offset = np.cumsum(lengths) - lengths
    ranges: Ints = np.arange(int(lengths.sum())) - np.repeat(offset - begin, lengths)
    return ranges
