"""What the report tells of a model on labelled text, worked out from plain arrays: no files, no model, no pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.report import statistics
from determined_ner.report.mistakes import (
    Matching,
    MistakeKind,
    confusion,
    match,
    overlap_counts,
    sentence_of,
    unit_counts,
    word_spans,
)
from determined_ner.report.statistics import Interval, Reliability
from determined_ner.tags.entities import Spans, TagTable, entity_spans
from determined_ner.tags.schemes import Scheme
from determined_ner.tags.scores import EntityCounts, count_entities, evaluate

Ints = NDArray[np.int64]
SHOWN = 25
"""Mistakes of each kind, and sentences of each change, that the page shows."""
CONTEXT_WORDS = 12
"""Words shown on either side of a mistake."""
LONGEST_EXCERPT = 120
"""Words; of a mistake that is longer, its beginning is shown."""
ENOUGH_DOCUMENTS = 20
"""From so many marked documents on they are the unit that is drawn at random; below, a sentence is."""
LENGTH_BORDERS = (0, 5, 10, 20, 40, 80, 160)
"""Sentences are scored by their words: 1 to 5, 6 to 10, …, more than 160."""


@dataclass(frozen=True)
class TaggedText:
    """One text of N words in S sentences, tagged by people and by a model."""

    name: str
    """Of the model."""
    table: TagTable
    """The labels: IOB2 or plain."""
    sentences: Ints
    """(S + 1,) first word of each sentence, and N."""
    documents: Ints
    """(S,) number of the document that each sentence stands in, non-decreasing."""
    words: Sequence[Sequence[str]]
    """The words of each sentence."""
    places: Callable[[int], str]
    """``file:line`` of a sentence."""
    gold: NDArray[Any]
    """(N,) tag ids."""
    tags: NDArray[Any]
    """(N,) most probable tag of each word by itself: what training scores, and what everything here is about."""
    decoded: NDArray[Any]
    """(N,) tags that the tagger gives: of all valid sequences the most probable one."""
    confidence: NDArray[Any]
    """(N,) probability of the tag in `tags`."""

    def spans(self, tags: NDArray[Any]) -> Spans:
        """Entities as training scores them (seqeval's default mode); of plain tags, the words."""
        return word_spans(tags) if self.table.plain else entity_spans(tags, self.sentences, self.table)

    @property
    def types(self) -> list[str]:
        return self.table.labels if self.table.plain else self.table.types

    def matching(self) -> Matching:
        """Gold and predicted entities brought together."""
        return match(self.spans(self.gold), self.spans(self.tags))

    def units(self) -> tuple[str, Ints]:
        """What is drawn at random: its name in the plural, and (U + 1,) the first word of each."""
        changes = np.flatnonzero(np.diff(self.documents)) + 1
        if len(changes) + 1 >= ENOUGH_DOCUMENTS:
            return "documents", self.sentences[np.concatenate([[0], changes, [len(self.documents)]])]
        return "sentences", self.sentences


@dataclass(frozen=True)
class Score:
    value: float
    interval: Interval


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
    """F1 where one word in common and the same type suffice."""


@dataclass(frozen=True)
class LengthRow:
    """Sentences of low + 1 to high words."""

    low: int
    high: int | None
    sentences: int
    words: int
    entities: int
    f1: Score | None
    """None without gold or predicted entities."""


@dataclass(frozen=True)
class Marked:
    """A stretch of a sentence and the entities in it, as (begin, end, type) counted from its first word."""

    place: str
    kind: str
    confidence: float
    """Least probability that the model gave to its tags within the mistake."""
    words: list[str]
    cut_before: bool
    cut_after: bool
    rows: list[tuple[str, list[tuple[int, int, str]]]]
    """Whose entities, and which: gold, and those of each model."""


@dataclass(frozen=True)
class Facts:
    name: str
    words: int
    sentences: int
    documents: int
    plain: bool
    types: list[str]
    unit: str
    """What the intervals draw at random: sentences or documents."""
    units: int
    trained: dict[str, float]
    """`ner_utils.evaluate`, as training reports it."""
    headline: dict[str, Score]
    """Scores over all types, by name."""
    headline_decoded: dict[str, Score]
    """The same of tags that are decoded together."""
    decoding_changes: int
    """Words whose decoded tag is not the arg-max."""
    per_type: list[TypeRow]
    kinds: dict[str, int]
    kinds_per_type: Ints
    """(types, kinds) pairs by their gold type, invented ones by their predicted type."""
    confusion: Ints
    calibration: Reliability
    calibration_entities: Reliability | None
    """Of the words that the model takes for part of an entity; None for plain tags."""
    lengths: list[LengthRow]
    examples: dict[str, list[Marked]]
    """By kind, the mistakes that the model was surest of first."""
    frequent: dict[str, list[tuple[str, str, int]]]
    """missed, invented: text, type and number of the most frequent ones."""


def find_facts(tagged: TaggedText) -> Facts:
    """Everything that the report tells of one model."""
    matching = tagged.matching()
    types = tagged.types
    unit, starts = tagged.units()
    counts = unit_counts(matching, starts, len(types))
    kinds_per_type = _kinds_per_type(matching, len(types))
    table = tagged.table
    right = tagged.tags == tagged.gold
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
        trained=evaluate(tagged.gold, tagged.tags, tagged.sentences, table),
        headline=find_headline(tagged, tagged.tags),
        headline_decoded=find_headline(tagged, tagged.decoded),
        decoding_changes=int(np.count_nonzero(tagged.tags != tagged.decoded)),
        per_type=_type_rows(tagged, matching, counts),
        kinds={kind.name.lower(): int(np.count_nonzero(matching.kind == kind)) for kind in MistakeKind},
        kinds_per_type=kinds_per_type,
        confusion=confusion(matching, len(types)),
        calibration=statistics.reliability(tagged.confidence, right),
        calibration_entities=None if table.plain else statistics.reliability(tagged.confidence[inside], right[inside]),
        lengths=_length_rows(tagged, matching),
        examples=_examples(tagged, matching),
        frequent=_frequent(tagged, matching),
    )


