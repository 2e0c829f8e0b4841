"""What every table comes down to: which column is which, and which rows make a sentence.

Rows come from one of the ``formats``, or from a data set; their cells are read in ``rows``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.messages import empty_file_error, shown
from determined_ner.data.readers.rows import Row, cut_texts, holds_several, read_sentence, read_token
from determined_ner.data.readers.sentences import (
    DOCUMENT_NAMES,
    TEXT_NAMES,
    Choice,
    DocumentCounter,
    Layout,
    Repair,
    Sentence,
    known_name,
)
from determined_ner.errors import UserError

SENTENCE_NAMES = ("sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence")
"""Names that columns with the number of a sentence go by, best first; see `sentence_name` for more of them."""

_SENTENCE_NAME = re.compile(r"(?:sentences?|sents?|s)(?:id|ids|idx|index|no|nr|num|number)|(?:sentences?|sents?)#")

_PARTS = re.compile(r"[\s_.:-]+")

MOST_IDS = 1 << 19
"""Ids of sentences that are remembered, to tell one that comes back."""

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
    if layout.tag_column is None and not choice.text_only:
        rows = _refusing_late_tags(rows, choice, layout, path)
    tokens = layout.sentence_column or _holds_single_words(
        [row[1] for row in sample if not _is_blank(row, table.format)], layout
    )
    if choice.text_only:  # its tags have said what rows are
        layout = replace(layout, tag_column=None)
        rows = rows if tokens else cut_texts(rows, layout, choice.splitting)
    return layout, (_from_tokens if tokens else _from_sentences)(rows, layout, path)


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
    if choice.sentence_column is not None:
        if document is not None:
            free.append(document)  # a document may be read as one sentence
        sentence = find(choice.sentence_option, choice.sentence_column, (), True)
    else:
        sentence = sentence_name(free)
    return Layout("", text or "", tags, None, sentence, document)


def sentence_name(names: list[str]) -> str | None:
    """The one of these names of columns that says it has the number of a sentence; None: none does.

    Blanks, ``_``, dots and hyphens are all alike: ``Sentence_Number``, ``sentNo``, ``sent-idx``, ``sid``.
    """
    best = known_name(names, SENTENCE_NAMES)
    if best is not None:
        return best
    return next((name for name in names if _SENTENCE_NAME.fullmatch(_PARTS.sub("", name.casefold()))), None)


def _layout(table: Table, sample: list[Row], choice: Choice, path: Path) -> Layout:
    names = table.names or list(dict.fromkeys(name for _, row in sample for name in row))
    layout = replace(choose_columns(names, choice, path), format=table.format, separator=table.separator)
    names_of_tags = (table.tag_names or {}).get(layout.tag_column or "")
    if names_of_tags and choice.label_names:
        raise UserError(
            "data.label_names", f"{path} names its labels itself: {shown(list(names_of_tags))}", "drop the setting"
        )
    layout = replace(layout, tag_names=names_of_tags or choice.label_names)
    rows = [row[1] for row in sample if not _is_blank(row, table.format)]
    if not rows:
        raise empty_file_error(path)
    if _one_row_a_token(rows, layout):
        return layout if layout.document_column else replace(layout, document_column=_document_by_values(rows, layout))
    layout = replace(layout, sentence_column=None)
    if _holds_single_words(rows, layout):
        if len(rows) < len(sample):
            return layout  # blank rows part the sentences
        if layout.document_column is not None and choice.sentence_column is None:
            return replace(layout, sentence_column=layout.document_column)  # a document is a sentence
        _refuse_single_words(names, sample[0][0], rows[0][layout.text_column], choice, path)
    return layout


def _is_blank(row: Row, format_: str) -> bool:
    """Whether nothing stands in a row of CSV or TSV."""
    return not row[1] and format_ in ("csv", "tsv")


def _document_by_values(rows: list[dict[str, Any]], layout: Layout) -> str | None:
    """A column of documents that its name does not show: sentence ids begin anew, or stay, where its value changes.

    Args:
        rows: the first, each a token.
    """
    used = (layout.text_column, layout.tag_column, layout.sentence_column)
    ids = [row.get(layout.sentence_column or "") for row in rows]
    begins: set[int] = set()
    seen: set[str] = set()
    for at, ident in enumerate(ids):
        if ident in ("", None) or repr(ident) in seen:
            begins.add(at)
        seen.add(repr(ident))
    for column in rows[0]:
        cells = [repr(row.get(column)) for row in rows]
        changes = [at for at in range(1, len(cells)) if cells[at] != cells[at - 1]]
        once = len(set(cells)) == len(changes) + 1  # no value comes back
        if column not in used and once and len(cells) >= 3 * len(changes) and begins.intersection(changes):
            return column
    return None


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


def _holds_single_words(rows: list[dict[str, Any]], layout: Layout) -> bool:
    """Whether each row has a token, though no column says which make a sentence."""
    cells = [row.get(layout.text_column) for row in rows]
    tokens = layout.tag_column is not None or layout.text_column.casefold() in ("word", "token")
    return len(cells) > 1 and tokens and all(isinstance(cell, str) and not holds_several(cell) for cell in cells)


def _refuse_single_words(names: list[str], row: int, word: object, choice: Choice, path: Path) -> None:
    """Refuse a token a row where nothing says which make a sentence: each word would become one of its own."""
    raise UserError(
        f"{path}:{row}",
        f"{shown(word)} and all rows after it hold one word, and no column says which rows make a sentence",
        f"set {choice.sentence_option} to the one of {shown(names)} that does, or add a column sentence_id, or a blank "
        "row between sentences",
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
        if _is_blank(row, layout.format):
            continue
        words, tags, repairs = read_sentence(row, layout, path)
        key = _key(row, layout.document_column, None)
        yield Sentence(words, tags, row[0], documents.number(key), tuple(repairs))


def _from_tokens(rows: Iterator[Row], layout: Layout, path: Path) -> Iterator[Sentence]:
    """A sentence begins where the sentence column, or the document, changes; without such a column, after a blank row.

    Raises:
        UserError: a sentence goes on after others, or what is wrong with a row.
    """
    documents = DocumentCounter()
    words: list[str] = []
    tags: list[str] = []
    repairs: list[Repair] = []
    start, ident, document = 0, None, None
    closed: set[int] = set()

    def sentence() -> Sentence:
        given = None if layout.tag_column is None else tags
        return Sentence(words, given, start, documents.number(document), tuple(repairs))

    for row in rows:
        before = (ident, document)
        after = (_key(row, layout.sentence_column, ident), _key(row, layout.document_column, document))
        if after != before:
            if hash(repr(after)) in closed:
                raise _came_back(row[0], ident, after[0], layout, path)
            if len(closed) < MOST_IDS:
                closed.add(hash(repr(before)))
        blank = _is_blank(row, layout.format)
        if words and (after != before or (blank and layout.sentence_column is None)):
            yield sentence()
            words, tags, repairs = [], [], []
        ident, document = after
        if blank:
            continue
        start = start if words else row[0]
        word, tag, found = read_token(row, layout, path)
        words.append(word)
        repairs += found
        if tag is not None:
            tags.append(tag)
    if words:
        yield sentence()


def _came_back(row: int, before: Any, ident: Any, layout: Layout, path: Path) -> UserError:
    column = f"sentence {shown(ident)} of column {layout.sentence_column!r}"
    if layout.document_column is None:
        remedy = (
            "sort the rows by sentence; or, if the numbers begin anew in every document, name the column of the "
            "documents with data.document_column_name"
        )
    else:
        remedy = f"sort the rows by {layout.document_column!r} and sentence"
    return UserError(f"{path}:{row}", f"{column} goes on here after {shown(before)}", remedy)


def _key(row: Row, column: str | None, before: Any) -> Any:
    """The sentence or document that a row belongs to; that of the row ``before`` where its cell is empty."""
    key = None if column is None else row[1].get(column)
    return before if key is None or key == "" else key
