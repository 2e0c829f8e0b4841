"""What is read and written: text, columns, JSON Lines; each keeps what it was, and is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.open import read_file
from determined_ner.data.readers.sentences import Choice
from determined_ner.predict.inputs import read_columns, read_json_lines
from determined_ner.tagging.words import RawText
from tests.conftest import NAMES, PLACES

TEXT = f"{NAMES[0]} {NAMES[1]} went to {PLACES[0]}."


def test_plain_text_becomes_entities_with_their_places(tag):
    status, out, err = tag(f"{TEXT}\n\n \t\n{TEXT}\r\n{'x' * 1_000_000}")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and len(rows) == 5
    assert [row["text"] for row in rows] == [TEXT, "", " \t", TEXT, "x" * 1_000_000]
    first = rows[0]["predicted_entities"]
    assert [(e["type"], e["start"], e["end"]) for e in first] == [("PER", 0, 6), ("LOC", 15, 19)]
    assert [TEXT[e["start"] : e["end"]] for e in first] == [e["text"] for e in first]
    assert rows[1]["predicted_entities"] == rows[2]["predicted_entities"] == []
    assert rows[3]["predicted_entities"] == first
    assert "read as text" in err and "5 texts" in err and "words/s" in err


def test_a_word_longer_than_a_window_is_read_by_its_beginning_and_counted(tag):
    long = "a-" * 100_000 + "a"
    status, out, err = tag(f"{TEXT} {long} to {PLACES[1]}\n")
    entities = json.loads(out)["predicted_entities"]
    assert status == 0 and "words longer than a window were read by their beginning: 1" in err
    assert entities[-1]["text"] == PLACES[1] and entities[-1]["start"] == len(f"{TEXT} {long} to ")
    assert "longer than a window" not in tag(TEXT)[2]


def test_an_empty_word_of_columns_gains_a_tag_like_any_other(tag):
    status, out, _ = tag(f"{NAMES[0]}\tO\n\tO\nwent\tO\n", name="input.conll")
    assert status == 0
    assert [line.count("\t") for line in out.splitlines()] == [2, 2, 2] and out.splitlines()[1].startswith("\tO\t")


def test_columns_keep_every_line_and_gain_one(tag):
    head = ["-DOCSTART- -X- O", "", "# a comment of three"]
    data = [f"{NAMES[0]} NN O", "went VB O", "", "# text = x", "to NN O", f"{PLACES[0]} NN B-LOC", ""]
    status, out, _ = tag("\n".join(head + data) + "\n", name="input.conll")
    assert status == 0
    assert out.splitlines() == [
        *head,
        f"{NAMES[0]} NN O B-PER",
        "went VB O O",
        "",
        "# text = x",
        "to NN O O",
        f"{PLACES[0]} NN B-LOC B-LOC",
        "",
    ]


def test_columns_with_a_header_and_multiword_tokens_stay_columns(tag, tmp_path):
    """What is written can be read again: every row has as many columns."""
    lines = "# newdoc id = 1\n1\tAda\tB-PER\n2-3\tdu\t_\n2\tde\tO\n3\tle\tO\n\n1\tOslo\tO\n"
    status, out, _ = tag(lines, name="input.iob2")
    (tmp_path / "again.iob2").write_text(out)
    assert status == 0 and "2-3\tdu\t_\t_" in out
    assert [s.words for s in read_file(tmp_path / "again.iob2", Choice(label_column="-1"))] == [
        ["Ada", "de", "le"],
        ["Oslo"],
    ]
    status, out, _ = tag("word\ttag\nAda\tO\n\nOslo\tO\n", name="input.tsv")
    assert status == 0 and out.splitlines()[:2] == ["word\ttag\tpredicted_tags", "Ada\tO\tB-PER"]


def test_words_without_tags_are_read(tag):
    status, out, _ = tag("Ada\nwent\n\nto\nOslo\n", name="input.conll")
    assert (status, out) == (0, "Ada B-PER\nwent O\n\nto O\nOslo B-LOC\n")


def test_json_lines_keep_their_keys(tag):
    rows = [
        {"id": 1, "tokens": ["Ada", "went"], "ner_tags": ["O", "O"]},
        {"id": 2, "tokens": []},
        {"id": 3, "tokens": TEXT},
    ]
    status, out, _ = tag("\n".join(map(json.dumps, rows)), name="input.jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert found[0] == {**rows[0], "predicted_tags": ["B-PER", "O"]}
    assert found[1] == {**rows[1], "predicted_tags": []}
    assert [e["text"] for e in found[2]["predicted_entities"]] == ["Ada Bo", "Oslo"]
    status, out, _ = tag('{"body": "Ada"}', "--text-column", "body", name="input.jsonl")
    assert json.loads(out)["predicted_entities"][0]["type"] == "PER"
    example = ["Ada went", {"entities": [[0, 3, "PER"]]}]  # as spaCy trains on them
    status, out, _ = tag(json.dumps(example), name="input.jsonl")
    found = json.loads(out)
    assert status == 0 and (found["text"], found["entities"]) == (example[0], [[0, 3, "PER"]])
    assert [entity["text"] for entity in found["predicted_entities"]] == ["Ada"]


def test_json_lines_come_out_as_they_were_spelled(tag):
    """Down to the last digit; what JSON cannot hold is refused instead (below)."""
    rows = [
        '{"text": "Ada", "pi": 3.14159265358979323846264338327950288, "big": 1e999, "n": 1E+2, "u": "\\u00e9"}',
        '  {"id" : 12345678901234567890123.0 ,\t"tokens" : [ "Ada", "went" ] }  ',
        '{"text":""}',
    ]
    status, out, _ = tag("\n\n".join(rows) + "\n", name="input.jsonl")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 3
    for row, line, key in zip(rows, lines, ("predicted_entities", "predicted_tags", "predicted_entities"), strict=True):
        head = row.strip().removesuffix("}").rstrip()
        assert line.startswith(f'{head}, "{key}": ') and line.endswith("}")
        assert key in json.loads(line)


@pytest.mark.parametrize(
    "text",
    [
        "doc_id\ttoken\ttag\nd1\tAda\tB-PER\n\tsings\tO\nd2\tOslo\tB-LOC\n\nd2\tis\tO\nd3\tit\tO\n",
        "sentence_id\ttoken\ttag\n1\tAda\tB-PER\n1\tsings\tO\n# remark\n2\tOslo\tB-LOC\n\n2\tis\tO\n",
        "doc\tsent_id\ttoken\ttag\na\t1\tAda\tO\na\t1\tsings\tO\nb\t1\tOslo\tB-LOC\n-DOCSTART-\nb\t1\tis\tO\n",
    ],
)
def test_columns_of_sentences_and_documents_count_as_in_training(tmp_path, text):
    (tmp_path / "a.conll").write_text(text)
    lines = list(enumerate(text.splitlines(), 1))
    columns = find_columns(lines, Choice(need_tags=False), Path("a"))
    items = list(read_columns(iter(lines), columns, Path("a"), marked=True))
    read = [(s.document, s.words) for s in read_file(tmp_path / "a.conll")]
    assert [(item.document, item.words) for item in items] == read and len(read) > 2
    assert [line for item in items for line, _ in item.lines][1:] == text.splitlines()[1:]


def test_documents_are_numbered_as_in_training():
    rows = [{"text": "a", "doc_id": 1}, {"text": "b", "doc_id": 1}, {"text": "c", "doc_id": 2}]
    lines = [(i, json.dumps(row)) for i, row in enumerate(rows, 1)]
    assert [item.document for item in read_json_lines(iter(lines), RawText, None, Path("a"))] == [0, 0, 1]
    lines = [(i, json.dumps({"text": "a"})) for i in (1, 2)]
    assert [item.document for item in read_json_lines(iter(lines), RawText, None, Path("a"))] == [0, 1]
    text = "a O\n\nb O\n\n-DOCSTART- O\n\nc O\n# newdoc\nd O"
    head = list(enumerate(text.split("\n"), 1))
    columns = find_columns(head, Choice(need_tags=False), Path("a"))
    items = list(read_columns(iter(head), columns, Path("a"), marked=True))
    assert [(item.document, item.words) for item in items] == [(0, ["a"]), (0, ["b"]), (1, ["c"]), (2, ["d"])]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"ok\n\xff\xfe\n", "a.txt:2: byte 0xff at offset 3"),
        ("a.conll", b"", "is empty"),
        ("a.conll", b"one two\nthree\n", "--text-column"),
        ("a.conll", b"Ada O\nwent\n", "a.conll:2: 1 column in"),
        ("a.jsonl", b'{"tokens": ["a"]}\nnot json\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"other": "a"}\n', "a.jsonl:1: no text among the keys ['other']"),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl:1: 7 of 'text' is neither"),
        ("a.jsonl", b'{"tokens": ["a", 1]}\n', "is neither a string nor a list of strings"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "half a character"),
        ("a.jsonl", b'{"text": "a", "id": "\\udc00"}\n', "half a character"),
        ("a.jsonl", b'{"text": "a", "predicted_entities": 1}\n', "has 'predicted_entities' already"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "a", "x": NaN}\n', "a.jsonl:2: NaN is no JSON"),
        ("a.jsonl", b'{"text": "a", "x": [-Infinity]}\n', "a.jsonl:1: -Infinity is no JSON"),
        ("a.jsonl", b'{"text": "a", "id": 1, "text": "b"}\n', "a.jsonl:1: key 'text' stands twice"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "a", "x": {"k": 1, "k": 1}}\n', "a.jsonl:3: key 'k' stands twice"),
        ("a.txt", b"-DOCSTART- O\n\nAda B-PER\nwent O\n", "a.txt:3: 'Ada B-PER' may be a word and its tag"),
        ("a.csv", b"a,b\n", "csv is not read here"),
        ("a.parquet", b"PAR1", "parquet is not read here"),
    ],
)
def test_bad_input_is_refused_with_its_place(tag, name, content, expected):
    status, out, err = tag(content, name=name)
    assert status == 2 and expected in err and out == ""
    assert err.splitlines()[-1].startswith("error: ") and "data." not in err


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.txt", ["--text-column", "body"], "--text-column: 'body' has no meaning for plain text"),
        ("a.txt", ["--label-column", "tags"], "--label-column: 'tags' has no meaning for plain text"),
        ("a.jsonl", ["--label-column", "tags"], "--label-column: 'tags' has no meaning for JSON Lines"),
    ],
)
def test_an_option_that_the_input_has_no_use_for_is_refused(tag, name, options, expected):
    status, out, err = tag('{"body": "Ada"}\n', *options, name=name)
    assert status == 2 and expected in err and "--format" in err and out == ""


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a b O\n", ["--text-column", "9"], "--text-column"),
        ("one two\nthree\n", [], "--text-column"),
        ("a B-X O\nb O O\n", [], "--label-column"),
        ("a O\nb B-X\nc X\n", [], "--label-column"),
        ("word doc_id doc_id tag\na 1 1 O\n", [], "its header"),
        ("word sent_id sent_id tag\na 1 1 O\n", [], "its header"),
    ],
)
def test_messages_name_the_options_of_this_command(tag, content, options, expected):
    status, _, err = tag(content, *options, name="a.conll")
    message = err.splitlines()[-1]
    assert status == 2 and expected in message
    assert "data." not in message


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.tsv", "#FORMAT=WebAnno TSV 3.3\n\n#Text=Ada\n1-1\t0-3\tAda\t\n", "WebAnno TSV"),
        ("a.txt", "1|t|Ada\n1|a|She sings.\n1\t0\t3\tAda\tPER\n", "PubTator"),
        ("a.ann", "T1\tPER 0 3\tAda\n", "brat annotations"),
        ("a.conll", "d 0 0 Ada NNP * - - - - (PER) -\nd 0 1 sings VBZ * - - - - * -\n", "CoNLL-2012"),
        ("a.iob", "Ada|NNP|B-PER sings|VBZ|O\n", "lines of word|tag"),
    ],
)
def test_what_annotation_tools_write_is_not_tagged_as_words(tag, name, content, kind):
    status, out, err = tag(content, name=name)
    assert (status, out) == (2, "")
    assert f"holds {kind}, which is not read here; run determined-ner convert" in err
