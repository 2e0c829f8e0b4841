"""Small files that would fill memory or time are refused where they show it, and text is not."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from determined_ner.data.readers import formats, lines
from determined_ner.data.readers.open import read_file
from determined_ner.predict.inputs import open_input
from tests.data.readers.files import PACK, TWO, TWO_CONLL, TWO_JSONL, pairs, refused

MB = 1 << 20


def pack(block: bytes, times: int) -> bytes:
    """A block many times, in gzip's own way of appending: nothing large is compressed here."""
    return gzip.compress(block) * times


@pytest.mark.parametrize(
    ("name", "block", "blocks", "line", "part"),
    [
        ("a.json.gz", b" " * MB, 70, 1, "line of over 67,108,864 bytes"),
        ("a.jsonl.gz", b"[" * MB, 70, 1, "line of over 67,108,864 bytes"),
        ("a.json.gz", b"\n" * MB, 2, MB + 1, "over 1,048,576 blank lines in a row"),
        ("a.conll.gz", b"\n" * MB, 500, MB + 2, "blank lines in a row"),
        ("a.tsv.gz", b"\r\n" * MB, 500, MB + 2, "blank lines in a row"),
        ("a.csv.gz", b"\n" * MB, 500, MB + 2, "blank lines in a row"),
        ("a.conll.gz", (b"#" + b" " * 1022 + b"\n") * 1024, 200, 65_537, "unpacks to over 67,108,864 bytes"),
    ],
)
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_where_it_shows(tmp_path, name, block, blocks, line, part):
    path = tmp_path / name
    path.write_bytes(
        gzip.compress(b"" if "json" in name else b"a\tO\n") + pack(block, blocks) + gzip.compress(b"\tO\n")
    )
    refused(path, line, part)


@pytest.mark.parametrize("packing", [suffix for suffix in PACK if suffix])
@pytest.mark.parametrize("reader", ["data", "prediction"])
def test_a_packed_file_may_unpack_to_a_hundred_times_its_size(tmp_path, monkeypatch, packing, reader):
    monkeypatch.setattr(lines, "UNPACKED_BYTES", 10_000)
    text = TWO_CONLL.encode() + b"\n"

    def read(path: Path) -> int:
        if reader == "data":
            return sum(1 for _ in read_file(path))
        with open_input(str(path), "conll", None, None) as (_, items, _):
            return sum(1 for _ in (items if isinstance(items, Iterator) else items(str.split)))

    few, many = tmp_path / f"few.conll{packing}", tmp_path / f"many.conll{packing}"
    few.write_bytes(PACK[packing](text * 150))
    assert read(few) >= 300
    many.write_bytes(PACK[packing](text * 20_000))
    with pytest.raises(Exception, match="unpacks to over"):
        read(many)


def test_parquet_that_unpacks_to_a_huge_one_is_refused(tmp_path):
    table = pa.table({"tokens": [[f"{i:09}" + "a" * MB] for i in range(100)], "tags": [["O"]] * 100})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 600_000
    refused(tmp_path / "a.parquet", None, "unpacks to 104,", "more than 67,108,864")


def test_json_is_read_whole_up_to_its_limit_and_json_lines_beyond(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_JSON", 10_000)
    rows = [json.loads(line) for line in TWO_JSONL.splitlines()]
    array, more = tmp_path / "a.json", tmp_path / "b.json"
    array.write_text(json.dumps(rows * 50, indent=1))
    more.write_text(TWO_JSONL * 500)
    assert len(array.read_text()) < 10_000 < len(more.read_text())
    assert pairs(array) == TWO * 50
    assert pairs(more) == TWO * 500
    array.write_text(json.dumps(rows * 60, indent=1))
    refused(array, 1107, "over 10,000 characters of JSON", "JSON Lines")


def test_blank_lines_between_texts_are_no_matter(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(TWO_CONLL + "\n" * lines.MAX_BLANK_LINES + TWO_CONLL)
    assert pairs(path) == TWO * 2
    endless = io.BytesIO(b"\n" * (lines.MAX_BLANK_LINES + 1))
    with pytest.raises(Exception, match="1048577: over 1,048,576 blank lines in a row"):
        list(lines.read_lines(endless, path))
