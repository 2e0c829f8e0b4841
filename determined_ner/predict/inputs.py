"""What `ner_predict` reads and writes: plain text, CoNLL columns and JSON Lines, item by item."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

from determined_ner.data.readers.conll import Columns, begins_document, checked_row, ends_sentence
from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.formats import jsonl_table
from determined_ner.data.readers.lines import Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.messages import shown
from determined_ner.data.readers.open import find_files, format_of
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, DocumentCounter, known_name
from determined_ner.errors import UserError

if TYPE_CHECKING:  # importing it takes seconds, and a mistyped path need not wait for it
    from determined_ner.tagging.tagged import Tagged
    from determined_ner.tagging.words import RawText

Format = Literal["text", "conll", "jsonl"]
STDIN = Path("<standard input>")
TAGS_KEY = "predicted_tags"
ENTITIES_KEY = "predicted_entities"


class Item(Protocol):
    """One text of the input, and how its result is written."""

    document: int
    """Running number of the document that it belongs to."""

    @property
    def words(self) -> list[str]: ...

    def written(self, tagged: Tagged, index: int) -> str:
        """The lines of the output, given what the model says of many texts, of which this is number ``index``."""


def split_raw(text: str) -> RawText:
    from determined_ner.tagging.words import RawText

    return RawText(text)


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


class TextRow:
    """Raw text: a line of a plain text file, or a string of JSON Lines."""

    def __init__(self, text: str, row: dict[str, Any], document: int) -> None:
        self._raw = split_raw(text)
        self._row = row
        self.document = document
        self.words = self._raw.words

    def written(self, tagged: Tagged, index: int) -> str:
        entities = [asdict(entity) for entity in self._raw.entities(tagged, index)]
        for entity in entities:
            entity["score"] = round(entity["score"], 6)
        return _as_json({**self._row, ENTITIES_KEY: entities})


@dataclass
class WordsRow:
    """A list of words of JSON Lines."""

    words: list[str]
    row: dict[str, Any]
    document: int

    def written(self, tagged: Tagged, index: int) -> str:
        return _as_json({**self.row, TAGS_KEY: tagged.tags[index]})


@dataclass
class ColumnLines:
    """The lines of a sentence of CoNLL columns, with the lines before and after it that hold no word."""

    words: list[str]
    lines: list[tuple[str, bool]]
    """As they stand; whether a word is in it."""
    separator: str
    document: int

    def written(self, tagged: Tagged, index: int) -> str:
        tags = iter(tagged.tags[index])
        return "".join(f"{line}{self.separator}{next(tags)}\n" if word else f"{line}\n" for line, word in self.lines)


# -- Readers ---------------------------------------------------------------------------------------------------


def read_text(lines: Iterator[Line]) -> Iterator[Item]:
    """Every line is a text, an empty one too."""
    for number, text in lines:
        yield TextRow(text, {"text": text}, number)


def read_json_lines(lines: Iterator[Line], column: str | None, path: Path) -> Iterator[Item]:
    """Every object is a text: a string, or a list of words."""
    documents = DocumentCounter()
    for number, row in jsonl_table(lines, path).rows:
        names = list(row)
        name = known_name(names, TEXT_NAMES) if column is None else column if column in row else None
        if name is None:
            wanted = "text" if column is None else repr(column)
            raise UserError(
                f"{path}:{number}: no {wanted} among the keys {shown(names)}: name the one that holds the text, a "
                f"string or a list of words, with --text-column"
            )
        for key in (TAGS_KEY, ENTITIES_KEY):
            if key in row:
                raise UserError(f"{path}:{number}: has {key!r} already: drop or rename it")
        document_column = known_name(names, DOCUMENT_NAMES)
        if document_column is None:
            documents.mark()
        document = documents.number(None if document_column is None else row[document_column])
        value = row[name]
        _check_characters(row, path, number)
        if isinstance(value, str):
            yield TextRow(value, row, document)
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            yield WordsRow(value, row, document)
        else:
            raise UserError(f"{path}:{number}: {shown(value)} of {name!r} is neither a string nor a list of strings")


def _check_characters(row: dict[str, Any], path: Path, number: int) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        bad = error.object[error.start]
        raise UserError(f"{path}:{number}: {bad!a} is half a character (a lone surrogate): write it whole") from None


def read_columns(lines: Iterator[Line], columns: Columns, path: Path) -> Iterator[Item]:
    """Every sentence is a text; all lines are kept, that of a word gets its tag as one more column."""
    documents = DocumentCounter()
    words: list[str] = []
    key: str | None = None
    kept: list[tuple[str, bool]] = []

    def sentence() -> Item:
        return ColumnLines(words, kept, columns.separator, documents.number(key))

    for number, text in lines:
        cells = columns.cells((number, text), path)
        if cells is not None:
            row = checked_row(cells, columns, number, path)
            if not words and columns.document is not None:
                key = row[columns.document]
            words.append(row[columns.word])
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


@contextmanager
def open_input(
    name: str, format_: Format | None, text_column: str | None, label_column: str | None
) -> Iterator[tuple[Format, Iterator[Item], Callable[[], float | None]]]:
    """The items of a file or, for ``-``, of standard input.

    Yields:
        how it is read; the items, one at a time; the share of the file that was read so far (None: unknown).

    Raises:
        UserError: no such file, or, while items are read, whatever is wrong with the input, by line.
    """
    if name == "-":
        path, packing, promised = STDIN, "", "text"
        stream: IO[bytes] = sys.stdin.buffer
        size = 0
    else:
        files = find_files(name)
        if len(files) > 1:
            raise UserError(f"{name}: names {len(files)} files: give one, or write cat {name} | … - to tag them all")
        path = files[0]
        promised, packing = format_of(path)
        text_name = path.name[: len(path.name) - len(packing)]
        promised = {"tsv": "conll"}.get(promised, "text" if text_name.lower().endswith(".txt") else promised)
        if format_ is None and promised not in ("text", "conll", "jsonl"):
            raise UserError(
                f"{path}: {promised} is not read here: convert it to JSON Lines, one object with its text a line "
                f"(or name its --format: text, conll or jsonl)"
            )
        stream = open_unpacked(path, packing)
        size = 0 if packing else path.stat().st_size
    chosen: Format = format_ or promised  # type: ignore[assignment]

    def share() -> float | None:
        return stream.tell() / size if size else None

    with stream:
        lines = read_lines(stream, path)
        if chosen == "text":
            if format_ is None:
                head, lines = peek(lines)
                _refuse_columns(head, path)
            yield chosen, read_text(lines), share
        elif chosen == "jsonl":
            yield chosen, read_json_lines(lines, text_column, path), share
        else:
            head, lines = peek(lines)
            columns = find_columns(head, Choice(text_column, label_column, need_tags=False), path)
            yield chosen, read_columns(lines, columns, path), share


def _refuse_columns(head: list[Line], path: Path) -> None:
    """Refuse a `.txt` of words and tags: many a corpus is called so, and each word would be a text."""
    try:
        columns = find_columns(head, Choice(need_tags=False), path)
    except UserError:
        return  # no columns
    if columns.tag is not None:
        raise UserError(
            f"{path}:{columns.first}: {shown(head[columns.first - 1][1])} may be a word and its tag: say which it is, "
            f"--format conll or --format text"
        )


# -- Output ----------------------------------------------------------------------------------------------------
