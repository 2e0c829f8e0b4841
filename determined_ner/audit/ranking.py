"""Which labels are likely errors, most doubtful first: pure functions on what each word is taken for by a model that
has not seen it.

An entry is an entity as it is labelled beside another reading of the same words: what the model finds there, or how
the same text is labelled elsewhere. Each reading is believed as far as both sources say: ``n`` other occurrences of a
text, ``c`` of which are labelled so, and the model's probability ``p`` give

    (c + STRENGTH p) / (n + STRENGTH),

the posterior mean of a share under a Dirichlet prior of the model's probabilities. An entry is listed where the belief
b in the other reading is greater than the belief g in the given one. Its score is

    b / (b + g r),

r being the share of the labels of its type that are doubted in the same way: where a model often finds nothing in what
is labelled as a work of art, it says little that it does so again.

Sources: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels (JAIR 70, 2021), for
the difference between the out-of-sample belief in another label and that in the given one (there the normalised
margin); Gelman et al., Bayesian Data Analysis (2013), section 3.4, for the posterior mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from determined_ner.audit.occurrences import Entity, Occurrences, Words, by_sentence
from determined_ner.report.mistakes import Matching, MistakeKind, match
from determined_ner.report.out_of_fold import OutOfFold
from determined_ner.report.tagged_text import TaggedText
from determined_ner.tags.entities import Spans

Floats = NDArray[np.float64]

STRENGTH = 1.0
"""Of how many other occurrences of a text the model's word is worth."""
LEAST = 1e-4
"""Less than this no given label is believed: an odds without bound would rank by rounding."""


class DoubtKind(str, Enum):
    """What is wrong with a label, if the doubt is right."""

    MISSED = "missed"
    """The words are an entity and not labelled as one."""
    SPURIOUS = "spurious"
    """They are labelled as an entity and none."""
    WRONG_TYPE = "wrong type"
    WRONG_BORDER = "wrong border"
    WRONG_TYPE_AND_BORDER = "wrong type and border"
    INCONSISTENT = "inconsistent"
    """The model agrees with the label, but the same text is mostly labelled otherwise elsewhere."""


_KINDS = {
    MistakeKind.WRONG_TYPE: DoubtKind.WRONG_TYPE,
    MistakeKind.WRONG_BOUNDARY: DoubtKind.WRONG_BORDER,
    MistakeKind.WRONG_TYPE_AND_BOUNDARY: DoubtKind.WRONG_TYPE_AND_BORDER,
    MistakeKind.MISSED: DoubtKind.SPURIOUS,  # labelled, and missed by the model
    MistakeKind.SPURIOUS: DoubtKind.MISSED,
}


@dataclass(frozen=True)
class Doubt:
    """A label that is likely an error."""

    kind: DoubtKind
    sentence: int
    given: Entity | None
    """As it is labelled; None: as nothing."""
    proposed: Entity | None
    score: float
    """Above one half, below 1: see the module."""

    @property
    def begin(self) -> int:
        """First word, in its sentence, of either reading."""
        return min(entity.begin for entity in (self.given, self.proposed) if entity)

    @property
    def end(self) -> int:
        """One past the last word of either."""
        return max(entity.end for entity in (self.given, self.proposed) if entity)


def rank(text: OutOfFold) -> list[Doubt]:
    """Labels for which another reading is believed more, most doubtful first."""
    tagged = text.tagged("the folds")
    matching = match(tagged.spans(tagged.gold), tagged.spans(tagged.decoded))
    belief = _Belief(text, tagged, matching)
    doubts = _weigh(belief, [*_of_model(belief, matching), *_of_occurrences(belief, matching)])
    return sorted(doubts, key=lambda doubt: (-doubt.score, doubt.sentence, doubt.begin))


def given_entities(text: OutOfFold) -> list[list[Entity]]:
    """The entities of each sentence as they are labelled; of plain tags, the words."""
    tagged = text.tagged("the folds")
    return by_sentence(_entities(text, tagged.types, tagged.spans(tagged.gold)), len(text.words))


def _entities(text: OutOfFold, types: list[str], spans: Spans) -> Iterator[tuple[int, Entity]]:
    """Each entity with its sentence, by its words there."""
    sentence = np.searchsorted(text.sentences, spans.begin, side="right") - 1
    starts = text.sentences[sentence]
    columns = (sentence, spans.begin - starts, spans.end - starts, spans.type_id)
    for s, begin, end, type_id in zip(*(column.tolist() for column in columns), strict=True):
        yield s, Entity(begin, end, types[type_id])


class _Entry(NamedTuple):
    """What a `Doubt` is made of."""

    kind: DoubtKind
    sentence: int
    given: Entity | None
    proposed: Entity | None