# -- Scores ----------------------------------------------------------------------------------------------------


def headline_counts(tagged: TaggedText, tags: NDArray[Any]) -> dict[str, tuple[Ints, statistics.Statistic]]:
    """Counts of each unit, (U, C), and the statistic of their sums, by the name of the score."""
    _, starts = tagged.units()
    right = np.add.reduceat(np.append(tags == tagged.gold, False).astype(np.int64), starts[:-1])
    accuracy = np.stack([right, np.diff(starts)], axis=1)
    if tagged.table.plain:
        return {"accuracy": (accuracy, statistics.share)}
    matching = match(tagged.spans(tagged.gold), tagged.spans(tags))
    exact = unit_counts(matching, starts, len(tagged.types)).sum(axis=1)
    strict = unit_counts(match(*(_strict(tagged, t) for t in (tagged.gold, tags))), starts, len(tagged.types))
    overlap = exact.copy()
    near = matching.begin()[matching.kind == MistakeKind.BOUNDARY]
    overlap[:, 0] += np.bincount(sentence_of(near, starts), minlength=len(starts) - 1)
    return {
        "f1": (exact, statistics.f1),
        "precision": (exact[:, [0, 2]], statistics.share),
        "recall": (exact[:, [0, 1]], statistics.share),
        "f1_strict": (strict.sum(axis=1), statistics.f1),
        "f1_overlap": (overlap, statistics.f1),
        "accuracy": (accuracy, statistics.share),
    }


def _strict(tagged: TaggedText, tags: NDArray[Any]) -> Spans:
    return entity_spans(tags, tagged.sentences, tagged.table, Scheme.IOB2)


def find_headline(tagged: TaggedText, tags: NDArray[Any]) -> dict[str, Score]:
    """The scores over all types, each with its bootstrap interval."""
    scores = {}
    for name, (rows, statistic) in headline_counts(tagged, tags).items():
        samples = statistic(statistics.resampled_sums(rows))
        scores[name] = Score(float(statistic(rows.sum(axis=0))), statistics.interval(samples))
    return scores


def _type_rows(tagged: TaggedText, matching: Matching, counts: Ints) -> list[TypeRow]:
    """
    Args:
        counts: (U, types, 3).
    """
    size = len(tagged.types)
    sums = counts.sum(axis=0)
    samples = statistics.resampled_sums(counts.reshape(len(counts), -1)).reshape(-1, size, 3)
    columns: dict[str, tuple[statistics.Statistic, list[int]]] = {
        "precision": (statistics.share, [0, 2]),
        "recall": (statistics.share, [0, 1]),
        "f1": (statistics.f1, [0, 1, 2]),
    }
    overlap = _f1s(overlap_counts(matching, size))
    if tagged.table.plain:
        strict = _f1s(EntityCounts(sums[:, 0], sums[:, 1], sums[:, 2]))
    else:
        strict = _f1s(count_entities(tagged.gold, tagged.tags, tagged.sentences, tagged.table, Scheme.IOB2))
    rows = []
    for i, name in enumerate(tagged.types):
        found = {
            score: Score(float(of(sums[i, chosen])), statistics.interval(of(samples[:, i, chosen])))
            for score, (of, chosen) in columns.items()
        }
        rows.append(TypeRow(name, int(sums[i, 1]), int(sums[i, 2]), **found, strict=strict[i], overlap=overlap[i]))
    return rows


