"""What ``determined-ner predict`` reads and writes, one text at a time: plain text, CoNLL columns, JSON Lines.

A reader yields items. Each holds the words to tag and the part of the input that it came from, so that it can write
that part again with the result added.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from determined_ner.data.readers.conll import Columns, begins_document, checked_row, ends_sentence
from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.formats import json_object
from determined_ner.data.readers.lines import BLANK, Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.open import find_files, format_of, other_than_columns
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, DocumentCounter, known_name
from determined_ner.data.readers.spans.rows import ENTITIES_KEY
from determined_ner.data.writers.labelled import LabelledSpan, LabelledText, join_words
from determined_ner.errors import UserError
from determined_ner.tags.schemes import to_iob2

if TYPE_CHECKING:
    from determined_ner.tagging.tagged import Tagged
    from determined_ner.tagging.words import RawText

Format = Literal["text", "conll", "jsonl"]
STDIN = Path("<standard input>")
"""Stands for the path of standard input in messages."""
TAGS_KEY = "predicted_tags"


Cut: TypeAlias = "Callable[[str], RawText]"
"""Cuts a raw text into words: a tagger's `cut`."""


class Item(Protocol):
    """One text of the input."""

    document: int
    """Running number of the document that it belongs to."""

    @property
    def words(self) -> list[str]: ...

    def format_result(self, tagged: Tagged, index: int) -> str:
        """The lines to write for it.

        Args:
            tagged: the predictions for many texts.
            index: which of those texts this is.
        """

    def labelled(self, tagged: Tagged, index: int) -> LabelledText | None:
        """The text with what was predicted for it, the arguments being those of `format_result`; None: it is none."""


class TextRow:
    """Raw text: a line of a plain text file, or a string of JSON Lines."""

    def __init__(self, raw: RawText, line: str, document: int, marked: bool = False) -> None:
        """
        Args:
            line: the JSON object to which the entities are added.
            marked: whether the input says which document it belongs to.
        """
        self._raw = raw
        self._line = line
        self._marked = marked
        self.document = document
        self.words = raw.words

    def format_result(self, tagged: Tagged, index: int) -> str:
        entities = [asdict(entity) for entity in self._raw.entities(tagged, index)]
        for entity in entities:
            entity["score"] = round(entity["score"], 6)
        return _with_key(self._line, ENTITIES_KEY, entities)

    def labelled(self, tagged: Tagged, index: int) -> LabelledText:
        return _labelled(self._raw.text, self._raw.offsets, tagged, index, self.document if self._marked else None)


@dataclass
class WordsRow:
    """A list of words of JSON Lines."""

    words: list[str]
    line: str
    """The object as it was read."""
    document: int
    marked: bool
    """Whether the input says which document it belongs to."""

    def format_result(self, tagged: Tagged, index: int) -> str:
        return _with_key(self.line, TAGS_KEY, tagged.tags[index])

    def labelled(self, tagged: Tagged, index: int) -> LabelledText:
        return _labelled(*join_words(self.words), tagged, index, self.document if self.marked else None)


@dataclass
class ColumnLines:
    """The lines of a sentence of CoNLL columns, with the lines before and after it that hold no word."""

    words: list[str]
    lines: list[tuple[str, bool]]
    """Each line as it was read, and whether it holds a word."""
    separator: str
    """Between columns."""
    document: int
    marked: bool
    """Whether the input says which document it belongs to."""

    def format_result(self, tagged: Tagged, index: int) -> str:
        tags = iter(tagged.tags[index])
        return "".join(
            f"{line}{self.separator}{next(tags)}\n" if holds_word else f"{line}\n" for line, holds_word in self.lines
        )

    def labelled(self, tagged: Tagged, index: int) -> LabelledText | None:
        if not self.words:  # lines after the last sentence
            return None
        return _labelled(*join_words(self.words), tagged, index, self.document if self.marked else None)


def _labelled(
    text: str, words: list[tuple[int, int]], tagged: Tagged, index: int, document: int | None
) -> LabelledText:
    """A text with what was predicted for it.

    Args:
        words: (start, end) of each, in characters.
        document: None: the input does not say which one it belongs to.
    """
    spans = [
        LabelledSpan(words[first][0], words[end - 1][1], entity_type, score)
        for (entity_type, first, end), score in zip(tagged.spans[index], tagged.entity_scores[index], strict=True)
    ]
    return LabelledText(text, words, spans, to_iob2(tagged.tags[index], tagged.scheme)[0], document)


