"""The formats of tables except CSV (``delimited``): JSON and JSON Lines, Parquet, Arrow, each as one ``Table`` of rows.

Here is what sets the formats apart; what a row means is left to ``tables``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from determined_ner.data.readers.first_bytes import look_ahead
from determined_ner.data.readers.lines import BLANK, BROKEN, Line, import_for, unpacked_limit
from determined_ner.data.readers.messages import empty_file_error, shown
from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentences import DOCUMENT_NAMES, TEXT_NAMES, Choice, known_name
from determined_ner.data.readers.spans.rows import (
    MARKS,
    NESTED_TEXT_KEYS,
    PRINTED_SPANS,
    TEXT_KEYS,
    as_row,
    find_form,
)
from determined_ner.data.readers.tables import Table, choose_columns
from determined_ner.errors import UserError

MAX_JSON = 1 << 28
"""Characters of a JSON file that is read whole; as objects they may take ten times the memory."""


# -- JSON ------------------------------------------------------------------------------------------------------


def jsonl_table(lines: Iterator[Line], path: Path) -> Table:
    """The table of a JSON Lines file: an object a line.

    Raises:
        UserError: while rows are read, at a line that is no object.
    """
    filled = ((number, text) for number, text in lines if text.strip(BLANK))
    return Table("jsonl", [], ((number, json_object(text, path, number)) for number, text in filled))


def json_object(text: str, path: Path, line: int) -> dict[str, Any]:
    """The object of one line of JSON Lines.

    Raises:
        UserError: it is no JSON, no object, or an object in it has a key twice.
    """
    return _checked_object(_parse_json(text, path, line), path, line)


def is_json_lines(head: list[Line]) -> bool:
    """Whether a ``.json`` file is JSON Lines: a whole object in its first line, and more after it."""
    filled = [text for _, text in head if text.strip(BLANK)]
    if len(filled) < 2 or filled[0].strip(BLANK)[0] != "{":
        return False
    try:
        json.loads(filled[0])
    except (ValueError, RecursionError):
        return False
    return True


def json_table(lines: Iterator[Line], choice: Choice, path: Path) -> Table:
    """The table of a whole JSON file, which is held in memory.

    Raises:
        UserError: it is empty, too large, no JSON, or leaves open where its rows are; while rows are read, at one that
            is no object.
    """
    texts, size = [], 0
    for number, text in lines:
        texts.append(text)
        size += len(text) + 1
        if size > MAX_JSON:
            raise UserError(
                f"{path}:{number}",
                f"over {MAX_JSON:,} characters of JSON, which has to be read whole",
                "write JSON Lines, one object a line, in a .jsonl file",
            )
    text = "\n".join(texts)
    if not text.strip(BLANK + "\n"):
        raise empty_file_error(path)
    rows = _json_rows(_parse_json(text, path, 1), choice, path)
    return Table("json", [], ((number, _checked_object(row, path, number)) for number, row in enumerate(rows, 1)))


def _parse_json(text: str, path: Path, line: int) -> Any:
    """The value of JSON text that begins in ``line``."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except _BadValueError as error:
        raise UserError(f"{path}:{line}", *error.args) from None
    except json.JSONDecodeError as error:
        near = shown(text[max(0, error.pos - 20) : error.pos + 20])
        trouble, line = f"{error.msg} at column {error.colno}, near {near}", line + error.lineno - 1
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        trouble = f"{error}, in {shown(text)}"
    raise UserError(f"{path}:{line}", f"not JSON ({trouble})", "fix it (a .jsonl file has one object a line)")


class _BadValueError(Exception):
    """A problem and its remedy, found where the place is not known."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each of whose keys stands once: Python would take the last of equal ones."""
    value = dict(pairs)
    if len(value) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _BadValueError(f"key {shown(twice)} stands twice in an object", "remove or rename one of them")
    return value


def _refuse_constant(name: str) -> None:
    """NaN, Infinity and -Infinity, which Python would read."""
    raise _BadValueError(f"{name} is no JSON", "write a number or null, or leave it out")


def _checked_object(value: object, path: Path, number: int) -> dict[str, Any]:
    value = as_row(value)
    if not isinstance(value, dict):
        raise UserError(
            f"{path}:{number}",
            f"{shown(value)} ({type(value).__name__}) is not an object",
            'write objects, {"tokens": [...], "ner_tags": [...]}',
        )
    return value


def _json_rows(value: object, choice: Choice, path: Path) -> list[Any]:
    """Rows of a whole JSON file: an array, {"data": array}, {"any one name": array}, columns, or a single row."""
    where = f"{path}:1"
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(where, f"{shown(value)} is not an array of rows", "write [{...}, {...}] or JSON Lines")
    if find_form([(1, value)], choice, path) is not None:
        return [value]
    text = choice.text_column if choice.text_column in value else known_name(list(value), TEXT_NAMES)
    column = None if text is None else value[text]
    if not isinstance(column, list) or any(isinstance(cell, dict) for cell in column):
        filled = [
            name
            for name, rows in value.items()
            if isinstance(rows, list) and rows and isinstance(as_row(rows[0]), dict)
        ]
        name = "data" if isinstance(value.get("data"), list) else filled[0] if len(filled) == 1 else None
        if name is not None:
            return list(value[name])
        if text is None or filled:
            raise UserError(where, f"it is unclear which of {shown(list(value))} holds the rows", "name it 'data'")
    if not isinstance(column, list) or not any(isinstance(cell, list) for cell in column):
        return [value]
    columns = {name: cells for name, cells in value.items() if isinstance(cells, list)}
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(where, f"columns of unequal lengths, {shown(lengths)}", "give each of them as many rows")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


