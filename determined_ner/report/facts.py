"""What the report says about a model on labelled text, computed from plain arrays: no files, no model, no pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from determined_ner.report import statistics
from determined_ner.report.excerpts import Excerpt, find_frequent, find_mistakes
from determined_ner.report.intervals import Score, headline, score_of, type_scores
from determined_ner.report.mistakes import (
    Matching,
    MistakeKind,
    confusion,
    overlap_counts,
    unit_counts,
)
from determined_ner.report.statistics import Coverage, Reliability
from determined_ner.report.tagged_text import Ints, TaggedText
from determined_ner.tags.fitting import same_spans
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import EntityCounts, count_entities, evaluate

LENGTH_BORDERS = (0, 5, 10, 20, 40, 80, 160)
"""Sentences are scored by their number of words: 1 to 5, 6 to 10, …, more than 160."""


@dataclass(frozen=True)
class TypeRow:
    """Scores of one entity type (or plain tag)."""

    name: str
    gold: int
    predicted: int
    precision: Score
    recall: Score
    f1: Score
    strict: float
    """F1 of seqeval's strict mode."""
    overlap: float
    """F1 where one word in common and the same type make an entity correct."""


@dataclass(frozen=True)
class LengthRow:
    """Score of the sentences of ``low`` + 1 to ``high`` words."""

    low: int
    high: int | None
    """None: any number."""
    sentences: int
    words: int
    entities: int
    f1: Score | None
    """None where there are neither gold nor predicted entities."""

    @property
    def label(self) -> str:
        """``1 to 5`` words, ``> 160``."""
        return f"> {self.low}" if self.high is None else f"{self.low + 1} to {self.high}"


@dataclass(frozen=True)
class ScoreCalibration:
    """How often entities are right beside what their scores say, in bins of equal mass."""

    before: Reliability
    """Of the model's own probabilities."""
    after: Reliability
    """Of the scores that a tagger gives."""
    by_chance: float
    """The mean error of outcomes drawn from the scores: what scores that are right would show."""
    coverage: Coverage
    """How precision rises where entities of low scores are withheld."""


@dataclass(frozen=True)
class Facts:
    """Everything that the report says about one model."""

    name: str
    """Of the model."""
    words: int
    sentences: int
    documents: int
    plain: bool
    """Whether the labels are plain tags, which spell no entities."""
    types: list[str]
    unit: str
    """What is drawn at random for the intervals: sentences or documents."""
    units: int
    evaluated: dict[str, float]
    """Scores as training computes them (`tags.scores.evaluate`)."""
    headline: dict[str, Score]
    """Scores over all types, by name."""
    headline_decoded: dict[str, Score]
    """The same for tags that are decoded together."""
    decoding_changes: int
    """Words whose decoded tag is not their most probable one."""
    per_type: list[TypeRow]
    kinds: dict[MistakeKind, int]
    """Pairs of each kind."""
    kinds_per_type: Ints
    """(types, kinds) pairs by their gold type, spurious ones by their predicted type."""
    confusion: Ints
    """(types + 1, types + 1) pairs by gold and predicted type, see `mistakes.confusion`."""
    calibration: Reliability
    """Of all words."""
    calibration_entities: Reliability | None
    """Of the words that the model tags as part of an entity; None for plain tags."""
    calibration_scores: ScoreCalibration | None
    """Of the scores of entities; None where nothing scored them."""
    lengths: list[LengthRow]
    mistakes: dict[MistakeKind, list[Excerpt]]
    """Of each kind, those in which the model was most confident."""
    frequent: dict[MistakeKind, list[tuple[str, str, int]]]
    """Of missed and spurious entities, the most frequent ones: text, type and number."""

    @property
    def main_score(self) -> str:
        """Name of the score that matters most: f1; for plain tags accuracy."""
        return "accuracy" if self.plain else "f1"

    def without_words(self) -> Facts:
        """The same without a word of the text."""
        return replace(self, mistakes={kind: [] for kind in self.mistakes}, frequent={})

    def by_frequency(self) -> list[int]:
        """Indices of the types, those with the most gold (then predicted) entities first."""
        rows = self.per_type
        return sorted(range(len(rows)), key=lambda i: (-rows[i].gold, -rows[i].predicted))

    @property
    def mistake_count(self) -> int:
        """Gold and predicted entities that are not correct, those of one pair counted once."""
        return sum(self.kinds.values()) - self.kinds[MistakeKind.CORRECT]


