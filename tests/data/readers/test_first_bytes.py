"""A file is known by its first bytes: Arrow and Parquet are read, others told by name and refused with what to do."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather

from determined_ner.data.readers import formats
from determined_ner.data.readers.open import describe
from tests.data.readers.files import TWO, TWO_CONLL, Write, pairs, refused, write_parquet

TABLE = pa.table({"tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO], "id": [1, 2]})


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.conll"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train.xlsx", zipped("xl/workbook.xml"), ("spreadsheet (Excel)", "CSV")),
        ("train.conll", zipped("xl/workbook.xml"), ("spreadsheet (Excel)", "CSV")),
        ("train.csv", zipped("train.csv"), ("ZIP archive, which holds ['train.csv']", "unpack it")),
        ("train.docx", zipped("word/document.xml"), ("Word document", "export the text")),
        ("train.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), ("Excel or Word file of before 2007", "CSV")),
        ("train.pkl", pickle.dumps([TWO]), ("Python pickle", "JSON Lines")),
        ("train.json", pickle.dumps({"a": 1}, protocol=2), ("Python pickle", "JSON Lines")),
        ("train.txt", b"%PDF-1.7\n%\xe2\xe3", ("a PDF", "export the text")),
        ("train.tar", tarred(), ("tar archive", "unpack it")),
        ("train.tar.gz", tarred(), ("tar archive", "unpack it")),
        ("train.xml", b'<?xml version="1.0"?>\n<doc/>\n', ("is XML", "export the text")),
        ("train.txt", b"<doc><s>Bern</s></doc>\n", ("is XML", "export the text")),
        ("train.html", b"\n<!DOCTYPE html>\n<html>", ("is HTML", "export the text")),
        ("train.rtf", b"{\\rtf1\\ansi Bern}", ("rich text", "export the text")),
        ("train.parquet", zipped("a.parquet"), ("ZIP archive", "unpack it")),
    ],
)
def test_a_known_format_is_told_by_name(write: Write, name: str, content: bytes, parts: tuple[str, ...]) -> None:
    message = refused(write(name, content), 1, *parts)
    assert "iconv" not in message


def test_words_like_markup_are_words(write: Write) -> None:
    assert pairs(write("a.conll", "<unk>\tO\n<s>\tB-X\n")) == [(["<unk>", "<s>"], ["O", "B-X"])]


@pytest.mark.parametrize("name", ["train.arrow", "train.feather", "train.conll", "train"])
@pytest.mark.parametrize("kind", ["file", "stream", "feather", "parquet"])
def test_arrow_and_parquet_are_read_under_any_name(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "feather":
        feather.write_feather(TABLE, str(path), compression="zstd")
    elif kind == "parquet":
        write_parquet(path, TABLE.to_pydict())
    else:
        opened = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with opened(str(path), TABLE.schema) as writer:
            writer.write_table(TABLE)
    assert pairs(path) == TWO
    assert describe(path).format == ("parquet" if kind == "parquet" else "arrow")


def test_arrow_that_is_cut_short_or_huge_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.arrow"
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-300])
    refused(path, 1, "not readable as Arrow", "copy it again")
    path.write_bytes(whole)
    monkeypatch.setattr(formats, "unpacked_limit", lambda path: 10)
    refused(path, None, "unpacks to over 10 bytes", "unpack it and look")


def test_arrow_names_its_tags(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-ORG", "B-PER", "I-PER"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO]}
    datasets.Dataset.from_dict(rows, features).save_to_disk(str(tmp_path / "data"))
    (path,) = (tmp_path / "data").glob("*.arrow")
    assert pairs(path) == TWO


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("times", [1, 3000])
def test_other_encodings_are_known_by_their_mark_of_byte_order(write: Write, encoding: str, times: int) -> None:
    text = "token\tner_tags\n" + (TWO_CONLL.replace("EU", "Z\u00fcrich \U0001f600") + "\n") * times
    path = write("a.conll", text.encode(encoding))
    assert pairs(path) == pairs(write("b.conll", text))
    assert pairs(write("a.csv", "text,tags\na b,O O\n".encode(encoding))) == [(["a", "b"], ["O", "O"])]
