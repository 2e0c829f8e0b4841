"""Scores against seqeval 1.2.2."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import seqeval.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from seqeval import scheme as seqeval_scheme
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

from determined_ner.tags.entities import TagTable
from determined_ner.tags.labels import label_list
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import count_entities, evaluate, scores
from tests.tags.documents import (
    ENTITY_SCHEMES,
    PREFIXES,
    REFERENCE_SCHEMES,
    Document,
    all_tags,
    encode,
    gold_and_pred,
    seqeval_warnings_silenced,
    spell,
    thorough,
)


def reference_scores(gold: list[Document], pred: list[Document]) -> dict[str, float]:
    with seqeval_warnings_silenced():
        types = sorted({entity_type for entity_type, _, _ in get_entities(gold) + get_entities(pred)})
        by_type = reference.f1_score(gold, pred, average=None, zero_division=0)
        return {
            "accuracy": reference.accuracy_score(gold, pred),
            "precision": reference.precision_score(gold, pred, zero_division=0),
            "recall": reference.recall_score(gold, pred, zero_division=0),
            "f1": reference.f1_score(gold, pred, zero_division=0),
            "f1_strict": reference.f1_score(gold, pred, mode="strict", scheme=seqeval_scheme.IOB2, zero_division=0),
            **{f"f1_{entity_type}": f1 for entity_type, f1 in zip(types, by_type, strict=True)},
        }


@thorough
@given(gold_and_pred("BI"))
def test_every_score_equals_seqevals(documents: tuple[list[Document], list[Document]]) -> None:
    gold, pred = documents
    table = TagTable(all_tags("BI"))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    expected = dict.fromkeys(("f1_PER", "f1_a-b", "f1__"), 0.0) | reference_scores(gold, pred)
    assert evaluate(gold_ids, pred_ids, starts, table) == pytest.approx(expected, abs=1e-12)


@thorough
@given(gold_and_pred("BIESLU", ["PER", "a-b"]))
def test_default_scores_equal_seqevals_for_every_prefix(documents: tuple[list[Document], list[Document]]) -> None:
    gold, pred = documents
    table = TagTable(all_tags("BIESLU", ["PER", "a-b"]))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    result = scores(count_entities(gold_ids, pred_ids, starts, table), table)
    with seqeval_warnings_silenced():
        precision, recall, f1, _ = precision_recall_fscore_support(gold, pred, average="micro")
    assert [result["precision"], result["recall"], result["f1"]] == pytest.approx([precision, recall, f1], abs=1e-12)


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
@thorough
@given(st.data())
def test_strict_scores_equal_seqevals_under_each_scheme(scheme: Scheme, data: st.DataObject) -> None:
    gold, pred = data.draw(gold_and_pred(PREFIXES[scheme]))
    table = TagTable(all_tags(PREFIXES[scheme]))
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    result = scores(count_entities(gold_ids, pred_ids, starts, table, scheme), table)
    options = {"mode": "strict", "scheme": REFERENCE_SCHEMES[scheme], "zero_division": 0}
    expected = [metric(gold, pred, **options) for metric in (reference.precision_score, reference.recall_score)]
    assert [result["precision"], result["recall"]] == pytest.approx(expected, abs=1e-12)


def test_scores_of_a_noisy_corpus_equal_seqevals() -> None:
    rng = random.Random(0)
    gold = [
        spell([(rng.choice(["O", "O", "PER", "LOC"]), rng.randint(1, 5)) for _ in range(8)], Scheme.IOB2)
        for _ in range(500)
    ]
    tags = label_list(itertools.chain.from_iterable(gold), Scheme.IOB2)
    pred = [[tag if rng.random() < 0.9 else rng.choice(tags) for tag in document] for document in gold]
    table = TagTable(tags)
    (gold_ids, starts), (pred_ids, _) = encode(gold, table), encode(pred, table)
    assert evaluate(gold_ids, pred_ids, starts, table) == pytest.approx(reference_scores(gold, pred), abs=1e-12)


def test_counts_are_integers_per_type_in_the_tables_order() -> None:
    table = TagTable(["B-x", "B-y", "I-x", "I-y", "O"])
    gold, starts = encode([["B-x", "I-x", "O", "B-y"], ["B-x"]], table)
    pred, _ = encode([["B-x", "O", "B-y", "B-y"], ["B-x"]], table)
    counts = count_entities(gold, pred, starts, table)
    assert [a.tolist() for a in (counts.true_positive, counts.gold, counts.predicted)] == [[1, 1], [2, 1], [2, 2]]
    assert all(a.dtype == np.int64 for a in (counts.true_positive, counts.gold, counts.predicted))


@thorough
@given(gold_and_pred("BI"), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_documents(
    documents: tuple[list[Document], list[Document]], rng: random.Random
) -> None:
    table = TagTable(all_tags("BI"))

    def result(pairs: list[tuple[Document, Document]]) -> dict[str, float]:
        gold, starts = encode([gold for gold, _ in pairs], table)
        return evaluate(gold, encode([pred for _, pred in pairs], table)[0], starts, table)

    pairs = list(zip(*documents, strict=True))
    assert result(rng.sample(pairs, len(pairs))) == result(pairs)


def test_scores_are_python_floats_with_the_same_keys_whatever_the_tags() -> None:
    table = TagTable(["B-x", "B-y", "O"])
    keys = {"accuracy", "precision", "recall", "f1", "f1_strict", "f1_x", "f1_y"}
    for tags in ([0, 1, 2], [2], []):
        result = evaluate(np.array(tags, dtype=int), np.array(tags, dtype=int), np.array([0, len(tags)]), table)
        assert set(result) == keys
        assert {type(value) for value in result.values()} == {float}


@pytest.mark.filterwarnings("error")
def test_a_score_without_entities_is_zero_and_silent() -> None:
    table = TagTable(["B-x", "O"])
    outside, nothing = np.array([1, 1]), np.array([], dtype=int)
    zeros = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_x": 0.0, "f1_strict": 0.0}
    assert evaluate(outside, outside, np.array([0, 2]), table) == {"accuracy": 1.0, **zeros}
    assert evaluate(nothing, nothing, np.array([0, 0, 0]), table) == {"accuracy": 0.0, **zeros}
    assert evaluate(nothing, nothing, np.array([0]), table) == {"accuracy": 0.0, **zeros}


@pytest.mark.filterwarnings("error")
def test_part_of_speech_tags_have_an_accuracy_alone_and_no_warning() -> None:
    table = TagTable(label_list(["NOUN", "ADJ", "B-x", "O"], Scheme.PLAIN))
    assert table.plain and table.types == []
    gold, pred = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0])
    assert evaluate(gold, pred, np.array([0, 4]), table) == {"accuracy": 0.75}


def test_a_type_named_strict_does_not_take_the_name_of_f1_strict() -> None:
    table = TagTable(["B-strict", "I-strict", "B-_strict", "B-stricter", "O"])
    gold, pred = np.array([4, 0, 1, 4]), np.array([0, 0, 1, 1])
    result = evaluate(gold, pred, np.array([0, 4]), table)
    assert {key for key in result if "strict" in key} == {"f1_strict", "f1__strict", "f1___strict", "f1_stricter"}
    assert result["f1_strict"] == result["f1__strict"] == 0.0
    assert evaluate(gold, gold, np.array([0, 4]), table)["f1__strict"] == 1.0


def test_gold_and_pred_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        evaluate(np.array([0, 1]), np.array([0]), np.array([0, 2]), TagTable(["B-x", "O"]))


def test_scores_of_each_type_equal_seqevals() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC", "B-LOC"], ["B-ORG", "O"]]
    pred = [["B-PER", "I-PER", "B-LOC", "B-LOC", "O"], ["O", "O"]]
    with seqeval_warnings_silenced():
        expected = reference.classification_report(gold, pred, output_dict=True, zero_division=0)
    table = TagTable(("B-LOC", "B-ORG", "B-PER", "I-PER", "O"))
    ids, starts = encode(gold, table)
    found = evaluate(ids, encode(pred, table)[0], starts, table, per_type=True)
    for name in ("LOC", "ORG", "PER"):
        for ours, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert found[f"{ours}_{name}"] == pytest.approx(expected[name][theirs]), (name, ours)
    less = evaluate(ids, encode(pred, table)[0], starts, table)
    assert not [name for name in less if name.startswith(("support_", "recall_", "precision_"))]
