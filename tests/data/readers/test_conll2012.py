"""CoNLL-2012, whose entities stand in brackets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from determined_ner.data.readers.conll2012 import CONLL2012, read_conll2012
from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import DETECTED
from tests.data.readers.files import Write, pairs, read, refused


def sentence(*cells: str, document: str = "bc/x/00/x_0000", part: int = 0, verbs: int = 1) -> str:
    rows = [
        f"{document}   {part}   {i}   w{i}   NN   (S*   -   -   -   spk   {cell}   {'*   ' * verbs}(1)\n"
        for i, cell in enumerate(cells)
    ]
    return "".join(rows) + "\n"


def test_brackets_are_read_as_entities(write: Write) -> None:
    text = sentence("(PER*", "*)", "*", "(LOC)", "(ORG*", "*", "*)") + sentence("*", "(PER)", verbs=3)
    path = write("a.v4_gold_conll", f"#begin document (bc/x/00/x_0000); part 000\n{text}#end document\n")
    assert [tags for _, tags in pairs(path)] == [
        ["B-PER", "I-PER", "O", "B-LOC", "B-ORG", "I-ORG", "I-ORG"],
        ["O", "B-PER"],
    ]
    assert pairs(path)[1][0] == ["w0", "w1"]
    assert describe(path) == CONLL2012


def test_each_part_is_a_document(write: Write) -> None:
    parts = (("a", 0), ("a", 1), ("b", 0))
    marked = "".join(
        f"#begin document ({name}); part {part:03}\n{sentence('*', document=name, part=part) * 2}#end document\n"
        for name, part in parts
    )
    assert [s.document for s in read(write("a.conll", marked))] == [0, 0, 1, 1, 2, 2]
    bare = "".join(sentence("*", document=name, part=part) * 2 for name, part in parts)
    assert [s.document for s in read(write("b.conll", bare))] == [0, 0, 1, 1, 2, 2]


def test_tabs_and_word_numbers_with_gaps(write: Write) -> None:
    text = sentence("(PER*", "*)", "*").replace("   ", "\t").replace("\t2\tw2", "\t7\tw2")
    assert pairs(write("a.conll", text)) == [(["w0", "w1", "w2"], ["B-PER", "I-PER", "O"])]


def test_of_nested_entities_the_outermost_is_kept(write: Write) -> None:
    path = write("a.conll", sentence("(ORG(LOC*", "*)", "*)", "*"))
    (read_,) = read(path)
    assert read_.tags == ["B-ORG", "I-ORG", "I-ORG", "O"]
    assert [(repair.kind, repair.example) for repair in read_.repairs] == [
        ("entities inside others", "LOC in ORG, left out")
    ]
    refused(path, 1, "LOC", "ORG", "on_bad_spans=snap", on_bad_spans="error")


@pytest.mark.parametrize(
    ("cells", "line", "said"),
    [
        (("(PER*", "*", "*"), 1, ["(PER is not closed", "line 3"]),
        (("*", "*)", "*"), 2, ["'*)'", "no line opens"]),
        (("(PER)", "PER", "*"), 2, ["'PER'", "column 11"]),
        (("(PER*", "*)", "(*)"), 3, ["'(*)'", "column 11"]),
    ],
)
def test_brackets_without_another_are_refused(write: Write, cells: tuple[str, ...], line: int, said: list[str]) -> None:
    refused(write("a.conll", sentence(*cells) + sentence("*", "*", "*", "*")), line, *said)


def test_other_columns_and_lost_blank_lines_are_refused(write: Write) -> None:
    good = sentence("*", "*", "*")
    refused(write("a.conll", good.rstrip("\n") + "\n" + good), 4, "word number '0' follows 2", "blank line")
    refused(write("b.conll", good + sentence("*", "*").replace("(1)\n", "\n", 1)), 6, "13 columns", "line 5 has 12")
    refused(write("c.conll", good + "x y\n"), 5, "2 columns", "12 or more")
    refused(write("d.conll", good.replace("   1   w1", "   x   w1")), 2, "'x' follows 0")
    refused(write("e.conll", good.replace("w1", "[WORD]")), 2, "skeleton")


TYPES = st.sampled_from(["PER", "ORG", "WORK_OF_ART"])
ENTITIES = st.lists(st.tuples(st.none() | TYPES, st.integers(1, 4)), min_size=1, max_size=8)


@given(ENTITIES)
def test_entities_survive_their_brackets(entities: list[tuple[str | None, int]]) -> None:
    cells, tags = [], []
    for type_, length in entities:
        body = ["*"] * length
        if type_ is not None:
            body[0] = f"({type_}{body[0]}"
            body[-1] += ")"
            body = [cell.replace("*)", ")") if length == 1 else cell for cell in body]
        cells += body
        tags += ["O"] * length if type_ is None else [f"B-{type_}", *[f"I-{type_}"] * (length - 1)]
    lines = enumerate(sentence(*cells).splitlines(), 1)
    assert [s.tags for s in read_conll2012(iter(lines), DETECTED, "x")] == [tags]  # type: ignore[arg-type]
