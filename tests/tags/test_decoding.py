"""Constrained decoding: equal to the best of all label sequences that the scheme allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.tags import decoding
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.schemes import Scheme, bad_tags

LABELS = {
    Scheme.IOB1: ["O", "I-A", "B-A", "I-B"],
    Scheme.IOB2: ["B-A", "B-B", "I-A", "I-B", "O"],
    Scheme.BIOES: ["O", "B-A", "I-A", "E-A", "S-A", "S-B"],
    Scheme.BILOU: ["O", "B-A", "I-A", "L-A", "U-A", "B-B", "L-B"],
    Scheme.PLAIN: ["ADJ", "NOUN", "O"],
}
SCHEMES = sorted(LABELS)


def brute_force(scores: np.ndarray, labels: list[str], scheme: Scheme) -> float:
    """The greatest sum of any sequence in which `bad_tags` finds nothing; -inf: there is none."""
    sequences = itertools.product(range(len(labels)), repeat=len(scores))
    allowed = (s for s in sequences if not bad_tags([labels[i] for i in s], scheme))
    return max((sum(scores[i, label] for i, label in enumerate(s)) for s in allowed), default=-np.inf)


@st.composite
def scored_texts(draw) -> tuple[list[str], Scheme, np.ndarray, np.ndarray]:
    """Labels of a scheme, some of them missing, and scores of up to six texts of up to four words."""
    scheme = draw(st.sampled_from(SCHEMES))
    all_labels = LABELS[scheme]
    labels = draw(st.lists(st.sampled_from(all_labels), min_size=1, max_size=len(all_labels), unique=True))
    lengths = draw(st.lists(st.integers(0, 4), max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(size=(sum(lengths), len(labels)))
    if draw(st.booleans()):
        scores = np.round(scores)  # ties
    return labels, scheme, scores, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@settings(max_examples=300, deadline=None)
@given(scored_texts())
def test_no_allowed_sequence_scores_better(example):
    labels, scheme, scores, starts = example
    tags = best_tags(scores, starts, allowed_transitions(labels, scheme))
    assert tags.shape == (len(scores),)
    for begin, end in itertools.pairwise(starts):
        best = brute_force(scores[begin:end], labels, scheme)
        if best == -np.inf:
            np.testing.assert_array_equal(tags[begin:end], scores[begin:end].argmax(1))
        else:
            assert bad_tags([labels[i] for i in tags[begin:end]], scheme) == []
            assert scores[np.arange(begin, end), tags[begin:end]].sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_do_not_touch_each_other(scheme):
    """A text alone has the tags that it has among others, in groups of any size."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 60)
    scores = rng.normal(size=(lengths.sum(), len(LABELS[scheme]))).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    allowed = allowed_transitions(LABELS[scheme], scheme)
    together = best_tags(scores, starts, allowed)
    alone = [best_tags(scores[a:b], np.array([0, b - a]), allowed) for a, b in itertools.pairwise(starts)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together, best_tags(scores, starts, allowed, cells=7 * len(LABELS[scheme]) ** 2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_transitions_are_those_of_valid_tags(scheme):
    labels = LABELS[scheme]
    allowed = allowed_transitions(labels, scheme)
    size = len(labels)
    for sequence in itertools.chain.from_iterable(itertools.product(range(size), repeat=n) for n in (1, 2, 3)):
        around = [size, *sequence, size]
        valid = bad_tags([labels[i] for i in sequence], scheme) == []
        assert all(allowed[a, b] for a, b in itertools.pairwise(around)) == valid, [labels[i] for i in sequence]


def test_valid_tags_are_left_as_they_are():
    """No arithmetic can move what needs no repair: the arg-max stays, ties included."""
    labels, scores = LABELS[Scheme.IOB2], np.zeros((5, 5))
    scores[:, 4] = 1.0
    scores[2, 0] = 1.0  # a tie of B-A and O
    assert best_tags(scores, np.array([0, 5]), allowed_transitions(labels, Scheme.IOB2)).tolist() == [4, 4, 0, 4, 4]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_long_text_is_cut_where_that_changes_nothing(scheme, monkeypatch):
    """It is decoded in parts, all at once, and to the same tags as step by step."""
    rng = np.random.default_rng(3)
    labels, starts = LABELS[scheme], np.array([0, 5000, 5003, 9000])
    scores = rng.normal(size=(9000, len(labels)), scale=2)
    scores[:, labels.index("O")] += rng.choice([0, 6], 9000)
    allowed = allowed_transitions(labels, scheme)
    parts = best_tags(scores, starts, allowed)
    longest: list[int] = []
    step_by_step = decoding._viterbi

    def viterbi(scores, begins, lengths, *more) -> None:
        longest.append(int(lengths[0]))
        step_by_step(scores, begins, lengths, *more)

    monkeypatch.setattr(decoding, "_viterbi", viterbi)
    best_tags(scores, starts, allowed)
    monkeypatch.setattr(decoding, "_sure_ends", lambda *_: np.zeros(0, np.int64))
    np.testing.assert_array_equal(parts, best_tags(scores, starts, allowed))
    if scheme in (Scheme.IOB1, Scheme.IOB2):
        assert longest[0] < 100 and longest[1] == 5000
