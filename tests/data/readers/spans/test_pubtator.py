"""PubTator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.lines import peek
from determined_ner.data.readers.sentences import Choice
from determined_ner.data.readers.spans.pubtator import is_pubtator, read_pubtator
from determined_ner.data.readers.spans.text import AnnotatedText
from tests.data.readers.spans.annotated import assert_refused, entities

PATH = Path("a.pubtator")
GOOD = "1|t|Aspirin and pain\n1|a|Aspirin helps 😊.\n1\t0\t7\tAspirin\tChemical\tD1\n1\t12\t16\tpain\tDisease\tD2|D3\n"


def read(content: str, **options: Any) -> list[AnnotatedText]:
    head, lines = peek(iter(list(enumerate(content.split("\n"), 1))))
    assert is_pubtator(head)
    return list(read_pubtator(lines, Choice(**options), PATH))


def refused(content: str, line: int, *parts: str, **options: Any) -> None:
    assert_refused(lambda: read(content, **options), f"{PATH}:{line}", *parts)


def test_documents_are_read_with_their_title(tmp_path: Path) -> None:
    more = (
        "1\t17\t24\tAspirin\tChemical\n1\tCID\tD1\tD2\n\n\n2|t|Nothing\n2|a|\n\n3|t|Only a title\n3\t0\t4\tOnly\tX\t-\n"
    )
    first, second, third = read(GOOD + more)
    assert first.text == "Aspirin and pain Aspirin helps 😊."
    assert entities(first) == [("Chemical", "Aspirin"), ("Disease", "pain"), ("Chemical", "Aspirin")]
    assert (second.text, second.spans) == ("Nothing ", ())
    assert entities(third) == [("X", "Only")]
    assert [text.line for text in (first, second, third)] == [1, 9, 12]
    assert [text.document for text in (first, second, third)] == [None] * 3


def test_names_of_the_parts_of_a_mention_are_passed_over() -> None:
    more = "1\t0\t16\tAspirin and pain\tBoth\tD1|D2\taspirin|pain\n"
    assert entities(read(GOOD + more)[0])[-1] == ("Both", "Aspirin and pain")


def test_blank_lines_do_not_matter() -> None:
    assert read(GOOD.replace("\n", "\n\n"))[0].spans == read(GOOD)[0].spans


def test_utf16_offsets_are_named_and_read() -> None:
    bad = GOOD + "1\t33\t34\t.\tMark\n"
    refused(bad, 5, "'.' here", "UTF-16", "data.span_offsets=utf16")
    assert entities(read(bad, span_offsets="utf16")[0])[-1] == ("Mark", ".")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("1\t0\t7\tIbuprofen\tChemical\tD1", ["0 to 7 is 'Aspirin' in the text but 'Ibuprofen' here"]),
        ("1\t90\t97\tAspirin\tChemical\tD1", ["90 to 97 leaves the text"]),
        ("1\t7\t0\tAspirin\tChemical\tD1", ["ends at 0, before its start, 7"]),
        ("1\t-1\t7\tAspirin\tChemical\tD1", ["no whole annotation"]),
        ("1\t0\tx\tAspirin\tChemical\tD1", ["no whole annotation"]),
        ("1\t0\t7\tAspirin", ["no whole annotation", "separated by tabs"]),
        ("1\t0\t7\tAspirin\t \tD1", ["no whole annotation"]),
        ("1\t0", ["no whole annotation"]),
        ("1", ["no whole annotation"]),
        ("2\t0\t7\tAspirin\tChemical\tD1", ["in document '1'", "ID|t|title"]),
        ("1 0 7 Aspirin Chemical D1", ["neither text nor annotation"]),
        ("2|a|An abstract", ["in document '1'"]),
        ("1|a|Another abstract", ["'1' has its abstract twice or late"]),
        ("1|s|A section", ["is no abstract"]),
        ("Aspirin\tB-X", ["neither text nor annotation"]),
    ],
)
def test_a_bad_line_is_refused_with_its_place(bad: str, said: list[str]) -> None:
    refused(f"{GOOD}{bad}\n", 5, *said)


def test_columns_with_bars_are_not_pubtator() -> None:
    assert not is_pubtator([(1, "1|t|B-X"), (2, "2|u|O")])
    assert not is_pubtator([(1, "a\tB-X")])
    assert not is_pubtator([])


LINES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\n\r"), max_size=30)


@given(LINES, LINES, st.data())
def test_text_and_spans_survive(title: str, abstract: str, data: st.DataObject) -> None:
    text = f"{title} {abstract}"
    places = st.tuples(*[st.integers(0, len(text))] * 2).map(sorted)
    spans = data.draw(st.lists(st.tuples(places, st.sampled_from(["Chemical", "T1,T2"])), max_size=5))
    lines = [f"7\t{a}\t{b}\t{text[a:b].translate({9: 32})}\t{type_}\t-" for (a, b), type_ in spans]
    (read_,) = read("\n".join([f"7|t|{title}", f"7|a|{abstract}", *lines, ""]))
    assert read_.text == text
    assert [((span.start, span.end), span.type) for span in read_.spans] == [((a, b), type_) for (a, b), type_ in spans]
