"""Decoding and probabilities with the transitions of a CRF: those of all sequences, one by one."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings

from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import Spans, TagTable
from determined_ner.tags.lattice import entity_probabilities, label_probabilities
from determined_ner.tags.schemes import Scheme, bad_tags, iob2_entities, to_iob2
from tests.tags.test_decoding import scored_texts


def sequences(scores: np.ndarray, transitions: np.ndarray, labels: list[str], scheme: Scheme) -> dict:
    """The score of each allowed sequence of a text."""
    found = {}
    for sequence in itertools.product(range(len(labels)), repeat=len(scores)):
        if scheme is Scheme.PLAIN or not bad_tags([labels[i] for i in sequence], scheme):
            words = sum(scores[i, label] for i, label in enumerate(sequence))
            found[sequence] = words + sum(transitions[a, b] for a, b in itertools.pairwise(sequence))
    return found


def entities_of(tags: list[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    return iob2_entities(to_iob2(tags, scheme)[0])


@settings(max_examples=150, deadline=None)
@given(scored_texts())
def test_tags_and_probabilities_are_those_of_all_sequences(example):
    labels, scheme, scores, starts = example
    transitions = np.random.default_rng(len(scores)).normal(size=(len(labels), len(labels))).round(1)
    tags = best_tags(scores, starts, allowed_transitions(labels, scheme), transitions=transitions)
    marginals = label_probabilities(scores, starts, labels, scheme, transitions)
    for begin, end in itertools.pairwise(starts.tolist()):
        every = sequences(scores[begin:end], transitions, labels, scheme)
        if not every or begin == end:
            continue
        assert every[tuple(tags[begin:end].tolist())] >= max(every.values()) - 1e-9
        shares = np.exp(list(every.values()))
        shares /= shares.sum()
        expected = np.zeros((end - begin, len(labels)))
        entities: dict[tuple[str, int, int], float] = {}
        for sequence, share in zip(every, shares, strict=True):
            expected[np.arange(end - begin), list(sequence)] += share
            for entity in (
                iob2_entities(to_iob2([labels[i] for i in sequence], scheme)[0]) if scheme is not Scheme.PLAIN else ()
            ):
                entities[entity] = entities.get(entity, 0.0) + share
        np.testing.assert_allclose(marginals[begin:end], expected, rtol=1e-9, atol=1e-12)
        if entities:
            types = TagTable(labels, plain=False).types
            rows = np.array([(begin + first, begin + stop, types.index(name)) for name, first, stop in entities])
            spans = Spans(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.int32))
            found = entity_probabilities(scores, starts, labels, scheme, spans, transitions=transitions)
            np.testing.assert_allclose(found, list(entities.values()), rtol=1e-9, atol=1e-12)
            cooler = entity_probabilities(2 * scores, starts, labels, scheme, spans, 2.0, transitions=2 * transitions)
            np.testing.assert_allclose(cooler, found, rtol=1e-9)
