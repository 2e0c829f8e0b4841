"""A text and the spans of characters that are marked in it: what every annotation tool's format comes down to."""

from __future__ import annotations

from dataclasses import dataclass

from determined_ner.data.readers.sentences import Repair


@dataclass(frozen=True, slots=True)
class Span:
    """An entity as an annotation tool marks it."""

    start: int
    """Position of its first character in the text, from 0."""
    end: int
    """Position after its last character."""
    type: str


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """One text of a file: a document, or whatever part of one the file keeps as a unit."""

    text: str
    spans: tuple[Span, ...]
    """In the order of the file, as they stand in it: they may overlap or leave the text."""
    line: int
    """Where it begins: 1-based line or row."""
    document: str | None = None
    """What the file says of the document that it belongs to; None: nothing, it is one of its own."""
    repairs: tuple[Repair, ...] = ()
    """What its reader has repaired in it already."""
    words: tuple[tuple[int, int], ...] | None = None
    """(start, end) of each word where the file itself cuts the text, whose spaces are then ours; None: it does not."""
