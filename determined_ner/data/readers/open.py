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

What other annotation tools and tasks write is known by its first lines, or by the file beside it (``pairs``): brat,
WebAnno TSV 3, PubTator (``spans``), CoNLL-U with entities in its last column, CoNLL-2012, a sentence a line.

The way of a file: ``lines`` (bytes to checked lines), then either ``evidence``, ``conll_columns`` and ``conll``, or
one of the ``formats`` or ``delimited`` (lines to rows), ``tables`` (which column is which, which rows make a sentence)
and ``rows`` (cells to words and tags).
"""

from __future__ import annotations

import difflib
import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from determined_ner.data.readers.conll import read_conll
from determined_ner.data.readers.conll2012 import CONLL2012, is_conll2012, read_conll2012
from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.conllu import find_entities, read_conllu
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
from determined_ner.data.readers.label_names import with_names
from determined_ner.data.readers.lines import BROKEN, MAX_LINE, OPENERS, Line, open_unpacked, peek, read_lines
from determined_ner.data.readers.messages import empty_file_error, shown
from determined_ner.data.readers.rows import Row
from determined_ner.data.readers.sentence_lines import (
    PARALLEL,
    find_joined,
    is_parallel,
    read_joined,
    read_parallel,
)
from determined_ner.data.readers.sentences import DETECTED, Choice, Layout, Sentence
from determined_ner.data.readers.spans.brat import BRAT, is_brat, read_brat
from determined_ner.data.readers.spans.docbin import is_docbin, open_docbin
from determined_ner.data.readers.spans.pubtator import PUBTATOR, is_pubtator, read_pubtator
from determined_ner.data.readers.spans.rows import find_form, read_rows
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.data.readers.spans.webanno import find_layer, is_webanno, read_webanno
from determined_ner.data.readers.spans.words import check_text, to_sentences
from determined_ner.data.readers.tables import SAMPLE_ROWS, Table, read_table
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
    path, sentence = Path(path), None
    with _opened(path, choice) as content:
        if content.texts is not None:
            texts = (replace(text, spans=()) for text in content.texts) if choice.text_only else content.texts
            sentences: Iterable[Sentence] = to_sentences(texts, choice, path)
        elif choice.label_names:
            sentences = with_names(content.sentences, choice.label_names, path)
        else:
            sentences = content.sentences
        for sentence in sentences:
            yield sentence
    if sentence is None:
        raise empty_file_error(path)


def read_annotated(path: str | Path, choice: Choice = DETECTED) -> Iterator[AnnotatedText]:
    """Yield the texts of a file whose layout is ``by_spans``, with the spans as they stand in it.

    Raises:
        UserError: as `read_file`, except for what words have to do with.
    """
    path = Path(path)
    with _opened(path, choice) as content:
        assert content.texts is not None, "words and tags: read_file"
        for annotated in content.texts:
            check_text(annotated, f"{path}:{annotated.line}")
            yield annotated


def describe(path: str | Path, choice: Choice = DETECTED) -> Layout:
    """How ``read_file`` reads a file. Columns of CoNLL and quotes of CSV are told from all of it, in one pass.

    Raises:
        UserError: it cannot be read, or leaves open which column is which.
    """
    with _opened(Path(path), choice) as content:
        return content.layout


def other_than_columns(head: list[Line], path: Path) -> str | None:
    """What a file is whose lines could be taken for columns of words and are something else; None: nothing known."""
    kinds = {
        "brat annotations": is_brat(path) and path.suffix == ".ann",
        "WebAnno TSV": is_webanno(head),
        "PubTator": is_pubtator(head),
        "CoNLL-2012": is_conll2012(head, DETECTED),
        "lines of word|tag": find_joined(head, DETECTED) is not None,
    }
    return next((name for name, found in kinds.items() if found), None)


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


@dataclass(frozen=True)
class _Content:
    """What is in a file: sentences, or texts with spans."""

    layout: Layout
    sentences: Iterable[Sentence] = ()
    texts: Iterable[AnnotatedText] | None = None

    @classmethod
    def of_texts(cls, layout: Layout, texts: Iterator[AnnotatedText]) -> _Content:
        return cls(replace(layout, by_spans=True), texts=texts)


@contextmanager
def _opened(path: Path, choice: Choice) -> Iterator[_Content]:
    """A file's layout and its content, which can be read while the context lasts."""
    _require_file(path)
    if is_parallel(path):
        _refuse_choice(PARALLEL, choice, path)
        yield _Content(PARALLEL, read_parallel(path))
        return
    if is_brat(path):
        _refuse_choice(BRAT, choice, path)
        yield _Content.of_texts(BRAT, read_brat(path, choice))
        return
    format_, packing = format_of(path)
    if format_ == "parquet" and packing:
        raise UserError(path, f"Parquet inside {packing}", "unpack it (Parquet is compressed by itself)")
    with open_unpacked(path, packing) as stream:
        binary = _binary_format(stream, path) if not packing else None
        if binary == "docbin":
            yield _Content.of_texts(*open_docbin(stream, choice, path))
        elif binary == "arrow":
            yield _read_rows(arrow_table(stream, choice, path), choice, path)
        elif binary or format_ == "parquet":
            yield _read_rows(parquet_table(stream, choice, path), choice, path)
        else:
            limit = MAX_JSON if format_ == "json" else MAX_LINE  # a `.json` file is held whole, often in one line
            yield _read(read_lines(stream, path, packing, limit), format_, packing, choice, path)


