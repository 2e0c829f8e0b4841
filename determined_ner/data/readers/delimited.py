"""CSV and TSV: whether a file is such a table, what quotes mean in it, and its rows.

How quotes are read is decided on all lines, in a pass of its own before the one that reads: where quotes are mere
characters, the first that does not pair up would swallow the rows after it.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from determined_ner.data.readers.conll import is_tag
from determined_ner.data.readers.lines import (
    BLANK,
    MAX_LINE,
    Line,
    is_whole,
    looked_through,
    open_unpacked,
    read_whole_lines,
)
from determined_ner.data.readers.messages import count_noun, shown
from determined_ner.data.readers.rows import Row, holds_several
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, known_name
from determined_ner.data.readers.tables import Table, sentence_name
from determined_ner.errors import UserError

_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def is_table(head: list[Line], choice: Choice) -> bool:
    """Whether a ``.tsv`` file is a table rather than CoNLL columns, which have blank lines or a token a row."""
    filled = [text for _, text in head if text.strip(BLANK)]
    names = [name.strip() for name in filled[0].split("\t")] if filled else []
    text_column = choice.text_column if choice.text_column in names else known_name(names, TEXT_NAMES)
    last = max((i for i, (_, text) in enumerate(head) if text.strip(BLANK)), default=-1)
    if text_column is None or last + 1 > len(filled):  # a blank line between others
        return False
    tag_column = choice.label_column if choice.label_column in names else known_name(names, choice.tag_names)
    others = [name for name in names if name not in (text_column, tag_column)]
    if choice.sentence_column in names or sentence_name(others):
        return True

    def any_several(column: str) -> bool:
        at = names.index(column)
        rows = (text.split("\t") for text in filled[1:])
        return any(len(cells) > at and holds_several(cells[at].strip('"')) for cells in rows)

    documents = choice.document_column in names or known_name(others, DOCUMENT_NAMES) is not None
    # Where nothing but the document parts its rows, a table would take a word such as New York for a sentence.
    return any_several(tag_column or text_column) or (documents and not any_several(text_column))


def columns_without_names(head: list[Line]) -> tuple[int, int] | None:
    """Where a file of two columns and no header has a sentence a line: the columns of words and tags, by number.

    None: it is something else. As many tags as words stand in every line of the head, in one line two or more.
    """
    filled = [text.split("\t") for _, text in head if text.strip(BLANK)]
    if not filled or any(len(cells) != 2 for cells in filled):
        return None
    split = [(cells[0].split(), cells[1].split()) for cells in filled]
    if any(len(left) != len(right) for left, right in split) or not any(len(left) > 1 for left, _ in split):
        return None
    tags = [all(is_tag(cell) for row in split for cell in row[column]) for column in (0, 1)]
    return (1, 2) if tags == [False, True] else (2, 1) if tags == [True, False] else None


def csv_table(
    head: list[Line], lines: Iterator[Line], format_: str, path: Path, packing: str, names: list[str] | None = None
) -> Table:
    """The table of a CSV or TSV file, whose first record names the columns.

    A cell of CSV in quotes may go over several lines, whose ends belong to it.

    Args:
        head: of ``lines``, for detection.
        format_: csv or tsv.
        packing: the suffix that says how the file is packed.
        names: of the columns, where the file has no record for them.

    Raises:
        UserError: while rows are read, at a broken record or one with another number of cells.
    """
    first = next((text for _, text in head if text), "")
    separator = "\t" if format_ == "tsv" else max(",;\t|", key=first.count)
    if is_whole(head):
        quoting = _quotes(head, separator, format_)
    else:
        quoting = _quotes_of_file(path, packing, separator, format_)
    if quoting and format_ == "csv":
        lines = _whole_lines(path, packing)
    records = _csv_records(lines, separator, csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE, path)
    if names is None:
        filled = itertools.dropwhile(lambda record: not record[1], records)
        names = [name.strip() for name in next(filled, (0, []))[1]]
        _refuse_data_as_names(names, path)
    return Table(format_, names, _rows(records, names, separator, path), separator)


def _rows(records: Iterator[tuple[int, list[str]]], names: list[str], separator: str, path: Path) -> Iterator[Row]:
    for number, cells in records:
        if not any(cell.strip(BLANK) for cell in cells):
            yield number, {}
            continue
        if len(cells) != len(names):
            raise UserError(
                f"{path}:{number}",
                f"{count_noun(len(cells), 'cell')} in {shown(cells)} but {count_noun(len(names), 'column')}",
                f"put cells that hold {separator!r} or a line end in quotes",
            )
        yield number, dict(zip(names, cells, strict=True))


def _refuse_data_as_names(names: list[str], path: Path) -> None:
    """
    Raises:
        UserError: the first record is no header but a word and its tag.
    """
    if not known_name(names, TEXT_NAMES) and any(is_tag(name) for name in names):
        raise UserError(
            f"{path}:1",
            f"{shown(names)} is a row of data, and no row names the columns",
            "write one above it, such as word,tag",
        )


def _quotes(lines: Iterable[Line], separator: str, format_: str) -> bool:
    """Whether quotes enclose cells, as CSV has them, or are just characters.

    They are just characters where some do not pair up: in TSV within a cell; in CSV within a cell, while no other cell
    is enclosed in them and every line has all its cells without them (else a cell may well go over several lines).
    """
    if format_ == "tsv":
        starts_quoted = (cell for _, text in lines for cell in text.split(separator) if cell.startswith('"'))
        return all(_QUOTED.fullmatch(cell) for cell in starts_quoted)
    width, just_characters = 0, False
    for _, text in lines:
        if not text.strip(BLANK):
            continue
        cells = text.split(separator)
        width = width or len(cells)
        if len(cells) != width:
            return True
        for cell in cells if '"' in text else ():
            if cell.startswith('"'):
                encloses = _QUOTED.fullmatch(cell) is not None
                if encloses and len(cell) > 2:
                    return True
                just_characters = just_characters or not encloses
    return not just_characters


_quotes_of_file = looked_through(_quotes)


def _whole_lines(path: Path, packing: str) -> Iterator[Line]:
    """The lines of a file from its beginning, with their ends, which those that detection has looked at lack."""
    with open_unpacked(path, packing) as stream:
        yield from read_whole_lines(stream, path, packing)


def _csv_records(lines: Iterator[Line], separator: str, quoting: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line where a record begins, and its cells: [] for a blank line."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    start = 1

    def texts() -> Iterator[str]:
        for number, text in lines:
            # Where files were joined, a byte order mark begins a record; within one it stands in quotes, as text.
            yield text.removeprefix("\ufeff") if number == start else text

    reader = csv.reader(texts(), delimiter=separator, quoting=quoting, strict=True)  # type: ignore[arg-type]
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path}:{start}",
                f"broken row ({error})",
                'put a cell that holds a quote or a line end in quotes, and write a quote in it twice ("")',
            ) from None
        if cells is None:
            return
        yield start, cells
