"""The probability of an entity: equal to the sum over all sequences that the scheme allows, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import Spans, TagTable, entity_spans
from determined_ner.tags.lattice import entity_probabilities, softmax
from determined_ner.tags.schemes import Scheme, bad_tags, iob2_entities, to_iob2
from tests.tags.test_decoding import scored_texts


def brute_force(scores: np.ndarray, labels: list[str], scheme: Scheme) -> dict[tuple[str, int, int], float]:
    """The probability of each entity of one text that any allowed sequence has."""
    whole, found = 0.0, {}
    for sequence in itertools.product(range(len(labels)), repeat=len(scores)):
        tags = [labels[i] for i in sequence]
        if scheme is not Scheme.PLAIN and bad_tags(tags, scheme):
            continue
        weight = np.exp(sum(scores[i, label] for i, label in enumerate(sequence)))
        whole += weight
        entities = (
            [(tag, i, i + 1) for i, tag in enumerate(tags)]
            if scheme is Scheme.PLAIN
            else iob2_entities(to_iob2(tags, scheme)[0])
        )
        for entity in entities:
            found[entity] = found.get(entity, 0.0) + weight
    return {entity: weight / whole for entity, weight in found.items()}


@settings(max_examples=200, deadline=None)
@given(scored_texts())
def test_sums_over_the_lattice_are_those_over_all_sequences(example):
    labels, scheme, scores, starts = example
    types = labels if scheme is Scheme.PLAIN else TagTable(labels, plain=False).types
    expected = [
        (begin + first, begin + end, types.index(name), probability)
        for begin, stop in itertools.pairwise(starts.tolist())
        for (name, first, end), probability in brute_force(scores[begin:stop], labels, scheme).items()
    ]
    columns = np.array(expected).reshape(-1, 4)[::-1]  # the order does not matter
    spans = Spans(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2].astype(np.int32))
    found = entity_probabilities(scores, starts, labels, scheme, spans)
    np.testing.assert_allclose(found, columns[:, 3], rtol=1e-9, atol=1e-12)
    in_parts = entity_probabilities(scores, starts, labels, scheme, spans, cells=1)
    np.testing.assert_allclose(in_parts, found, rtol=1e-12)
    np.testing.assert_allclose(entity_probabilities(2 * scores, starts, labels, scheme, spans, 2.0), found, rtol=1e-9)


def test_long_texts_and_great_scores_stay_finite():
    labels = ["B-A", "B-B", "I-A", "I-B", "O"]
    scores = np.random.default_rng(0).normal(scale=300, size=(5_000, 5)).astype(np.float32)
    starts = np.array([0, 4_000, 4_000, 5_000])
    tags = best_tags(scores, starts, allowed_transitions(labels, Scheme.IOB2))
    spans = entity_spans(tags, starts, TagTable(labels))
    found = entity_probabilities(scores, starts, labels, Scheme.IOB2, spans)
    assert len(found) > 1_000 and ((found >= 0) & (found <= 1)).all()
    assert np.median(found) > 0.99


def test_an_entity_that_no_sequence_has_is_impossible():
    labels = ["B-A", "I-A", "E-A", "O"]  # of BIOES, without S: one word is no entity
    starts, span = np.array([0, 1, 4]), Spans(np.array([0, 2]), np.array([1, 3]), np.zeros(2, np.int32))
    found = entity_probabilities(np.zeros((4, 4)), starts, labels, Scheme.BIOES, span)
    np.testing.assert_array_equal(found, [0, 0])


def test_probabilities_of_words_sum_to_one():
    assert softmax(np.array([[1e4, 1e4], [-1e4, 0]], np.float32)) == pytest.approx(np.array([[0.5, 0.5], [0, 1]]))
