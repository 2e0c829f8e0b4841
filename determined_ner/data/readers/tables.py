"""What every table comes down to: which column is which, and which rows make a sentence.

Rows come from one of the ``formats``, or from a data set; their cells are read in ``rows``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.messages import empty_file_error, shown
from determined_ner.data.readers.rows import Row, holds_several, read_sentence, read_token
from determined_ner.data.readers.sentences import (
    DOCUMENT_NAMES,
    TEXT_NAMES,
    Choice,
    DocumentCounter,
    Layout,
    Sentence,
    known_name,
)
from determined_ner.errors import UserError

SENTENCE_NAMES = ("sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence")
"""Names that columns with the number of a sentence go by, best first."""

SAMPLE_ROWS = 100
"""Rows that detection looks at."""


@dataclass(frozen=True)
class Table:
    """Rows that can be read once, and what their format says of them."""

    format: str
    names: list[str]
    """Of the columns; [] where rows bring their own."""
    rows: Iterator[Row]
    separator: str | None = None
    tag_names: dict[str, tuple[str, ...]] | None = None
    """By column: what its integers mean."""


def read_table(table: Table, choice: Choice, path: Path) -> tuple[Layout, Iterator[Sentence]]:
    """The layout of a table, by its names and first rows, and its sentences.

    Raises:
        UserError: there are no rows or no such columns, or, while sentences are read, whatever is wrong with a row.
    """
    sample = list(itertools.islice(table.rows, SAMPLE_ROWS))
    if not sample:
        raise empty_file_error(path)
    layout = _layout(table, sample, choice, path)
    rows: Iterator[Row] = itertools.chain(sample, table.rows)
    if layout.tag_column is None:
        rows = _refusing_late_tags(rows, choice, layout, path)
    return layout, (_from_tokens if layout.sentence_column else _from_sentences)(rows, layout, path)


def choose_columns(names: list[str], choice: Choice, path: Path) -> Layout:
    """Choose columns by name. The sentence column is a guess as yet: its rows may be whole sentences.

    Raises:
        UserError: a column that is needed is not there, or is there twice.
    """
    free = list(names)
    like = None if choice.like is None or choice.like.format == "conll" else choice.like

    def find(option: str, wanted: str | None, known: tuple[str, ...], needed: bool) -> str | None:
        name = known_name(free, known) if wanted is None else wanted if wanted in free else None
        if name is None and needed:
            what = "no column" if wanted is None else f"no column {shown(wanted)}"
            raise UserError(
                f"{path}:1",
                f"{what} for {option} among {shown(names)}",
                f"set {option} to one of them, or name one of them {' or '.join(known)}",
            )
        if name is not None and names.count(name) > 1:
            raise UserError(f"{path}:1", f"two columns are named {shown(name)}", "rename one")
        if name is not None:
            free.remove(name)
        return name

    def named_or_alike(wanted: str | None, alike: str | None) -> str | None:
        return alike if wanted is None and alike in names else wanted

    like_text, like_tag = (like.text_column, like.tag_column) if like else (None, None)
    text = find(choice.text_option, named_or_alike(choice.text_column, like_text), TEXT_NAMES, True)
    tags = find(choice.label_option, named_or_alike(choice.label_column, like_tag), choice.tag_names, choice.need_tags)
    document = find(choice.document_option, choice.document_column, DOCUMENT_NAMES, choice.document_column is not None)
    sentence = known_name(free, SENTENCE_NAMES)
    return Layout("", text or "", tags, None, sentence, document)


def _layout(table: Table, sample: list[Row], choice: Choice, path: Path) -> Layout:
    names = table.names or list(dict.fromkeys(name for _, row in sample for name in row))
    layout = replace(choose_columns(names, choice, path), format=table.format, separator=table.separator)
    if table.tag_names and layout.tag_column in table.tag_names:
        layout = replace(layout, tag_names=table.tag_names[layout.tag_column])
    if _one_row_a_token([row for _, row in sample], layout):
        return layout
    _refuse_single_words(sample, layout, path)
    return replace(layout, sentence_column=None)


def _one_row_a_token(sample: list[dict[str, Any]], layout: Layout) -> bool:
    """Whether sentences are spread over rows: their ids repeat or are left out, and no row has several tags."""
    if layout.sentence_column is None:
        return False
    ids = [row.get(layout.sentence_column) for row in sample]
    spread = any(ident in ("", None, before) for before, ident in itertools.pairwise(ids))
    if layout.tag_column is None:
        return spread
    if any(holds_several(row.get(layout.tag_column)) for row in sample):
        return False
    return spread or not any(holds_several(row.get(layout.text_column)) for row in sample)


def _refuse_single_words(sample: list[Row], layout: Layout, path: Path) -> None:
    """Refuse a token a row where no column says which make a sentence: each word would become one of its own."""
    cells = [row.get(layout.text_column) for _, row in sample]
    tokens = layout.tag_column is not None or layout.text_column.casefold() in ("word", "token")
    if len(cells) > 1 and tokens and all(isinstance(cell, str) and not holds_several(cell) for cell in cells):
        raise UserError(
            f"{path}:{sample[0][0]}",
            f"{shown(cells[0])} and all rows after it hold one word, and no column says which rows make a sentence",
            "add a column sentence_id",
        )


def _refusing_late_tags(rows: Iterator[Row], choice: Choice, layout: Layout, path: Path) -> Iterator[Row]:
    """Pass on the rows of a file whose head had no tag column; one that has it after all would lose its tags."""
    used = (layout.text_column, layout.sentence_column, layout.document_column)
    for number, row in rows:
        free = [name for name in row if name not in used]
        late = known_name(free, choice.tag_names) if choice.label_column is None else choice.label_column
        if late in row:
            raise UserError(
                f"{path}:{number}", f"tags in column {late!r}, which no row before has", "tag all rows or none"
            )
        yield number, row


def _from_sentences(rows: Iterator[Row], layout: Layout, path: Path) -> Iterator[Sentence]:
    """Each row is a sentence."""
    documents = DocumentCounter()
    for row in rows:
        words, tags = read_sentence(row, layout, path)
        yield Sentence(words, tags, row[0], documents.number(_key(row, layout.document_column, None)))


def _from_tokens(rows: Iterator[Row], layout: Layout, path: Path) -> Iterator[Sentence]:
    """A sentence begins where the sentence column, or the document, changes."""
    documents = DocumentCounter()
    words: list[str] = []
    tags: list[str] = []
    start, ident, document = 0, None, None

    def sentence() -> Sentence:
        return Sentence(words, None if layout.tag_column is None else tags, start, documents.number(document))

    for row in rows:
        before = (ident, document)
        after = (_key(row, layout.sentence_column, ident), _key(row, layout.document_column, document))
        if words and after != before:
            yield sentence()
            words, tags = [], []
        ident, document = after
        start = start if words else row[0]
        word, tag = read_token(row, layout, path)
        words.append(word)
        if tag is not None:
            tags.append(tag)
    if words:
        yield sentence()


def _key(row: Row, column: str | None, before: Any) -> Any:
    """The sentence or document that a row belongs to; that of the row ``before`` where its cell is empty."""
    key = None if column is None else row[1].get(column)
    return before if key is None or key == "" else key
