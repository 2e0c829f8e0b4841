"""The probability of an entity: sums over all tag sequences that the scheme allows.

A tagger gives each word a score of each label. A sequence of labels that the scheme allows is as probable as the
exponential of its scores' sum, over that of all of them; an entity, as all sequences in which exactly its words are one
entity of its type. Both sums are made by the forward-backward algorithm, scaled at each word so that nothing overflows.

Texts lie end to end, as in `entities`. Sources: Rabiner 1989, "A Tutorial on Hidden Markov Models", sections III and
V.A; Culotta and McCallum 2004, "Confidence Estimation for Information Extraction".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.decoding import CELLS, allowed_transitions
from determined_ner.tags.entities import IntArray, Spans, TagTable, boundary_rules
from determined_ner.tags.schemes import Scheme

Floats = NDArray[np.float64]
LEAST = 1e-290
"""Of a label beside the best one of its word: less would make some sums 0."""


def softmax(scores: NDArray[np.floating[Any]]) -> Floats:
    """(N, K) probabilities of K labels, each word by itself."""
    shifted = scores.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return probabilities


def entity_probabilities(
    scores: NDArray[np.floating[Any]],
    starts: IntArray,
    labels: Sequence[str],
    scheme: Scheme,
    spans: Spans,
    temperature: float = 1.0,
    cells: int = CELLS,
    transitions: NDArray[np.floating[Any]] | None = None,
) -> Floats:
    """How probable it is that exactly these words are an entity of this type.

    Args:
        scores: (N, K), logits or log-probabilities of the labels.
        starts: (S + 1,).
        labels: (K,).
        scheme: of the labels. Where it is plain, each word is an entity by itself: its probability is the softmax.
        spans: M entities, none across the border of a text, in any order; ``type_id`` is an index in
            `TagTable.types`, of plain labels one in ``labels``.
        temperature: by which scores are divided.
        cells: scores that are looked at at a time, or one text's.
        transitions: (K, K) of a CRF, divided by the temperature too; None: 0.

    Returns:
        (M,), from 0 to 1; 0 where the scheme allows no sequence with the entity.
    """
    found = np.zeros(len(spans.begin))
    if scheme is Scheme.PLAIN:
        for begin in range(0, len(found), max(1, cells // len(labels))):
            here = slice(begin, begin + max(1, cells // len(labels)))
            words = softmax(scores[spans.begin[here]].astype(np.float64) / temperature)
            found[here] = words[np.arange(len(words)), spans.type_id[here]]
        return found
    starts = np.asarray(starts, np.int64)
    text = np.searchsorted(starts, spans.begin, side="right") - 1
    chosen = np.unique(text)  # most texts have no entity, and need no sums
    lengths = np.diff(starts)[chosen]
    follows, table = _factors(labels, scheme, temperature, transitions), TagTable(labels, plain=False)
    group = np.cumsum(lengths) * len(labels) // cells
    for texts in np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(group)) + 1) if len(chosen) else []:
        own_starts = np.concatenate([[0], np.cumsum(lengths[texts])])
        shift = starts[chosen[texts]] - own_starts[:-1]
        own_scores = scores[np.repeat(shift, lengths[texts]) + np.arange(own_starts[-1])].astype(np.float64)
        lattice = _sums(own_scores / temperature, own_starts, follows)
        inside = np.flatnonzero((text >= chosen[texts[0]]) & (text <= chosen[texts[-1]]))
        offset = shift[np.searchsorted(chosen[texts], text[inside])]
        own_spans = Spans(spans.begin[inside] - offset, spans.end[inside] - offset, spans.type_id[inside])
        found[inside] = _of_spans(lattice, own_starts, follows, table, scheme, own_spans)
    return found


class _Lattice(NamedTuple):
    """Sums over the sequences of S texts of N words. What the words before a word sum to is scaled to 1."""

    exponentials: Floats
    """(N, K) of the scores, over the scale of the word."""
    forward: Floats
    """(N, K) over all beginnings of a text that end in this label of this word."""
    backward: Floats
    """(N, K) over all ends of a text that follow this label of this word, over the sum of all sequences."""
    whole: Floats
    """(S,) over all sequences; 0 where none is allowed."""


def label_probabilities(
    scores: NDArray[np.floating[Any]],
    starts: IntArray,
    labels: Sequence[str],
    scheme: Scheme,
    transitions: NDArray[np.floating[Any]],
    temperature: float = 1.0,
) -> Floats:
    """(N, K) how probable each label of each word is by a CRF: the share of the sequences that have it there.

    Args:
        scores: (N, K).
        starts: (S + 1,).
        labels: (K,).
        scheme: of the labels; all of a text's words get their softmax where it allows no sequence.
        transitions: (K, K).
        temperature: by which scores and transitions are divided.
    """
    own = scores.astype(np.float64) / temperature
    if not len(own):
        return own
    lattice = _sums(own, np.unique(np.asarray(starts, np.int64)), _factors(labels, scheme, temperature, transitions))
    shares = lattice.forward * lattice.backward
    found: Floats = np.where(shares.sum(1, keepdims=True) > 0, shares, softmax(own))
    return found


def _factors(
    labels: Sequence[str], scheme: Scheme, temperature: float, transitions: NDArray[np.floating[Any]] | None
) -> Floats:
    """(K + 1, K + 1) by what a sequence's share is multiplied at each border of words: 0 where it is not allowed."""
    follows = allowed_transitions(labels, scheme).astype(np.float64)
    if transitions is not None:
        follows[: len(labels), : len(labels)] *= np.exp(transitions.astype(np.float64) / temperature)
    return follows


