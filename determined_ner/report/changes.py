"""What the report says about two models on the same labelled text: scores side by side, and what differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from determined_ner.report import statistics
from determined_ner.report.excerpts import SHOWN, Excerpt, cut_excerpt, least_confidence
from determined_ner.report.intervals import headline_counts
from determined_ner.report.mistakes import Matching, MistakeKind, sentence_of, unit_counts
from determined_ner.report.statistics import Interval
from determined_ner.report.tagged_text import Ints, TaggedText


@dataclass(frozen=True)
class Difference:
    """This model's score minus the other's."""

    this: float
    other: float
    value: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class FoundByOne:
    """Gold entities that one of the two models finds and the other does not."""

    count: int
    examples: list[Excerpt]
    """Those first in which this model was most confident."""


@dataclass(frozen=True)
class Changes:
    """What differs between two models on the same text."""

    other: str
    """Name of the other model."""
    headline: dict[str, Difference]
    """By the name of the score."""
    per_type: dict[str, Difference]
    """F1 by type."""
    sentences: dict[str, int]
    """How many sentences are entirely correct with: both models, this one alone, the other alone, neither."""
    changed_words: int
    """Words that the two tag differently."""
    changed_sentences: int
    """Sentences with such a word."""
    only_this: FoundByOne
    only_other: FoundByOne
    no_verdict: str | None = None
    """Why nothing is said of whether the difference is more than chance; None: it is."""

    def verdict(self, score: str) -> str:
        """Whether the difference of a score is beyond noise, which is here the choice of the text.

        That is where its interval leaves out 0 and the p-value is below what the interval leaves out.

        Args:
            score: one of `headline`.
        """
        found = self.headline[score]
        points = [f"{100 * value:+.1f}" for value in (found.value, found.interval.low, found.interval.high)]
        said = f"{found.this:.4f} and {found.other:.4f}: {points[0]} points ({points[1]} to {points[2]})"
        if self.no_verdict is not None:
            return f"{said}; no verdict: {self.no_verdict}"
        beyond = (found.interval.low > 0 or found.interval.high < 0) and found.p_value < 1 - statistics.LEVEL
        return f"{said}, {'beyond noise' if beyond else 'not beyond noise'}"


def find_changes(this: TaggedText, other: TaggedText, no_verdict: str | None = None) -> Changes:
    """What differs between two models; `other` has the labels and the text of `this`.

    Args:
        no_verdict: as of `Changes`.
    """
    assert this.table.labels == other.table.labels and np.array_equal(this.gold, other.gold)
    _, starts = this.units()
    these, others = headline_counts(this, this.tags), headline_counts(other, other.tags)
    headline = {name: _difference(rows, others[name][0], of) for name, (rows, of) in these.items()}
    matchings = this.matching(), other.matching()
    counts = [unit_counts(matching, starts, len(this.types)) for matching in matchings]
    per_type = {name: _difference(counts[0][:, i], counts[1][:, i], statistics.f1) for i, name in enumerate(this.types)}
    a, b = _correct_sentences(this), _correct_sentences(other)
    changed = np.flatnonzero(this.tags != other.tags)
    found = [_found(matching) for matching in matchings]
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
        only_this=_found_by_one(found[0] & ~found[1], this, *matchings),
        only_other=_found_by_one(found[1] & ~found[0], this, *matchings),
        no_verdict=no_verdict,
    )


def _difference(a: Ints, b: Ints, statistic: statistics.Statistic) -> Difference:
    """
    Args:
        a, b: (U, C) counts of this model and the other on the same units.
    """
    this, other = (float(statistic(rows.sum(axis=0))) for rows in (a, b))
    return Difference(
        this,
        other,
        this - other,
        statistics.difference_interval(a, b, statistic),
        statistics.p_value(a, b, statistic),
    )


def _correct_sentences(tagged: TaggedText) -> NDArray[np.bool_]:
    """(S,) whether all tags of a sentence are the gold ones."""
    correct = np.append(tagged.tags == tagged.gold, True)
    return np.logical_and.reduceat(correct, tagged.sentences[:-1])


def _found(matching: Matching) -> NDArray[np.bool_]:
    """(gold entities,) whether the model finds each."""
    found = np.zeros(len(matching.gold.begin), bool)
    found[matching.gold_index[matching.kind == MistakeKind.CORRECT]] = True
    return found


def _found_by_one(chosen: NDArray[np.bool_], this: TaggedText, these: Matching, others: Matching) -> FoundByOne:
    """
    Args:
        chosen: (gold entities,) those that one model alone finds.
        this: the text as this model tags it.
        these, others: the entities of this model and of the other.
    """
    which = np.flatnonzero(chosen)
    begin, end = these.gold.begin[which], these.gold.end[which]
    confidence = least_confidence(this.confidence, begin, end)
    rows = [("gold", these.gold), ("this", these.predicted), ("other", others.predicted)]
    examples = [
        cut_excerpt(
            this, int(begin[i]), int(end[i]), (this.types[these.gold.type_id[which[i]]],), float(confidence[i]), rows
        )
        for i in np.argsort(-confidence, kind="stable")[:SHOWN].tolist()
    ]
    return FoundByOne(len(which), examples)
