"""CSV and TSV, JSON and JSON Lines, Parquet: what sets each of them apart."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Layout, Sentence
from tests.data.readers.files import ROWS, TWO, TWO_JSONL, Write, pairs, read, refused, write_parquet


def test_a_record_of_several_lines_has_the_number_of_its_first(write: Write) -> None:
    path = write("a.csv", 'id,text,tags\n\n"1\n1","a\nb","O O"\n2,c d,O\n')
    refused(path, 6, "2 words but 1 tag,", "['c', 'd']", "['O']")
    assert read(write("b.csv", 'id,text,tags\n\n"1\n1","a\nb","O O"\n\n2,c d,O O\n'))[1].line == 7


def test_outside_quotes_line_ends_and_byte_order_marks_are_none_of_a_cell(write: Write) -> None:
    """Such marks stand before a record where files were joined."""
    path = write("a.csv", '\ufefftext,tags\r\n\ufeff"a b",O O\r\r\n\ufeff\r\n"c\r\nd","O O"\nlast,O\r'.encode())
    assert [(s.words, s.tags, s.line) for s in read(path)] == [
        (["a", "b"], ["O", "O"], 2),
        (["c", "d"], ["O", "O"], 4),
        (["last"], ["O"], 6),
    ]


def test_semicolons(write: Write) -> None:
    path = write("a.csv", "text;tags\na,b c;O O\n")
    assert pairs(path) == [(["a,b", "c"], ["O", "O"])]
    assert describe(path) == Layout("csv", "text", "tags", ";")


def test_quotes_in_tsv_are_csv_quotes_or_mere_characters(write: Write) -> None:
    quotes = write("a.tsv", 'text\ttags\n""""\tO\n"say ""a"""\tO O\n')
    assert pairs(quotes) == [(['"'], ["O"]), (["say", '"a"'], ["O", "O"])]
    characters = write("b.tsv", 'text\ttags\n" a\tO O\nb "\tO O\n')
    assert pairs(characters) == [(['"', "a"], ["O", "O"]), (["b", '"'], ["O", "O"])]


def test_broken_csv(write: Write) -> None:
    refused(write("a.csv", "text,tags\na b,O O,x\n"), 2, "3 cells", "['a b', 'O O', 'x']", "2 columns")
    refused(write("b.csv", "text,tags\na b,O O\nc\n"), 3, "1 cell in", "['c']", "2 columns")
    refused(write("c.csv", 'text,tags\n"a, b,O O\n'), 2, "unexpected end of data", '""')
    refused(write("d.csv", 'text,tags\n"a" b,"O O"\n'), 2, "expected after", '""')
    refused(write("e.csv", "text,tags\na\rb,O O\n"), 2, "new-line character")
    refused(write("f.csv", "text,tags\n,O\n"), 2, "'text'", "''", "without a single item")
    refused(write("i.csv", "sentence_id,word,tag\n1,a,O\n1,b,\n"), 3, "'tag'", "''")
    refused(write("j.csv", 'text,tags\n"[""\\ud800""]",O\n'), 2, "surrogate", "ud800")


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_json_lines(write: Write, name: str) -> None:
    path = write(name, "\n" + TWO_JSONL.replace("\n", "\n\n"))
    assert [(s.words, s.tags, s.line) for s in read(path)] == [(*TWO[0], 2), (*TWO[1], 4)]
    assert describe(path) == Layout("jsonl", "tokens", "ner_tags")


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS},
        {"version": 1, "data": ROWS, "text": "a description"},
        {"train": ROWS},
        {"tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO], "name": "columns"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_of_one_piece(write: Write, value: object, indent: int | None) -> None:
    path = write("a.json", json.dumps(value, indent=indent))
    assert [(s.words, s.tags, s.line) for s in read(path)] == [(*TWO[0], 1), (*TWO[1], 2)]
    assert describe(path).format == "json"


def test_json_of_a_single_row(write: Write) -> None:
    assert pairs(write("a.json", json.dumps(ROWS[0] | {"spans": []}))) == TWO[:1]
    assert pairs(write("b.json", '{"text": "a b"}'), need_tags=False) == [(["a", "b"], None)]


def test_json_for_prediction(write: Write) -> None:
    assert read(write("a.jsonl", '{"text": "a b"}\n'), need_tags=False) == [Sentence(["a", "b"], None, 1, 0)]
    assert pairs(write("b.jsonl", TWO_JSONL), need_tags=False) == TWO
    untagged = [(words, None) for words, _ in TWO]
    assert pairs(write("c.jsonl", TWO_JSONL), need_tags=False, label_column="none") == untagged


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        (TWO_JSONL + '{"tokens": ["a"\n', 3, ("not JSON", "column 16", "tokens")),
        (TWO_JSONL + "[1]\n", 3, ("[1] (list)", "not an object")),
        ("5\n" + TWO_JSONL, 1, ("5 (int)", "not an object")),
        ('{"tokens": ' + "[" * 100_000 + "\n", 1, ("not JSON", "recursion", "[[[")),
        ('{"tokens": ' + "1" * 5000 + "}\n", 1, ("not JSON", "11111")),
        ("{\n", 1, ("not JSON", "'{'")),
        (TWO_JSONL + '{"tokens": ["a"], "ner_tags": ["O"], "tokens": ["b"]}\n', 3, ("'tokens' stands twice", "rename")),
        (TWO_JSONL + '{"tokens": ["a"], "ner_tags": ["O"], "score": NaN}\n', 3, ("NaN is no JSON",)),
    ],
)
def test_broken_json_lines(write: Write, content: str, line: int, parts: tuple[str, ...]) -> None:
    refused(write("a.jsonl", content), line, *parts)


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        ('[{"tokens": ["a"],\n "tags": ["O" "O"]}]', 2, ("not JSON", "column 15", "O")),
        ('[{"tokens": ["a"], "tags": ["O"]},\n 7]', 2, ("7 (int)", "not an object")),
        ("7", 1, ("7",)),
        ('[{"tokens": ["a"], "tags": ["O"], "tags": ["O"]}]', 1, ("'tags' stands twice",)),
        ('{"train": [{"a": 1}], "dev": [{"a": 1}]}', 1, ("['train', 'dev']", "'data'")),
        ('{"version": 1}', 1, ("['version']", "'data'")),
        ('{"tokens": [["a"]], "tags": [["O"], ["O"]]}', 1, ("unequal", "'tokens': 1", "'tags': 2")),
        ('{"data": [["a"]]}', 1, ("['a'] (list)", "not an object")),
    ],
)
def test_broken_json(write: Write, content: str, line: int, parts: tuple[str, ...]) -> None:
    refused(write("a.json", content), line, *parts)


def test_parquet(tmp_path: Path) -> None:
    columns = {"id": [1, 2], "tokens": [words for words, _ in TWO], "ner_tags": [tags for _, tags in TWO]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    assert read(path) == [Sentence(*TWO[0], 1, 0), Sentence(*TWO[1], 2, 0)]
    assert describe(path) == Layout("parquet", "tokens", "ner_tags")
    assert pairs(write_parquet(tmp_path / "b.parquet", columns | {"ner_tags": [[0, 1, 2], [3, 4]]})) == [
        (["EU", "rejects", "."], ["0", "1", "2"]),
        (["Peter", "Blackburn"], ["3", "4"]),
    ]


def class_label(kind: str, names: list[str]) -> dict[str, str]:
    label = {"names": names, "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"ner_tags": {"feature": label, "_type": kind}}}})}


@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_parquet_with_class_names(tmp_path: Path, kind: str) -> None:
    names = class_label(kind, ["O", "B-X"])
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}, names)
    assert pairs(path) == [(["a", "b"], ["B-X", "O"])]
    assert describe(path).tag_names == ("O", "B-X")
    for number in (-1, 2):
        columns = {"tokens": [["a"], ["b"]], "ner_tags": [[0], [number]]}
        refused(write_parquet(tmp_path / "b.parquet", columns, names), 2, f"{number} (int)", "0 to 1")


def test_parquet_as_the_datasets_library_writes_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    names = ["O", "B-X"]
    tags = datasets.Sequence(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    assert pairs(tmp_path / "a.parquet") == [(["a", "b"], ["B-X", "O"])]


def test_columns_of_parquet_that_are_not_used_are_not_read(tmp_path: Path) -> None:
    date = pa.array([1 << 50], pa.timestamp("s"))  # which Python cannot hold
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a"]], "ner_tags": [["O"]], "doc_id": date})
    refused(path, 1, "not readable as Parquet")
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a"]], "ner_tags": [["O"]], "date": date})
    assert pairs(path) == [(["a"], ["O"])]


def test_bad_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["O"]]})
    refused(path, 2, "2 words but 1 tag,", "['b', 'c']")
    refused(path, 1, "'ner'", "['tokens', 'tags']", label_column="ner")
    for tokens, line, parts in (
        ([["a"], None], 2, ("null", "instead of a list")),
        ([["a"], [None]], 2, ("null", "word 1")),
        ([[1], [2]], 1, ("1 (int)", "word 1")),
    ):
        path = write_parquet(tmp_path / "b.parquet", {"tokens": tokens, "tags": [["O"], ["O"]]})
        refused(path, line, "'tokens'", *parts)
    path = tmp_path / "a.parquet"
    (tmp_path / "e.parquet").write_bytes(path.read_bytes()[:-20])
    refused(tmp_path / "e.parquet", 1, "not readable as Parquet", "damaged")
    data = path.read_bytes()
    (tmp_path / "g.parquet").write_bytes(data[:4] + bytes(60) + data[64:])
    refused(tmp_path / "g.parquet", 1, "not readable as Parquet", "damaged")
    (tmp_path / "f.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / "f.parquet.gz", None, "Parquet inside .gz", "unpack")
