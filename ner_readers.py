"""Any labelled text file as a stream of `Sentence`s, in bounded memory, or one clear UserError.

    for sentence in read_file("train.conll.gz"): ...

The format follows from the name: `.csv`, `.tsv`, `.jsonl`/`.ndjson`, `.json`, `.parquet`, each but Parquet also with
`.gz`, `.xz`, `.bz2` or `.zst` behind it. Every other name promises CoNLL columns (`ner_conll`), and so does a `.tsv`
without a header or with blank lines between sentences. Tables have one row a sentence, its words and tags in lists, or
one row a token and a column that tells the sentences apart.

A tag is handed on as the file has it, less white space around it; a whole number becomes its decimal string, or its
name where the file tells it. All but `.json` arrays and objects is read piece by piece. Documents are told by
-DOCSTART-, `# newdoc` or a document column; a file without any of these is one document, 0.
"""

import ast
import bz2
import csv
import difflib
import glob
import gzip
import importlib
import io
import itertools
import json
import lzma
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ner_conll import (
    BLANK,
    BROKEN,
    DOCUMENT_NAMES,
    MAX_LINE,
    TAG_NAMES,
    TEXT_NAMES,
    Choice,
    DocumentCounter,
    Layout,
    Line,
    Sentence,
    counted,
    find_columns,
    is_empty,
    known_name,
    peek,
    read_conll,
    read_lines,
    shown,
)
from ner_errors import UserError

__all__ = ["Layout", "Sentence", "describe", "find_files", "read_file"]

Row = tuple[int, dict[str, Any]]  # 1-based line or row number, cells by column name

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
SENTENCE_NAMES = ("sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence")  # best first
SAMPLE_ROWS = 100  # rows that detection looks at

