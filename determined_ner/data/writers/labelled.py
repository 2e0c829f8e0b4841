"""A labelled text as every format is written from it: its characters, its words and its entities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from determined_ner.tags.schemes import iob2_entities


class LabelledSpan(NamedTuple):
    """An entity by its place in the text."""

    start: int
    """Position of its first character, from 0."""
    end: int
    """Position after its last character."""
    type: str
    score: float | None = None
    """How sure the model is, from 0 to 1; None where no model found it."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text: a document, a sentence, a line."""

    text: str
    words: Sequence[tuple[int, int]]
    """(start, end) of each word, in characters."""
    spans: Sequence[LabelledSpan]
    """They may overlap; none leaves the text. One of empty words alone is empty."""
    tags: Sequence[str]
    """One for each word: IOB2, or plain (part of speech)."""
    document: int | str | None = None
    """The document that it belongs to, the same for texts in a row; None: nothing is known of it."""

    @classmethod
    def of_words(
        cls, words: Sequence[str], tags: Sequence[str], plain: bool, document: int | None = None
    ) -> LabelledText:
        """Words joined by spaces, and the entities that their tags spell; of plain tags, every word is one.

        Args:
            tags: IOB2 or plain.
        """
        text, offsets = join_words(words)
        entities = [(tag, i, i + 1) for i, tag in enumerate(tags)] if plain else iob2_entities(tags)
        return cls(text, offsets, place_entities(entities, offsets), tags, document)


def join_words(words: Iterable[str]) -> tuple[str, list[tuple[int, int]]]:
    """A text of words with one space between them, and where each of them stands in it."""
    offsets, end = [], -1
    words = list(words)
    for word in words:
        start = end + 1
        end = start + len(word)
        offsets.append((start, end))
    return " ".join(words), offsets


def place_entities(entities: Iterable[tuple[str, int, int]], words: Sequence[tuple[int, int]]) -> list[LabelledSpan]:
    """Entities of words as entities of characters.

    Args:
        entities: (type, first word, word after the last) of each.
        words: (start, end) of each word.
    """
    return [LabelledSpan(words[first][0], words[end - 1][1], type_) for type_, first, end in entities]
