"""brat standoff."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.pairs import document_files, one_a_document
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.readers.spans.brat import is_brat, read_brat
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.errors import UserError
from tests.data.readers.spans.annotated import assert_refused, entities

TEXT = "Ada Byron met\r\nCharles in Old and New York 😊 in Paris.\r\n"
Document = Callable[..., Path]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """Write a document and name its text."""

    def write(annotations: str, text: str | bytes = TEXT, name: str = "a") -> Path:
        (tmp_path / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        (tmp_path / f"{name}.ann").write_bytes(annotations.encode())
        return tmp_path / f"{name}.txt"

    return write


def read(path: Path, **options: Any) -> AnnotatedText:
    assert is_brat(path)
    (text,) = read_brat(path, Choice(**options))
    return text


def refused(path: Path, line: int, *parts: str, **options: Any) -> None:
    assert_refused(lambda: read(path, **options), f"{path.with_suffix('.ann')}:{line}", *parts)


def test_spans_are_read_and_all_else_is_passed_over(document: Document) -> None:
    path = document(
        "T1\tPER 0 9\tAda Byron\nT2\tPER 15 22\tCharles\nR1\tKnows Arg1:T1 Arg2:T2\nE1\tMeet:T3 Who:T1\n"
        "A1\tCertain T1\nM2\tPast E1\nN1\tReference T1 Wikipedia:974\tAda Lovelace\n#1\tAnnotatorNotes T1\ta note\n"
        "*\tEquiv T1 T2\n\nT3\tMeet 10 13\tmet\n"
    )
    text = read(path)
    assert text.text == TEXT and text.line == 1 and text.repairs == ()
    assert entities(text) == [("PER", "Ada Byron"), ("PER", "Charles"), ("Meet", "met")]
    assert read(path.with_suffix(".ann")) == text


def test_parts_that_white_space_alone_separates_are_one_span(document: Document) -> None:
    """brat splits a span at the end of a line."""
    text = read(document("T1\tX 10 13;15 22\tmet Charles\n"))
    assert entities(text) == [("X", "met\r\nCharles")] and text.repairs == ()


def test_a_discontinuous_span_is_read_from_end_to_end_and_counted(document: Document) -> None:
    path = document("T1\tLOC 26 29;38 42\tOld York\n")
    text = read(path)
    assert entities(text) == [("LOC", "Old and New York")]
    assert [(repair.kind, repair.example) for repair in text.repairs] == [
        ("discontinuous spans", "LOC 'Old York' as 'Old and New York'")
    ]
    refused(path, 1, "T1", "'Old York'", "discontinuous", "on_bad_spans=snap", on_bad_spans="error")


def test_offsets_counted_before_the_line_ends_were_changed(document: Document) -> None:
    text = read(document("T1\tPER 14 21\tCharles\n"))
    assert entities(text) == [("PER", "Charles")] and "\r" not in text.text


@pytest.mark.parametrize("start", [0, 1])
def test_a_byte_order_mark_may_count_or_not(document: Document, start: int) -> None:
    assert entities(read(document(f"T1\tPER {start} {start + 3}\tAda\n", b"\xef\xbb\xbfAda"))) == [("PER", "Ada")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_of_another_encoding_is_no_character(document: Document, encoding: str) -> None:
    path = document("T1\tPER 15 22\tCharles\n", TEXT.encode(encoding))
    text = read(path)
    assert text.text == TEXT and entities(text) == [("PER", "Charles")]
    path.with_suffix(".ann").write_bytes("T1\tPER 15 22\tCharles\n".encode(encoding))
    assert read(path) == text
    refused(document("T1\tPER 1 4\tAda\n", TEXT.encode(encoding)), 1, "T1 1 to 4 is 'da '", "'Ada'")


def test_utf16_offsets_are_named_and_read(document: Document) -> None:
    at = TEXT.index("Paris")
    path = document(f"T1\tPER 0 3\tAda\nT2\tLOC {at + 1} {at + 6}\tParis\n")
    refused(path, 2, "T2", "'aris.' in the text but 'Paris'", "UTF-16", "data.span_offsets=utf16")
    assert entities(read(path, span_offsets="utf16")) == [("PER", "Ada"), ("LOC", "Paris")]
    path = document("T1\tLOC 5 10\tParis\n", "😊 in Paris")
    refused(path, 1, "span_offsets=characters", span_offsets="utf16")


def test_an_empty_annotation_file_marks_nothing(document: Document) -> None:
    assert read(document("")).spans == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("T2\tPER 1 4\tAda", ["T2 1 to 4 is 'da '", "'Ada'"]),
        ("T2\tPER 900 903\tAda", ["leaves the text", "900 to 903"]),
        ("T2\tPER 9 0\tAda Byron", ["ends at 0, before its start, 9"]),
        ("T1\tPER 0 3\tAda", ["T1", "line 1 already"]),
        ("T2\tPER 0 3", ["no annotation of brat", "T1<TAB>TYPE 0 5"]),
        ("T2\tPER 0\tAda", ["no annotation of brat"]),
        ("T2\tPER 0 x\tAda", ["no annotation of brat"]),
        ("T2\tPER 0 3;\tAda", ["no annotation of brat"]),
        ("T2\tPER -1 3\tAda", ["no annotation of brat"]),
        ("T2\t0 3\tAda", ["no annotation of brat"]),
        ("T2 PER 0 3 Ada", ["no annotation of brat"]),
        ("Ada B-PER", ["no annotation of brat"]),
        ('{"id": 1}', ["no annotation of brat"]),
        ("T2\tPER 0 3\tByron", ["'Ada' in the text but 'Byron'"]),
    ],
)
def test_a_bad_line_is_refused_with_its_place(document: Document, bad: str, said: list[str]) -> None:
    refused(document(f"T1\tPER 0 9\tAda Byron\n{bad}\n"), 2, *said)


def test_a_text_that_is_none_is_refused(document: Document) -> None:
    path = document("T1\tPER 0 3\tAda\n", b"Ada \xe9")
    with pytest.raises(UserError, match=r"a\.txt:1: byte 0xe9"):
        read(path)
    path = document("T1\tPER 0 3\tAda\n", b"Ada \0")
    with pytest.raises(UserError, match=r"a\.txt:1: byte 0x00"):
        read(path)


def test_annotations_without_a_text_are_refused(document: Document) -> None:
    path = document("T1\tPER 0 3\tAda\n")
    path.unlink()
    for read_ in (read, document_files):
        with pytest.raises(UserError, match=r"a\.ann: holds brat annotations, but no text a\.txt is beside it"):
            read_(path.with_suffix(".ann"))


def test_each_document_of_a_pattern_is_read_once(document: Document, tmp_path: Path) -> None:
    first, second = document("T1\tPER 0 3\tAda\n"), document("", name="b")
    files = sorted(tmp_path.iterdir())
    assert one_a_document(files) == [first, second]
    assert one_a_document([file for file in files if file.suffix == ".ann"]) == [first, second]
    assert document_files(first) == [first, first.with_suffix(".ann")]
    bare = tmp_path / "c.txt"
    bare.write_text("Ada")
    assert one_a_document([bare]) == [bare]
    with pytest.raises(UserError, match=r"c\.txt: has no brat annotations in c\.ann, unlike a\.ann"):
        one_a_document([*files, bare])


def test_other_files_of_these_names_are_not_brat(document: Document) -> None:
    assert not is_brat(document("Ada\tB-PER\nsings\tO\n"))
    assert not is_brat(document("Tom\tB-PER\nT-shirt\tO\n"))
    path = document("T1\tPER 0 3\tAda\n")
    assert not is_brat(path.with_suffix(".conll"))


LETTERS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)


@given(LETTERS | st.text("a\r\n 😊é\u0301\u200b\u05d0"), st.data())
def test_text_and_spans_survive_standoff(text: str, data: st.DataObject) -> None:
    places = st.tuples(*[st.integers(0, len(text))] * 2).map(sorted)
    spans = data.draw(st.lists(st.tuples(places, st.sampled_from(["PER", "Ort_1"])), max_size=5))
    lines = []
    for number, ((start, end), type_) in enumerate(spans, 1):
        cuts = [start, *(at for match in re.finditer(r"\n", text[start:end]) for at in (start + match.start(),)), end]
        parts = ";".join(f"{a} {b}" for a, b in itertools.pairwise(cuts))
        covered = re.sub(r"\s", " ", text[start:end])
        lines.append(f"T{number}\t{type_} {parts}\t{covered}\n")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes(text.encode())
        path.with_suffix(".ann").write_bytes("".join(lines).encode())
        read_ = read(path)
    assert read_.text == text
    assert [((span.start, span.end), span.type) for span in read_.spans] == [((a, b), type_) for (a, b), type_ in spans]
    assert read_.repairs == ()
