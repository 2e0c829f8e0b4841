"""The most probable tags that a scheme allows: Viterbi decoding over label transitions.

A tagger scores each word by itself, and its best tags may contradict each other (``I-PER`` after ``O``). Here the best
*sequence* is found among those that the scheme allows. A CRF has learnt scores of transitions besides.

Texts lie end to end, as in `entities`: ``starts`` (S + 1,) holds the first word of each, and last the number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.entities import BoolArray, IntArray, TagTable
from determined_ner.tags.schemes import Scheme

Floats = NDArray[np.floating[Any]]
CELLS = 1 << 22
"""Numbers that are held at a time: 32 MiB."""


def allowed_transitions(labels: Sequence[str], scheme: Scheme) -> BoolArray:
    """Which of K labels may follow which.

    Returns:
        (K + 1, K + 1), by the labels before and after; K stands for what is around a text: ``[K, j]`` tells whether j
        may begin one, ``[i, K]`` whether i may end one.
    """
    table = TagTable(labels, plain=scheme is Scheme.PLAIN)
    same_type = table.type_id[:, None] == table.type_id
    in_entity: BoolArray = np.isin(table.prefix, ["B", "I"])[:, None] & same_type
    allowed: BoolArray
    if scheme is Scheme.PLAIN:
        allowed = np.ones_like(same_type)
    elif scheme is Scheme.IOB2:  # I goes on
        allowed = in_entity | (table.prefix != "I")
    elif scheme is Scheme.IOB1:  # B parts neighbours of one type
        allowed = in_entity | (table.prefix != "B")
    else:  # BIOES and BILOU: an entity that B or I has begun must go on
        unfinished = np.isin(table.prefix, ["B", "I"])[:, None]
        goes_on = np.isin(table.prefix, ["I", "E", "L"])
        allowed = np.where(goes_on, in_entity, ~unfinished)
    return allowed


def best_tags(
    scores: Floats, starts: IntArray, allowed: BoolArray, cells: int = CELLS, transitions: Floats | None = None
) -> NDArray[np.int64]:
    """The allowed label sequence of each text whose scores have the greatest sum.

    The arg-max of every word where that is allowed, for then nothing is better; else by Viterbi's algorithm (Forney
    1973, "The Viterbi algorithm"), in float64. A text that no sequence is allowed for (one word, and no label may
    both begin and end a text) keeps the arg-max.

    Args:
        scores: (N, K), log-probabilities of the labels, or logits: they differ by a constant of each word.
        starts: (S + 1,).
        allowed: (K + 1, K + 1), of `allowed_transitions`.
        cells: sums of a step that are held at a time.
        transitions: (K, K) of a CRF, added to the sum; None: 0.

    Returns:
        (N,) label ids.
    """
    words, labels = scores.shape
    tags = scores.argmax(1).astype(np.int64) if words else np.zeros(0, np.int64)
    starts = np.asarray(starts, np.int64)
    lengths = np.diff(starts)
    if transitions is not None:  # then the best of each word may be nothing of the best sequence
        _decode(scores, starts, np.flatnonzero(lengths), allowed, transitions, cells, tags)
        return tags
    filled = np.flatnonzero(lengths)
    firsts = starts[filled]
    before, after = np.roll(tags, 1), np.roll(tags, -1)
    before[firsts] = labels
    after[firsts - 1] = labels  # a last word each; 0 - 1 wraps to that of the last text
    broken = ~(allowed[before, tags] & allowed[tags, after])
    if not broken.any():
        return tags
    # Steps of one text cannot be done at once, those of several can: a long text is cut where that changes nothing.
    starts = np.union1d(starts, _sure_ends(scores, tags, after == labels, allowed) + 1)
    repaired = np.flatnonzero(np.logical_or.reduceat(broken, starts[:-1]))
    _decode(scores, starts, repaired, allowed, None, cells, tags)
    return tags


def _decode(
    scores: Floats,
    starts: IntArray,
    texts: IntArray,
    allowed: BoolArray,
    transitions: Floats | None,
    cells: int,
    tags: NDArray[np.int64],
) -> None:
    """Decode some texts; their tags are written to ``tags``."""
    labels = scores.shape[1]
    cost = np.where(allowed, 0.0, -np.inf)
    if transitions is not None:
        cost[:labels, :labels] += transitions
    lengths = np.diff(starts)
    texts = texts[np.argsort(-lengths[texts], kind="stable")]
    group = max(1, cells // labels**2)
    for begin in range(0, len(texts), group):
        some = texts[begin : begin + group]
        _viterbi(scores, starts[some], lengths[some], cost, tags)


def _sure_ends(scores: Floats, tags: NDArray[np.int64], last: BoolArray, allowed: BoolArray) -> IntArray:
    """Words where a text may be cut in two, each of which is decoded by itself.

    Say that anything may stand before the label O, and that what may follow it is what may begin a text. A word whose
    best label is O has it in the best sequence if nothing after it makes up for another: a label b of the next word
    that may not follow O can be replaced by a label c which may, and which may be followed by all that b may be; if
    this costs less than O gains, b is not in the best sequence.

    Args:
        tags: (N,), the arg-max.
        last: (N,), whether a word is the last of its text.
    """
    labels = scores.shape[1]
    inner = allowed[:labels, :labels]
    outside = [
        label
        for label in range(labels)
        if allowed[:, label].all()
        and allowed[:labels, labels].all()
        and (inner[label] == allowed[labels, :labels]).all()
    ]
    if not outside:
        return np.zeros(0, np.int64)
    sure = np.zeros(len(tags), np.bool_)
    for label in outside:
        at = np.flatnonzero(tags == label)
        best = scores[at].astype(np.float64)
        gain = best[:, label] - np.delete(best, label, 1).max(1, initial=-np.inf)
        following = scores[np.minimum(at + 1, len(tags) - 1)].astype(np.float64)
        cost = np.full(len(at), -np.inf)
        for b in np.flatnonzero(~inner[label]):
            stand_in = inner[label] & (inner >= inner[b]).all(1)
            cost = np.maximum(cost, following[:, b] - following[:, stand_in].max(1, initial=-np.inf))
        sure[at] = last[at] | (gain > cost)
    return np.flatnonzero(sure)


def _viterbi(scores: Floats, begins: IntArray, lengths: IntArray, cost: Floats, tags: NDArray[np.int64]) -> None:
    """Decode T texts, the longest first, that begin at the words ``begins``; their tags are written to ``tags``."""
    labels = scores.shape[1]
    inner = cost[:labels, :labels]
    longest = int(lengths[0])
    alive = np.searchsorted(-lengths, -np.arange(longest), side="left")  # texts longer than 0, 1, 2, … words
    best = scores[begins].astype(np.float64) + cost[labels, :labels]  # (T, K), of the sequences that end in a label
    back: list[NDArray[np.int16]] = []  # (alive, K) each: the label before
    for step in range(1, longest):
        now = alive[step]
        sums = best[:now, :, None] + inner  # (now, K before, K)
        previous = sums.argmax(1)
        best[:now] = np.take_along_axis(sums, previous[:, None], 1)[:, 0] + scores[begins[:now] + step]
        back.append(previous.astype(np.int16))
    best += cost[:labels, labels]
    possible = np.flatnonzero(best.max(1) > -np.inf)
    label = best.argmax(1)
    for step in range(longest - 1, -1, -1):
        now = possible[: np.searchsorted(possible, alive[step])]
        tags[begins[now] + step] = label[now]
        if step:
            label[now] = back[step - 1][now, label[now]]
