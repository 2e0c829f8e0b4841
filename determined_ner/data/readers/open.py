"""Any labelled text file as a stream of sentences, in bounded memory, or one clear ``UserError``.

    for sentence in read_file("train.conll.gz"): ...

Parquet and Arrow (Feather) are known by their first bytes. Else the format follows from the name: ``.csv``, ``.tsv``,
``.jsonl``/``.ndjson``, ``.json``, each also with ``.gz``, ``.xz``, ``.bz2`` or ``.zst`` behind it. Every other name
promises CoNLL columns, and so does a ``.tsv`` without a header or with blank lines between sentences. Tables have one
row a sentence, its words and tags in lists, or one row a token and a column that says which tokens make a sentence, or
blank rows between sentences.

A tag is handed on as the file has it, less white space around it; a whole number becomes its decimal string, or its
name where the file says it. Everything except ``.json`` arrays and objects, which have a limit, is read piece by piece.
Documents are marked by -DOCSTART-, ``# newdoc`` or a document column; a file without any of these is one document, 0.

The way of a file: ``lines`` (bytes to checked lines), then either ``evidence``, ``conll_columns`` and ``conll``, or
one of the ``formats`` or ``delimited`` (lines to rows), ``tables`` (which column is which, which rows make a sentence)
and ``rows`` (cells to words and tags).
"""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from determined_ner.data.readers.conll import read_conll
from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.delimited import columns_without_names, csv_table, is_table
from determined_ner.data.readers.first_bytes import columnar_format, look_ahead, refuse_other_formats
from determined_ner.data.readers.formats import (
    MAX_JSON,
    arrow_table,
    is_json_lines,
    json_table,
    jsonl_table,
    parquet_table,
)
from determined_ner.data.readers.lines import BROKEN, MAX_LINE, OPENERS, Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.messages import empty_file_error, shown
from determined_ner.data.readers.sentences import DETECTED, Choice, Layout, Sentence
from determined_ner.data.readers.tables import read_table
from determined_ner.errors import UserError

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
"""What a suffix promises."""


def read_file(path: str | Path, choice: Choice = DETECTED) -> Iterator[Sentence]:
    """Yield the sentences of one file, in its order; at least one.

    Columns are detected unless named (CoNLL: named, or numbered "1", "2", … or "-1"). Detection takes the columns of
    ``like`` first: in tables those of the same names, in CoNLL those of the same names, or numbers in a file without a
    header, where both have as many columns. Next it prefers a column named ``{task}_tags``. A CoNLL file that leaves
    open which of two columns has the tags, or the words, is refused.

    A string where a list of words (or tags) could stand is split at white space.

    Raises:
        UserError: at the first thing that cannot be read, with its line.
    """
    sentence = None
    with _opened(Path(path), choice) as (_, sentences):
        for sentence in sentences:
            yield sentence
    if sentence is None:
        raise empty_file_error(Path(path))


def describe(path: str | Path, choice: Choice = DETECTED) -> Layout:
    """How ``read_file`` reads a file. Columns of CoNLL and quotes of CSV are told from all of it, in one pass.

    Raises:
        UserError: it cannot be read, or leaves open which column is which.
    """
    with _opened(Path(path), choice) as (layout, _):
        return layout


def find_files(pattern: str) -> list[Path]:
    """The files that a path or a glob (``data/train-*.jsonl.gz``, ``**`` for any depth) names, sorted by name.

    As in a shell, a wildcard does not match a leading dot.

    Raises:
        UserError: there is none.
    """
    if "\0" in pattern:
        raise UserError(shown(pattern), "no file name holds a NUL", "write another")
    path = Path(os.path.expanduser(pattern))  # noqa: PTH111 (Path.expanduser raises where there is no home)
    if "://" in pattern and not _exists(path):
        raise UserError(pattern, "is a URL, and files of this machine alone are read here", "download it first")
    if glob.has_magic(pattern) and not _exists(path):
        found = (Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes dotfiles)
        files = sorted(file for file in found if file.is_file())
        if not files:
            raise UserError(pattern, "no file matches this pattern", "correct it, or make the files first")
        return files
    _require_file(path)
    return [path]


def format_of(path: Path) -> tuple[str, str]:
    """What a file's name promises: a value of ``FORMATS`` or conll, and the suffix of its packing ("": none)."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in OPENERS else ""
    return FORMATS.get(suffixes[-1] if suffixes else "", "conll"), packing


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a directory that may not be entered
        return False


def _require_file(path: Path) -> None:
    """Refuse all but a regular file: a pipe or a device might never end."""
    if not _exists(path):
        near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*")], 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else f"relative paths are taken from {Path.cwd()}"
        raise UserError(path, "no such file", hint)
    if path.is_dir():
        raise UserError(path, "is a directory", f"name a file, or several by a pattern such as {path}/*.jsonl")
    if not path.is_file():
        raise UserError(path, "is a pipe or a device, not a regular file", "write its content to a file first")


@contextmanager
def _opened(path: Path, choice: Choice) -> Iterator[tuple[Layout, Iterator[Sentence]]]:
    """A file's layout and its sentences, which can be read while the context lasts."""
    _require_file(path)
    format_, packing = format_of(path)
    if format_ == "parquet" and packing:
        raise UserError(path, f"Parquet inside {packing}", "unpack it (Parquet is compressed by itself)")
    with open_unpacked(path, packing) as stream:
        columnar = _columnar_format(stream, path) if not packing else None
        if columnar == "arrow":
            yield read_table(arrow_table(stream, choice, path), choice, path)
        elif columnar or format_ == "parquet":
            yield read_table(parquet_table(stream, choice, path), choice, path)
        else:
            limit = MAX_JSON if format_ == "json" else MAX_LINE  # a `.json` file is held whole, often in one line
            yield _read(read_lines(stream, path, packing, limit), format_, packing, choice, path)


def _columnar_format(stream: IO[bytes], path: Path) -> str | None:
    """parquet or arrow, where the content is one of them, whatever its name.

    Raises:
        UserError: it cannot be read, or is named like Parquet and of another known format.
    """
    try:
        start = look_ahead(stream)
    except BROKEN as error:
        raise UserError(path, f"cannot be read ({error})", "copy it again") from None
    found = columnar_format(start)
    if found is None and format_of(path)[0] == "parquet":
        refuse_other_formats(start, path)
    return found


def _read(
    lines: Iterator[Line], format_: str, packing: str, choice: Choice, path: Path
) -> tuple[Layout, Iterator[Sentence]]:
    """The layout and the sentences of lines whose name promises ``format_``; what they hold may say better."""
    head, lines = peek(lines)
    if format_ == "conll" or (format_ == "tsv" and not is_table(head, choice)):
        numbers = columns_without_names(head)
        if numbers is None:
            columns = find_columns(head, choice, path, packing)
            return columns.layout(), read_conll(lines, columns, path)
        text, tag = map(str, numbers)
        table = csv_table(head, lines, "tsv", path, packing, ["1", "2"])
        like = replace(choice, text_column=choice.text_column or text, label_column=choice.label_column or tag)
        return read_table(table, like, path)
    if format_ in ("csv", "tsv"):
        table = csv_table(head, lines, format_, path, packing)
    elif format_ == "jsonl" or is_json_lines(head):
        table = jsonl_table(lines, path)
    else:
        table = json_table(lines, choice, path)
    return read_table(table, choice, path)