def find_facts(tagged: TaggedText) -> Facts:
    """Compute everything that the report says about one model."""
    matching = tagged.matching()
    types = tagged.types
    unit, starts = tagged.units()
    counts = unit_counts(matching, starts, len(types))
    table = tagged.table
    correct = tagged.tags == tagged.gold
    inside = tagged.tags != (table.labels.index("O") if "O" in table.labels else -1)
    return Facts(
        name=tagged.name,
        words=len(tagged.gold),
        sentences=len(tagged.sentences) - 1,
        documents=len(np.unique(tagged.documents)),
        plain=table.plain,
        types=types,
        unit=unit,
        units=len(starts) - 1,
        evaluated=evaluate(tagged.gold, tagged.tags, tagged.sentences, table),
        headline=headline(tagged, tagged.tags),
        headline_decoded=headline(tagged, tagged.decoded),
        decoding_changes=int(np.count_nonzero(tagged.tags != tagged.decoded)),
        per_type=_type_rows(tagged, matching, counts),
        kinds={kind: int(np.count_nonzero(matching.kind == kind)) for kind in MistakeKind},
        kinds_per_type=_kinds_per_type(matching, len(types)),
        confusion=confusion(matching, len(types)),
        calibration=statistics.reliability(tagged.confidence, correct),
        calibration_entities=(
            None if table.plain else statistics.reliability(tagged.confidence[inside], correct[inside])
        ),
        calibration_scores=_score_calibration(tagged),
        lengths=_length_rows(tagged, matching),
        mistakes=find_mistakes(tagged, matching),
        frequent=find_frequent(tagged, matching),
    )


def _score_calibration(tagged: TaggedText) -> ScoreCalibration | None:
    if tagged.entities is None:
        return None
    found = tagged.entities
    correct = same_spans(found.spans, tagged.spans(tagged.gold))
    return ScoreCalibration(
        statistics.adaptive_reliability(found.probabilities, correct),
        statistics.adaptive_reliability(found.scores, correct),
        statistics.error_by_chance(found.scores),
        statistics.coverage(found.scores, correct),
    )


# -- Scores ----------------------------------------------------------------------------------------------------


def _type_rows(tagged: TaggedText, matching: Matching, counts: Ints) -> list[TypeRow]:
    """
    Args:
        counts: (U, types, 3) correct, gold and predicted entities of each unit.
    """
    size = len(tagged.types)
    sums = counts.sum(axis=0)
    overlap = _f1s(overlap_counts(matching, size))
    if tagged.table.plain:
        strict = _f1s(EntityCounts(sums[:, 0], sums[:, 1], sums[:, 2]))
    else:
        strict = _f1s(count_entities(tagged.gold, tagged.tags, tagged.sentences, tagged.table, Scheme.IOB2))
    rows = []
    for i, (name, found) in enumerate(zip(tagged.types, type_scores(counts), strict=True)):
        rows.append(TypeRow(name, int(sums[i, 1]), int(sums[i, 2]), **found, strict=strict[i], overlap=overlap[i]))
    return rows


def _f1s(counts: EntityCounts) -> list[float]:
    found: list[float] = statistics.f1(np.stack([counts.true_positive, counts.gold, counts.predicted], axis=1)).tolist()
    return found


def _kinds_per_type(matching: Matching, types: int) -> Ints:
    gold, predicted = matching.gold_type(), matching.predicted_type()
    of = np.where(gold >= 0, gold, predicted)
    return np.bincount(of * len(MistakeKind) + matching.kind, minlength=types * len(MistakeKind)).reshape(
        types, len(MistakeKind)
    )


def _length_rows(tagged: TaggedText, matching: Matching) -> list[LengthRow]:
    sizes = np.diff(tagged.sentences)
    counts = unit_counts(matching, tagged.sentences, len(tagged.types)).sum(axis=1)
    rows = []
    for low, high in zip(LENGTH_BORDERS, (*LENGTH_BORDERS[1:], None), strict=True):
        chosen = (sizes > low) & (sizes <= (high or 1 << 62))
        if not chosen.any():
            continue
        part = counts[chosen]
        score = score_of(part, statistics.f1) if part[:, 1:].any() else None
        rows.append(LengthRow(low, high, int(chosen.sum()), int(sizes[chosen].sum()), int(part[:, 1].sum()), score))
    return rows
