"""The command: labelled text is written again in another format, and what is lost is said; or one message."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from determined_ner import cli
from determined_ner.data.readers.open import read_file
from tests.data.writers.tools import read_spans
from tests.forked import content, forked

FORMATS = ("doccano", "label-studio", "prodigy", "brat", "spans", "conll", "jsonl")

MARK = "-DOCSTART-\tO\n\n"
CONLL = f"{MARK}Ada\tB-PER\nLovelace\tI-PER\nwent\tO\n\nOslo\tB-LOC\n\n{MARK}Bo\tB-PER\nBergen\tB-LOC\n"
TEXT = "Ada  Lovelace 😀 went to\r\nNew York; Oslo"
SPANS = [(0, 13, "PER"), (21, 33, "LOC"), (25, 33, "LOC"), (35, 37, "X")]
"""One goes over a line end, one is nested in it, one ends inside a word."""


@pytest.fixture
def convert(tmp_path, capsys):
    """Run the command in this process; exit status and messages."""

    def run(*arguments: object) -> tuple[int, str]:
        status = cli.main(["convert", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert out == ""
        return status, err

    return run


@pytest.fixture
def columns(tmp_path) -> Path:
    (path := tmp_path / "in.conll").write_text(CONLL)
    return path


@pytest.fixture
def brat(tmp_path) -> Path:
    """A document of brat."""
    (folder := tmp_path / "annotated").mkdir()
    (folder / "a.txt").write_bytes(TEXT.encode())
    lines = [f"T{i}\t{type_} {s} {e}\t{' '.join(TEXT[s:e].split())}\n" for i, (s, e, type_) in enumerate(SPANS, 1)]
    (folder / "a.ann").write_text("".join(lines), encoding="utf-8")
    return folder / "a.ann"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# -- Words and tags --------------------------------------------------------------------------------------------


def test_the_name_of_the_output_says_its_format(convert, columns, tmp_path):
    status, err = convert(columns, tmp_path / "out.jsonl")
    assert status == 0 and "in.conll: read as conll" in err
    assert "out.jsonl: JSON Lines, texts: 3, entities: 4, types: 2" in err
    assert rows(tmp_path / "out.jsonl") == [
        {"tokens": ["Ada", "Lovelace", "went"], "tags": ["B-PER", "I-PER", "O"], "doc_id": 0},
        {"tokens": ["Oslo"], "tags": ["B-LOC"], "doc_id": 0},
        {"tokens": ["Bo", "Bergen"], "tags": ["B-PER", "B-LOC"], "doc_id": 1},
    ]
    assert convert(tmp_path / "out.jsonl", tmp_path / "out.conll")[0] == 0
    before, after = ([replace(s, line=0) for s in read_file(path)] for path in (columns, tmp_path / "out.conll"))
    assert after == before
    status, err = convert(columns, tmp_path / "out.txt")
    assert status == 2 and "out.txt: the name does not say the format" in err and "--to" in err
    status, err = convert(columns, tmp_path / "out.jsonl.gz")
    assert status == 2 and "nothing is written as .gz" in err


def test_columns_become_texts_whose_words_are_joined_by_one_space(convert, columns, tmp_path):
    status, err = convert(columns, tmp_path / "out", "--to", "doccano")
    assert status == 0 and "one space between them" in err
    assert rows(tmp_path / "out")[0] == {"text": "Ada Lovelace went", "label": [[0, 12, "PER"]], "doc_id": 0}
    status, err = convert(columns, tmp_path / "brat", "--to", "brat")
    assert status == 0 and "brat: texts whose documents are not written: 3" in err


@pytest.mark.parametrize("scheme", ["BIOES", "IOB1"])
def test_tags_are_written_as_iob2(convert, tmp_path, scheme):
    tags = {"BIOES": ["B-PER", "E-PER", "O", "S-LOC"], "IOB1": ["I-PER", "I-PER", "O", "I-LOC"]}[scheme]
    (tmp_path / "in.jsonl").write_text(json.dumps({"tokens": [*"abcd"], "tags": tags}))
    status, err = convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert status == 0 and f"tags are {scheme}, written as IOB2" in err
    assert rows(tmp_path / "out.jsonl")[0]["tags"] == ["B-PER", "I-PER", "O", "B-LOC"]


def test_tags_of_other_spellings_are_written_as_iob2(convert, tmp_path):
    (path := tmp_path / "in.conll").write_text("Ada\tb_per\nB\ti_per\nwent\to\nto\to\nthe\to\nOslo\tb_loc\n")
    status, err = convert(path, tmp_path / "out.jsonl")
    assert status == 0 and "tags are spelled" in err
    assert rows(tmp_path / "out.jsonl")[0]["tags"] == ["B-per", "I-per", "O", "O", "O", "B-loc"]
    setting = "data.label_names=[O, B-PER, I-PER]"
    (path := tmp_path / "in.json").write_text('[{"tokens": ["Ada", "L", "x"], "ner_tags": [1, 2, 0]}]')
    assert convert(path, tmp_path / "named.jsonl", "--config", setting)[0] == 0
    assert rows(tmp_path / "named.jsonl")[0]["tags"] == ["B-PER", "I-PER", "O"]
    assert "data.label_names" in convert(path, tmp_path / "numbers.jsonl")[1]


def test_tags_that_are_not_allowed_are_counted_or_refused(convert, tmp_path):
    (path := tmp_path / "in.conll").write_text("a\tO\nb\tI-PER\nc\tB-PER\nd\tB-X\n")
    status, err = convert(path, tmp_path / "out.jsonl")
    assert status == 0 and "tags that IOB2 does not allow, read as seqeval does: 1" in err and "in.conll:1" in err
    assert rows(tmp_path / "out.jsonl")[0]["tags"] == ["O", "B-PER", "B-PER", "B-X"]
    status, err = convert(path, tmp_path / "no.jsonl", "--config", "data.on_bad_tags=error")
    assert status == 2 and "in.conll:1" in err and "'I-PER'" in err and not (tmp_path / "no.jsonl").exists()


def test_plain_tags_stay_plain_and_are_spans_of_a_word_each(convert, tmp_path):
    (path := tmp_path / "in.conll").write_text("Ada\tPROPN\nwent\tVERB\n")
    status, err = convert(path, tmp_path / "out.jsonl")
    assert status == 0 and "tags are written as they are" in err and "'PROPN'" in err
    assert rows(tmp_path / "out.jsonl") == [{"tokens": ["Ada", "went"], "tags": ["PROPN", "VERB"]}]
    assert convert(path, tmp_path / "out", "--to", "spans")[0] == 0
    assert [e["type"] for e in rows(tmp_path / "out")[0]["predicted_entities"]] == ["PROPN", "VERB"]


def test_settings_say_how_text_is_read(convert, tmp_path):
    (path := tmp_path / "in.jsonl").write_text('{"tokens": ["Ada"], "a_tags": ["B-A"], "b_tags": ["B-B"]}\n')
    for column in ("a_tags", "b_tags"):
        setting = f"data.label_column_name={column}"
        assert convert(path, tmp_path / "out.conll", "--config", setting, "--overwrite")[0] == 0
        assert (tmp_path / "out.conll").read_text() == f"Ada\tB-{column[0].upper()}\n\n"
    for setting in ("data.max_seq_length=3", "hyperparameters.learning_rate=1", "data.train_file=x", "data=3"):
        status, err = convert(path, tmp_path / "out.conll", "--config", setting)
        assert status == 2 and "has no meaning here" in err and "data.label_column_name" in err
    assert "data.span_offsets" in convert(path, tmp_path / "o.conll", "--config", "data.span_offsets=bytes")[1]


def test_what_the_input_is_said_to_be_is_made_sure(convert, columns, tmp_path):
    assert convert(columns, tmp_path / "out.jsonl", "--from", "conll")[0] == 0
    for format_, name in (("label-studio", "out.json"), ("doccano", "doccano.jsonl"), ("spans", "spans.jsonl")):
        assert convert(columns, tmp_path / name, "--to", format_)[0] == 0
        assert convert(tmp_path / name, tmp_path / "again.conll", "--from", format_, "--overwrite")[0] == 0
        assert "is read as" in convert(tmp_path / name, tmp_path / "no.conll", "--from", "brat")[1]
    status, err = convert(columns, tmp_path / "no.jsonl", "--from", "doccano")
    assert status == 2 and "is read as conll, not as doccano" in err and not (tmp_path / "no.jsonl").exists()


def test_several_files_are_one_output_and_documents_stay_apart(convert, columns, tmp_path):
    (tmp_path / "in2.conll").write_text("Bo\tB-PER\n")
    assert convert(tmp_path / "in*.conll", tmp_path / "out.jsonl")[0] == 0
    assert [row["doc_id"] for row in rows(tmp_path / "out.jsonl")] == [0, 0, 1, 2]


# -- Spans -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["doccano", "label-studio", "prodigy", "brat", "spans"])
def test_texts_with_spans_stay_as_they_are(convert, brat, tmp_path, format_):
    """Nested ones, such as end inside a word or go over a line end, and white space."""
    status, err = convert(brat, out := tmp_path / "out", "--to", format_)
    assert status == 0 and "read as brat" in err and "one space" not in err
    assert read_spans(out, format_) == [(TEXT, SPANS)]
    if format_ == "brat":
        assert (out / "00000001.txt").read_bytes() == brat.with_suffix(".txt").read_bytes()
        assert convert(out / "*.ann", tmp_path / "again", "--to", "doccano")[0] == 0
        assert read_spans(tmp_path / "again", "doccano") == [(TEXT, SPANS)]
    if format_ == "prodigy":
        assert "overlapping spans" in err


def test_spans_become_the_words_and_tags_of_training_and_repairs_are_told(convert, brat, tmp_path):
    status, err = convert(brat, tmp_path / "out.jsonl")
    (row,) = rows(tmp_path / "out.jsonl")
    assert status == 0 and list(zip(row["tokens"], row["tags"], strict=True)) == [
        *(("Ada", "B-PER"), ("Lovelace", "I-PER"), ("😀", "O"), ("went", "O"), ("to", "B-LOC")),
        *(("New", "I-LOC"), ("York", "I-LOC"), (";", "O"), ("Oslo", "B-X")),
    ]
    assert "spans that begin or end inside a word, read as whole words: 1, the first at" in err
    assert "spans inside another, left out: 1" in err
    status, err = convert(brat, tmp_path / "no.jsonl", "--config", "data.on_bad_spans=error")
    assert status == 2 and err.count("\n") == 1 and not (tmp_path / "no.jsonl").exists()


def test_spans_without_a_character_are_left_out_and_told(convert, brat, tmp_path):
    brat.write_text("T1\tPER 0 3\tAda\nT2\tX 3 3\t\n")
    status, err = convert(brat, tmp_path / "out", "--to", "doccano")
    assert status == 0 and "spans without a character, left out: 1" in err
    assert rows(tmp_path / "out")[0]["label"] == [[0, 3, "PER"]]


def test_spans_and_tags_together_are_refused(convert, brat, columns, tmp_path):
    (brat.parent / "b.ann").write_text(CONLL)
    status, err = convert(brat.parent / "*.ann", tmp_path / "out", "--to", "spans")
    assert status == 2 and "convert them apart" in err


def test_an_output_over_the_other_file_of_a_document_or_its_directory_is_refused(convert, brat, tmp_path):
    before = content(tmp_path)
    for source, output in ((".txt", brat), (".ann", brat.with_suffix(".txt")), (".ann", brat.parent)):
        status, err = convert(brat.with_suffix(source), output, "--to", "brat", "--overwrite")
        assert status == 2 and "is the input, too, or holds it" in err and content(tmp_path) == before


# -- Outputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_an_output_that_exists_is_kept(convert, columns, tmp_path, format_):
    assert convert(columns, tmp_path / "out", "--to", format_)[0] == 0
    before = content(tmp_path)
    status, err = convert(columns, tmp_path / "out", "--to", format_)
    assert status == 2 and "exists" in err and "--overwrite" in err and content(tmp_path) == before
    assert convert(columns, tmp_path / "out", "--to", format_, "--overwrite")[0] == 0
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["in.conll", "link.conll", "hard.conll"])
def test_the_input_is_no_output(convert, columns, tmp_path, name):
    (tmp_path / "link.conll").symlink_to(columns)
    os.link(columns, tmp_path / "hard.conll")
    status, err = convert(columns, tmp_path / name, "--overwrite")
    assert status == 2 and "is the input, too" in err and columns.read_text() == CONLL


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "is empty"), ("\n\n", "is empty"), ("caf\xe9\tO\n", "in.conll:1"), ("word\n", "no column holds tags")],
)
def test_an_input_that_is_no_labelled_text_is_refused(convert, tmp_path, text, expected):
    (path := tmp_path / "in.conll").write_text(text, encoding="latin1")
    for format_ in FORMATS:
        status, err = convert(path, tmp_path / "out", "--to", format_)
        assert status == 2 and expected in err and err.count("\n") == 1 and err.startswith("error: ")
        assert [entry.name for entry in tmp_path.iterdir()] == ["in.conll"]


def test_a_text_of_ten_megabytes_is_refused(convert, brat, tmp_path):
    brat.with_suffix(".txt").write_text("Ada went. " * 1_000_000)
    brat.write_text("T1\tPER 0 3\tAda\n")
    for format_ in FORMATS:
        status, err = convert(brat, tmp_path / "out", "--to", format_)
        assert status == 2 and "10,000,000 characters" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("half", ["text", "type", "document"])
def test_half_a_character_is_refused(convert, tmp_path, half):
    values = {"text": "Ada", "type": "PER", "document": "d"} | {half: "x\ud83d"}
    row = {"text": values["text"], "label": [[0, 1, values["type"]]], "doc_id": values["document"]}
    (path := tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    for format_ in FORMATS:
        status, err = convert(path, tmp_path / "out", "--to", format_)
        assert status == 2 and "in.jsonl:1" in err and "half a character" in err and err.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_", ["label-studio", "brat"])
def test_an_output_that_was_killed_is_whole_or_not_there(columns, tmp_path, monkeypatch, format_):
    output = tmp_path / "new" / "out"
    output.parent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what a killed command leaves there goes with the test

    def action() -> int:
        return cli.main(["convert", str(columns), str(output), "--to", format_, "--overwrite"])

    assert action() == 0
    whole = content(output.parent)
    died = 0
    for earlier in (False, True):
        for number in range(1, 30):
            if not earlier and output.is_dir():
                for path in output.iterdir():
                    path.unlink()
                output.rmdir()
            elif not earlier:
                output.unlink(missing_ok=True)
            died += forked(action, operation=number)[0] == -9
            found = {name: held for name, held in content(output.parent).items() if not name.startswith(".")}
            assert found in (whole, {}) if not earlier else found == whole
        assert action() == 0 and content(output.parent) == whole
    assert died > 20


def test_files_are_read_as_the_first_of_them_is(convert, tmp_path):
    """As a training reads them: under the same key, though another has spans, too, or it has none."""
    text, spans = "Ada saw Oslo", [[0, 3, "PER"]]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text, "mentions": spans}))
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text, "mentions": [], "guesses": [[8, 12, "LOC"]]}))
    assert convert(tmp_path / "?.jsonl", tmp_path / "out", "--to", "doccano")[0] == 0
    assert [row["label"] for row in rows(tmp_path / "out")] == [spans, []]
