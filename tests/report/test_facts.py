"""What a report says is what the run and seqeval say."""

from __future__ import annotations

import itertools

import pytest
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from determined_ner.report.facts import find_facts
from determined_ner.report.mistakes import MistakeKind
from determined_ner.tagging.tagger import Tagger
from tests.report.runs import best_of


def test_the_headline_is_what_the_run_and_seqeval_say(run, tagged):
    labels, text = tagged.trained.directory.labels, tagged.text
    facts = find_facts(tagged.tagged)
    best = best_of(run)
    assert 0.3 < best["f1"] < 1
    for name in ("f1", "precision", "recall", "f1_strict", "accuracy"):
        assert facts.headline[name].value == best[name] == facts.evaluated[name]
    for row in facts.per_type:
        assert row.f1.value == best[f"f1_{row.name}"]

    def by_sentence(ids):
        tags = [labels[i] for i in ids]
        return [tags[begin:end] for begin, end in itertools.pairwise(text.sentences.tolist())]

    gold, predicted = by_sentence(text.gold), by_sentence(tagged.tagged.tags)
    assert facts.headline["f1"].value == pytest.approx(f1_score(gold, predicted), abs=1e-12)
    strict = f1_score(gold, predicted, mode="strict", scheme=IOB2)
    assert facts.headline["f1_strict"].value == pytest.approx(strict, abs=1e-12)
    decoded = Tagger.from_pretrained(run / "model").tag(text.words).tags
    assert facts.headline_decoded["f1"].value == pytest.approx(f1_score(gold, decoded), abs=1e-12)
    for score in (*facts.headline.values(), *facts.headline_decoded.values()):
        assert 0 <= score.interval.low <= score.value <= score.interval.high <= 1


def test_every_entity_is_counted_once(tagged):
    facts = find_facts(tagged.tagged)
    kinds = facts.kinds
    assert sum(kinds.values()) - kinds[MistakeKind.SPURIOUS] == sum(row.gold for row in facts.per_type)
    assert sum(kinds.values()) - kinds[MistakeKind.MISSED] == sum(row.predicted for row in facts.per_type)
    assert facts.kinds_per_type.sum(axis=0).tolist() == list(kinds.values())
    assert facts.mistake_count == sum(kinds.values()) - kinds[MistakeKind.CORRECT] > kinds[MistakeKind.SPURIOUS]
    assert facts.calibration.words == facts.words == len(tagged.text.gold)
    assert sum(row.entities for row in facts.lengths) == sum(row.gold for row in facts.per_type)


def test_lengths_are_named_by_their_numbers_of_words(tagged):
    rows = find_facts(tagged.tagged).lengths
    assert [row.label for row in rows] == ["1 to 5", "6 to 10"]
    assert sum(row.sentences for row in rows) == len(tagged.text.words)
    assert sum(row.words for row in rows) == len(tagged.text.gold)
