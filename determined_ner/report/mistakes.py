"""Which kind of mistake each entity is: gold and predicted entities are matched one to one.

The kinds are those of MUC and of nervaluate (correct, wrong type, wrong boundary, missed, spurious). Pure functions on
`Spans` that do not overlap among themselves, as IOB2 tags spell them. Plain tags take part as entities of one word each
(`word_spans`); every mistake in them is a wrong type.

Source: Chinchor and Sundheim, MUC-5 Evaluation Metrics (MUC-5, 1993), whose "incorrect" is split here into what is
wrong, and whose "partial" is the wrong boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.entities import IntArray, Spans
from determined_ner.tags.scores import EntityCounts

Ints = NDArray[np.int64]


class MistakeKind(IntEnum):
    """Of a pair of a gold and a predicted entity, one of which may be absent."""

    CORRECT = 0
    """The same words, the same type."""
    WRONG_TYPE = 1
    """The same words, another type."""
    WRONG_BOUNDARY = 2
    """Some words in common, the same type."""
    WRONG_TYPE_AND_BOUNDARY = 3
    """Some words in common, another type."""
    MISSED = 4
    """A gold entity that no predicted one was matched with."""
    SPURIOUS = 5
    """A predicted entity that no gold one was matched with."""

    @property
    def label(self) -> str:
        """``wrong type``: its name in pages and pictures."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Matching:
    """M pairs in reading order, which together hold every gold and every predicted entity once."""

    gold: Spans
    predicted: Spans
    gold_index: Ints
    """(M,) index in `gold`; -1: none."""
    predicted_index: Ints
    """(M,) index in `predicted`; -1: none."""
    kind: NDArray[np.int8]
    """(M,) a `MistakeKind`."""

    def begin(self) -> Ints:
        """(M,) first word of either entity."""
        return np.minimum(self._field("gold", "begin", 1 << 62), self._field("predicted", "begin", 1 << 62))

    def end(self) -> Ints:
        """(M,) one past the last word of either entity."""
        return np.maximum(self._field("gold", "end", 0), self._field("predicted", "end", 0))

    def gold_type(self) -> Ints:
        """(M,) type of the gold entity; -1: none."""
        return self._field("gold", "type_id", -1)

    def predicted_type(self) -> Ints:
        """(M,) type of the predicted entity; -1: none."""
        return self._field("predicted", "type_id", -1)

    def _field(self, side: str, field: str, absent: int) -> Ints:
        index: Ints = getattr(self, f"{side}_index")
        values = np.append(getattr(getattr(self, side), field).astype(np.int64), absent)
        return values[index]  # -1 takes the last, which is `absent`


def word_spans(tags: IntArray, types: IntArray | None = None) -> Spans:
    """Plain tags as entities of one word each, whose type is the tag.

    Args:
        tags: (N,) tag ids.
        types: (K,) type of each tag id; default: the tag id.
    """
    at = np.arange(len(tags), dtype=np.int64)
    chosen = np.asarray(tags) if types is None else types[tags]
    return Spans(at, at + 1, chosen.astype(np.int32))


def match(gold: Spans, predicted: Spans) -> Matching:
    """Match gold and predicted entities, each at most once.

    Entities of the same words are matched whatever their types. Of the others, those with words in common and the same
    type are matched from left to right, which makes as many such pairs as possible; then those with words in common and
    different types. So of two gold entities that one predicted entity covers, one has a wrong boundary and the other is
    missed.
    """
    _, i, j = np.intersect1d(gold.end, predicted.end, assume_unique=True, return_indices=True)
    same = gold.begin[i] == predicted.begin[j]
    left, right = i[same].tolist(), j[same].tolist()
    gold_free, predicted_free = np.ones(len(gold.end), bool), np.ones(len(predicted.end), bool)
    gold_free[left] = predicted_free[right] = False

    # Predicted entity p shares words with the gold ones from low[p] to high[p] - 1: both lists are in order.
    low = np.searchsorted(gold.end, predicted.begin, side="right")
    high = np.searchsorted(gold.begin, predicted.end, side="left")
    touching = [(g, p) for p in np.flatnonzero(predicted_free & (high > low)).tolist() for g in range(low[p], high[p])]
    for same_type in (True, False):
        for g, p in touching:
            equal = gold.type_id[g] == predicted.type_id[p]
            if gold_free[g] and predicted_free[p] and equal == same_type:
                gold_free[g] = predicted_free[p] = False
                left.append(g)
                right.append(p)

    missed, spurious = np.flatnonzero(gold_free), np.flatnonzero(predicted_free)
    none = np.full(1, -1, np.int64)
    gold_index = np.concatenate([np.array(left, np.int64), missed, np.repeat(none, len(spurious))])
    predicted_index = np.concatenate([np.array(right, np.int64), np.repeat(none, len(missed)), spurious])
    pairs = Matching(gold, predicted, gold_index, predicted_index, np.zeros(len(gold_index), np.int8))
    order = np.lexsort((predicted_index, pairs.begin()))
    return Matching(gold, predicted, gold_index[order], predicted_index[order], _kinds(pairs)[order])


