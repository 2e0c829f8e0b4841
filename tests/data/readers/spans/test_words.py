"""Spans of characters as words and tags."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.sentences import Choice, DocumentCounter, Sentence
from determined_ner.data.readers.spans.text import AnnotatedText, Span
from determined_ner.data.readers.spans.words import MAX_TEXT, to_sentence, to_sentences
from determined_ner.data.words import word_offsets
from determined_ner.errors import UserError

PATH = Path("a.jsonl")


def read(text: str, *spans: tuple[int, int, str], **options: object) -> Sentence:
    annotated = AnnotatedText(text, tuple(Span(*span) for span in spans), 7)
    sentence = to_sentence(annotated, Choice(**options), PATH, DocumentCounter())  # type: ignore[arg-type]
    assert sentence is not None
    return sentence


def kinds(sentence: Sentence) -> list[str]:
    return [repair.kind for repair in sentence.repairs]


def test_words_are_the_taggers_own() -> None:
    sentence = read("Ada (of Oslo) left.", (0, 3, "PER"), (8, 12, "LOC"))
    assert sentence == Sentence(
        ["Ada", "(", "of", "Oslo", ")", "left", "."], ["B-PER", "O", "O", "B-LOC", "O", "O", "O"], 7, 0, (), "rules"
    )
    assert read("Ada (of Oslo) left.", (8, 12, "LOC"), splitting="whitespace").words == ["Ada", "(of", "Oslo)", "left."]


def test_a_span_is_read_as_the_words_that_it_touches() -> None:
    sentence = read("the US-based firm", (4, 6, "LOC"))
    assert list(zip(sentence.words, sentence.tags or [], strict=True))[1] == ("US-based", "B-LOC")
    (repair,) = sentence.repairs
    assert repair.kind == "spans that begin or end inside a word, read as whole words"
    assert repair.example == "LOC 'US' (4 to 6) as 'US-based'"


def test_white_space_at_the_edges_of_a_span_is_no_part_of_it() -> None:
    sentence = read("in New York now", (2, 12, "LOC"))
    assert sentence.tags == ["O", "B-LOC", "I-LOC", "O"]
    assert kinds(sentence) == ["spans that begin or end with white space, read without it"]


def test_the_outermost_of_spans_that_share_a_word_is_kept() -> None:
    inner = read("Bank of Oslo", (8, 12, "LOC"), (0, 12, "ORG"))
    assert inner.tags == ["B-ORG", "I-ORG", "I-ORG"]
    assert inner.repairs[0].kind == "spans inside another, left out"
    assert inner.repairs[0].example == "LOC 'Oslo' beside ORG 'Bank of Oslo'"
    crossing = read("a b c d", (0, 5, "X"), (4, 7, "Y"))
    assert crossing.tags == ["B-X", "I-X", "I-X", "O"]
    assert kinds(crossing) == ["spans that overlap a longer one, left out"]
    twice = read("a b", (0, 3, "X"), (0, 3, "X"))
    assert twice.tags == ["B-X", "I-X"] and kinds(twice) == ["spans given twice, read once"]
    assert read("a b", (0, 1, "X"), (0, 1, "Y")).tags == ["B-X", "O"]  # of equals, the first


def test_a_span_without_a_word_is_left_out_and_counted() -> None:
    sentence = read("a  b", (1, 3, "X"), (4, 4, "X"), (0, 0, "X"))
    assert sentence.tags == ["O", "O"] and kinds(sentence) == ["spans without a word, left out"] * 3


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        ((0, 5, "X"), "span 0 to 5 of type 'X' leaves its text, which has 3 characters"),
        ((-1, 2, "X"), "leaves its text"),
        ((2, 1, "X"), "ends before it begins"),
        ((0, 1, " "), "has no type"),
    ],
)
def test_a_span_that_is_no_part_of_its_text_is_refused(span: tuple[int, int, str], problem: str) -> None:
    with pytest.raises(UserError, match=f"a.jsonl:7: .*{problem}"):
        read("a b", span)


def test_a_repair_is_refused_on_request() -> None:
    with pytest.raises(UserError, match=r"a.jsonl:7: spans that begin or end inside a word.*US"):
        read("the US-based firm", (4, 6, "LOC"), on_bad_spans="error")
    assert read("the US firm", (4, 6, "LOC"), on_bad_spans="error").tags == ["O", "B-LOC", "O"]


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match=r"a.jsonl:7: a text of 1,048,578 characters"):
        read("a " * (MAX_TEXT // 2 + 1))


def test_each_text_is_a_document_unless_its_file_says_otherwise() -> None:
    texts = [AnnotatedText("a", (), 1), AnnotatedText("", (), 2), AnnotatedText("b", (), 3)]
    texts += [AnnotatedText("c", (), 4, "x"), AnnotatedText("d", (), 5, "x"), AnnotatedText("e", (), 6, "y")]
    sentences = to_sentences(texts, Choice(), PATH)
    assert [(s.words, s.line, s.document) for s in sentences] == [
        (["a"], 1, 0), (["b"], 3, 2), (["c"], 4, 3), (["d"], 5, 3), (["e"], 6, 4)
    ]  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.data())
def test_spans_of_whole_words_come_back_whatever_the_text(text: str, data: st.DataObject) -> None:
    offsets = word_offsets(text)
    borders = sorted(data.draw(st.lists(st.integers(0, len(offsets)), max_size=8)))
    pairs = [(first, end) for first, end in zip(borders[::2], borders[1::2], strict=False) if first < end]
    spans = [(offsets[first][0], offsets[end - 1][1], data.draw(st.sampled_from("XY"))) for first, end in pairs]
    if not offsets:
        return
    sentence = read(text, *spans, on_bad_spans="error")
    assert sentence.words == [text[start:end] for start, end in offsets] and sentence.tags is not None
    found: list[tuple[int, int, str]] = []
    for tag, (start, end) in zip(sentence.tags, offsets, strict=True):
        if tag.startswith("B-"):
            found.append((start, end, tag[2:]))
        elif tag != "O":
            found[-1] = (found[-1][0], end, tag[2:])
    assert found == spans