# -- Parquet ---------------------------------------------------------------------------------------------------


def parquet_table(stream: IO[bytes], choice: Choice, path: Path) -> Table:
    """The table of a Parquet file, read by record batches; of its columns, those alone that are used.

    Raises:
        UserError: the file is damaged or huge inside, or does not have the columns; while rows are read, where it is
            damaged.
    """
    pa, pq = import_for("pyarrow", path), import_for("pyarrow.parquet", path)
    errors, damaged = _errors(pa), partial(_damaged, "Parquet", path)
    try:
        file = pq.ParquetFile(stream)
        names = list(file.schema_arrow.names)
        metadata = file.schema_arrow.metadata or {}
    except errors as error:
        raise damaged(error, 1) from None
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    if size > (most := unpacked_limit(path)):
        raise UserError(path, f"unpacks to {size:,} bytes, more than {most:,}: no text does", "unpack it and look")
    used = _used_columns(file.schema_arrow, choice, path)

    def rows() -> Iterator[Row]:
        number = 0
        batches = file.iter_batches(batch_size=256, columns=used)
        while True:
            try:
                batch = next(batches, None)
                cells = None if batch is None else batch.to_pylist()
            except errors as error:
                raise damaged(error, number + 1) from None
            if cells is None:
                return
            for row in cells:
                number += 1
                yield number, row

    return Table("parquet", names, rows(), tag_names=_class_names(metadata.get(b"huggingface", b"")))


# -- Arrow -----------------------------------------------------------------------------------------------------


def arrow_table(stream: IO[bytes], choice: Choice, path: Path) -> Table:
    """The table of an Arrow file, a Feather file or an Arrow stream, read by record batches; of its columns, those
    alone that are used.

    Raises:
        UserError: as `parquet_table`; a file that is huge inside, while rows are read.
    """
    pa = import_for("pyarrow", path)
    errors, damaged = _errors(pa), partial(_damaged, "Arrow", path)
    try:
        if look_ahead(stream).startswith(b"ARROW1"):
            file = pa.ipc.open_file(stream)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            file = pa.ipc.open_stream(stream)
            batches = iter(file)
        names = list(file.schema.names)
        metadata = file.schema.metadata or {}
    except errors as error:
        raise damaged(error, 1) from None
    used = _used_columns(file.schema, choice, path)

    def rows() -> Iterator[Row]:
        number = size = 0
        while True:
            try:
                batch = next(batches, None)
            except errors as error:
                raise damaged(error, number + 1) from None
            if batch is None:
                return
            size += batch.nbytes
            if size > (most := unpacked_limit(path)):
                raise UserError(path, f"unpacks to over {most:,} bytes: no text does", "unpack it and look")
            for begin in range(0, batch.num_rows, 256):
                try:
                    cells = batch.select(used).slice(begin, 256).to_pylist()
                except errors as error:
                    raise damaged(error, number + 1) from None
                for row in cells:
                    number += 1
                    yield number, row

    return Table("arrow", names, rows(), tag_names=_class_names(metadata.get(b"huggingface", b"")))


def _errors(pa: Any) -> tuple[type[Exception], ...]:
    """What pyarrow raises when it reads a damaged file."""
    return pa.ArrowException, *BROKEN, ArithmeticError, LookupError  # the last two: dates that Python cannot hold


def _damaged(format_: str, path: Path, error: Exception, row: int) -> UserError:
    text = " ".join(str(error).split())[:200]
    problem = f"not readable as {format_} ({text}): the file is damaged or cut short"
    return UserError(f"{path}:{row}", problem, "copy it again")


def _used_columns(schema: Any, choice: Choice, path: Path) -> list[str]:
    """The columns of words and tags, of sentences and documents, and what tells a tool.

    Where some may hold spans, these and texts, too.
    """
    names = list(schema.names)
    spans = [field.name for field in schema if _may_hold_spans(field)]
    used: set[str | None] = {*spans, *MARKS.intersection(names)}
    if spans:
        used.update(name for name in names if known_name([name], (*TEXT_KEYS, *NESTED_TEXT_KEYS)))
    words = known_name(names, TEXT_NAMES) if choice.text_column is None else choice.text_column
    if spans and words not in names:
        # No words and tags: the text is told by what is in the rows. Where it is not, `read_table` refuses the names.
        used.update(field.name for field in schema if _is_text(field.type))
        used.add(choice.document_column or known_name(names, DOCUMENT_NAMES))
    else:
        chosen = choose_columns(names, replace(choice, need_tags=choice.need_tags and not spans), path)
        used |= {chosen.text_column, chosen.tag_column, chosen.sentence_column, chosen.document_column}
    return list(dict.fromkeys(name for name in names if name in used))


def _may_hold_spans(field: Any) -> bool:
    """Whether a column has lists of objects or of lists, or objects of lists, as the datasets library may keep them."""
    import pyarrow.types as kinds

    if kinds.is_struct(field.type):
        return any(_is_list(inner.type) for inner in field.type)
    return field.name == PRINTED_SPANS or (
        _is_list(field.type) and (kinds.is_struct(field.type.value_type) or _is_list(field.type.value_type))
    )


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _class_names(metadata: bytes) -> dict[str, tuple[str, ...]]:
    """Names of ClassLabel columns, from what the datasets library keeps in a schema's metadata; {} without it."""
    try:
        features = json.loads(metadata)["info"]["features"]
        return {
            column: tuple(str(name) for name in feature["feature"]["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("feature"), dict) and "names" in feature["feature"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
