"""What every table comes down to: which column is which, rows as `Sentence`s, cells as words and tags.

A row is a whole sentence, its words and tags in lists, or one token of it. Rows come from `ner_formats`, which stands
above this room; below is `ner_text` alone.
"""

import ast
import itertools
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from determined_ner.data.readers.lines import (
    BLANK,
    DOCUMENT_NAMES,
    TEXT_NAMES,
    Choice,
    DocumentCounter,
    Layout,
    Sentence,
    count_noun,
    empty_file_error,
    known_name,
    shown,
)
from determined_ner.errors import UserError

Row = tuple[int, dict[str, Any]]  # 1-based line or row number, cells by column name

SENTENCE_NAMES = ("sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence")  # best first
SAMPLE_ROWS = 100  # rows that detection looks at

_WORDS = re.compile(f"[^{BLANK}\n]+")
_LIST_ITEM = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d+\.?\d*)(\s*,\s*|\s+|\Z)""", re.DOTALL)
_LIST_IN_PRINT = re.compile(r"""\s*(?:(?:\w+\()?\[\s*['"]|\[.*\]\s*\Z)""", re.DOTALL)  # or a broken one: ['EU', 'rej


@dataclass(frozen=True)
class Table:
    format: str
    names: list[str]  # of the columns; [] where rows bring their own
    rows: Iterator[Row]
    separator: str | None = None
    tag_names: dict[str, tuple[str, ...]] | None = None  # by column: what its integers mean


def choose_columns(names: list[str], choice: Choice, path: Path) -> Layout:
    """Choose columns by name. The sentence column is a guess as yet: its rows may be whole sentences."""
    free = list(names)
    like = None if choice.like is None or choice.like.format == "conll" else choice.like

    def find(option: str, wanted: str | None, known: tuple[str, ...], needed: bool) -> str | None:
        name = known_name(free, known) if wanted is None else wanted if wanted in free else None
        if name is None and needed:
            what = "no column" if wanted is None else f"no column {shown(wanted)}"
            remedy = f"set {option} to one of them, or name one of them {' or '.join(known)}"
            raise UserError(f"{path}:1: {what} for {option} among {shown(names)}: {remedy}")
        if name is not None and names.count(name) > 1:
            raise UserError(f"{path}:1: two columns are named {shown(name)}: rename one")
        if name is not None:
            free.remove(name)
        return name

    def followed(wanted: str | None, alike: str | None) -> str | None:
        return alike if wanted is None and alike in names else wanted

    text = find("data.text_column_name", followed(choice.text, like.text_column if like else None), TEXT_NAMES, True)
    label = followed(choice.label, like.tag_column if like else None)
    tags = find("data.label_column_name", label, choice.tag_names, choice.need_tags)
    document = find("data.document_column_name", choice.document, DOCUMENT_NAMES, choice.document is not None)
    sentence = known_name(free, SENTENCE_NAMES)
    return Layout("", text or "", tags, None, sentence, document)


def read_table(table: Table, choice: Choice, path: Path) -> tuple[Layout, Iterator[Sentence]]:
    """The layout of a table, by its names and first rows, and its sentences."""
    sample = list(itertools.islice(table.rows, SAMPLE_ROWS))
    if not sample:
        raise empty_file_error(path)
    names = table.names or list(dict.fromkeys(name for _, row in sample for name in row))
    layout = replace(choose_columns(names, choice, path), format=table.format, separator=table.separator)
    if not _one_row_a_token([row for _, row in sample], layout):
        layout = replace(layout, sentence_column=None)
        _refuse_single_words(sample, layout, path)
    if table.tag_names and layout.tag_column in table.tag_names:
        layout = replace(layout, tag_names=table.tag_names[layout.tag_column])
    rows: Iterator[Row] = itertools.chain(sample, table.rows)
    if layout.tag_column is None:
        rows = _without_tags(rows, choice, layout, path)
    return layout, (_from_tokens if layout.sentence_column else _from_sentences)(rows, layout, path)


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


def holds_several(cell: object) -> bool:
    if isinstance(cell, str):
        return bool(_LIST_IN_PRINT.match(cell)) or len(_WORDS.findall(cell)) > 1
    return isinstance(cell, list)


def _refuse_single_words(sample: list[Row], layout: Layout, path: Path) -> None:
    """A token a row, and nothing that tells the sentences apart: each word would become a sentence of its own."""
    cells = [row.get(layout.text_column) for _, row in sample]
    tokens = layout.tag_column is not None or layout.text_column.casefold() in ("word", "token")
    if len(cells) > 1 and tokens and all(isinstance(cell, str) and not holds_several(cell) for cell in cells):
        raise UserError(
            f"{path}:{sample[0][0]}: {shown(cells[0])} and all rows after it hold one word, and no column tells which"
            " rows make a sentence: add a column sentence_id"
        )


def _without_tags(rows: Iterator[Row], choice: Choice, layout: Layout, path: Path) -> Iterator[Row]:
    """Pass on the rows of a file whose head had no tag column; one that has it after all would lose its tags."""
    used = (layout.text_column, layout.sentence_column, layout.document_column)
    for number, row in rows:
        free = [name for name in row if name not in used]
        late = known_name(free, choice.tag_names) if choice.label is None else choice.label
        if late in row:
            raise UserError(f"{path}:{number}: tags in column {late!r}, which no row before has: tag all rows or none")
        yield number, row


def _key(row: dict[str, Any], column: str | None) -> Any:
    """Sentence or document that a row belongs to; None: the same as the row above."""
    key = None if column is None else row.get(column)
    return None if key == "" else key


def _from_sentences(rows: Iterator[Row], layout: Layout, path: Path) -> Iterator[Sentence]:
    documents = DocumentCounter()
    for number, row in rows:
        place = _Place(path, number, layout.text_column)
        words = [_word(item, place, i) for i, item in enumerate(_items(row, place, layout), 1)]
        tags = None
        if layout.tag_column is not None:
            place = _Place(path, number, layout.tag_column)
            tags = [_tag(item, place, i, layout) for i, item in enumerate(_items(row, place, layout), 1)]
            if len(tags) != len(words):
                counts = f"{count_noun(len(words), 'word')} but {count_noun(len(tags), 'tag')}"
                raise UserError(
                    f"{path}:{number}: {counts}, {shown(words)} in column {layout.text_column!r} and {shown(tags)} in"
                    f" {layout.tag_column!r}: give every word one tag"
                )
        yield Sentence(words, tags, number, documents.number(_key(row, layout.document_column)))


def _from_tokens(rows: Iterator[Row], layout: Layout, path: Path) -> Iterator[Sentence]:
    """A sentence begins where the sentence column, or the document, changes."""
    documents = DocumentCounter()
    words: list[str] = []
    tags: list[str] | None = None
    start, ident, document = 0, None, None
    for number, row in rows:
        next_ident, next_document = _key(row, layout.sentence_column), _key(row, layout.document_column)
        if next_ident not in (None, ident) or next_document not in (None, document):
            if words:
                yield Sentence(words, tags, start, documents.number(document))
            words = []
            ident = ident if next_ident is None else next_ident
            document = document if next_document is None else next_document
        if not words:
            start, tags = number, None if layout.tag_column is None else []
        place = _Place(path, number, layout.text_column)
        words.append(_word(place.cell(row), place, 1))
        if layout.tag_column is not None and tags is not None:
            place = _Place(path, number, layout.tag_column)
            tags.append(_tag(place.cell(row), place, 1, layout))
    if words:
        yield Sentence(words, tags, start, documents.number(document))


# --- cells ---


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    row: int
    column: str

    def cell(self, row: dict[str, Any]) -> Any:
        if self.column not in row:
            raise self.error(f"is missing in this row, which has {shown(list(row))}", "fill it in")
        return row[self.column]

    def error(self, what: str, remedy: str) -> UserError:
        return UserError(f"{self.path}:{self.row}: column {self.column!r} {what}: {remedy}")

    def bad(self, kind: str, position: int, value: object, remedy: str) -> UserError:
        return self.error(f"has {_typed(value)} for {kind} {position}", remedy)


def _items(row: dict[str, Any], place: _Place, layout: Layout) -> list[Any]:
    """The items of a cell: a list as it is, text split at white space, in CSV and TSV also a list in print."""
    cell = place.cell(row)
    if isinstance(cell, str):
        in_print = layout.format in ("csv", "tsv") and _LIST_IN_PRINT.match(cell)
        items = _printed_list(cell, place) if in_print else _WORDS.findall(cell)
    elif isinstance(cell, list):
        items = cell
    else:
        raise place.error(f"has {_typed(cell)} instead of a list", "write a list, one item a word")
    if not items:
        raise place.error(f"is {shown(cell)}, without a single item", "remove the row or fill it in")
    return items


def _typed(value: object) -> str:
    return "null" if value is None else f"{shown(value)} ({type(value).__name__})"


def _printed_list(cell: str, place: _Place) -> list[Any]:
    """A list as JSON (["a", "b"]), Python (['a', 'b']) or NumPy (['a' 'b'], [0 1]) print it.

    Python itself would take NumPy's print for one word, 'ab'; so items are read one by one, and either all or none
    must have a comma between them.
    """
    try:
        return list(json.loads(cell))
    except (ValueError, RecursionError):
        body, at = cell.strip().removeprefix("[").removesuffix("]").strip(), 0
    items: list[Any] = []
    commas = set()
    while match := _LIST_ITEM.match(body, at):
        items.append(_literal(match[1]))
        at = match.end()
        if at < len(body):
            commas.add("," in match[2])
    if at < len(body) or len(commas) > 1 or None in items or not cell.rstrip().endswith("]"):
        raise place.error(f"is {shown(cell)}, a broken list near {shown(body[at:])}", "print lists with json.dumps")
    return items


def _literal(text: str) -> str | int | float | None:
    """The string or number that Python text stands for; None where it is none ('\\x', 007)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # '\d' is odd Python but clear
        try:
            value: str | int | float = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value


def _word(value: object, place: _Place, position: int) -> str:
    if not isinstance(value, str):
        raise place.bad("word", position, value, 'words are text, so write it in quotes ("7")')
    if not value:
        raise place.bad("word", position, value, "remove it and its tag, or write the word")
    return _encodable(value, place)


def _tag(value: object, place: _Place, position: int, layout: Layout) -> str:
    if isinstance(value, str):
        tag = value.strip()
        if not tag:
            raise place.bad("tag", position, value, "write one ('O' where the word is no entity)")
        return _encodable(tag, place)
    if isinstance(value, int) and not isinstance(value, bool):
        if layout.tag_names is None:
            return str(value)
        if 0 <= value < len(layout.tag_names):
            return layout.tag_names[value]
        raise place.bad("tag", position, value, f"the file names the tags 0 to {len(layout.tag_names) - 1}")
    if isinstance(value, float) and value.is_integer():
        raise place.bad("tag", position, value, f"write whole numbers ({shown(int(value))}) or names ('B-PER')")
    raise place.bad("tag", position, value, "write one tag a word, as text ('B-PER') or as a whole number")


def _encodable(text: str, place: _Place) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise place.error(f"has half a surrogate pair in {ascii(text)[:60]}", "write the whole character") from None
    return text
