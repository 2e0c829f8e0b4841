"""How the same words are labelled elsewhere in a text: as which entity, as part of another one, or not at all."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

Words: TypeAlias = tuple[str, ...]


class Entity(NamedTuple):
    """An entity, or a tagged word of plain tags, by its words in its sentence."""

    begin: int
    end: int
    """One past the last word."""
    type: str


class Occurrences:
    """Counts of how each of some texts is labelled, wherever its words stand in a row."""

    def __init__(
        self, sentences: Sequence[Sequence[str]], entities: Sequence[Sequence[Entity]], texts: Iterable[Words]
    ) -> None:
        """
        Args:
            sentences: the words of each.
            entities: those of each sentence as they are labelled; none overlap.
            texts: what is looked for.
        """
        self.places: dict[Words, list[tuple[int, int]]] = defaultdict(list)
        """Sentence and first word of each occurrence of a text."""
        self._labels: dict[Words, Counter[str | None]] = defaultdict(Counter)
        self._entities = entities
        lengths: dict[str, set[int]] = defaultdict(set)
        wanted = set(texts)
        for text in wanted:
            lengths[text[0]].add(len(text))
        for s, words in enumerate(sentences):
            for begin, word in enumerate(words):
                for length in sorted(lengths.get(word, ())):
                    text = tuple(words[begin : begin + length])
                    if text in wanted:
                        self.places[text].append((s, begin))
                        self._labels[text][self.label(s, begin, begin + length)] += 1

    def label(self, sentence: int, begin: int, end: int) -> str | None:
        """How these words are labelled: the type of an entity of just them, "" for none, None for parts of others."""
        touching = [entity for entity in self._entities[sentence] if entity.begin < end and begin < entity.end]
        if not touching:
            return ""
        first = touching[0]
        return first.type if (first.begin, first.end) == (begin, end) else None

    def elsewhere(self, text: Words, sentence: int, begin: int) -> Counter[str | None]:
        """How often each `label` occurs at the other places of a text."""
        counts = Counter(self._labels[text])
        counts[self.label(sentence, begin, begin + len(text))] -= 1
        return +counts


def by_sentence(entities: Iterable[tuple[int, Entity]], sentences: int) -> list[list[Entity]]:
    """Entities, each with its sentence, as a list a sentence; they come in order."""
    found: list[list[Entity]] = [[] for _ in range(sentences)]
    for sentence, group in itertools.groupby(entities, lambda pair: pair[0]):
        found[sentence] = [entity for _, entity in group]
    return found
