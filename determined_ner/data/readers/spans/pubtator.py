"""PubTator: a title, an abstract and lines of annotations for each document.

    1|t|Title
    1|a|Abstract
    1<TAB>0<TAB>5<TAB>Title<TAB>TYPE<TAB>identifier

Offsets count the characters of the title, one character, and the abstract. Relations are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from determined_ner.data.readers.lines import BLANK, Line
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.sentences import Choice, Layout
from determined_ner.data.readers.spans.offsets import describe_mismatch, gives, to_characters
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

PUBTATOR = Layout("pubtator", "text", "type", by_spans=True)

_PART = re.compile(r"([^|\t]+)\|([a-z])\|(.*)")
_OFFSET = re.compile(r"-?\d+")


@dataclass(slots=True)
class _Document:
    """What has been read of one."""

    ident: str
    line: int
    title: str
    abstract: str | None = None
    mentions: list[tuple[int, list[str]]] = field(default_factory=list)
    """Line and cells of each."""


def is_pubtator(head: list[Line]) -> bool:
    """Whether a file begins with the title of a document, and something of that document follows."""
    filled = [text for _, text in head if text.strip(BLANK)][:2]
    match = _PART.fullmatch(filled[0]) if filled else None
    return (
        match is not None
        and match[2] == "t"
        and len(filled) > 1
        and filled[1].startswith((f"{match[1]}|", f"{match[1]}\t"))
    )


def read_pubtator(lines: Iterator[Line], choice: Choice, path: Path) -> Iterator[AnnotatedText]:
    """Yield the documents; blank lines do not matter.

    Raises:
        UserError: at a line that is neither text nor annotation, belongs to another document, or does not give the
            mention where its offsets say.
    """
    document: _Document | None = None
    for number, text in lines:
        if not text.strip(BLANK):
            continue
        where, part = f"{path}:{number}", _PART.fullmatch(text)
        if part is not None and part[2] == "t":
            if document is not None:
                yield _annotated(document, choice, path)
            document = _Document(part[1], number, part[3])
            continue
        ident = part[1] if part else text.split("\t")[0]
        if document is None or ident != document.ident:
            begun = "before any title" if document is None else f"in document {shown(document.ident)}"
            problem = f"{shown(text)} is neither text nor annotation, {begun}"
            raise UserError(where, problem, "begin each document with ID|t|title and begin its other lines with its ID")
        if part is None:
            _add_mention(document, text, where, number)
        elif part[2] != "a" or document.abstract is not None or document.mentions:
            problem = (
                f"{shown(text)} is no abstract" if part[2] != "a" else f"{shown(ident)} has its abstract twice or late"
            )
            raise UserError(where, problem, "give each document ID|t|title, ID|a|abstract and then its annotations")
        else:
            document.abstract = part[3]
    if document is not None:
        yield _annotated(document, choice, path)


def _add_mention(document: _Document, text: str, where: str, number: int) -> None:
    """Add an annotation; a relation has no offsets."""
    cells = text.split("\t")
    if len(cells) > 2 and not _OFFSET.fullmatch(cells[1]) and not _OFFSET.fullmatch(cells[2]):
        return
    offsets = len(cells) > 2 and cells[1].isdecimal() and cells[2].isdecimal()
    if not offsets or len(cells) < 5 or not cells[4].strip():
        wanted = "write ID, start, end, mention and type, separated by tabs"
        raise UserError(where, f"{shown(text)} is no whole annotation", wanted)
    if int(cells[2]) < int(cells[1]):
        raise UserError(where, f"ends at {cells[2]}, before its start, {cells[1]}", "correct the offsets")
    document.mentions.append((number, cells))


def _annotated(document: _Document, choice: Choice, path: Path) -> AnnotatedText:
    text = document.title if document.abstract is None else f"{document.title} {document.abstract}"
    position = to_characters(text, choice.span_offsets)
    spans = []
    for number, (_, start, end, mention, type_, *_) in document.mentions:
        span = Span(position(int(start)), position(int(end)), type_.strip())
        if not gives(text, [(span.start, span.end)], mention):
            offsets = [(int(start), int(end))]
            raise UserError(f"{path}:{number}", *describe_mismatch(text, offsets, choice.span_offsets, mention))
        spans.append(span)
    return AnnotatedText(text, tuple(spans), document.line)