def _kinds(pairs: Matching) -> NDArray[np.int8]:
    same_type = pairs.gold_type() == pairs.predicted_type()
    g, p = pairs.gold_index, pairs.predicted_index
    paired = (g >= 0) & (p >= 0)
    same_words = np.zeros(len(g), bool)
    same_words[paired] = (pairs.gold.begin[g[paired]] == pairs.predicted.begin[p[paired]]) & (
        pairs.gold.end[g[paired]] == pairs.predicted.end[p[paired]]
    )
    chosen = [p < 0, g < 0, same_words & same_type, same_words, same_type]
    kinds = [
        MistakeKind.MISSED,
        MistakeKind.SPURIOUS,
        MistakeKind.CORRECT,
        MistakeKind.WRONG_TYPE,
        MistakeKind.WRONG_BOUNDARY,
    ]
    other = np.int8(MistakeKind.WRONG_TYPE_AND_BOUNDARY)
    return np.select(chosen, [np.int8(kind) for kind in kinds], other).astype(np.int8)


def overlap_counts(matching: Matching, types: int) -> EntityCounts:
    """Counts in which one word in common and the same type make an entity a true positive."""
    overlapping = (matching.kind == MistakeKind.CORRECT) | (matching.kind == MistakeKind.WRONG_BOUNDARY)

    def per_type(type_id: Any) -> Ints:
        return np.bincount(type_id, minlength=types).astype(np.int64)

    return EntityCounts(
        per_type(matching.gold_type()[overlapping]),
        per_type(matching.gold.type_id),
        per_type(matching.predicted.type_id),
    )


def unit_counts(matching: Matching, starts: IntArray, types: int) -> Ints:
    """Correct, gold and predicted entities of each type in each unit.

    Args:
        starts: (U + 1,) first word of each unit, and the number of words.

    Returns:
        (U, types, 3).
    """
    units = len(starts) - 1
    result = np.zeros((units, types, 3), np.int64)
    parts = (
        (matching.begin()[correct := matching.kind == MistakeKind.CORRECT], matching.gold_type()[correct]),
        (matching.gold.begin, matching.gold.type_id),
        (matching.predicted.begin, matching.predicted.type_id),
    )
    for column, (begin, type_id) in enumerate(parts):
        unit = np.searchsorted(starts, begin, side="right") - 1
        result[..., column] = np.bincount(unit * types + type_id, minlength=units * types).reshape(units, types)
    return result


def confusion(matching: Matching, types: int) -> Ints:
    """How often each type is predicted for each.

    Returns:
        (types + 1, types + 1) pairs by gold type and predicted type; the last row and column stand for none.
    """
    size = types + 1
    cells = (matching.gold_type() % size) * size + matching.predicted_type() % size  # -1 becomes the last
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def sentence_of(words: Any, sentences: IntArray) -> Ints:
    """(…,) index of the sentence that each word is in.

    Args:
        words: (…,) words of the text.
        sentences: (S + 1,) first word of each sentence, and the number of words.
    """
    found: Ints = np.searchsorted(sentences, words, side="right") - 1
    return found
