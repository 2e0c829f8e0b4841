"""What a file is by how its content begins, whatever its name says."""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from pathlib import Path
from typing import IO, Any

from determined_ner.data.readers.messages import shown
from determined_ner.errors import UserError

START_BYTES = 512
"""How much of a file tells what it is."""

_PACKED = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ", ".bz2": b"BZh91AY&SY", ".zst": b"\x28\xb5\x2f\xfd"}
"""How packed files begin, by the suffix that they should have."""

_COLUMNS = {b"PAR1": "parquet", b"ARROW1\0\0": "arrow", b"\xff\xff\xff\xff": "arrow"}
"""How the formats of columns begin that are read here: Parquet, Arrow's file (and Feather), Arrow's stream."""

_AS_CSV = "open it there and save it as CSV in UTF-8, a sheet a file, with a row that names the columns"
_AS_JSONL = "write its rows as JSON Lines, one object with words and tags a line, or as Parquet"
_EXPORT = "export the text as one of the formats of the docs (JSON Lines, CoNLL columns, CSV …)"
_REFUSED = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel or Word file of before 2007", _AS_CSV),
    (b"%PDF-", "a PDF", _EXPORT),
    (b"{\\rtf", "a rich text file", _EXPORT),
    (b"FEA1", "a Feather file of version 1", "write it again: pandas.read_feather(…).to_parquet(…)"),
    (b"\x93NUMPY", "a NumPy array", _AS_JSONL),
    (b"\x89HDF\r\n", "an HDF5 file", _AS_JSONL),
    (b"SQLite format 3\0", "an SQLite data base", _AS_JSONL),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and name the files in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it and name the files in it"),
)
"""How formats begin that are not read, what they are, and what to do."""

_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95\x8c(\x58\x63\x7d\x5d\x28]")
_MARKUP = re.compile(rb"\s*<(\?xml\b|!doctype\b|html\b|!--)|\s*<([A-Za-z][\w:.-]*)[^<>\t]*>.*</\2>\s*$", re.I | re.M)
_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def look_ahead(stream: IO[bytes]) -> bytes:
    """The first bytes of a stream that was not read yet, and stays so.

    Raises:
        OSError, EOFError, ValueError, zlib.error, lzma.LZMAError: the stream is damaged.
    """
    peek = getattr(stream, "peek", None)
    if peek is not None:
        return bytes(peek(START_BYTES))[:START_BYTES]
    start = stream.read(START_BYTES)
    stream.seek(0)
    return start


def columnar_format(start: bytes) -> str | None:
    """parquet or arrow, where the content is one of them; None: it is something else."""
    return next((name for begins, name in _COLUMNS.items() if start.startswith(begins)), None)


def refuse_other_formats(start: bytes, path: Path) -> None:
    """
    Args:
        start: of the content, unpacked.

    Raises:
        UserError: it is no text that is read here, but of a format that is known.
    """
    where = f"{path}:1"
    for suffix, begins in _PACKED.items():
        if start.startswith(begins):
            raise UserError(where, f"{shown(start[:20])} begins a {suffix} file", f"rename it to {path}{suffix}")
    if (format_ := columnar_format(start)) is not None:
        problem = f"{shown(start[:20])} begins a .{format_} file"
        raise UserError(where, problem, "unpack it; to tag its text, write it as JSON Lines")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise UserError(where, *_inside_zip(path))
    for begins, what, remedy in _REFUSED:
        if start.startswith(begins):
            raise UserError(where, f"is {what}, not text", remedy)
    if _PICKLE.match(start):
        raise UserError(where, "is a Python pickle, which may run anything when it is loaded", _AS_JSONL)
    if start[257:262] == b"ustar":
        raise UserError(where, "is a tar archive, not text", "unpack it and name the files in it")
    if _MARKUP.match(start):
        kind = "HTML" if re.match(rb"\s*<(!doctype )?html", start, re.I) else "XML"
        raise UserError(where, f"{shown(start[:40])} is {kind}, not labelled text that is read here", _EXPORT)


def _inside_zip(path: Path) -> tuple[str, str]:
    """What a ZIP archive is, by the names in it, and what to do."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        names = []
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm", ".xlsb", ".ods") or any(name.startswith("xl/") for name in names):
        return "is a spreadsheet (Excel), not text", _AS_CSV
    if suffix == ".docx" or any(name.startswith("word/") for name in names):
        return "is a Word document, not text", _EXPORT
    inside = f", which holds {shown(names[:5])}" if names else ""
    return f"is a ZIP archive{inside}", "unpack it and name the files in it"


def in_utf8(stream: IO[bytes], start: bytes) -> IO[bytes]:
    """A stream of text as UTF-8: as it is, unless its byte order mark says UTF-16 or UTF-32."""
    if not start.startswith(_UTF16_OR_32):
        return stream
    wide = start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
    recoded: Any = _Recoded(stream, "utf-32" if wide else "utf-16")
    return io.BufferedReader(recoded)


class _Recoded(io.RawIOBase):
    """A stream of another encoding, read as UTF-8 piece by piece."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            read = self._stream.read(1 << 16)
            self._rest = self._decoder.decode(read, final=not read).encode()
            if not read and not self._rest:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
