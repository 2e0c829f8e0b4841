"""The formats of tables: CSV and TSV, JSON and JSON Lines, Parquet, each as one `Table` of rows.

Here is what sets the formats apart; what a row means is left to `ner_tables`, and lines are `ner_text`'s.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from determined_ner.data.readers.lines import (
    BLANK,
    BROKEN,
    MAX_LINE,
    TEXT_NAMES,
    Choice,
    Line,
    count_noun,
    empty_file_error,
    import_for,
    known_name,
    shown,
)
from determined_ner.data.readers.tables import SENTENCE_NAMES, Row, Table, choose_columns, holds_several
from determined_ner.errors import UserError

_QUOTED = re.compile(r'"(?:[^"]|"")*"')


# --- CSV and TSV ---


def is_table(head: list[Line], choice: Choice) -> bool:
    """Whether a `.tsv` file is a table rather than CoNLL columns, which have blank lines or a token a row."""
    filled = [text for _, text in head if text.strip(BLANK)]
    names = [name.strip() for name in filled[0].split("\t")] if filled else []
    text_column = choice.text if choice.text in names else known_name(names, TEXT_NAMES)
    last = max((i for i, (_, text) in enumerate(head) if text.strip(BLANK)), default=-1)
    if text_column is None or last + 1 > len(filled):  # a blank line between others
        return False
    tag_column = choice.label if choice.label in names else known_name(names, choice.tag_names)
    if known_name([name for name in names if name not in (text_column, tag_column)], SENTENCE_NAMES):
        return True
    at = names.index(tag_column or text_column)
    rows = (text.split("\t") for text in filled[1:])
    return any(len(cells) > at and holds_several(cells[at].strip('"')) for cells in rows)


def csv_table(head: list[Line], lines: Iterator[Line], format_: str, path: Path) -> Table:
    first = next((text for _, text in head if text), "")
    separator = "\t" if format_ == "tsv" else max(",;\t|", key=first.count)
    # Quotes of a TSV file are either CSV's, as pandas writes them, or just characters; then some do not pair up.
    starts_quoted = (cell for _, text in head for cell in text.split("\t") if cell.startswith('"'))
    quoting = format_ == "csv" or all(_QUOTED.fullmatch(cell) for cell in starts_quoted)
    records = _csv_records(lines, separator, csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE, path)
    names = [name.strip() for name in next(records, (0, []))[1]]

    def rows() -> Iterator[Row]:
        for number, cells in records:
            if len(cells) != len(names):
                counts = f"{count_noun(len(cells), 'cell')} in {shown(cells)} but {count_noun(len(names), 'column')}"
                raise UserError(f"{path}:{number}: {counts}: put cells that hold {separator!r} or a line end in quotes")
            yield number, dict(zip(names, cells, strict=True))

    return Table(format_, names, rows(), separator)


def _csv_records(lines: Iterator[Line], separator: str, quoting: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line where a record begins, and its cells; blank lines hold no record."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    texts = (text + "\n" for _, text in lines)
    reader = csv.reader(texts, delimiter=separator, quoting=quoting, strict=True)  # type: ignore[arg-type]
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            remedy = 'put a cell that holds a quote or a line end in quotes, and write a quote in it twice ("")'
            raise UserError(f"{path}:{start}: broken row ({error}): {remedy}") from None
        if cells is None:
            return
        if cells:
            yield start, cells


# --- JSON ---


def _json(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        near = shown(text[max(0, error.pos - 20) : error.pos + 20])
        trouble, line = f"{error.msg} at column {error.colno}, near {near}", line + error.lineno - 1
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        trouble = f"{error}, in {shown(text)}"
    raise UserError(f"{path}:{line}: not JSON ({trouble}): mend it (a .jsonl file has one object a line)")


def jsonl_table(lines: Iterator[Line], path: Path) -> Table:
    filled = ((number, text) for number, text in lines if text.strip(BLANK))
    return Table("jsonl", [], (_object(_json(text, path, number), path, number) for number, text in filled))


def _object(value: object, path: Path, number: int) -> Row:
    if not isinstance(value, dict):
        remedy = 'write objects, {"tokens": [...], "ner_tags": [...]}'
        raise UserError(f"{path}:{number}: {shown(value)} ({type(value).__name__}) is not an object: {remedy}")
    return number, value


def is_json_lines(head: list[Line]) -> bool:
    """Whether a `.json` file is JSON Lines: a whole object in its first line, and more after it."""
    filled = [text for _, text in head if text.strip(BLANK)]
    if len(filled) < 2 or filled[0].strip(BLANK)[0] != "{":
        return False
    try:
        json.loads(filled[0])
    except (ValueError, RecursionError):
        return False
    return True


def json_table(lines: Iterator[Line], choice: Choice, path: Path) -> Table:
    text = "\n".join(text for _, text in lines)
    if not text.strip(BLANK + "\n"):
        raise empty_file_error(path)
    rows = _rows(_json(text, path, 1), choice, path)
    return Table("json", [], (_object(row, path, number) for number, row in enumerate(rows, 1)))


def _rows(value: object, choice: Choice, path: Path) -> list[Any]:
    """Rows of a whole JSON file: an array, {"data": array}, {"any one name": array}, columns, or a single row."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{path}:1: {shown(value)} is not an array of rows: write [{{...}}, {{...}}] or JSON Lines")
    text = choice.text if choice.text in value else known_name(list(value), TEXT_NAMES)
    column = None if text is None else value[text]
    if not isinstance(column, list) or any(isinstance(cell, dict) for cell in column):
        filled = [name for name, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
        name = "data" if isinstance(value.get("data"), list) else filled[0] if len(filled) == 1 else None
        if name is not None:
            return list(value[name])
        if text is None or filled:
            raise UserError(f"{path}:1: which of {shown(list(value))} holds the rows? Name it 'data'")
    if not isinstance(column, list) or not any(isinstance(cell, list) for cell in column):
        return [value]
    columns = {name: cells for name, cells in value.items() if isinstance(cells, list)}
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{path}:1: columns of unequal lengths, {shown(lengths)}: give them as many rows each")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


# --- Parquet ---


def parquet_table(stream: IO[bytes], choice: Choice, path: Path) -> Table:
    """Read by record batches, and of the columns those alone that are used."""
    pa, pq = import_for("pyarrow", path), import_for("pyarrow.parquet", path)

    def failed(error: Exception, row: int) -> UserError:
        text = " ".join(str(error).split())[:200]
        return UserError(
            f"{path}:{row}: not readable as Parquet ({text}): the file is damaged or cut short: copy it again"
        )

    errors = (pa.ArrowException, *BROKEN, ArithmeticError, LookupError)  # the last two: dates that Python cannot hold
    try:
        file = pq.ParquetFile(stream)
        names = list(file.schema_arrow.names)
        metadata = file.schema_arrow.metadata or {}
    except errors as error:
        raise failed(error, 1) from None
    chosen = choose_columns(names, choice, path)
    columns = (chosen.text_column, chosen.tag_column, chosen.sentence_column, chosen.document_column)

    def rows() -> Iterator[Row]:
        number = 0
        batches = file.iter_batches(batch_size=256, columns=[name for name in columns if name is not None])
        while True:
            try:
                batch = next(batches, None)
                cells = None if batch is None else batch.to_pylist()
            except errors as error:
                raise failed(error, number + 1) from None
            if cells is None:
                return
            for row in cells:
                number += 1
                yield number, row

    return Table("parquet", names, rows(), tag_names=_class_names(metadata.get(b"huggingface", b"")))


def _class_names(metadata: bytes) -> dict[str, tuple[str, ...]]:
    """Names of ClassLabel columns, from what the `datasets` library keeps in a schema's metadata; {} without it."""
    try:
        features = json.loads(metadata)["info"]["features"]
        return {
            column: tuple(str(name) for name in feature["feature"]["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("feature"), dict) and "names" in feature["feature"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
