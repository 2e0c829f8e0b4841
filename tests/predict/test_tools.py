"""What annotation tools import: whatever the input, `predict --to` writes each tool's own format."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from determined_ner.data.writers.labelled import LabelledSpan, LabelledText, join_words
from determined_ner.data.writers.spans import DoccanoWriter, LabelStudioWriter, ProdigyWriter, SpansWriter
from determined_ner.predict.inputs import WordsRow
from determined_ner.tagging.tagged import Tagged
from determined_ner.tagging.tagger import Tagger
from determined_ner.tags.schemes import Scheme
from tests.conftest import NAMES, PLACES

TEXTS = [f"{NAMES[0]} went to {PLACES[0]}.", "", f"😀 {PLACES[1]},\tand {NAMES[2]}"]


@pytest.fixture(scope="module")
def expected(model_dir):
    """(text, [(start, end, type, score)]) of each."""
    found = Tagger.from_pretrained(model_dir)(TEXTS)
    return [
        (text, [(e.start, e.end, e.type, pytest.approx(e.score, abs=1e-6)) for e in entities])
        for text, entities in zip(TEXTS, found, strict=True)
    ]


def test_spans_are_what_is_written_for_texts_anyhow(tag):
    assert tag("\n".join(TEXTS), "--to", "spans")[:2] == tag("\n".join(TEXTS))[:2]


def test_doccano(tag, expected):
    status, out, err = tag("\n".join(TEXTS), "--to", "doccano")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and rows == [
        {"text": text, "label": [list(span[:3]) for span in spans]} for text, spans in expected
    ]
    assert f"doccano: scores, which are not written: {sum(len(spans) for _, spans in expected)}" in err


def test_prodigy(tag, expected):
    rows = [json.loads(line) for line in tag("\n".join(TEXTS), "--to", "prodigy")[1].splitlines()]
    for row, (text, spans) in zip(rows, expected, strict=True):
        assert row["text"] == text and [token["id"] for token in row["tokens"]] == list(range(len(row["tokens"])))
        assert all(text[token["start"] : token["end"]] == token["text"] for token in row["tokens"])
        assert [(s["start"], s["end"], s["label"], s["score"]) for s in row["spans"]] == spans
        for span in row["spans"]:
            first, last = row["tokens"][span["token_start"]], row["tokens"][span["token_end"]]
            assert (first["start"], last["end"]) == (span["start"], span["end"])
    assert "".join(t["text"] + " " * t["ws"] for t in rows[0]["tokens"]) == TEXTS[0]


@pytest.mark.parametrize("kind", [ProdigyWriter, DoccanoWriter, LabelStudioWriter, SpansWriter])
def test_an_entity_of_an_empty_word_has_no_place_and_is_counted(kind):
    writer = kind()
    text, words = join_words(["", "a", "", "b"])
    spans = [LabelledSpan(*words[i], "X") for i in (0, 1, 2)]
    written = writer.format(LabelledText(text, words, spans, ["B-X", "B-X", "B-X", "O"])) + writer.end()
    assert written.count('"X"') >= 1 and writer.entities == 1
    assert any("entities of empty words, which have no place in the text: 2" in line for line in writer.remarks())


def test_label_studio(tag, expected, model_dir):
    status, out, err = tag("\n".join(TEXTS), "--to", "label-studio")
    tasks = json.loads(out)
    assert status == 0 and [task["data"]["text"] for task in tasks] == TEXTS
    for task, (text, spans) in zip(tasks, expected, strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == model_dir.parent.name
        regions = prediction["result"]
        assert len({region["id"] for region in regions}) == len(regions)
        for region, span in zip(regions, spans, strict=True):
            value = region["value"]
            assert (value["start"], value["end"], value["labels"][0], region["score"]) == span
            assert value["text"] == text[value["start"] : value["end"]]
        if spans:
            assert prediction["score"] == pytest.approx(sum(r["score"] for r in regions) / len(regions), abs=1e-5)
    config = re.search(r"labeling configuration of the project: (<View>.*</View>)", err)
    assert config and all(f'<Label value="{type_}"/>' in config[1] for type_ in ("LOC", "PER"))
    assert '<Labels name="label" toName="text">' in config[1] and 'value="$text"' in config[1]
    region = tasks[0]["predictions"][0]["result"][0]
    assert (region["from_name"], region["to_name"], region["type"]) == ("label", "text", "labels")


def test_brat_is_a_directory(tag, expected, tmp_path):
    assert "--output" in tag(TEXTS[0], "--to", "brat")[2]
    output = tmp_path / "brat"
    assert tag("\n".join(TEXTS), "--to", "brat", "--output", output)[0] == 0
    names = [f"{number:08d}" for number in (1, 2, 3)]
    assert sorted(path.name for path in output.iterdir()) == sorted(
        ["annotation.conf", *(f"{name}.{suffix}" for name in names for suffix in ("ann", "txt"))]
    )
    for name, (text, spans) in zip(names, expected, strict=True):
        assert (output / f"{name}.txt").read_bytes().decode() == text
        lines = (output / f"{name}.ann").read_text().splitlines()
        assert lines == [
            f"T{i}\t{type_} {start} {end}\t{text[start:end]}" for i, (start, end, type_, _) in enumerate(spans, 1)
        ]
    assert {"LOC", "PER"} <= set((output / "annotation.conf").read_text().splitlines())
    again = ("--to", "brat", "--output", output)
    assert "exists" in tag(TEXTS[0], *again)[2]
    (output / "notes").write_text("mine")
    assert "other files" in tag(TEXTS[0], *again, "--overwrite")[2] and (output / "notes").exists()
    (output / "notes").unlink()
    assert tag(TEXTS[0], *again, "--overwrite")[0] == 0 and len(list(output.iterdir())) == 3


def test_words_and_tags(tag, model_dir):
    tagger = Tagger.from_pretrained(model_dir)
    words = [tagger.cut(text).words for text in TEXTS if text]
    tags = tagger.tag(words).tags
    status, out, err = tag("\n".join(TEXTS), "--to", "conll")
    assert status == 0 and out == "".join(
        "".join(f"{word}\t{t}\n" for word, t in zip(*sentence, strict=True)) + "\n"
        for sentence in zip(words, tags, strict=True)
    )
    assert "CoNLL: texts without a word, which are left out: 1" in err
    rows = [json.loads(line) for line in tag("\n".join(TEXTS), "--to", "jsonl")[1].splitlines()]
    assert rows == [{"tokens": w, "tags": t} for w, t in zip(words, tags, strict=True)]


@pytest.mark.parametrize("name", ["input.conll", "input.jsonl"])
def test_words_are_joined_by_spaces_and_documents_are_kept(tag, name):
    sentences = [[NAMES[0], "went", "."], [PLACES[0], "#"], [NAMES[1]]]
    conll = ["-DOCSTART- O\n\n", "\n", "\n-DOCSTART- O\n\n"]
    content = {
        "input.conll": "".join(mark + "".join(f"{w} O\n" for w in s) for mark, s in zip(conll, sentences, strict=True))
        + "\n# the end\n",
        "input.jsonl": "".join(
            json.dumps({"tokens": s, "doc_id": number}) + "\n" for s, number in zip(sentences, [7, 7, 8], strict=True)
        ),
    }[name]
    rows = [json.loads(line) for line in tag(content, "--to", "doccano", name=name)[1].splitlines()]
    assert [row["text"] for row in rows] == [" ".join(s) for s in sentences]
    assert [row["doc_id"] for row in rows] == [0, 0, 1]
    out = tag(content, "--to", "conll", name=name)[1]
    assert re.sub(r"\t\S+", "", out) == f"{NAMES[0]}\nwent\n.\n\n{PLACES[0]}\n#\n\n-DOCSTART-\n\n{NAMES[1]}\n\n"


def test_an_unknown_format_is_refused(tag, capsys):
    with pytest.raises(SystemExit) as ended:
        tag(TEXTS[0], "--to", "spacy")
    assert ended.value.code == 2 and "label-studio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "scheme", "tags", "spans", "score"),
    [
        (("ADJ", "NOUN"), Scheme.PLAIN, ["ADJ", "NOUN", "NOUN"], [(0, 1, "ADJ"), (2, 3, "NOUN"), (4, 5, "NOUN")], 0.5),
        (("B-X", "I-X"), Scheme.BIOES, ["B-X", "I-X", "I-X"], [(0, 5, "X")], 0.25),
    ],
)
def test_tags_are_iob2_and_plain_ones_stay(labels, scheme, tags, spans, score):
    """In whatever scheme the training files were; a model with plain labels makes every word an entity.

    Of words that begin or go on alike, one in four sequences that begin with B has no other B.
    """
    ids = np.array([0, 1, 1])
    under = scheme if scheme is Scheme.PLAIN else Scheme.IOB2
    tagged = Tagged(labels, under, scheme, np.zeros((3, 2), np.float32), ids, np.array([0, 3]))
    labelled = WordsRow(["a", "b", "c"], "{}", 0, marked=False).labelled(tagged, 0)
    assert labelled.tags == tags and [span[:3] for span in labelled.spans] == spans
    assert [span.score for span in labelled.spans] == pytest.approx([score] * len(spans))
