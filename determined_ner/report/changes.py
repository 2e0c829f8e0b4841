"""What the report tells of two models on the same labelled text: scores side by side, and what changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from determined_ner.report import statistics
from determined_ner.report.facts import SHOWN, Ints, Marked, TaggedText, headline_counts, least_confidence, mark
from determined_ner.report.mistakes import Matching, MistakeKind, sentence_of, unit_counts
from determined_ner.report.statistics import Interval


@dataclass(frozen=True)
class Difference:
    """This model's score less the other's."""

    this: float
    other: float
    value: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class Changes:
    """What differs between two models on the same text."""

    other: str
    headline: dict[str, Difference]
    per_type: dict[str, Difference]
    sentences: dict[str, int]
    """Of the sentences, how many are wholly right with: both, this alone, the other alone, neither."""
    changed_words: int
    """Tagged otherwise by the two."""
    changed_sentences: int
    """With such a word in them."""
    fixed: list[Marked]
    """Entities right with this model, and not with the other."""
    fixed_count: int
    broken: list[Marked]
    """Entities right with the other model, and not with this."""
    broken_count: int


def find_changes(this: TaggedText, other: TaggedText) -> Changes:
    """What differs between two models; `other` has the labels and the text of `this`."""
    assert this.table.labels == other.table.labels and np.array_equal(this.gold, other.gold)
    _, starts = this.units()
    mine, theirs = headline_counts(this, this.tags), headline_counts(other, other.tags)
    headline = {name: _difference(rows, theirs[name][0], of) for name, (rows, of) in mine.items()}
    matchings = this.matching(), other.matching()
    counts = [unit_counts(matching, starts, len(this.types)) for matching in matchings]
    per_type = {name: _difference(counts[0][:, i], counts[1][:, i], statistics.f1) for i, name in enumerate(this.types)}

    def wholly(tagged: TaggedText) -> NDArray[np.bool_]:
        right = np.append(tagged.tags == tagged.gold, True)
        return np.logical_and.reduceat(right, tagged.sentences[:-1])

    a, b = wholly(this), wholly(other)
    changed = np.flatnonzero(this.tags != other.tags)
    fixed, broken = _turned(this, other, *matchings), _turned(this, other, *matchings, broken=True)
    return Changes(
        other=other.name,
        headline=headline,
        per_type=per_type,
        sentences={
            "both": int((a & b).sum()),
            "this": int((a & ~b).sum()),
            "other": int((~a & b).sum()),
            "neither": int((~a & ~b).sum()),
        },
        changed_words=len(changed),
        changed_sentences=len(np.unique(sentence_of(changed, this.sentences))),
        fixed=fixed[0],
        fixed_count=fixed[1],
        broken=broken[0],
        broken_count=broken[1],
    )


def _difference(a: Ints, b: Ints, statistic: statistics.Statistic) -> Difference:
    this, other = (float(statistic(rows.sum(axis=0))) for rows in (a, b))
    return Difference(
        this,
        other,
        this - other,
        statistics.difference_interval(a, b, statistic),
        statistics.p_value(a, b, statistic),
    )


def _turned(
    this: TaggedText, other: TaggedText, mine: Matching, theirs: Matching, broken: bool = False
) -> tuple[list[Marked], int]:
    """Gold entities that one model finds and the other does not, those first of which this model is surest."""
    found = [np.zeros(len(mine.gold.begin), bool) for _ in range(2)]
    for right, matching in zip(found, (mine, theirs), strict=True):
        right[matching.gold_index[matching.kind == MistakeKind.RIGHT]] = True
    turned = np.flatnonzero(found[1] & ~found[0] if broken else found[0] & ~found[1])
    begin, end = mine.gold.begin[turned], mine.gold.end[turned]
    sure = least_confidence(this.confidence, begin, end)
    rows = [("gold", mine.gold), ("this", mine.predicted), ("other", theirs.predicted)]
    marked = [
        mark(this, int(begin[i]), int(end[i]), this.types[mine.gold.type_id[turned[i]]], float(sure[i]), rows)
        for i in np.argsort(-sure, kind="stable")[:SHOWN].tolist()
    ]
    return marked, len(turned)
