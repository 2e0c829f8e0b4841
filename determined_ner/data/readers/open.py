"""Any labelled text file as a stream of `Sentence`s, in bounded memory, or one clear UserError.

    for sentence in read_file("train.conll.gz"): ...

The format follows from the name: `.csv`, `.tsv`, `.jsonl`/`.ndjson`, `.json`, `.parquet`, each but Parquet also with
`.gz`, `.xz`, `.bz2` or `.zst` behind it. Every other name promises CoNLL columns (`ner_conll`), and so does a `.tsv`
without a header or with blank lines between sentences. Tables have one row a sentence, its words and tags in lists, or
one row a token and a column that tells the sentences apart.

A tag is handed on as the file has it, less white space around it; a whole number becomes its decimal string, or its
name where the file tells it. All but `.json` arrays and objects is read piece by piece. Documents are told by
-DOCSTART-, `# newdoc` or a document column; a file without any of these is one document, 0.

This room finds the files and chooses their reader: `ner_conll`, or a format of `ner_formats` and then `ner_tables`.
All of them stand on `ner_text`.
"""

import difflib
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from determined_ner.data.readers.conll import find_columns, read_conll
from determined_ner.data.readers.formats import (
    csv_table,
    is_json_lines,
    is_table,
    json_table,
    jsonl_table,
    parquet_table,
)
from determined_ner.data.readers.lines import (
    MAX_LINE,
    OPENERS,
    Choice,
    Layout,
    Sentence,
    empty_file_error,
    open_unpacked,
    peek,
    read_lines,
    shown,
)
from determined_ner.data.readers.tables import read_table
from determined_ner.errors import UserError

__all__ = ["Choice", "Layout", "Sentence", "describe", "find_files", "format_of", "read_file"]

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}


def read_file(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    document_column: str | None = None,
    need_tags: bool = True,
    task: str = "ner",
    like: Layout | None = None,
) -> Iterator[Sentence]:
    """Yield the sentences of one file, in its order; at least one.

    Columns are detected unless named (CoNLL: named, or numbered "1", "2", … or "-1"). With `need_tags` false a file
    that has no tag column, or not the `label_column` asked for, yields sentences whose tags are None. A string where a
    list of words (or tags) could stand is split at white space.

    Detection takes the columns of `like`, the layout of another file: in tables those of the same names, in CoNLL
    those of the same names, or numbers in a file without a header, where both have as many columns. Next it prefers a
    column named `{task}_tags`. A CoNLL file that leaves open whether a column of tags or, to the right of it, one of O
    alone is meant is refused.

    Raises UserError, `file:line: what is wrong and what to do`, at the first thing that cannot be read.
    """
    sentence = None
    choice = Choice(text_column, label_column, document_column, need_tags, task, like)
    with _opened(Path(path), choice) as (_, sentences):
        for sentence in sentences:
            yield sentence
    if sentence is None:
        raise empty_file_error(Path(path))


def describe(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    document_column: str | None = None,
    need_tags: bool = True,
    task: str = "ner",
    like: Layout | None = None,
) -> Layout:
    """Tell how `read_file` reads a file, from its head alone (`.json` arrays and objects are read whole)."""
    choice = Choice(text_column, label_column, document_column, need_tags, task, like)
    with _opened(Path(path), choice) as (layout, _):
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


def format_of(path: Path) -> tuple[str, str]:
    """What a file's name promises: a value of FORMATS or conll, and the suffix of its packing ("": none)."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in OPENERS else ""
    return FORMATS.get(suffixes[-1] if suffixes else "", "conll"), packing


@contextmanager
def _opened(path: Path, choice: Choice) -> Iterator[tuple[Layout, Iterator[Sentence]]]:
    """A file's layout and its sentences, which can be read while the context lasts."""
    format_, packing = format_of(_checked(path))
    if format_ == "parquet" and packing:
        raise UserError(f"{path}: Parquet inside {packing}: unpack it (Parquet is compressed by itself)")
    with open_unpacked(path, packing) as stream:
        if format_ == "parquet":
            yield read_table(parquet_table(stream, choice, path), choice, path)
            return
        # A `.json` file is held whole, so that its one line may be as long as it likes.
        head, lines = peek(read_lines(stream, path, -1 if format_ == "json" else MAX_LINE))
        if format_ == "tsv" and not is_table(head, choice):
            format_ = "conll"
        if format_ == "conll":
            columns = find_columns(head, choice, path)
            yield columns.layout(), read_conll(lines, columns, path)
        elif format_ == "json" and not is_json_lines(head):
            yield read_table(json_table(lines, choice, path), choice, path)
        elif format_ in ("json", "jsonl"):
            yield read_table(jsonl_table(lines, path), choice, path)
        else:
            yield read_table(csv_table(head, lines, format_, path), choice, path)
