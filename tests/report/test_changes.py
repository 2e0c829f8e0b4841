"""What differs between two models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from determined_ner.report.changes import find_changes
from determined_ner.report.facts import find_facts
from determined_ner.report.mistakes import MistakeKind


def test_a_model_does_not_differ_from_itself(tagged):
    same = find_changes(tagged.tagged, tagged.tagged)
    assert same.changed_words == same.only_this.count == same.only_other.count == 0
    for found in (*same.headline.values(), *same.per_type.values()):
        assert found.value == 0 and found.p_value == 1 and found.interval.low == found.interval.high == 0


def test_a_model_beside_one_that_finds_nothing(tagged):
    this, text = tagged.tagged, tagged.text
    outside = np.full_like(this.tags, this.table.labels.index("O"))
    silent = replace(this, name="silent", tags=outside, decoded=outside)
    facts = find_facts(this)
    changes = find_changes(this, silent)
    assert changes.only_this.count == facts.kinds[MistakeKind.CORRECT] and changes.only_other.count == 0
    assert changes.headline["f1"].this == facts.headline["f1"].value and changes.headline["f1"].other == 0
    assert changes.headline["f1"].p_value < 0.01 and changes.headline["f1"].interval.low > 0
    assert changes.changed_words == np.count_nonzero(this.tags != outside)
    assert sum(changes.sentences.values()) == len(text.words)
    borders = zip(text.sentences[:-1], text.sentences[1:], strict=True)
    correct = sum((this.tags[a:b] == text.gold[a:b]).all() for a, b in borders)
    assert changes.sentences["both"] + changes.sentences["this"] == correct

    confidence = [shown.confidence for shown in changes.only_this.examples]
    assert confidence == sorted(confidence, reverse=True)
    for shown in changes.only_this.examples:
        gold, these, others = (dict(shown.rows)[name] for name in ("gold", "this", "other"))
        assert others == [] and set(gold) & set(these) and shown.types[0] in {name for _, _, name in gold}


def test_the_other_way_round_is_the_negative(tagged):
    this = tagged.tagged
    outside = np.full_like(this.tags, this.table.labels.index("O"))
    silent = replace(this, name="silent", tags=outside, decoded=outside)
    there, back = find_changes(this, silent), find_changes(silent, this)
    assert back.only_other.count == there.only_this.count and back.only_this.count == 0
    assert back.headline["f1"].value == -there.headline["f1"].value
    assert back.sentences["other"] == there.sentences["this"]


def test_a_difference_is_beyond_noise_where_its_interval_leaves_out_0(tagged):
    this = tagged.tagged
    outside = np.full_like(this.tags, this.table.labels.index("O"))
    silent = replace(this, name="silent", tags=outside, decoded=outside)
    assert find_changes(this, silent).verdict("f1").endswith("), beyond noise")
    assert find_changes(silent, this).verdict("f1").endswith("), beyond noise")
    some = np.array(this.tags)
    some[np.flatnonzero(this.tags != this.table.labels.index("O"))[:1]] = this.table.labels.index("O")
    nearly = find_changes(this, replace(this, name="nearly", tags=some))
    low, high = nearly.headline["f1"].interval.low, nearly.headline["f1"].interval.high
    assert low <= 0 <= high and nearly.headline["f1"].value != 0
    assert nearly.verdict("f1").endswith("), not beyond noise")
    assert find_changes(this, silent, "why").verdict("f1").endswith("); no verdict: why")
