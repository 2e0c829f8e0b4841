"""Mistakes in their sentences, and the texts that are most often missed or spurious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.report.mistakes import Matching, MistakeKind, sentence_of
from determined_ner.report.tagged_text import Ints, TaggedText
from determined_ner.tags.entities import Spans

SHOWN = 25
"""Excerpts of each kind of mistake, and of each side of a comparison, that the page shows."""
CONTEXT_WORDS = 12
"""Words shown on either side of an entity."""
LONGEST_EXCERPT = 120
"""Words; of an entity that is longer, the beginning is shown."""
FREQUENT_SHOWN = 15
"""Texts that are listed as most often missed or spurious."""


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a sentence and the entities in it, as (begin, end, type) counted from its first word."""

    place: str
    """``file:line`` of the sentence."""
    types: tuple[str, ...]
    """Of the entity: the gold and the predicted one, ``nothing`` for one that is absent; or the gold one alone."""
    confidence: float
    """Least probability that the model gave to its tags within the entity."""
    words: list[str]
    cut_before: bool
    """The sentence begins earlier."""
    cut_after: bool
    """The sentence ends later."""
    rows: list[tuple[str, list[tuple[int, int, str]]]]
    """Whose entities (gold, or a model's) and which."""

    def segments(self, entities: list[tuple[int, int, str]]) -> Iterator[tuple[list[str], str | None]]:
        """The words in order, cut where the entities of one row begin and end.

        Yields:
            the words of an entity and its type; the words between entities and None.
        """
        at = 0
        for begin, end, name in entities:
            if at < begin:
                yield self.words[at:begin], None
            yield self.words[begin:end], name
            at = end
        if at < len(self.words):
            yield self.words[at:], None


def cut_excerpt(
    tagged: TaggedText, begin: int, end: int, types: tuple[str, ...], confidence: float, rows: list[tuple[str, Spans]]
) -> Excerpt:
    """The words from `begin` to `end` of the text with some on either side, and the entities of `rows` there."""
    sentence = int(sentence_of(begin, tagged.sentences))
    first, last = int(tagged.sentences[sentence]), int(tagged.sentences[sentence + 1])
    low = max(first, begin - CONTEXT_WORDS)
    high = min(last, end + CONTEXT_WORDS, low + LONGEST_EXCERPT)
    return Excerpt(
        place=tagged.place(sentence),
        types=types,
        confidence=confidence,
        words=list(tagged.words[sentence][low - first : high - first]),
        cut_before=low > first,
        cut_after=high < last,
        rows=[(name, _entities_within(spans, low, high, tagged.types)) for name, spans in rows],
    )


def _entities_within(spans: Spans, low: int, high: int, types: list[str]) -> list[tuple[int, int, str]]:
    at = range(int(np.searchsorted(spans.end, low, side="right")), int(np.searchsorted(spans.begin, high, side="left")))
    return [
        (max(int(spans.begin[i]), low) - low, min(int(spans.end[i]), high) - low, types[spans.type_id[i]]) for i in at
    ]


def least_confidence(confidence: NDArray[Any], begin: Ints, end: Ints) -> NDArray[Any]:
    """(M,) the least confidence in each stretch of words.

    Args:
        confidence: (N,) of each word.
        begin: (M,) first word of each stretch.
        end: (M,) one past its last word.
    """
    borders = np.stack([begin, end], axis=1).ravel()
    return np.minimum.reduceat(np.append(confidence, 1.0), borders)[::2] if len(borders) else np.zeros(0)


def find_mistakes(tagged: TaggedText, matching: Matching) -> dict[MistakeKind, list[Excerpt]]:
    """Of each kind of mistake, those in which the model was most confident, most confident first."""
    begin, end = matching.begin(), matching.end()
    confidence = least_confidence(tagged.confidence, begin, end)
    gold_type, predicted_type = matching.gold_type(), matching.predicted_type()
    names = [*tagged.types, "nothing"]  # -1 is the last
    rows = [("gold", matching.gold), ("model", matching.predicted)]

    def excerpt(pair: int) -> Excerpt:
        types = names[gold_type[pair]], names[predicted_type[pair]]
        return cut_excerpt(tagged, int(begin[pair]), int(end[pair]), types, float(confidence[pair]), rows)

    found: dict[MistakeKind, list[Excerpt]] = {}
    for kind in MistakeKind:
        if kind is not MistakeKind.CORRECT:
            pairs = np.flatnonzero(matching.kind == kind)
            chosen = pairs[np.argsort(-confidence[pairs], kind="stable")[:SHOWN]]
            found[kind] = [excerpt(pair) for pair in chosen.tolist()]
    return found


def find_frequent(tagged: TaggedText, matching: Matching) -> dict[MistakeKind, list[tuple[str, str, int]]]:
    """The texts that are most often missed or spurious, with their type and how often; none that occurs once."""
    found: dict[MistakeKind, list[tuple[str, str, int]]] = {}
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
        often = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:FREQUENT_SHOWN]
        found[kind] = [(text, name, count) for (text, name), count in often if count > 1]
    return found
