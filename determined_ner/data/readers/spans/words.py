"""Spans of characters made words and tags: the one place where that is done.

The words are the tagger's own (`word_offsets`), so that a text is cut in training as it will be in tagging, unless the
file has no text but words. A span is
read as the words that it touches. Of spans that then share a word the outermost is kept: that of the most words, of
equals that of the most characters, of equals the first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.sentences import Choice, DocumentCounter, Repair, Sentence
from determined_ner.data.readers.spans.items import refuse_bad_span
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.errors import UserError

MAX_TEXT = 1 << 20
"""Characters of one annotated text; a longer one is rather many."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A span, and the words that it is read as."""

    span: Span
    first: int
    end: int
    """After its last word."""

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is further out."""
        return self.first - self.end, self.span.start - self.span.end


def to_sentence(annotated: AnnotatedText, choice: Choice, path: Path, documents: DocumentCounter) -> Sentence | None:
    """The words of a text and their IOB2 tags; None where it has no word.

    Raises:
        UserError: it is too long, a span is no part of it, or one had to be repaired and may not be.
    """
    from determined_ner.data.words import word_offsets  # takes a while, which a mistyped path need not wait for

    where = f"{path}:{annotated.line}"
    text = annotated.text
    check_text(annotated, where)
    repairs: list[Repair] = []
    offsets = word_offsets(text, choice.splitting) if annotated.words is None else list(annotated.words)
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    placed = []
    for span in annotated.spans:
        first, end = bisect_right(ends, span.start), bisect_left(starts, span.end)
        said = f"{span.type} {shown(text[span.start : span.end])} ({span.start} to {span.end})"
        if span.start == span.end or first >= end:
            repairs.append(Repair("spans without a word, left out", said))
            continue
        placed.append(_Placed(span, first, end))
        edges = text[span.start : starts[first]] + text[ends[end - 1] : span.end]
        inside = starts[first] < span.start or span.end < ends[end - 1]
        if inside:
            whole = shown(text[starts[first] : ends[end - 1]])
            repairs.append(Repair("spans that begin or end inside a word, read as whole words", f"{said} as {whole}"))
        elif edges:
            repairs.append(Repair("spans that begin or end with white space, read without it", said))
    kept: list[_Placed | None] = [None] * len(offsets)
    tags = ["O"] * len(offsets)
    for item in sorted(placed, key=lambda item: item.rank):
        other = next((held for held in kept[item.first : item.end] if held is not None), None)
        if other is not None:
            repairs.append(_left_out(item, other, text))
            continue
        kept[item.first : item.end] = [item] * (item.end - item.first)
        tags[item.first] = f"B-{item.span.type}"
        tags[item.first + 1 : item.end] = [f"I-{item.span.type}"] * (item.end - item.first - 1)
    for repair in repairs:
        refuse_bad_span(repair, choice, where)
    if annotated.document is None:
        documents.mark()
    document = documents.number(annotated.document)
    if not offsets:
        return None
    words = [text[start:end] for start, end in offsets]
    cut_by = choice.splitting if annotated.words is None else None
    return Sentence(words, tags, annotated.line, document, (*annotated.repairs, *repairs), cut_by)


def to_sentences(texts: Iterable[AnnotatedText], choice: Choice, path: Path) -> Iterator[Sentence]:
    """Each text that has a word as one sentence, in a document of its own unless its file says otherwise."""
    documents = DocumentCounter()
    for annotated in texts:
        sentence = to_sentence(annotated, choice, path, documents)
        if sentence is not None:
            yield sentence


def check_text(annotated: AnnotatedText, where: str) -> None:
    """
    Raises:
        UserError: the text is too long, or a span is no part of it, or something of it cannot be written in UTF-8.
    """
    try:
        "".join((annotated.text, annotated.document or "", *(span.type for span in annotated.spans))).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise UserError(where, f"{half!a} is half a character (a lone surrogate)", "write the whole one") from None
    length = len(annotated.text)
    if length > MAX_TEXT:
        raise UserError(where, f"a text of {length:,} characters, over {MAX_TEXT:,}", "cut it into texts of its parts")
    for span in annotated.spans:
        said = f"span {span.start} to {span.end} of type {shown(span.type)}"
        if span.start > span.end:
            raise UserError(where, f"{said} ends before it begins", "exchange the two, or remove it")
        if span.start < 0 or span.end > length:
            raise UserError(
                where,
                f"{said} leaves its text, which has {count_noun(length, 'character')}",
                "correct it (offsets are from 0, the end is after the last character; data.span_offsets: utf16 if they "
                "count as Java and JavaScript do)",
            )
        if not span.type.strip():
            raise UserError(where, f"{said} has no type", "name one")


def _left_out(item: _Placed, other: _Placed, text: str) -> Repair:
    """What became of a span that shares a word with another that is kept."""

    def said(placed: _Placed) -> str:
        return f"{placed.span.type} {shown(text[placed.span.start : placed.span.end])}"

    if (item.first, item.end, item.span.type) == (other.first, other.end, other.span.type):
        kind = "spans given twice, read once"
    elif other.first <= item.first and item.end <= other.end:
        kind = "spans inside another, left out"
    else:
        kind = "spans that overlap a longer one, left out"
    return Repair(kind, f"{said(item)} beside {said(other)}")
