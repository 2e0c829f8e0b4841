"""Kinds of mistakes: by hand, and against counts made in another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.report.mistakes import MistakeKind, confusion, match, overlap_counts, unit_counts, word_spans
from determined_ner.tags.entities import TagTable, entity_spans
from determined_ner.tags.scores import count_entities

TABLE = TagTable(["O", "B-A", "I-A", "B-B", "I-B"])


def spans(tags: str, starts=None):
    """``O A a B b`` for O, B-A, I-A, B-B, I-B."""
    ids = np.array(["OAaBb".index(tag) for tag in tags])
    return entity_spans(ids, np.array([0, len(ids)] if starts is None else starts), TABLE)


def kinds(gold: str, predicted: str) -> list[str]:
    return [MistakeKind(kind).name for kind in match(spans(gold), spans(predicted)).kind]


@pytest.mark.parametrize(
    ("gold", "predicted", "found"),
    [
        ("AaO", "AaO", ["CORRECT"]),
        ("AaO", "BbO", ["WRONG_TYPE"]),
        ("AaO", "AOO", ["WRONG_BOUNDARY"]),
        ("AaO", "OBb", ["WRONG_TYPE_AND_BOUNDARY"]),
        ("AaO", "OOO", ["MISSED"]),
        ("OOO", "AaO", ["SPURIOUS"]),
        ("OOO", "OOO", []),
        ("AOB", "OOB", ["MISSED", "CORRECT"]),
        ("AOA", "Aaa", ["WRONG_BOUNDARY", "MISSED"]),  # one covers two: one has a wrong boundary, the other is missed
        ("Aaa", "AOA", ["WRONG_BOUNDARY", "SPURIOUS"]),
        ("BAO", "AaO", ["MISSED", "WRONG_BOUNDARY"]),  # the one of its own type, though it comes second
        ("AaaaO", "BAaaO", ["SPURIOUS", "WRONG_BOUNDARY"]),
        ("AaBb", "OAaO", ["WRONG_BOUNDARY", "MISSED"]),
        ("AB", "BA", ["WRONG_TYPE", "WRONG_TYPE"]),  # equal words are matched, whatever else would fit
    ],
)
def test_kinds_by_hand(gold, predicted, found):
    assert kinds(gold, predicted) == found


def test_labels_are_the_names_in_words():
    labels = ["correct", "wrong type", "wrong boundary", "wrong type and boundary", "missed", "spurious"]
    assert [kind.label for kind in MistakeKind] == labels


TAGS = st.lists(st.tuples(st.sampled_from("OAaBb"), st.sampled_from("OAaBb")), min_size=1, max_size=12)


def pairs_of(gold, predicted):
    return [list(zip(s.begin.tolist(), s.end.tolist(), s.type_id.tolist(), strict=True)) for s in (gold, predicted)]


@settings(max_examples=150, deadline=None)
@given(TAGS)
def test_every_entity_counts_once_and_correct_ones_are_those_of_the_scores(words):
    gold, predicted = (spans("".join(word[i] for word in words)) for i in (0, 1))
    found = match(gold, predicted)
    for index, entities in ((found.gold_index, gold), (found.predicted_index, predicted)):
        assert sorted(index[index >= 0].tolist()) == list(range(len(entities.begin)))
    ids = [np.array(["OAaBb".index(word[i]) for word in words]) for i in (0, 1)]
    counts = count_entities(*ids, np.array([0, len(words)]), TABLE)
    summed = unit_counts(found, np.array([0, len(words)]), 2)[0]
    for column, expected in enumerate((counts.true_positive, counts.gold, counts.predicted)):
        np.testing.assert_array_equal(summed[:, column], expected)
    table = confusion(found, 2)
    np.testing.assert_array_equal(table[:2].sum(axis=1), counts.gold)
    np.testing.assert_array_equal(table[:, :2].sum(axis=0), counts.predicted)
    assert (found.begin()[:-1] <= found.begin()[1:]).all() and (found.begin() < found.end()).all()


def most_pairs(gold, predicted) -> int:
    """Brute force: the largest number of disjoint pairs with a word in common and the same type."""
    possible = [
        (g, p)
        for g, a in enumerate(gold)
        for p, b in enumerate(predicted)
        if a[2] == b[2] and a[0] < b[1] and b[0] < a[1]
    ]
    for size in range(min(len(gold), len(predicted)), 0, -1):
        for chosen in itertools.combinations(possible, size):
            if len({g for g, _ in chosen}) == len({p for _, p in chosen}) == size:
                return size
    return 0


@settings(max_examples=150, deadline=None)
@given(TAGS)
def test_pairs_of_one_type_are_as_many_as_there_can_be(words):
    """Where equal words were not given to another type."""
    gold, predicted = (spans("".join(word[i] for word in words)) for i in (0, 1))
    found = match(gold, predicted)
    if (found.kind == MistakeKind.WRONG_TYPE).any():
        return
    left, right = pairs_of(gold, predicted)
    assert overlap_counts(found, 2).true_positive.sum() == most_pairs(left, right)


def test_units_are_counted_by_themselves():
    gold, predicted = spans("AaBAO", [0, 3, 5]), spans("AaOAO", [0, 3, 5])
    found = unit_counts(match(gold, predicted), np.array([0, 3, 5]), 2)
    assert found.tolist() == [[[1, 1, 1], [0, 1, 0]], [[1, 1, 1], [0, 0, 0]]]


def test_every_mistake_in_plain_tags_is_a_wrong_type():
    gold, predicted = np.array([0, 1, 2, 1]), np.array([0, 2, 2, 0])
    found = match(word_spans(gold), word_spans(predicted))
    assert [MistakeKind(kind).name for kind in found.kind] == ["CORRECT", "WRONG_TYPE", "CORRECT", "WRONG_TYPE"]
    assert confusion(found, 3).tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