def _with_key(line: str, key: str, value: object) -> str:
    """A JSON object with one more key at its end; what it held stays as it was spelled, down to the last digit."""
    head = line.strip(BLANK).removesuffix("}").rstrip(BLANK)
    comma = "" if head == "{" else ", "
    return f'{head}{comma}"{key}": {json.dumps(value, ensure_ascii=False, allow_nan=False)}}}\n'


# -- Readers ---------------------------------------------------------------------------------------------------


def read_text(lines: Iterator[Line], cut: Cut) -> Iterator[Item]:
    """Every line is a text, an empty one too."""
    for number, text in lines:
        yield TextRow(cut(text), json.dumps({"text": text}, ensure_ascii=False), number)


def read_json_lines(lines: Iterator[Line], cut: Cut, column: str | None, path: Path) -> Iterator[Item]:
    """Every object is a text: a string, or a list of words.

    Args:
        cut: cuts a string into words.
        column: the key of the text; None: the first of the usual names that an object has.

    Raises:
        UserError: no JSON Lines, or an object without a text.
    """
    documents = DocumentCounter()
    for number, line in lines:
        if not line.strip(BLANK):
            continue
        where = f"{path}:{number}"
        row = json_object(line, path, number)
        names = list(row)
        name = known_name(names, TEXT_NAMES) if column is None else column if column in row else None
        if name is None:
            wanted = "text" if column is None else repr(column)
            raise UserError(
                where,
                f"no {wanted} among the keys {shown(names)}",
                "name the key that holds the text, a string or a list of words, with --text-column",
            )
        for key in (TAGS_KEY, ENTITIES_KEY):
            if key in row:
                raise UserError(where, f"has {key!r} already", "drop or rename it")
        document_column = known_name(names, DOCUMENT_NAMES)
        marked = document_column is not None
        if not marked:
            documents.mark()
        document = documents.number(None if document_column is None else row[document_column])
        value = row[name]
        _check_characters(row, where)
        if not line.lstrip(BLANK).startswith("{"):  # a training example of spaCy, to which no key can be added
            line = json.dumps(row, ensure_ascii=False)
        if isinstance(value, str):
            yield TextRow(cut(value), line, document, marked)
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            yield WordsRow(value, line, document, marked)
        else:
            raise UserError(
                where,
                f"{shown(value)} of {name!r} is neither a string nor a list of strings",
                "write the text as a string, or its words as a list of strings",
            )


def _check_characters(row: dict[str, Any], where: str) -> None:
    """
    Raises:
        UserError: something in the object cannot be written in UTF-8.
    """
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        bad = error.object[error.start]
        raise UserError(where, f"{bad!a} is half a character (a lone surrogate)", "write the whole one") from None


def read_columns(lines: Iterator[Line], columns: Columns, path: Path, marked: bool) -> Iterator[Item]:
    """Every sentence is a text; all lines are kept, and that of a word gets its tag as one more column.

    Args:
        marked: whether the file says where documents begin.

    Raises:
        UserError: a line without a word, or with another number of columns.
    """
    documents = DocumentCounter()
    words: list[str] = []
    ids = ("", "")
    kept: list[tuple[str, bool]] = []

    def sentence() -> Item:
        return ColumnLines(words, kept, columns.separator, documents.number(ids[1]), marked)

    for number, text in lines:
        cells = columns.cells((number, text), path)
        if cells is not None:
            after = columns.ids(cells, ids)
            if words and after != ids:
                yield sentence()
                words, kept = [], []
            ids = after
            words.append(checked_row(cells, columns, number, path, [])[columns.word])
            kept.append((text, True))
            continue
        if words and ends_sentence(text):
            yield sentence()
            words, kept = [], []
        if begins_document(text):
            documents.mark()
        if number == columns.header:
            text += f"{columns.separator}{TAGS_KEY}"
        elif not ends_sentence(text) and not text.startswith("#"):
            text += f"{columns.separator}_"  # a multiword token of CoNLL-U
        kept.append((text, False))
    if kept:
        yield sentence()


# -- Opening ---------------------------------------------------------------------------------------------------


