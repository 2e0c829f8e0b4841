"""The floor under every reader: what a `Sentence` is, and any file, packed or not, as numbered lines of checked text.

Whatever a byte can do wrong is found here. So is what readers of every format share: the names that columns go by,
the count of documents and the words of an error. Imports no other room but `ner_errors`.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import itertools
import lzma
import reprlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from determined_ner.errors import UserError

Line = tuple[int, str]  # 1-based number in the file, text without its line end

TEXT_NAMES = ("tokens", "words", "text", "word", "token", "sentence")  # best first; «sentence» may also be an id
TAG_NAMES = ("ner_tags", "tags", "labels", "ner", "tag", "label", "pos_tags", "entities")  # best first
DOCUMENT_NAMES = ("doc_id", "document_id", "document")

# Only ASCII white space separates: a no-break space, U+2028 or U+0085 may be a word of a tweet, or a part of one.
BLANK = " \t\r\v\f"
HEAD_LINES = 2000  # how far detection looks
HEAD_CHARACTERS = 1 << 22  # …and how much it keeps, should the lines be huge
MAX_LINE = 1 << 26  # bytes; a longer line is no text, and reading on would fill the memory
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # what a damaged stream raises when it is read

_FOREIGN = {  # how files begin that are no text, by the suffix that they should have
    ".gz": b"\x1f\x8b",
    ".xz": b"\xfd7zXZ",
    ".bz2": b"BZh91AY&SY",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".parquet": b"PAR1\x15",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence (or one row of a table) as its file has it."""

    words: list[str]  # never empty, no word is ""
    tags: list[str] | None  # as many as words; None where the file has no tags at all (input for prediction)
    line: int  # where it begins: 1-based line (CoNLL, CSV, TSV, JSON Lines) or row (Parquet, JSON array)
    document: int  # 0-based running number of the document it belongs to, non-decreasing


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read; columns by name, or by 1-based number ("2") where the file names none."""

    format: str  # conll, csv, tsv, jsonl, json, parquet
    text_column: str
    tag_column: str | None  # None: the file has no tags
    separator: str | None = None  # between columns; None where the format has no such thing
    sentence_column: str | None = None  # set where a table has one row a token
    document_column: str | None = None
    tag_names: tuple[str, ...] | None = None  # what integer tags mean, where the file itself says so (Parquet)
    numbers: ConllNumbers | None = field(default=None, compare=False)  # the same columns by number; CoNLL alone


@dataclass(frozen=True, slots=True)
class ConllNumbers:
    """Columns of a CoNLL file by 1-based number, which files of one layout share even where one has no header."""

    columns: int  # how many there are
    text: int
    tag: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The columns that the user named (None: to be detected), and what guides detection."""

    text: str | None = None
    label: str | None = None
    document: str | None = None
    need_tags: bool = True  # refuse a file without tags
    task: str = "ner"  # the tags' column is looked for as ner_tags first
    like: Layout | None = None  # of the first training file: words and tags are taken from the same columns
    text_option: str = "data.text_column_name"  # what the user names the column with, for messages
    label_option: str = "data.label_column_name"
    document_option: str = "data.document_column_name"

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Names that columns of tags go by, best first."""
        return tuple(dict.fromkeys((f"{self.task}_tags", *TAG_NAMES)))


class DocumentCounter:
    """Numbers documents 0, 1, 2, … as sentences go by, from marks between them or from a column's value."""

    def __init__(self) -> None:
        self._number = -1
        self._begins = True
        self._key: Any = None

    def mark(self) -> None:
        """The next sentence begins a document (several marks in a row begin one)."""
        self._begins = True

    def number(self, key: Any = None) -> int:
        """Document of the next sentence; `key` is its document column, None or "" meaning «as before»."""
        if key is not None and key != "" and key != self._key:
            self._key, self._begins = key, True
        self._number += self._begins
        self._begins = False
        return self._number


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel = 3