def _sums(scores: Floats, starts: IntArray, follows: Floats) -> _Lattice:
    """Go through all texts at once, word by word, forward and back."""
    labels = scores.shape[1]
    inner, begins, ends = follows[:labels, :labels], follows[labels, :labels], follows[:labels, labels]
    exponentials = np.maximum(np.exp(scores - scores.max(1, keepdims=True)), LEAST)
    forward, backward = np.zeros_like(exponentials), np.zeros_like(exponentials)
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")  # the longest first: those that reach a word stand together
    firsts, sorted_lengths = starts[:-1][order], lengths[order]
    steps = int(sorted_lengths[0])
    reaching = np.searchsorted(-sorted_lengths, -np.arange(steps), side="left")  # texts with more than 0, 1, … words
    for step in range(steps):
        here = firsts[: reaching[step]] + step
        sums = exponentials[here] * (forward[here - 1] @ inner if step else begins)
        scale = sums.sum(1, keepdims=True)
        scale[scale == 0] = 1  # no sequence is allowed: all sums stay 0
        exponentials[here] /= scale
        forward[here] = sums / scale
    last = starts[1:] - 1
    whole = forward[last] @ ends
    backward[last] = np.divide(ends, whole[:, None], out=np.zeros((len(last), labels)), where=whole[:, None] > 0)
    for step in range(steps - 2, -1, -1):
        here = firsts[: reaching[step + 1]] + step
        backward[here] = (exponentials[here + 1] * backward[here + 1]) @ inner.T
    return _Lattice(exponentials, forward, backward, whole)


def _of_spans(
    lattice: _Lattice, starts: IntArray, follows: Floats, table: TagTable, scheme: Scheme, spans: Spans
) -> Floats:
    """The share of the sequences in which an entity begins where a span does, goes on in it, and ends with it."""
    labels = len(table.labels)
    opens, closes, heads = boundary_rules(table, scheme)
    opening = follows * (opens & heads)
    going_on = (follows * ~heads)[:labels, :labels]
    closing = follows * closes
    of_type = (table.type_id[:labels] == np.arange(len(table.types))[:, None]) & (table.prefix[:labels] != "O")
    mask = of_type[spans.type_id]  # (M, K)
    text = np.searchsorted(starts, spans.begin, side="right") - 1

    around = np.zeros((len(text), labels + 1))  # of the word before, or of the border of the text
    inside = spans.begin > starts[text]
    around[inside, :labels] = lattice.forward[spans.begin[inside] - 1]
    around[~inside, labels] = 1
    sums = (around @ opening)[:, :labels] * mask * lattice.exponentials[spans.begin]
    for step in range(1, int((spans.end - spans.begin).max())):
        on = np.flatnonzero(spans.end - spans.begin > step)
        sums[on] = (sums[on] @ going_on) * mask[on] * lattice.exponentials[spans.begin[on] + step]

    around = np.zeros((len(text), labels + 1))  # of the word after
    inside = spans.end < starts[text + 1]
    after = spans.end[inside]
    around[inside, :labels] = lattice.exponentials[after] * lattice.backward[after]
    possible = ~inside & (lattice.whole[text] > 0)
    around[possible, labels] = 1 / lattice.whole[text[possible]]
    total: Floats = ((sums @ closing[:labels]) * around).sum(1)
    return np.clip(total, 0, 1)
