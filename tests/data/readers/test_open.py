"""Files by name and pattern, none of them empty, read piece by piece."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from determined_ner.data.readers.open import find_files, read_file
from determined_ner.data.readers.sentences import Sentence
from determined_ner.errors import UserError
from tests.data.readers.files import TWO, TWO_CONLL, TWO_JSONL, Write, pairs, read, refused, write_parquet


@pytest.mark.parametrize(
    "suffix", ["conll", "iob", "iob2", "bio", "conllu", "txt", "tsv", "annotated", "dev", "train", "test", "odd"]
)
def test_conll_under_any_name(write: Write, suffix: str) -> None:
    assert read(write(f"a.{suffix}", TWO_CONLL)) == [
        Sentence(["EU", "rejects", "."], ["B-ORG", "O", "O"], 1, 0),
        Sentence(["Peter", "Blackburn"], ["B-PER", "I-PER"], 5, 0),
    ]


def test_conll_without_suffix(write: Write) -> None:
    assert pairs(write("train", TWO_CONLL)) == TWO


def test_suffix_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL.GZ").write_bytes(gzip.compress(TWO_JSONL.encode()))
    assert pairs(tmp_path / "A.JSONL.GZ") == TWO


def test_find_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train-2.jsonl", "train-1.jsonl", "dev.jsonl", ".train-0.jsonl", "odd[1].jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "train-9.jsonl").mkdir()
    assert find_files(f"{tmp_path}/train-*.jsonl") == [tmp_path / "train-1.jsonl", tmp_path / "train-2.jsonl"]
    assert find_files(f"{tmp_path}/dev.jsonl") == [tmp_path / "dev.jsonl"]
    assert find_files(f"{tmp_path}/odd[1].jsonl") == [tmp_path / "odd[1].jsonl"]
    assert find_files(f"{tmp_path}/**/dev.jsonl") == [tmp_path / "dev.jsonl"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("~/dev.jsonl") == [tmp_path / "dev.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [("dve.jsonl", "did you mean"), ("no-*.jsonl", "no file matches"), ("", "directory"), ("no/such", "no such file")],
)
def test_files_that_are_missing(tmp_path: Path, pattern: str, part: str) -> None:
    (tmp_path / "dev.jsonl").touch()
    with pytest.raises(UserError, match=part) as caught:
        find_files(f"{tmp_path}/{pattern}")
    assert pattern in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "a\0*", "a\0/*", "x" * 5000, "[", "**x", "a" * 300 + "*"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UserError):
        find_files(name)


def test_directory_missing_pipe_and_unreadable(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, None, "directory", "*.jsonl")
    refused(tmp_path / "no.conll", None, "no such file")
    os.mkfifo(tmp_path / "pipe.conll")
    refused(tmp_path / "pipe.conll", None, "pipe")
    path = write("a.conll", TWO_CONLL)

    def no_permission(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", no_permission)
    refused(path, None, "Permission denied", "you may read it")


@pytest.mark.parametrize("content", ["", "\n", "\n \n\t\n", "-DOCSTART- O\n\n", "# newdoc\n", "token\tner_tags\n"])
def test_empty_conll(write: Write, content: str) -> None:
    refused(write("a.conll", content), None, "is empty")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ""),
        ("a.csv", "tokens,tags\n"),
        ("a.jsonl", "\n\n"),
        ("a.json", ""),
        ("a.json", "[]"),
        ("a.json", '{"data": []}'),
        ("a.json", '{"tokens": [], "tags": []}'),
        ("a.tsv", ""),
        ("a.gz", ""),
        ("a.conll.zst", ""),
    ],
)
def test_empty_tables(write: Write, name: str, content: str) -> None:
    message = refused(write(name, content), 1 if "tokens" in content and name == "a.json" else None)
    assert "is empty" in message or "without a single item" in message


def test_empty_parquet(tmp_path: Path) -> None:
    lists = pa.array([], pa.list_(pa.string()))
    refused(write_parquet(tmp_path / "a.parquet", {"tokens": lists, "tags": lists}), None, "is empty")


def test_a_long_file_never_becomes_a_list(write: Write) -> None:
    sentences = 10_000
    for name, unit in (("a.conll.gz", TWO_CONLL + "\n"), ("a.jsonl", TWO_JSONL), ("a.csv", "a b c,O O O\n" * 2)):
        path = write(name, ("text,tags\n" if name == "a.csv" else "") + unit * (sentences // 2))
        tracemalloc.start()
        assert sum(1 for _ in read_file(path)) == sentences
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, (name, peak)  # a list of them takes 6 MB and more


def test_parquet_is_read_by_batches(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a", "b"]] * 20_000, "tags": [["O", "O"]] * 20_000})
    tracemalloc.start()
    assert sum(1 for _ in read_file(path)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


def test_sentences_come_before_a_late_error(write: Write) -> None:
    stream = read_file(write("a.conll", TWO_CONLL + "\nbroken\n"))
    assert [s.words for s in (next(stream), next(stream))] == [words for words, _ in TWO]
    with pytest.raises(UserError, match=":8: 1 column in"):
        next(stream)
