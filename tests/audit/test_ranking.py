"""Which labels are doubted, and in which order: on probabilities written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from determined_ner.audit.occurrences import Entity, Occurrences
from determined_ner.audit.ranking import DoubtKind, given_entities, rank
from determined_ner.report.out_of_fold import OutOfFold

LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


def text_of(*sentences: tuple[str, str, str], sure: float = 0.95, labels=LABELS, plain=False) -> OutOfFold:
    """Sentences as (words, given tags, tags that the model is sure of), each separated by blanks."""
    words = [sentence.split() for sentence, _, _ in sentences]
    given = [labels.index(tag) for _, tags, _ in sentences for tag in tags.split()]
    found = [labels.index(tag) for _, _, tags in sentences for tag in tags.split()]
    probabilities = np.full((len(found), len(labels)), (1 - sure) / (len(labels) - 1))
    probabilities[np.arange(len(found)), found] = sure
    return OutOfFold(
        files=("data/a.conll",),
        labels=labels,
        plain=plain,
        words=words,
        lines=[(0, 1 + 10 * s) for s in range(len(words))],
        documents=np.arange(len(words)),
        sentences=np.concatenate([[0], np.cumsum([len(part) for part in words])]),
        given=np.array(given, np.int16),
        probabilities=probabilities,
        fold=np.ones(len(words), np.int64),
    )


USUAL = [
    (f"{name} lives in {place} .", "B-PER O O B-LOC O", "B-PER O O B-LOC O")
    for name, place in [("Ann", "Rome"), ("Ben", "Oslo"), ("Cem", "Lima"), ("Dee", "Bonn"), ("Eva", "Kiel")] * 2
]


@pytest.mark.parametrize(
    "words, given, found, kind, readings",
    [
        ("Al saw Nice", "B-PER O O", "B-PER O B-LOC", DoubtKind.MISSED, (None, Entity(2, 3, "LOC"))),
        ("Al saw that", "B-PER O B-LOC", "B-PER O O", DoubtKind.SPURIOUS, (Entity(2, 3, "LOC"), None)),
        ("Al saw Nice", "B-PER O B-PER", "B-PER O B-LOC", DoubtKind.WRONG_TYPE,
         (Entity(2, 3, "PER"), Entity(2, 3, "LOC"))),
        ("Al saw New York", "O O O B-LOC", "O O B-LOC I-LOC", DoubtKind.WRONG_BORDER,
         (Entity(3, 4, "LOC"), Entity(2, 4, "LOC"))),
        ("Al saw New York", "O O O B-PER", "O O B-LOC I-LOC", DoubtKind.WRONG_TYPE_AND_BORDER,
         (Entity(3, 4, "PER"), Entity(2, 4, "LOC"))),
    ],
)  # fmt: skip
def test_each_kind_of_error_is_found_with_its_reading(words, given, found, kind, readings):
    doubts = rank(text_of(*USUAL, (words, given, found)))
    assert (doubts[0].kind, doubts[0].sentence) == (kind, len(USUAL))
    assert (doubts[0].given, doubts[0].proposed) == readings


def test_a_text_that_is_mostly_labelled_otherwise_is_doubted_where_the_model_agrees():
    text = text_of(*USUAL, ("Rome fell", "O O", "O O"), ("Rome won", "B-LOC O", "B-LOC O"), sure=0.6)
    (doubt,) = rank(text)
    assert doubt.kind is DoubtKind.INCONSISTENT and doubt.sentence == len(USUAL)
    assert (doubt.given, doubt.proposed) == (None, Entity(0, 1, "LOC"))


def test_labels_that_model_and_text_agree_with_are_not_doubted():
    assert rank(text_of(*USUAL)) == []


def test_the_same_text_elsewhere_speaks_for_a_label():
    often = [("Nice is old", "B-LOC O O", "B-LOC O O")] * 6
    doubts = rank(text_of(*USUAL, *often, ("Bath is", "B-LOC O", "O O"), ("Nice is", "B-LOC O", "O O")))
    assert [doubt.sentence - len(USUAL) - len(often) for doubt in doubts] == [0], "labelled so six times elsewhere"


def test_a_way_in_which_the_model_often_differs_counts_less():
    lost = [(f"x{i} went", "B-PER O", "O O") for i in range(8)]  # it misses most names
    (first, *_) = rank(text_of(*USUAL[:2], *lost, ("y went", "B-LOC O", "O O"), *USUAL))
    assert first.given == Entity(0, 1, "LOC")


def test_more_certain_doubts_come_first_and_ties_in_reading_order():
    text = text_of(*USUAL, ("s went", "O O", "B-PER O"), ("t went", "O O", "B-PER O"), ("u went", "O O", "B-PER O"))
    last = text.sentences[-2]
    text.probabilities[last] = [0.01, 0.98, 0.005, 0.004, 0.001]
    assert [doubt.sentence - len(USUAL) for doubt in rank(text)] == [2, 0, 1]


def test_plain_tags_are_doubted_word_by_word():
    text = text_of(("a dog ran", "DET NOUN NOUN", "DET NOUN VERB"), ("b dog sat", "DET NOUN VERB", "DET NOUN VERB"),
                   labels=("DET", "NOUN", "VERB"), plain=True)  # fmt: skip
    (doubt,) = rank(text)
    assert (doubt.kind, doubt.given, doubt.proposed) == (
        DoubtKind.WRONG_TYPE,
        Entity(2, 3, "NOUN"),
        Entity(2, 3, "VERB"),
    )
    assert given_entities(text)[0] == [Entity(0, 1, "DET"), Entity(1, 2, "NOUN"), Entity(2, 3, "NOUN")]


def test_occurrences_are_counted_elsewhere_by_label():
    sentences = [["New", "York", "is"], ["York"], ["New", "York", "Times"]]
    entities = [[Entity(0, 2, "LOC")], [], [Entity(0, 3, "ORG")]]
    found = Occurrences(sentences, entities, [("New", "York"), ("York",)])
    assert found.elsewhere(("New", "York"), 0, 0) == {None: 1}
    assert found.elsewhere(("York",), 0, 1) == {"": 1, None: 1}
    assert found.elsewhere(("York",), 1, 0) == {None: 2}


def test_cleanlab_too_doubts_first_the_word_that_was_planted():
    scores = pytest.importorskip("cleanlab.token_classification.rank").get_label_quality_scores
    text = text_of(*USUAL, ("Al saw Nice", "B-PER O B-PER", "B-PER O B-LOC"))
    borders = text.sentences[1:-1]
    given = [part.tolist() for part in np.split(text.given, borders)]
    by_sentence, _ = scores(given, np.split(text.probabilities, borders))
    assert int(np.argmin(by_sentence)) == rank(text)[0].sentence == len(USUAL)