class _Belief:
    """How far readings of words are believed."""

    def __init__(self, text: OutOfFold, tagged: TaggedText, matching: Matching) -> None:
        self.text, self.sentences = text, text.words
        self.types = tagged.types
        self._ids = {label: i for i, label in enumerate(text.labels)}
        self.given = by_sentence(self.entities(matching.gold), len(self.sentences))
        self.found = by_sentence(self.entities(matching.predicted), len(self.sentences))
        texts = {
            self.words(s, entity)
            for side in (self.given, self.found)
            for s, entities in enumerate(side)
            for entity in entities
        }
        self.occurrences = Occurrences(self.sentences, self.given, texts)

    def entities(self, spans: Spans) -> list[tuple[int, Entity]]:
        return list(_entities(self.text, self.types, spans))

    def words(self, sentence: int, entity: Entity) -> Words:
        return tuple(self.sentences[sentence][entity.begin : entity.end])

    def of_model(self, sentence: int, entity: Entity, type_: str) -> float:
        """The model's belief, of the least-believed word, that the words are an entity of a type; "" for none."""
        first = int(self.text.sentences[sentence])
        rows = self.text.probabilities[first + entity.begin : first + entity.end]
        if self.text.plain:
            return float(rows[:, self._ids[type_]].min())
        if not type_:
            return float(rows[:, self._ids["O"]].min()) if "O" in self._ids else 0.0
        begins, inside = (self._ids.get(f"{prefix}-{type_}") for prefix in "BI")
        tags = [begins, *[inside] * (len(rows) - 1)]
        values = [0.0 if tag is None else float(row[tag]) for row, tag in zip(rows, tags, strict=True)]
        after = first + entity.end
        if inside is not None and after < self.text.sentences[sentence + 1]:
            values.append(1 - float(self.text.probabilities[after, inside]))
        return min(values)

    def of(self, sentence: int, entity: Entity, type_: str) -> float:
        """The belief that the words of an entity are one of a type, or none ("")."""
        elsewhere = self.occurrences.elsewhere(self.words(sentence, entity), sentence, entity.begin)
        n, p = elsewhere.total(), self.of_model(sentence, entity, type_)
        return (elsewhere[type_] + STRENGTH * p) / (n + STRENGTH)

    def in_both(self, entry: _Entry) -> tuple[float, float]:
        """The belief in the given reading, and that in the proposed one."""
        words, other = entry.given or entry.proposed, entry.proposed or entry.given
        assert words and other
        as_given = self.of(entry.sentence, words, entry.given.type if entry.given else "")
        return as_given, self.of(entry.sentence, other, entry.proposed.type if entry.proposed else "")


def _weigh(belief: _Belief, entries: list[_Entry]) -> list[Doubt]:
    """Entries with their scores.

    Of the share r: the type is that of the label; where nothing is labelled, that of the entity, and the share is of
    those found. One more is counted as doubted and one as not, so that it is sure of nothing where labels are few.
    """

    def way(entry: _Entry) -> tuple[DoubtKind, str, str]:
        given, proposed = (entity.type if entity else "" for entity in (entry.given, entry.proposed))
        return entry.kind, given, proposed

    labelled, found = (Counter(e.type for part in side for e in part) for side in (belief.given, belief.found))
    doubted = Counter(map(way, entries))
    doubts = []
    for entry in entries:
        total = labelled[entry.given.type] if entry.given else found[way(entry)[2]]
        share = min(1.0, (doubted[way(entry)] + 1) / (total + 2))
        given, proposed = belief.in_both(entry)
        if proposed > given:
            doubts.append(Doubt(*entry, score=proposed / (proposed + max(given, LEAST) * share)))
    return doubts


def _of_model(belief: _Belief, matching: Matching) -> Iterator[_Entry]:
    """Where the model finds something else than what is labelled."""
    given, found = belief.entities(matching.gold), belief.entities(matching.predicted)
    for g, p, kind in zip(
        matching.gold_index.tolist(), matching.predicted_index.tolist(), matching.kind.tolist(), strict=True
    ):
        if kind != MistakeKind.CORRECT:
            sentence = given[g][0] if g >= 0 else found[p][0]
            pair = (given[g][1] if g >= 0 else None, found[p][1] if p >= 0 else None)
            yield _Entry(_KINDS[MistakeKind(kind)], sentence, *pair)


def _of_occurrences(belief: _Belief, matching: Matching) -> Iterator[_Entry]:
    """Where the model agrees with the label, and the same text is mostly labelled otherwise elsewhere."""
    for text, places in belief.occurrences.places.items():
        for sentence, begin in places if len(places) > 1 else ():
            end = begin + len(text)
            label = belief.occurrences.label(sentence, begin, end)
            elsewhere = belief.occurrences.elsewhere(text, sentence, begin)
            usual, count = elsewhere.most_common(1)[0]
            if label is None or usual is None or usual == label or 2 * count <= elsewhere.total():
                continue
            found = [e for e in belief.found[sentence] if e.begin < end and begin < e.end]
            here = [Entity(begin, end, label)] if label else []
            if found == here:  # else the model's own doubt is listed
                given = here[0] if here else None
                proposed = Entity(begin, end, usual) if usual else None
                yield _Entry(DoubtKind.INCONSISTENT, sentence, given, proposed)