def _f1s(counts: EntityCounts) -> list[float]:
    return statistics.f1(np.stack([counts.true_positive, counts.gold, counts.predicted], axis=1)).tolist()


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
        score = None
        if part[:, 1:].any():
            samples = statistics.f1(statistics.resampled_sums(part))
            score = Score(float(statistics.f1(part.sum(axis=0))), statistics.interval(samples))
        rows.append(LengthRow(low, high, int(chosen.sum()), int(sizes[chosen].sum()), int(part[:, 1].sum()), score))
    return rows


# -- Examples --------------------------------------------------------------------------------------------------


def least_confidence(confidence: NDArray[Any], begin: Ints, end: Ints) -> NDArray[Any]:
    """Least confidence in each stretch of words."""
    borders = np.stack([begin, end], axis=1).ravel()
    return np.minimum.reduceat(np.append(confidence, 1.0), borders)[::2] if len(borders) else np.zeros(0)


def _examples(tagged: TaggedText, matching: Matching) -> dict[str, list[Marked]]:
    begin, end = matching.begin(), matching.end()
    sure = least_confidence(tagged.confidence, begin, end)
    found = {}
    for kind in MistakeKind:
        if kind is MistakeKind.RIGHT:
            continue
        which = np.flatnonzero(matching.kind == kind)
        chosen = which[np.argsort(-sure[which], kind="stable")[:SHOWN]]
        rows = [("gold", matching.gold), ("model", matching.predicted)]
        found[kind.name.lower()] = [
            mark(tagged, int(begin[m]), int(end[m]), _told(tagged, matching, int(m)), float(sure[m]), rows)
            for m in chosen.tolist()
        ]
    return found


def _told(tagged: TaggedText, matching: Matching, pair: int) -> str:
    """``PER → ORG``; with nothing on one side for a missed or an invented entity."""
    names = [*tagged.types, "nothing"]
    return f"{names[matching.gold_type()[pair]]} → {names[matching.predicted_type()[pair]]}"


def mark(
    tagged: TaggedText, begin: int, end: int, kind: str, confidence: float, rows: list[tuple[str, Spans]]
) -> Marked:
    """The words from `begin` to `end` of the text with some on either side, and the entities of `rows` there."""
    sentence = int(sentence_of(begin, tagged.sentences))
    first, last = int(tagged.sentences[sentence]), int(tagged.sentences[sentence + 1])
    low = max(first, begin - CONTEXT_WORDS)
    high = min(last, end + CONTEXT_WORDS, low + LONGEST_EXCERPT)
    return Marked(
        place=tagged.places(sentence),
        kind=kind,
        confidence=confidence,
        words=list(tagged.words[sentence][low - first : high - first]),
        cut_before=low > first,
        cut_after=high < last,
        rows=[(name, _within(spans, low, high, tagged.types)) for name, spans in rows],
    )


def _within(spans: Spans, low: int, high: int, types: list[str]) -> list[tuple[int, int, str]]:
    at = range(int(np.searchsorted(spans.end, low, side="right")), int(np.searchsorted(spans.begin, high, side="left")))
    return [
        (max(int(spans.begin[i]), low) - low, min(int(spans.end[i]), high) - low, types[spans.type_id[i]]) for i in at
    ]


def _frequent(tagged: TaggedText, matching: Matching, shown: int = 15) -> dict[str, list[tuple[str, str, int]]]:
    """The texts most often missed and invented."""
    result = {}
    sides = (
        (MistakeKind.MISSED, matching.gold, matching.gold_index),
        (MistakeKind.SPURIOUS, matching.predicted, matching.predicted_index),
    )
    for kind, spans, index in sides:
        counter: Counter[tuple[str, str]] = Counter()
        for i in index[matching.kind == kind].tolist():
            sentence = int(sentence_of(spans.begin[i], tagged.sentences))
            first = int(tagged.sentences[sentence])
            begin, end = int(spans.begin[i]) - first, int(spans.end[i]) - first
            text = " ".join(tagged.words[sentence][begin : min(end, begin + LONGEST_EXCERPT)])
            counter[text, tagged.types[spans.type_id[i]]] += 1
        often = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
        result[kind.name.lower()] = [(text, name, count) for (text, name), count in often[:shown] if count > 1]
    return result
