"""Bytes to lines: packed files, encodings, line ends, and what no text is."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from pathlib import Path

import pytest

from determined_ner.data.readers.lines import MAX_LINE, read_lines
from determined_ner.errors import UserError
from tests.data.readers.files import PACK, TWO, TWO_CONLL, TWO_JSONL, Write, pairs, read, refused, write_parquet


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(("suffix", "content"), [("conll", TWO_CONLL), ("jsonl", TWO_JSONL)])
def test_every_compression(write: Write, packing: str, suffix: str, content: str) -> None:
    assert pairs(write(f"a.{suffix}{packing}", content)) == TWO


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\u3000"])
def test_only_newline_ends_a_line(write: Write, odd: str) -> None:
    assert pairs(write("a.conll", f"a{odd}b\tB-X\n{odd}c\tO\n")) == [([f"a{odd}b", f"{odd}c"], ["B-X", "O"])]
    jsonl = json.dumps({"tokens": [f"a{odd}b"], "tags": ["O"]}, ensure_ascii=ord(odd) < 32) + "\n"
    assert pairs(write("a.jsonl", jsonl)) == [([f"a{odd}b"], ["O"])]
    assert pairs(write("a.csv", f'tokens,tags\n"[""a{odd}b""]",O\n' if ord(odd) >= 32 else "text,tags\na b,O O\n"))


def test_crlf_and_byte_order_mark(write: Write) -> None:
    mark = b"\xef\xbb\xbf"
    assert pairs(write("a.conll", mark + TWO_CONLL.replace("\n", "\r\n").encode())) == TWO
    assert pairs(write("a.jsonl", mark + TWO_JSONL.replace("\n", "\r\n").encode())) == TWO
    assert pairs(write("a.csv", mark + b"text,tags\r\na b,O O\r\n")) == [(["a", "b"], ["O", "O"])]
    assert pairs(write("a.json", mark + b'[{"text": "a b", "tags": ["O", "O"]}]')) == [(["a", "b"], ["O", "O"])]


@pytest.mark.parametrize("name", ["a.conll", "a.jsonl", "a.csv", "a.json", "a.unknown"])
def test_bytes_that_are_not_utf8(write: Write, name: str) -> None:
    refused(write(name, b"a\tB-X\ncaf\xe9\tO\n"), 2, "0xe9", "offset 9", "caf", f"iconv -f latin1 -t utf-8 {name}"[:24])


def test_utf16_and_nul(write: Write) -> None:
    for encoding in ("utf-16", "utf-32"):
        assert pairs(write("a.conll", TWO_CONLL.encode(encoding))) == TWO
        assert pairs(write("a.jsonl.gz", TWO_JSONL.encode(encoding))) == TWO
    refused(write("a.conll", TWO_CONLL.encode("utf-16")[:-1]), 6, "damaged", "copy")
    refused(write("a.conll", TWO_CONLL.encode("utf-16-le")), 1, "NUL", "iconv -f utf-16le")
    refused(write("b.conll", b"a\tO\nb\x00\tO\n"), 2, "0x00", "offset 5", "NUL")
    refused(write("c.csv", b"text,tags\na\x00,O\n"), 2, "0x00", "NUL")
    refused(write("d.jsonl", TWO_JSONL.encode() + b"\x00"), 3, "0x00", "NUL")


@pytest.mark.parametrize(("packing", "name"), [(".gz", "a"), (".xz", "a.odd"), (".bz2", "a.conll"), (".zst", "a.json")])
def test_compressed_under_a_plain_name(tmp_path: Path, packing: str, name: str) -> None:
    data = random.Random(0).randbytes(300)
    (tmp_path / name).write_bytes(PACK[packing](data))
    refused(tmp_path / name, 1, packing, "rename")


def test_parquet_and_other_binaries_under_a_plain_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.bin", {"tokens": [["a"]], "tags": [["O"]]})
    assert pairs(path) == [(["a"], ["O"])]
    (tmp_path / "b.bin").write_bytes(bytes(range(1, 256)))
    refused(tmp_path / "b.bin", 2, "0x80", "offset 127")


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
def test_truncated_or_false_compression(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.conll{packing}"
    path.write_bytes(PACK[packing](TWO_CONLL.encode() * 1000)[:-9])
    with pytest.raises(UserError, match=re.escape(str(path)) + r":\d+: .*damaged, cut short"):
        read(path)
    path.write_bytes(TWO_CONLL.encode())
    refused(path, 1, "damaged, cut short or not what its name says")


def test_line_without_end() -> None:
    lines = read_lines(io.BytesIO(b"a\tB-X\n" + b"b" * 2000), Path("a.conll"), limit=1000)
    assert next(lines) == (1, "a\tB-X")
    with pytest.raises(UserError, match=r"a\.conll:2: line of over 1,000 bytes, beginning b'bbb"):
        next(lines)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.zst"])
def test_pyarrow_is_missing(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(name, b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(path, None, "needs pyarrow", "pip install pyarrow")


def test_a_line_of_a_megabyte(write: Write) -> None:
    word = "x" * 1_000_000
    assert pairs(write("a.conll", f"{word}\tB-X\n")) == [([word], ["B-X"])]
    assert pairs(write("a.jsonl", json.dumps({"text": word, "tags": "O"}) + "\n")) == [([word], ["O"])]
    assert pairs(write("a.csv", f'text,tags\n"{word}",O\n')) == [([word], ["O"])]
    refused(write("b.conll", f"a\tB-X\n{word}\n"), 2, "1 column in", "xxx")


def test_json_of_one_piece_may_be_one_line_longer_than_others(write: Write) -> None:
    content = b'{"text": "a", "tags": ["O"], "note": "' + b"x" * MAX_LINE + b'"}'
    assert pairs(write("a.json", content)) == [(["a"], ["O"])]
    refused(write("a.jsonl", content), 1, f"over {MAX_LINE:,} bytes")
