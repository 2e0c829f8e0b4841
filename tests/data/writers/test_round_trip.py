"""Whatever the text and its spans: what is written is read again as it was, by each format's own rules."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from determined_ner.data.readers.open import read_annotated, read_file
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.words import word_offsets
from determined_ner.data.writers.brat import _fragments
from determined_ner.data.writers.labelled import LabelledSpan, LabelledText, join_words
from determined_ner.data.writers.open import WORDS, open_output
from determined_ner.data.writers.writer import Writer
from tests.data.writers.tools import read_spans

PIECES = st.one_of(
    st.sampled_from(
        ["Ada", "e\u0301", "😀", "👩\u200d👧", "🇳🇴", "עברית", "سلام", "देव", ".", "B-PER", "-DOCSTART-", "# newdoc"]
    ),
    st.sampled_from(["\r\n", *'\n\r \t\u00a0\u2028\u0085\u200b\ufeff\x0b\x1c"\\<>&#']),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
)
TYPES = st.sampled_from(["PER", "LOC", "a-b", "Ünï", "B-X", "O", "é"])


@st.composite
def texts(draw: st.DrawFn) -> LabelledText:
    """A text and any spans of it, which may overlap and begin and end anywhere."""
    text = "".join(draw(st.lists(PIECES, max_size=12)))
    spans = []
    for _ in range(draw(st.integers(0, 4)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        score = draw(st.sampled_from([None, 0.0, 0.123456, 1.0]))
        spans.append(LabelledSpan(start, draw(st.integers(start + 1, len(text))), draw(TYPES), score))
    return LabelledText(text, word_offsets(text), spans, [])


def write(path: Path, format_: str, items: list[LabelledText], model: str | None = None) -> Writer:
    with open_output(path, format_, overwrite=False, model=model) as output:
        for item in items:
            output.write(item)
    return output.writer


@pytest.mark.parametrize("format_", ["doccano", "label-studio", "prodigy", "brat", "spans"])
@settings(max_examples=150, deadline=None)
@given(items=st.lists(texts(), min_size=1, max_size=4))
@example(items=[LabelledText("a\nb\r\n\nc\n", [], [LabelledSpan(0, 8, "X"), LabelledSpan(1, 2, "X")], [])])
def test_text_spans_and_types_are_identical(format_, items):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "out"
        write(path, format_, items)
        assert read_spans(path, format_) == [(item.text, [span[:3] for span in item.spans]) for item in items]


SUFFIXES = {"doccano": ".jsonl", "label-studio": ".json", "prodigy": ".jsonl", "spans": ".jsonl"}


@pytest.mark.parametrize("format_", SUFFIXES)
@settings(max_examples=150, deadline=None)
@given(items=st.lists(texts(), min_size=1, max_size=4), documents=st.booleans())
def test_what_is_written_is_read_here_too(format_, items, documents):
    assume(any(item.spans for item in items))
    items = [replace(item, document=f"d{i // 2}" if documents else None) for i, item in enumerate(items)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"out{SUFFIXES[format_]}"
        write(path, format_, items)
        read = list(read_annotated(path))
    assert [(one.text, [(s.start, s.end, s.type) for s in one.spans]) for one in read] == [
        (item.text, [span[:3] for span in item.spans]) for item in items
    ]
    assert not any(one.repairs for one in read)
    if format_ != "label-studio":
        assert [one.document for one in read] == [item.document for item in items]


@settings(max_examples=150, deadline=None)
@given(item=texts())
def test_prodigys_spans_are_of_whole_tokens(item):
    """Prodigy refuses others. Words are tokens where no span cuts them."""
    with tempfile.TemporaryDirectory() as directory:
        write(path := Path(directory) / "out", "prodigy", [item])
        row = json.loads(path.read_text(encoding="utf-8"))
    tokens = row["tokens"]
    assert [token["id"] for token in tokens] == list(range(len(tokens)))
    assert all(item.text[token["start"] : token["end"]] == token["text"] != "" for token in tokens)
    assert all(before["end"] <= after["start"] for before, after in itertools.pairwise(tokens))
    for span in row["spans"]:
        assert tokens[span["token_start"]]["start"] == span["start"]
        assert tokens[span["token_end"]]["end"] == span["end"]
    borders = {border for span in item.spans for border in span[:2]}
    for start, end in item.words:
        if not any(start < border < end for border in borders):
            assert (start, end) in {(token["start"], token["end"]) for token in tokens}


WORD = st.one_of(
    st.sampled_from(
        ["Ada", "😀", "e\u0301", "עברית", "New York", "#", "#tag", "O", "B-PER", "7", "1-2", '"', "\u00a0", "\\"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), min_size=1, max_size=4),
)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-a-b", "I-a-b", "B-Ünï"])


@pytest.mark.parametrize("format_", WORDS)
@settings(max_examples=150, deadline=None)
@given(
    sentences=st.lists(st.lists(st.tuples(WORD, TAG), min_size=1, max_size=5), min_size=1, max_size=4),
    documents=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_words_tags_and_documents_are_identical(format_, sentences, documents):
    items, number = [], 0
    for sentence, begins in zip(sentences, documents, strict=False):
        number += begins and bool(items)
        words, tags = zip(*sentence, strict=True)
        items.append(LabelledText(*join_words(words), [], tags, number))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"out.{format_}"
        writer = write(path, format_, items)
        read = list(
            read_file(
                path,
                Choice(
                    text_column=None if format_ == "jsonl" else "1", label_column="tags" if format_ == "jsonl" else "2"
                ),
            )
        )
    assert not +writer.lost
    assert [list(zip(s.words, s.tags or [], strict=True)) for s in read] == [list(map(tuple, s)) for s in sentences]
    assert [s.document for s in read] == [item.document for item in items]


@pytest.mark.parametrize("word", ["-DOCSTART-", "a\tb", "a\nb", "\ufeffa", "# newdoc id", "# a = b", "\r"])
def test_a_word_that_a_column_cannot_hold_is_counted_and_stays_a_word(tmp_path, word):
    text, offsets = join_words([word, "b"])
    writer = write(tmp_path / "out.conll", "conll", [LabelledText(text, offsets, [], ["B-PER", "O"])])
    assert writer.remarks() == ["CoNLL: words that a column cannot hold, which are written otherwise: 1"]
    (sentence,) = read_file(tmp_path / "out.conll")
    assert len(sentence.words) == 2 and sentence.tags == ["B-PER", "O"]


def test_scores_are_written_where_a_tool_has_a_place_for_them(tmp_path):
    item = LabelledText("Ada", [(0, 3)], [LabelledSpan(0, 3, "PER", 0.25), LabelledSpan(0, 1, "X", 0.75)], [])
    for format_ in ("spans", "prodigy", "label-studio"):
        write(tmp_path / format_, format_, [item], model="m")
    (row,) = map(json.loads, (tmp_path / "spans").read_text().splitlines())
    assert [entity["score"] for entity in row["predicted_entities"]] == [0.25, 0.75]
    (row,) = map(json.loads, (tmp_path / "prodigy").read_text().splitlines())
    assert [span["score"] for span in row["spans"]] == [0.25, 0.75]
    (task,) = json.loads((tmp_path / "label-studio").read_text())
    (prediction,) = task["predictions"]
    assert [region["score"] for region in prediction["result"]] == [0.25, 0.75] and prediction["score"] == 0.5
    for format_ in ("doccano", "brat"):
        told = write(tmp_path / format_, format_, [item]).remarks()
        assert any("scores, which are not written: 2" in line for line in told)


@pytest.mark.parametrize("format_", ["doccano", "label-studio", "prodigy", "spans", "conll", "jsonl", "brat"])
def test_no_text_at_all_is_a_file_that_can_be_read(tmp_path, format_):
    write(tmp_path / "out", format_, [])
    assert read_spans(tmp_path / "out", format_) == [] if format_ not in WORDS else not (tmp_path / "out").read_text()


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a b", [(0, 3)]), ("a\nb", [(0, 1), (2, 3)]), ("a\n\nb", [(0, 1), (3, 4)]), ("\na\n", [(0, 3)])],
)
def test_a_span_over_lines_is_written_for_brat_in_a_part_for_each(text: str, parts: list[tuple[int, int]]) -> None:
    assert _fragments(text, 0, len(text)) == parts