@contextmanager
def open_input(
    name: str, format_: Format | None, text_column: str | None, label_column: str | None
) -> Iterator[tuple[Format, Callable[[Cut], Iterator[Item]], Callable[[], float | None]]]:
    """Open a file or, for ``-``, standard input.

    Args:
        format_: how it is read; None: as its name says.
        text_column: column or key of the text; None: to be detected.
        label_column: column of the tags that a CoNLL file has already; None: to be detected.

    Yields:
        how it is read; what reads its items, one at a time, given how raw text is cut into words; and what gives the
        share of the file that was read so far (None where its size is unknown).

    Raises:
        UserError: no such file; or, while items are read, whatever is wrong with the input, by line.
    """
    if name == "-":
        if sys.stdin is None:
            raise UserError("standard input", "is closed", "name a file")
        path, packing, detected = STDIN, "", "text"
        _refuse_options(format_ or detected, text_column, label_column)
        stream: IO[bytes] = sys.stdin.buffer
        size = 0
    else:
        path = _one_file(name)
        detected, packing = _format_by_name(path)
        if format_ is None and detected not in ("text", "conll", "jsonl"):
            raise UserError(
                path,
                f"{detected} is not read here",
                "convert it to JSON Lines, one object with its text a line (or name its --format: text, conll or "
                "jsonl)",
            )
        _refuse_options(format_ or detected, text_column, label_column)
        stream = open_unpacked(path, packing)
        size = 0 if packing else path.stat().st_size
    chosen: Format = format_ or detected  # type: ignore[assignment]

    def share() -> float | None:
        return stream.tell() / size if size else None

    with stream:
        lines = read_lines(stream, path, packing)
        if chosen == "text":
            if format_ is None:
                head, lines = peek(lines)
                _refuse_annotations(head, path)
                _refuse_columns(head, path)
            yield chosen, partial(read_text, lines), share
        elif chosen == "jsonl":
            yield chosen, lambda cut: read_json_lines(lines, cut, text_column, path), share
        else:
            head, lines = peek(lines)
            if text_column is None:
                _refuse_annotations(head, path)
            columns = find_columns(head, _choice(text_column, label_column), path)
            marked = columns.document is not None or any(begins_document(text) for _, text in head)
            yield chosen, lambda cut: read_columns(lines, columns, path, marked), share


def _refuse_options(chosen: str, text_column: str | None, label_column: str | None) -> None:
    """
    Raises:
        UserError: an option that the format has no use for.
    """
    named = [("--text-column", text_column), ("--label-column", label_column)]
    for option, value in named if chosen == "text" else named[1:] if chosen == "jsonl" else ():
        if value is not None:
            raise UserError(
                option,
                f"{value!r} has no meaning for {'plain text' if chosen == 'text' else 'JSON Lines'}",
                "drop it, or say how the input is read, with --format",
            )


def _one_file(name: str) -> Path:
    files = find_files(name)
    if len(files) > 1:
        raise UserError(
            name, f"names {len(files)} files", f"name one of them, or tag them all as standard input: cat {name} | … -"
        )
    return files[0]


def _format_by_name(path: Path) -> tuple[str, str]:
    """The format that a file's name promises, and the suffix that says how it is packed ("" where it is not)."""
    format_, packing = format_of(path)
    unpacked_name = path.name[: len(path.name) - len(packing)]
    if format_ == "tsv":
        return "conll", packing
    return "text" if unpacked_name.lower().endswith(".txt") else format_, packing


def _choice(text_column: str | None = None, label_column: str | None = None) -> Choice:
    """The columns that the command line names, in whose words messages speak."""
    return Choice(
        text_column,
        label_column,
        need_tags=False,
        text_option="--text-column",
        label_option="--label-column",
        document_option="its header",  # no option names it, nor the next
        sentence_option="its header",
    )


def _refuse_annotations(head: list[Line], path: Path) -> None:
    """Refuse what annotation tools write: numbers of its tokens, or its marks, would be tagged as words.

    Raises:
        UserError: it is such a file.
    """
    kind = other_than_columns(head, path)
    if kind is not None:
        raise UserError(
            path, f"holds {kind}, which is not read here", f"run determined-ner convert {path} NEW.jsonl, and tag that"
        )


def _refuse_columns(head: list[Line], path: Path) -> None:
    """Refuse a ``.txt`` of words and tags: many a corpus has such a name, and each word would be a text.

    Raises:
        UserError: it looks like that.
    """
    try:
        columns = find_columns(head, _choice(), path)
    except UserError:
        return  # no columns
    if columns.tag is not None:
        raise UserError(
            f"{path}:{columns.first}",
            f"{shown(head[columns.first - 1][1])} may be a word and its tag",
            "say which it is, --format conll or --format text",
        )
