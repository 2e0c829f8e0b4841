"""Any file, packed or not, as numbered lines of checked text.

Whatever can be wrong with bytes is found here and refused with the number of its line: damaged compression, another
encoding, a NUL, a binary file under a name that promises text, a line without an end, a small file that unpacks to a
huge one.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import itertools
import lzma
import sys
import zlib
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

from determined_ner.data.readers.first_bytes import in_utf8, look_ahead, refuse_other_formats
from determined_ner.data.readers.messages import shown
from determined_ner.errors import UserError

T = TypeVar("T")

Line: TypeAlias = tuple[int, str]
"""1-based number in the file, text without its line end."""

BLANK = " \t\r\v\f"
"""What separates words. White space of ASCII alone: a no-break space, U+2028 or U+0085 may be a word of a tweet."""

MAX_LINE = 1 << 26
"""Bytes; a longer line is no text, and reading on would fill the memory."""

MAX_BLANK_LINES = 1 << 20
"""In a row; more are no text, and would be read for minutes."""

UNPACKED_BYTES, UNPACKED_RATIO = 1 << 26, 100
"""A packed file may unpack to so many bytes, or to so many times its size. Text packs to a third or a tenth."""

BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""What a damaged stream raises when it is read."""

HEAD_LINES = 2000
"""How far detection looks at once."""

_HEAD_CHARACTERS = 1 << 22  # how much it keeps, should the lines be huge


def import_for(module: str, path: Path) -> Any:
    """Import a module that few files need, and that takes a while.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(path, f"needs {module} ({error})", "run pip install pyarrow") from None


def _open_zstd(path: Path) -> IO[bytes]:
    pa = import_for("pyarrow", path)
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


OPENERS: dict[str, Callable[[Path], Any]] = {
    "": lambda path: path.open("rb"),
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}
"""How the content of a file is opened, by the suffix of its packing."""


def open_unpacked(path: Path, packing: str) -> IO[bytes]:
    """Open the content of a file whose name ends in ``packing``, a key of ``OPENERS``.

    Raises:
        UserError: the file cannot be opened.
    """
    try:
        stream: IO[bytes] = OPENERS[packing](path)
    except BROKEN as error:
        raise UserError(path, f"cannot be opened ({error})", "check that you may read it") from None
    return stream


def unpacked_limit(path: Path) -> int:
    """The bytes that a packed file may unpack to."""
    return max(UNPACKED_BYTES, UNPACKED_RATIO * path.stat().st_size)


def read_lines(stream: IO[bytes], path: Path, packing: str = "", limit: int = MAX_LINE) -> Iterator[Line]:
    r"""Yield the numbered lines of text, split at \n alone; the \r of CRLF is taken off.

    Where files were joined, a byte order mark stands inside, too: it is taken off the beginning of any line.

    Args:
        packing: the suffix that says how the file is packed; "" where it is not.
        limit: the longest line allowed, in bytes.

    Raises:
        UserError: as `read_whole_lines`.
    """
    for number, text in read_whole_lines(stream, path, packing, limit):
        yield number, text.removeprefix("\ufeff").rstrip("\r\n")


def read_whole_lines(
    stream: IO[bytes], path: Path, packing: str = "", limit: int = MAX_LINE
) -> Iterator[tuple[int, str]]:
    r"""Yield the numbered lines of text as they stand, split at \n alone, which stays at their end.

    The text is UTF-8, or UTF-16 where it begins with the byte order mark of that, which is no character of it then.

    Args:
        packing: the suffix that says how the file is packed; "" where it is not.
        limit: the longest line allowed, in bytes.

    Raises:
        UserError: at a byte that is not UTF-8, at a NUL, where the stream is damaged, or at what only a file made to
            fill memory or time holds.
    """
    most = unpacked_limit(path) if packing else sys.maxsize
    limit = min(limit, most)
    try:
        start = look_ahead(stream)
    except BROKEN as error:
        raise _damaged(error, f"{path}:1") from None
    refuse_other_formats(start, path)
    stream = in_utf8(stream, start)
    offset = blank = 0
    for number in itertools.count(1):
        where = f"{path}:{number}"
        try:
            raw = stream.readline(limit)
        except BROKEN as error:
            raise _damaged(error, where) from None
        if not raw:
            return
        if len(raw) == limit and not raw.endswith(b"\n"):
            raise UserError(
                where,
                f"line of over {limit:,} bytes, beginning {shown(raw)}",
                "break it up (JSON: one object a line, in a .jsonl file)",
            )
        if offset + len(raw) > most:
            raise UserError(where, f"unpacks to over {most:,} bytes, no text does from that size", "unpack it and look")
        blank = blank + 1 if raw in (b"\n", b"\r\n") else 0
        if blank > MAX_BLANK_LINES:
            raise UserError(where, f"over {MAX_BLANK_LINES:,} blank lines in a row", "remove them")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise _not_text(path, number, raw, offset, error.start) from None
        if "\0" in text:
            raise _not_text(path, number, raw, offset, raw.index(b"\0"))
        yield number, text
        offset += len(raw)


def _damaged(error: Exception, where: str) -> UserError:
    return UserError(
        where,
        f"cannot be read on from here ({error}): the file is damaged, cut short or not what its name says",
        "copy or compress it again",
    )


def _not_text(path: Path, number: int, raw: bytes, offset: int, at: int) -> UserError:
    """The error of a byte that is not text, with a guess at the encoding.

    Args:
        raw: line ``number``, which begins at ``offset`` in the file.
        at: where in ``raw`` the byte is.
    """
    unpack = "unpack it, then " if path.suffix.lower() in OPENERS else ""
    trouble, encoding = "not UTF-8", "latin1"
    if raw[at] == 0:
        trouble, encoding = "a NUL, so this is not text, or it is UTF-16", "utf-16le"
    place = f"byte 0x{raw[at]:02x} at offset {offset + at}, in {shown(raw[max(0, at - 20) : at + 20])},"
    return UserError(
        f"{path}:{number}", f"{place} is {trouble}", f"{unpack}run iconv -f {encoding} -t utf-8 {path} > NEW"
    )


def is_whole(head: list[Line]) -> bool:
    """Whether what `peek` gives is all there is of a file."""
    return len(head) < HEAD_LINES and sum(len(text) for _, text in head) < _HEAD_CHARACTERS


def looked_through(look: Callable[..., T]) -> Callable[..., T]:
    """Make what looks at lines look at all of a file, given its path and its packing in their place; unless that was
    done since the file changed.

    What it is given besides has to be hashable. It raises what `read_lines` does.
    """

    @lru_cache(maxsize=8)
    def once(path: Path, packing: str, changed: int, size: int, *more: Hashable) -> T:
        with open_unpacked(path, packing) as stream:
            return look(read_lines(stream, path, packing), *more)

    def through(path: Path, packing: str, *more: Hashable) -> T:
        state = path.stat()
        return once(path, packing, state.st_mtime_ns, state.st_size, *more)

    return through


def peek(lines: Iterator[Line]) -> tuple[list[Line], Iterator[Line]]:
    """The head of a file for detection, and an iterator over all of it, head included."""
    head: list[Line] = []
    characters = 0
    for line in lines:
        head.append(line)
        characters += len(line[1])
        if len(head) == HEAD_LINES or characters >= _HEAD_CHARACTERS:
            break
    return head, itertools.chain(head, lines)
