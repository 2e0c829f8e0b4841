"""WebAnno TSV 3."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.lines import peek
from determined_ner.data.readers.sentences import Choice, Layout
from determined_ner.data.readers.spans.text import AnnotatedText
from determined_ner.data.readers.spans.webanno import find_layer, is_webanno, read_webanno
from tests.data.readers.spans.annotated import assert_refused, entities

PATH = Path("a.tsv")
ENTITIES = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value\n"
POS = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue|coarseValue\n"
RELATION = "#T_RL=webanno.custom.Knows|kind|BT_de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity\n"
CUSTOM = "#T_SP=webanno.custom.Span|value\n"
HEAD = "#FORMAT=WebAnno TSV 3.3\n"


def find(content: str, **options: Any) -> Layout:
    head, _ = peek(iter(list(enumerate(content.split("\n"), 1))))
    assert is_webanno(head)
    return find_layer(head, Choice(**options), PATH)


def read(content: str, **options: Any) -> list[AnnotatedText]:
    lines = enumerate(content.split("\n"), 1)
    return list(read_webanno(iter(list(lines)), find(content, **options), PATH))


def refused(content: str, line: int, *parts: str, **options: Any) -> None:
    assert_refused(lambda: read(content, **options), f"{PATH}:{line}", *parts)


def rows(*lines: str, end: str = "\t\n") -> str:
    return "".join(line + end for line in lines)


ADA = "#Text=Ada Byron sings\n" + rows(
    "1-1\t0-3\tAda\t*[1]\tPER[1]", "1-2\t4-9\tByron\t*[1]\tPER[1]", "1-3\t10-15\tsings\t_\t_"
)


def test_entities_of_several_tokens_and_of_one() -> None:
    second = "#Text=Oslo, Rome\n" + rows("2-1\t17-21\tOslo\t*\tLOC", "2-2\t21-22\t,\t_\t_", "2-3\t23-27\tRome\t*\tLOC")
    first, other = read(f"{HEAD}{ENTITIES}\n\n{ADA}\n{second}")
    assert (first.text, entities(first), first.line) == ("Ada Byron sings", [("PER", "Ada Byron")], 5)
    assert (other.text, entities(other), other.line) == ("Oslo, Rome", [("LOC", "Oslo"), ("LOC", "Rome")], 10)
    assert first.document == other.document


def test_rows_without_a_last_tab_and_comments() -> None:
    content = f"{HEAD}{ENTITIES}\n\n#Sentence.id=7\n{ADA}"
    assert read(content.replace("\t\n", "\n")) == read(content)


def test_the_entities_are_found_among_layers_of_spans_and_relations() -> None:
    row = "1-1\t0-3\tAda\tNNP\tPROPN\t*\tPER\tfriend\t1-1"
    content = f"{HEAD}{POS}{ENTITIES}{RELATION}\n\n#Text=Ada\n{row}\t\n"
    assert find(content) == Layout("webanno", "#Text", "NamedEntity.value", "\t", by_spans=True)
    assert entities(read(content)[0]) == [("PER", "Ada")]


def test_a_layer_without_features_gives_its_name() -> None:
    content = f"{HEAD}#T_SP=webanno.custom.Term|\n\n\n#Text=Ada\n1-1\t0-3\tAda\t*\t\n"
    assert entities(read(content)[0]) == [("Term", "Ada")]


def test_one_of_several_layers_has_to_be_chosen() -> None:
    content = f"{HEAD}{CUSTOM}#T_SP=webanno.custom.Other|kind|sort\n\n\n#Text=Ada\n1-1\t0-3\tAda\tPER\tA\tB\t\n"
    refused(content, 1, "several layers", "Span.value, Other.kind, Other.sort", "data.label_column_name")
    for name, type_ in {"Span.value": "PER", "Span": "PER", "sort": "B", "webanno.custom.Other|kind": "A"}.items():
        assert entities(read(content, label_column=name)[0]) == [(type_, "Ada")]
    refused(content, 1, "'Other'", "Other.kind, Other.sort", label_column="Other")  # has two


def test_a_document_without_entities_does_not_list_their_layer() -> None:
    like = find(f"{HEAD}{ENTITIES}\n\n{ADA}")
    bare = f"{HEAD}\n\n#Text=Ada\n1-1\t0-3\tAda\t\n"
    assert read(bare, like=like)[0].spans == ()
    assert read(f"{HEAD}{CUSTOM}\n\n#Text=Ada\n1-1\t0-3\tAda\tX\t\n", like=like)[0].spans == ()
    assert read(bare, like=like, label_column="NamedEntity")[0].spans == ()
    refused(bare, 1, "no layer of spans holds entities", "none")


def test_a_document_of_another_layer_alone_is_told() -> None:
    like = find(f"{HEAD}{ENTITIES}\n\n{ADA}")
    (text,) = read(f"{HEAD}{CUSTOM}\n\n#Text=Ada\n1-1\t0-3\tAda\tX\t\n", like=like)
    (repair,) = text.repairs
    assert repair.kind == "documents without NamedEntity.value, read as without entities"
    assert repair.example == "Span.value"


def test_stacked_annotations() -> None:
    content = f"{HEAD}{CUSTOM}\n\n#Text=Ada Byron\n" + rows(
        "1-1\t0-3\tAda\tPER[1]|FIRST[2]", "1-2\t4-9\tByron\tPER[1]|LAST"
    )
    assert entities(read(content)[0]) == [("PER", "Ada Byron"), ("FIRST", "Ada"), ("LAST", "Byron")]


def test_parts_of_tokens() -> None:
    content = f"{HEAD}{CUSTOM}\n\n#Text=aa bbb cc\n" + rows(
        "1-1\t0-2\taa\tX[1]", "1-1.1\t1-2\ta\tY[2]", "1-2\t3-6\tbbb\tX[1]|Y[2]", "1-2.1\t4-4\t\tZ", "1-3\t7-9\tcc\t_"
    )
    assert entities(read(content)[0]) == [("X", "aa bbb"), ("Y", "a bbb"), ("Z", "")]


def test_escaped_values_and_texts() -> None:
    content = f"{HEAD}{CUSTOM}\n\n#Text=a\\tb\\\\c x\n" + rows(
        "1-1\t0-1\ta\tX\\[1\\]\\|\\_", "1-2\t2-5\tb\\\\c\t_", "1-3\t6-7\tx\t_"
    )
    (text,) = read(content)
    assert text.text == "a\tb\\c x"
    assert entities(text) == [("X[1]|_", "a")]
    raw = f"{HEAD}{CUSTOM}\n\n#Text=C:\\new x\n" + rows("1-1\t0-6\tC:\\new\tX", "1-2\t7-8\tx\t_")  # escapes nothing
    assert entities(read(raw)[0]) == [("X", "C:\\new")]


def test_a_sentence_of_several_lines() -> None:
    content = f"{HEAD}{CUSTOM}\n\n#Text=Ada\n#Text=sings\n" + rows("1-1\t0-3\tAda\tX[1]", "1-2\t4-9\tsings\tX[1]")
    (text,) = read(content)
    assert text.text == "Ada\nsings" and entities(text) == [("X", "Ada\nsings")]


@pytest.mark.parametrize(("end", "after"), [(12, 13), (11, 12)])
def test_places_count_utf16_units_or_characters(end: int, after: int) -> None:
    content = f"{HEAD}{CUSTOM}\n\n#Text=😊 Ada\n" + rows(f"1-1\t10-{end}\t😊\tE", f"1-2\t{after}-{after + 3}\tAda\tPER")
    for offsets in ("characters", "utf16"):
        assert entities(read(content, span_offsets=offsets)[0]) == [("E", "😊"), ("PER", "Ada")]


def test_sentences_that_an_annotation_reaches_across_are_one() -> None:
    one = "#Text=Ada met\n" + rows("1-1\t0-3\tAda\tX", "1-2\t4-7\tmet\tY[1]")
    two = "#Text=Charles Oslo\n" + rows("2-1\t8-15\tCharles\tY[1]", "2-2\t16-20\tOslo\tZ[2]")
    three, four = "#Text=Rome\n" + rows("3-1\t21-25\tRome\tZ[2]"), "#Text=x\n" + rows("4-1\t26-27\tx\tZ")
    content = f"{HEAD}{CUSTOM}\n\n" + "\n".join((one, two, three, four))
    first, second = read(content)
    assert first.text == "Ada met\nCharles Oslo\nRome"
    assert entities(first) == [("X", "Ada"), ("Y", "met\nCharles"), ("Z", "Oslo\nRome")]
    assert (second.text, entities(second)) == ("x", [("Z", "x")])


def test_numbers_of_annotations_may_begin_anew_in_each_sentence() -> None:
    again = ADA.replace("1-", "2-", 1).replace("\n1-", "\n2-").replace("PER", "LOC")
    first, second = read(f"{HEAD}{ENTITIES}\n\n{ADA}\n{again}")
    assert entities(first) == [("PER", "Ada Byron")] and entities(second) == [("LOC", "Ada Byron")]


def test_joined_files_are_documents_each_with_its_header() -> None:
    other = f"{HEAD}{CUSTOM}{ENTITIES}\n\n#Text=Oslo\n1-1\t0-4\tOslo\tX\t*\tLOC\t\n"
    assert len(read(f"{HEAD}{CUSTOM}\n\n#Text=x\n1-1\t0-1\tx\tX\t\n\n" * 2)) == 2
    texts = read(f"{HEAD}{ENTITIES}\n\n{ADA}\n{other}")
    assert [(text.document, entities(text)) for text in texts] == [
        ("0", [("PER", "Ada Byron")]),
        ("1", [("LOC", "Oslo")]),
    ]


@pytest.mark.parametrize("version", ["1", "2"])
def test_older_versions_are_refused_by_name(version: str) -> None:
    refused(f"#FORMAT=WebAnno TSV {version}.0\n\n#Text=Ada\n1-1\tAda\t_\n", 1, f"WebAnno TSV {version}", "export")


def test_files_of_before_versions_are_refused_by_name() -> None:
    refused("#id=1\n#text=Ada\n1-1\tAda\t_\n", 1, "before 3")
    refused(" # webanno.custom.Span | f1\n#id=1\n#text=Ada\n1-1\tAda\t_\n", 1, "before 3")
    assert not is_webanno([(1, "#id=1"), (2, "1\tAda\tB-PER")])


@pytest.mark.parametrize(
    ("bad", "line", "said"),
    [
        (ADA.replace("PER[1]\t\n1-2", "*[1]\t\n1-2"), 6, ["NamedEntity.value has no value", "delete it"]),
        (ADA.replace("\t_\t_", "\t_"), 8, ["NamedEntity.value is empty"]),
        (ADA.replace("\t_\t_", "\t_\t_\t_\t_"), 8, ["2 columns of layers"]),
        (ADA.replace("10-15", "10"), 8, ["2 columns of layers"]),
        (ADA.replace("10-15", "11-16"), 8, ["'sings' does not stand in 'Ada Byron sings'"]),
        (ADA.replace("10-15", "90-95"), 8, ["'sings' does not stand in"]),
        (ADA.replace("#Text=Ada Byron sings\n", ""), 5, ["no #Text= line"]),
        (ADA.replace("1-3", "1-4"), 8, ["'1-4' follows 1-2"]),
        (ADA.replace("1-3", "1-2"), 8, ["'1-2' follows 1-2"]),
        (ADA.replace("1-3", "2-1"), 8, ["'2-1' follows 1-2", "blank line"]),
        (ADA.replace("1-3", "x"), 8, ["'x' follows 1-2"]),
        (ADA.replace("1-1", "1-1.1"), 6, ["'1-1.1' begins a sentence"]),
        (
            ADA.replace("\nsings\t_\t_", "x").replace("sings\t_\t_", "sings\t*[1]\tLOC[1]"),
            8,
            ["'LOC[1]' goes on", "PER"],
        ),
        (
            ADA.replace("Byron\t*[1]\tPER[1]", "Byron\t_\t_").replace("sings\t_\t_", "sings\t*[1]\tPER[1]"),
            8,
            ["that has ended"],
        ),
        (ADA.replace("Ada\t*[1]\tPER[1]", "Ada\t*[1]\tPER[1"), 6, ["'PER[1' is not like PER or PER[1]"]),
        (ADA + "\n#Text=Charles\n", 10, ["no tokens follow"]),
        (ADA + "{}\n", 9, ["not a token"]),
    ],
)
def test_a_bad_line_is_refused_with_its_place(bad: str, line: int, said: list[str]) -> None:
    refused(f"{HEAD}{ENTITIES}\n\n{bad}", line, *said)


SPECIAL, ESCAPED = r"[|\[\]_]", r"\\\g<0>"


def escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r")


TOKENS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z")) | st.sampled_from("😊\u05d0é\u200b\\_*[|"),
    min_size=1,
    max_size=4,
)
SENTENCES = st.lists(
    st.lists(st.tuples(TOKENS, st.sampled_from([" ", "  ", "\t", "\n", "\r\n"])), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)


@given(SENTENCES, st.data())
def test_text_and_spans_survive(sentences: list[list[tuple[str, str]]], data: st.DataObject) -> None:
    content, wanted, begin, ident = f"{HEAD}{CUSTOM}\n\n", [], 0, 0
    for number, tokens in enumerate(sentences, 1):
        words, gaps = [word for word, _ in tokens], [gap for _, gap in tokens[:-1]]
        text = "".join(a + b for a, b in zip(words, [*gaps, ""], strict=True))
        ends = list(accumulate(len(a + b) for a, b in zip(words, [*gaps, ""], strict=True)))
        starts = [0, *ends[:-1]]
        places = st.tuples(*[st.integers(0, len(words) - 1)] * 2).map(sorted)
        spans = data.draw(st.lists(st.tuples(places, st.sampled_from(["PER", "a|b[1]_"])), max_size=3))
        cells: list[list[str]] = [[] for _ in words]
        for (first, last), type_ in spans:
            ident += 1
            for token in range(first, last + 1):
                cells[token].append(f"{re.sub(SPECIAL, ESCAPED, type_)}[{ident}]")
        content += "".join(f"#Text={escape(line)}\n" for line in text.split("\n"))
        for token, (word, start) in enumerate(zip(words, starts, strict=True), 1):
            first = begin + len(text[:start].encode("utf-16-le")) // 2
            place = f"{first}-{first + len(word.encode('utf-16-le')) // 2}"
            content += f"{number}-{token}\t{place}\t{escape(word)}\t{'|'.join(cells[token - 1]) or '_'}\t\n"
        content += "\n"
        begin += len(text.encode("utf-16-le")) // 2 + 1
        found = sorted((starts[a], starts[b] + len(words[b]), type_) for (a, b), type_ in spans)
        wanted.append((text, found))
    read_ = read(content)
    assert [(text.text, sorted((s.start, s.end, s.type) for s in text.spans)) for text in read_] == wanted