def shown(value: object) -> str:
    """`repr` of an offending value in at most about 60 characters, however large or deep it is."""
    text = _short.repr(value)
    return text if len(text) <= 62 else text[:61] + "…"


def known_name(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The name that stands first in `known`, whatever its case; None where there is none."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    return next((folded[name] for name in known if name in folded), None)


def empty_file_error(path: Path) -> UserError:
    return UserError(f"{path}: is empty: no line or row of it holds a sentence; is it the right file?")


def count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- files, packed or not ---


def import_for(module: str, path: Path) -> Any:
    """A module that few files need, and that takes a while to import."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{path}: needs {module} ({error}): pip install pyarrow") from None


def _open_zstd(path: Path) -> IO[bytes]:
    pa = import_for("pyarrow", path)
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


OPENERS: dict[str, Callable[[Path], Any]] = {  # by suffix
    "": lambda path: path.open("rb"),
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}


def open_unpacked(path: Path, packing: str) -> IO[bytes]:
    """The bytes inside a file whose name ends in `packing`, a key of OPENERS; raises UserError."""
    try:
        stream: IO[bytes] = OPENERS[packing](path)
    except BROKEN as error:
        raise UserError(f"{path}: cannot be opened ({error}): check that you may read it") from None
    return stream


# --- lines ---


def read_lines(stream: IO[bytes], path: Path, limit: int = MAX_LINE) -> Iterator[Line]:
    r"""Yield the numbered lines of UTF-8 text, parted at \n alone; a BOM and the \r of CRLF are taken off.

    `limit` is the longest line allowed, in bytes (-1: any). Raises UserError at a byte that is not UTF-8, a NUL,
    or where the stream is damaged.
    """
    offset = 0
    for number in itertools.count(1):
        try:
            raw = stream.readline(limit)
        except BROKEN as error:
            raise UserError(
                f"{path}:{number}: cannot be read on from here ({error}): the file is damaged, cut short or not what"
                " its name says: copy or compress it again"
            ) from None
        if not raw:
            return
        if len(raw) == limit and not raw.endswith(b"\n"):
            raise UserError(f"{path}:{number}: line of over {limit} bytes, beginning {shown(raw)}: break it up")
        if number == 1:
            _refuse_foreign(raw, path)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise _not_text(path, number, raw, offset, error.start) from None
        if "\0" in text:
            raise _not_text(path, number, raw, offset, raw.index(b"\0"))
        yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")
        offset += len(raw)


def _refuse_foreign(raw: bytes, path: Path) -> None:
    for suffix, magic in _FOREIGN.items():
        if raw.startswith(magic):
            raise UserError(f"{path}:1: {shown(raw[:20])} begins a {suffix} file: rename it to {path}{suffix}")


def _not_text(path: Path, number: int, raw: bytes, offset: int, at: int) -> UserError:
    """Say which byte of line `number` (at `offset` in the file) is not text, and guess its encoding."""
    unpack = "unpack it, then " if path.suffix.lower() in _FOREIGN else ""
    trouble, encoding = "not UTF-8", "latin1"
    if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        trouble, encoding = "not UTF-8 but UTF-16", "utf-16"
    elif raw[at] == 0:
        trouble, encoding = "a NUL, so this is not text, or it is UTF-16", "utf-16le"
    place = f"byte 0x{raw[at]:02x} at offset {offset + at}, in {shown(raw[max(0, at - 20) : at + 20])},"
    return UserError(f"{path}:{number}: {place} is {trouble}: {unpack}iconv -f {encoding} -t utf-8 {path} > NEW")


def peek(lines: Iterator[Line]) -> tuple[list[Line], Iterator[Line]]:
    """The head of a file for detection, and an iterator over all of it, head included."""
    head: list[Line] = []
    characters = 0
    for line in lines:
        head.append(line)
        characters += len(line[1])
        if len(head) == HEAD_LINES or characters >= HEAD_CHARACTERS:
            break
    return head, itertools.chain(head, lines)