def _binary_format(stream: IO[bytes], path: Path) -> str | None:
    """parquet, arrow or docbin, where the content is one of them, whatever its name.

    Raises:
        UserError: it cannot be read, or is named like Parquet and of another known format.
    """
    try:
        start = look_ahead(stream)
    except BROKEN as error:
        raise UserError(path, f"cannot be read ({error})", "copy it again") from None
    found = "docbin" if is_docbin(start) else columnar_format(start)
    if found is None and format_of(path)[0] == "parquet":
        refuse_other_formats(start, path)
    return found


def _read(lines: Iterator[Line], format_: str, packing: str, choice: Choice, path: Path) -> _Content:
    """The content of lines whose name promises ``format_``; what they hold may say better."""
    head, lines = peek(lines)
    if format_ in ("conll", "tsv"):
        if is_webanno(head):
            layout = find_layer(head, choice, path)
            return _Content.of_texts(layout, read_webanno(lines, layout, path))
        if is_pubtator(head):
            _refuse_choice(PUBTATOR, choice, path)
            return _Content.of_texts(PUBTATOR, read_pubtator(lines, choice, path))
        if (entities := find_entities(head, choice, path)) is not None:
            return _Content(entities.layout(), read_conllu(lines, entities, path))
        if is_conll2012(head, choice):
            return _Content(CONLL2012, read_conll2012(lines, choice, path))
        if (joined := find_joined(head, choice)) is not None:
            return _Content(joined.layout(), read_joined(lines, joined, path))
    if format_ == "conll" or (format_ == "tsv" and not is_table(head, choice)):
        numbers = columns_without_names(head)
        if numbers is None:
            columns = find_columns(head, choice, path, packing)
            return _Content(columns.layout(), read_conll(lines, columns, path))
        text, tag = map(str, numbers)
        table = csv_table(head, lines, "tsv", path, packing, ["1", "2"])
        like = replace(choice, text_column=choice.text_column or text, label_column=choice.label_column or tag)
        return _Content(*read_table(table, like, path))
    if format_ in ("csv", "tsv"):
        table = csv_table(head, lines, format_, path, packing)
    elif format_ == "jsonl" or is_json_lines(head):
        table = jsonl_table(lines, path)
    else:
        table = json_table(lines, choice, path)
    return _read_rows(table, choice, path)


def _read_rows(table: Table, choice: Choice, path: Path) -> _Content:
    """The content of a table: texts with spans, or words and tags."""
    sample = list(itertools.islice(table.rows, SAMPLE_ROWS))
    rows: Iterator[Row] = itertools.chain(sample, table.rows)
    form = find_form(sample, choice, path)
    if form is not None:
        return _Content.of_texts(form.layout(), read_rows(rows, form, choice, path))
    return _Content(*read_table(replace(table, rows=rows), choice, path))


def _refuse_choice(layout: Layout, choice: Choice, path: Path) -> None:
    """Refuse a choice of columns for a format that has none."""
    asked = {choice.text_option: choice.text_column, choice.label_option: choice.label_column}
    for option, column in asked.items():
        if column is not None:
            raise UserError(path, f"is {layout.format}, without a column {shown(column)}", f"leave {option} out")
