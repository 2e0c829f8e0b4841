"""Scores of a tagged text with their bootstrap intervals, over all types and for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.report import statistics
from determined_ner.report.mistakes import MistakeKind, match, sentence_of, unit_counts
from determined_ner.report.statistics import Interval
from determined_ner.report.tagged_text import Ints, ScoredTags
from determined_ner.tags.entities import Spans, entity_spans
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import type_key


@dataclass(frozen=True)
class Score:
    """A score from 0 to 1 and how certain it is."""

    value: float
    interval: Interval

    def as_json(self) -> dict[str, float]:
        """As it is kept in a summary."""
        return {"value": self.value, "low": self.interval.low, "high": self.interval.high}


def headline_counts(tagged: ScoredTags, tags: NDArray[Any]) -> dict[str, tuple[Ints, statistics.Statistic]]:
    """Of each score by name: counts of each unit, (U, C), and the statistic that makes the score of their sums."""
    _, starts = tagged.units()
    correct = np.add.reduceat(np.append(tags == tagged.gold, False).astype(np.int64), starts[:-1])
    accuracy = np.stack([correct, np.diff(starts)], axis=1)
    if tagged.table.plain:
        return {"accuracy": (accuracy, statistics.share)}
    matching = match(tagged.spans(tagged.gold), tagged.spans(tags))
    exact = unit_counts(matching, starts, len(tagged.types)).sum(axis=1)
    strict_matching = match(_strict_spans(tagged, tagged.gold), _strict_spans(tagged, tags))
    strict = unit_counts(strict_matching, starts, len(tagged.types)).sum(axis=1)
    overlap = exact.copy()
    wrong_boundary = matching.begin()[matching.kind == MistakeKind.WRONG_BOUNDARY]
    overlap[:, 0] += np.bincount(sentence_of(wrong_boundary, starts), minlength=len(starts) - 1)
    return {
        "f1": (exact, statistics.f1),
        "precision": (exact[:, [0, 2]], statistics.share),
        "recall": (exact[:, [0, 1]], statistics.share),
        "f1_strict": (strict, statistics.f1),
        "f1_overlap": (overlap, statistics.f1),
        "accuracy": (accuracy, statistics.share),
    }


def _strict_spans(tagged: ScoredTags, tags: NDArray[Any]) -> Spans:
    return entity_spans(tags, tagged.sentences, tagged.table, Scheme.IOB2)


def headline(tagged: ScoredTags, tags: NDArray[Any]) -> dict[str, Score]:
    """The scores over all types."""
    return {name: score_of(rows, statistic) for name, (rows, statistic) in headline_counts(tagged, tags).items()}


def score_of(rows: Ints, statistic: statistics.Statistic) -> Score:
    """A score, from counts of each unit, (U, C)."""
    samples = statistic(statistics.resampled_sums(rows))
    return Score(float(statistic(rows.sum(axis=0))), statistics.interval(samples))


def type_scores(counts: Ints) -> list[dict[str, Score]]:
    """``precision``, ``recall`` and ``f1`` of each type.

    Args:
        counts: (U, types, 3) correct, gold and predicted entities of each unit.
    """
    columns: dict[str, tuple[statistics.Statistic, list[int]]] = {
        "precision": (statistics.share, [0, 2]),
        "recall": (statistics.share, [0, 1]),
        "f1": (statistics.f1, [0, 1, 2]),
    }
    found = []
    for rows in np.moveaxis(counts, 1, 0):  # each by itself: what all types have together hardly repeats
        sums, samples = rows.sum(axis=0), statistics.resampled_sums(rows)
        found.append(
            {
                score: Score(float(of(sums[chosen])), statistics.interval(of(samples[:, chosen])))
                for score, (of, chosen) in columns.items()
            }
        )
    return found


def reported_scores(tagged: ScoredTags) -> dict[str, Score]:
    """The scores that training reports, by the names that it gives them; of types, those that have an entity."""
    found = headline(tagged, tagged.tags)
    if tagged.table.plain:
        return found
    del found["f1_overlap"]
    counts = unit_counts(tagged.matching(), tagged.units()[1], len(tagged.types))
    for name, each, (_, gold, predicted) in zip(tagged.types, type_scores(counts), counts.sum(axis=0), strict=True):
        if gold or predicted:
            found |= {f"{score}_{type_key(name)}": value for score, value in each.items()}
    return found