_WORDS = re.compile(f"[^{BLANK}\n]+")
_LIST_ITEM = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d+\.?\d*)(\s*,\s*|\s+|\Z)""", re.DOTALL)
_LIST_IN_PRINT = re.compile(r"""\s*(?:(?:\w+\()?\[\s*['"]|\[.*\]\s*\Z)""", re.DOTALL)  # or a broken one: ['EU', 'rej
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_file(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    document_column: str | None = None,
    need_tags: bool = True,
) -> Iterator[Sentence]:
    """Yield the sentences of one file, in its order; at least one.

    Columns are detected unless named (CoNLL: named, or numbered "1", "2", … or "-1"). With `need_tags` false a file
    that has no tag column, or not the `label_column` asked for, yields sentences whose tags are None. A string where a
    list of words (or tags) could stand is split at white space.

    Raises UserError, `file:line: what is wrong and what to do`, at the first thing that cannot be read.
    """
    sentence = None
    with _opened(Path(path), Choice(text_column, label_column, document_column, need_tags)) as (_, sentences):
        for sentence in sentences:
            yield sentence
    if sentence is None:
        raise is_empty(Path(path))


def describe(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    document_column: str | None = None,
    need_tags: bool = True,
) -> Layout:
    """Tell how `read_file` reads a file, from its head alone (`.json` arrays and objects are read whole)."""
    with _opened(Path(path), Choice(text_column, label_column, document_column, need_tags)) as (layout, _):
        return layout


def find_files(pattern: str) -> list[Path]:
    """Files that a path or a glob (`data/train-*.jsonl.gz`, `**` for any depth) names, sorted by name.

    Raises UserError where there is none. As in a shell, a wildcard does not match a leading dot.
    """
    if "\0" in pattern:
        raise UserError(f"{shown(pattern)}: no file name holds a NUL: write another")
    path = Path(os.path.expanduser(pattern))  # noqa: PTH111 (Path.expanduser raises where there is no home)
    if glob.has_magic(pattern) and not _exists(path):
        found = (Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes dotfiles)
        files = sorted(file for file in found if file.is_file())
        if not files:
            raise UserError(f"{pattern}: no file matches this pattern: look for a slip, or for files not yet made")
        return files
    return [_checked(path)]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _checked(path: Path) -> Path:
    """`path`, which is a regular file (a pipe or a device might never end)."""
    if _exists(path) and path.is_dir():
        raise UserError(f"{path}: is a directory: name a file, or several by a pattern such as {path}/*.jsonl")
    if not _exists(path):
        near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*")], 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else f"paths are taken from {Path.cwd()}"
        raise UserError(f"{path}: no such file: {hint}")
    if not path.is_file():
        raise UserError(f"{path}: is a pipe or a device, not a regular file: write its content to a file first")
    return path


@contextmanager
def _opened(path: Path, choice: Choice) -> Iterator[tuple[Layout, Iterator[Sentence]]]:
    """A file's layout and its sentences, which can be read while the context lasts."""
    suffixes = [suffix.lower() for suffix in _checked(path).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else ""
    format_ = FORMATS.get(suffixes[-1] if suffixes else "", "conll")
    if format_ == "parquet" and packing:
        raise UserError(f"{path}: Parquet inside {packing}: unpack it (Parquet is compressed by itself)")
    with _open(path, packing) as stream:
        if format_ == "parquet":
            yield _read_table(_parquet_table(stream, choice, path), choice, path)
            return
        # A `.json` file is held whole, so that its one line may be as long as it likes.
        head, lines = peek(read_lines(stream, path, -1 if format_ == "json" else MAX_LINE))
        if format_ == "tsv" and not _is_table(head, choice):
            format_ = "conll"
        if format_ == "conll":
            columns = find_columns(head, choice, path)
            yield columns.layout(), read_conll(lines, columns, path)
        elif format_ == "json" and not _is_json_lines(head):
            yield _read_table(_json_table(lines, choice, path), choice, path)
        elif format_ in ("json", "jsonl"):
            yield _read_table(_jsonl_table(lines, path), choice, path)
        else:
            yield _read_table(_csv_table(head, lines, format_, path), choice, path)


def _imported(module: str, path: Path) -> Any:
    """A module that few files need, and that takes a while to import."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{path}: needs {module} ({error}): pip install pyarrow") from None


def _open_zstd(path: Path) -> IO[bytes]:
    pa = _imported("pyarrow", path)
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


_OPENERS: dict[str, Callable[[Path], Any]] = {  # by suffix
    "": lambda path: path.open("rb"),
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}


def _open(path: Path, packing: str) -> IO[bytes]:
    """The bytes inside a file whose name ends in `packing`, a key of _OPENERS; raises UserError."""
    try:
        stream: IO[bytes] = _OPENERS[packing](path)
    except BROKEN as error:
        raise UserError(f"{path}: cannot be opened ({error}): check that you may read it") from None
    return stream


# --- tables: what every format but CoNLL comes down to ---


@dataclass(frozen=True)
class _Table:
    format: str
    names: list[str]  # of the columns; [] where rows bring their own
    rows: Iterator[Row]
    separator: str | None = None
    tag_names: dict[str, tuple[str, ...]] | None = None  # by column: what its integers mean


def _choose_columns(names: list[str], choice: Choice, path: Path) -> Layout:
    """Choose columns by name. The sentence column is a guess as yet: its rows may be whole sentences."""
    free = list(names)

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

    text = find("text_column", choice.text, TEXT_NAMES, True)
    tags = find("label_column", choice.label, TAG_NAMES, choice.need_tags)
    document = find("document_column", choice.document, DOCUMENT_NAMES, choice.document is not None)
    sentence = known_name(free, SENTENCE_NAMES)
    return Layout("", text or "", tags, None, sentence, document)


def _read_table(table: _Table, choice: Choice, path: Path) -> tuple[Layout, Iterator[Sentence]]:
    """The layout of a table, by its names and first rows, and its sentences."""
    sample = list(itertools.islice(table.rows, SAMPLE_ROWS))
    if not sample:
        raise is_empty(path)
    names = table.names or list(dict.fromkeys(name for _, row in sample for name in row))
    layout = replace(_choose_columns(names, choice, path), format=table.format, separator=table.separator)
    if not _one_row_a_token([row for _, row in sample], layout):
        layout = replace(layout, sentence_column=None)
        _refuse_single_words(sample, layout, path)
    if table.tag_names and layout.tag_column in table.tag_names:
        layout = replace(layout, tag_names=table.tag_names[layout.tag_column])
    rows: Iterator[Row] = itertools.chain(sample, table.rows)
    if layout.tag_column is None:
        rows = _without_tags(rows, choice.label, layout, path)
    return layout, (_from_tokens if layout.sentence_column else _from_sentences)(rows, layout, path)


def _one_row_a_token(sample: list[dict[str, Any]], layout: Layout) -> bool:
    """Whether sentences are spread over rows: their ids repeat or are left out, and no row has several tags."""
    if layout.sentence_column is None:
        return False
    ids = [row.get(layout.sentence_column) for row in sample]
    spread = any(ident in ("", None, before) for before, ident in itertools.pairwise(ids))
    if layout.tag_column is None:
        return spread
    if any(_holds_several(row.get(layout.tag_column)) for row in sample):
        return False
    return spread or not any(_holds_several(row.get(layout.text_column)) for row in sample)


def _holds_several(cell: object) -> bool:
    if isinstance(cell, str):
        return bool(_LIST_IN_PRINT.match(cell)) or len(_WORDS.findall(cell)) > 1
    return isinstance(cell, list)


def _refuse_single_words(sample: list[Row], layout: Layout, path: Path) -> None:
    """A token a row, and nothing that tells the sentences apart: each word would become a sentence of its own."""
    cells = [row.get(layout.text_column) for _, row in sample]
    tokens = layout.tag_column is not None or layout.text_column.casefold() in ("word", "token")
    if len(cells) > 1 and tokens and all(isinstance(cell, str) and not _holds_several(cell) for cell in cells):
        raise UserError(
            f"{path}:{sample[0][0]}: {shown(cells[0])} and all rows after it hold one word, and no column tells which"
            " rows make a sentence: add a column sentence_id"
        )


def _without_tags(rows: Iterator[Row], label: str | None, layout: Layout, path: Path) -> Iterator[Row]:
    """Pass on the rows of a file whose head had no tag column; one that has it after all would lose its tags."""
    used = (layout.text_column, layout.sentence_column, layout.document_column)
    for number, row in rows:
        late = known_name([name for name in row if name not in used], TAG_NAMES) if label is None else label
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
                counts = f"{counted(len(words), 'word')} but {counted(len(tags), 'tag')}"
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


# --- CSV and TSV ---


def _is_table(head: list[Line], choice: Choice) -> bool:
    """Whether a `.tsv` file is a table rather than CoNLL columns, which have blank lines or a token a row."""
    filled = [text for _, text in head if text.strip(BLANK)]
    names = [name.strip() for name in filled[0].split("\t")] if filled else []
    text_column = choice.text if choice.text in names else known_name(names, TEXT_NAMES)
    last = max((i for i, (_, text) in enumerate(head) if text.strip(BLANK)), default=-1)
    if text_column is None or last + 1 > len(filled):  # a blank line between others
        return False
    tag_column = choice.label if choice.label in names else known_name(names, TAG_NAMES)
    if known_name([name for name in names if name not in (text_column, tag_column)], SENTENCE_NAMES):
        return True
    at = names.index(tag_column or text_column)
    rows = (text.split("\t") for text in filled[1:])
    return any(len(cells) > at and _holds_several(cells[at].strip('"')) for cells in rows)


def _csv_table(head: list[Line], lines: Iterator[Line], format_: str, path: Path) -> _Table:
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
                counts = f"{counted(len(cells), 'cell')} in {shown(cells)} but {counted(len(names), 'column')}"
                raise UserError(f"{path}:{number}: {counts}: put cells that hold {separator!r} or a line end in quotes")
            yield number, dict(zip(names, cells, strict=True))

    return _Table(format_, names, rows(), separator)


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


def _jsonl_table(lines: Iterator[Line], path: Path) -> _Table:
    filled = ((number, text) for number, text in lines if text.strip(BLANK))
    return _Table("jsonl", [], (_object(_json(text, path, number), path, number) for number, text in filled))


def _object(value: object, path: Path, number: int) -> Row:
    if not isinstance(value, dict):
        remedy = 'write objects, {"tokens": [...], "ner_tags": [...]}'
        raise UserError(f"{path}:{number}: {shown(value)} ({type(value).__name__}) is not an object: {remedy}")
    return number, value


def _is_json_lines(head: list[Line]) -> bool:
    """Whether a `.json` file is JSON Lines: a whole object in its first line, and more after it."""
    filled = [text for _, text in head if text.strip(BLANK)]
    if len(filled) < 2 or filled[0].strip(BLANK)[0] != "{":
        return False
    try:
        json.loads(filled[0])
    except (ValueError, RecursionError):
        return False
    return True


def _json_table(lines: Iterator[Line], choice: Choice, path: Path) -> _Table:
    text = "\n".join(text for _, text in lines)
    if not text.strip(BLANK + "\n"):
        raise is_empty(path)
    rows = _rows(_json(text, path, 1), choice, path)
    return _Table("json", [], (_object(row, path, number) for number, row in enumerate(rows, 1)))


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


def _parquet_table(stream: IO[bytes], choice: Choice, path: Path) -> _Table:
    """Read by record batches, and of the columns those alone that are used."""
    pa, pq = _imported("pyarrow", path), _imported("pyarrow.parquet", path)

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
    chosen = _choose_columns(names, choice, path)
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

    return _Table("parquet", names, rows(), tag_names=_class_names(metadata.get(b"huggingface", b"")))


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
