"""Which column of a CoNLL file is which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from determined_ner.data.readers.conll_columns import find_columns
from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Choice, Layout
from determined_ner.errors import UserError
from tests.data.readers.files import TWO, TWO_CONLL, TWO_JSONL, Write, pairs, refused


def test_separator_is_runs_of_spaces_without_tabs(write: Write) -> None:
    path = write("a.txt", "EU   NNP B-ORG\nrejects  VBZ O\n")
    assert pairs(path) == [(["EU", "rejects"], ["B-ORG", "O"])]
    assert describe(path) == Layout("conll", "1", "3", " ")


def test_the_id_column_may_be_asked_for_as_words(write: Write) -> None:
    assert pairs(write("a.conllu", "1\ta\tB-X\n1-2\tb\tO\n"), text_column="1") == [(["1", "1-2"], ["B-X", "O"])]


def test_germeval_with_ids_and_comment_lines_with_tabs(write: Write) -> None:
    text = "#\thttp://a [2010]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tO\n\n#\thttp://x [2]\n1\tFirmen\tO\tB-X\n"
    assert pairs(write("NER-de-train.tsv", text), label_column="3") == [
        (["Schartau", "sagte"], ["B-PER", "O"]),
        (["Firmen"], ["O"]),
    ]


def test_tag_column_is_the_rightmost_that_holds_tags(write: Write) -> None:
    text = "EU\tNNP\tI-NP\tB-ORG\tx\nsays\tVBZ\tB-VP\tO\tI-95\n"
    path = write("a.conll", text)
    assert describe(path).tag_column == "4"  # 5 is no tags
    assert pairs(path, label_column="3") == [(["EU", "says"], ["I-NP", "B-VP"])]
    assert pairs(path, label_column="-2") == [(["EU", "says"], ["B-ORG", "O"])]
    assert pairs(path, text_column="2", label_column="4") == [(["NNP", "VBZ"], ["B-ORG", "O"])]


def test_tags_of_all_schemes(write: Write) -> None:
    tags = ["B-X", "I-X", "E-X", "S-X", "L-X", "U-X", "O", "B-creative-work", "I-Ä_1"]
    assert pairs(write("a.conll", "".join(f"w\tN\t{tag}\tx\n" for tag in tags))) == [(["w"] * 9, tags)]


def test_a_column_of_o_alone_will_do(write: Write) -> None:
    assert pairs(write("a.conll", "a\tN\tO\nb\tV\tO\n")) == [(["a", "b"], ["O", "O"])]


CHUNKS_AND_O = "EU\tNNP\tB-NP\tO\nsays\tVBZ\tB-VP\tO\n"


def test_chunks_are_not_taken_for_entities_that_are_all_o(write: Write) -> None:
    path = write("a.conll", CHUNKS_AND_O)
    refused(path, 1, "column 3", "O alone in the first 2 words, in column 4", "3 ('B-NP'), 4 ('O')", "label_column")
    assert pairs(path, label_column="4") == [(["EU", "says"], ["O", "O"])]
    named = write("b.conll", "token\tpos\tchunk\tner\n" + CHUNKS_AND_O)
    assert pairs(named) == [(["EU", "says"], ["O", "O"])]


def test_a_file_is_read_like_another_of_as_many_columns(write: Write) -> None:
    like = describe(write("train.conll", CHUNKS_AND_O.replace("NNP\tB-NP\tO", "NNP\tB-NP\tB-ORG")))
    assert pairs(write("a.conll", CHUNKS_AND_O), like=like) == [(["EU", "says"], ["O", "O"])]
    assert pairs(write("b.conll", TWO_CONLL), like=like) == TWO  # has columns of its own
    assert pairs(write("c.conll", CHUNKS_AND_O), like=like, label_column="3") == [(["EU", "says"], ["B-NP", "B-VP"])]
    refused(write("d.conll", "a\tN\tB-NP\tB-X\nb\tN\tB-NP\tO\nc\tN\tB-NP\tB_X\n"), 3, "'B_X'", like=like)


def test_a_header_moves_the_columns_of_a_file_read_like_another(write: Write) -> None:
    like = describe(write("train.conll", "token\tchunk\tner\nEU\tB-NP\tB-ORG\n"))
    assert pairs(write("a.conll", "ner\ttoken\tchunk\nO\tEU\tB-NP\n"), like=like) == [(["EU"], ["O"])]
    assert pairs(write("b.conll", "EU\tB-NP\tO\n"), like=like) == [(["EU"], ["O"])]
    assert pairs(write("c.conll", "word\ttag\tchunk\nEU\tO\tI\n"), like=like) == [(["EU"], ["O"])]


def test_plain_tags_in_the_last_of_two_columns(write: Write) -> None:
    assert pairs(write("a.conll", "the\tDT\ndog\tNN\n")) == [(["the", "dog"], ["DT", "NN"])]


def test_header_row_names_the_columns(write: Write) -> None:
    text = "token\tpos\tner_tags\na\tN\tB-X\n\nb\tV\tO\n"
    for name in ("a.conll", "a.tsv"):
        assert pairs(write(name, text)) == [(["a"], ["B-X"]), (["b"], ["O"])]
        assert describe(write(name, text)) == Layout("conll", "token", "ner_tags", "\t")
    assert pairs(write("b.conll", text), label_column="pos") == [(["a"], ["N"]), (["b"], ["V"])]
    assert pairs(write("c.conll", "mot\tclasse\na\tB-X\n"), label_column="classe") == [(["a"], ["B-X"])]


def test_header_row_with_unknown_names_is_not_taken_for_data(write: Write) -> None:
    refused(write("a.conll", "mot\tclasse\na\tB-X\nb\tO\nc\tO\n"), 1, "'classe'", "label_column", "header")


def test_odd_tag_among_tags(write: Write) -> None:
    path = write("a.conll", "a\tB-X\nb\tO\nc\tB_X\n")
    refused(path, 3, "'B_X'", "label_column")
    assert pairs(path, label_column="2") == [(["a", "b", "c"], ["B-X", "O", "B_X"])]


def test_no_tag_column(write: Write) -> None:
    path = write("a.conll", "a\tN\tx\n")
    refused(path, 1, "1 ('a'), 2 ('N'), 3 ('x')", "label_column")
    assert pairs(path, need_tags=False) == [(["a"], None)]
    refused(write("b.conll", "a\nb\n"), 1, "1 ('a')", "label_column")


@pytest.mark.parametrize("column", ["ner", "4", "0", "-4"])
def test_column_that_is_not_there(write: Write, column: str) -> None:
    path = write("a.conll", "a\tN\tB-X\n")
    refused(path, 1, repr(column), "label_column", "1 ('a'), 2 ('N'), 3 ('B-X')", label_column=column)
    refused(path, 1, repr(column), "text_column", "1 ('a')", text_column=column)
    refused(path, 1, repr(column), "document_column", "1 ('a')", document_column=column)
    assert pairs(path, label_column=column, need_tags=False) == [(["a"], None)]


def test_words_and_tags_cannot_be_the_same_column(write: Write) -> None:
    refused(write("a.conll", "a\tB-X\n"), 1, "the words", "'1'", "label_column", label_column="1")


def test_columns_named_twice_or_too_few(write: Write) -> None:
    refused(write("a.conll", "token\tner\tner\na\tB-X\tO\n"), 1, "more than one", "'ner'", label_column="ner")
    refused(write("b.conll", "# global.columns = FORM NER X\na\tB-X\n"), 1, "FORM NER X", "3 columns", "line 2 has 2")


def test_plain_text_is_not_taken_for_columns(write: Write) -> None:
    path = write("a.txt", "Hello world\n")
    refused(path, 1, "'Hello world'", "plain text", "one word a line", need_tags=False)
    assert pairs(path, need_tags=False, text_column="1") == [(["Hello"], None)]


def test_json_under_a_plain_name(write: Write) -> None:
    refused(write("a.txt", TWO_JSONL), 1, "is JSON", "EU", ".jsonl")


def test_messages_name_the_options_that_the_caller_has() -> None:
    choice = Choice(label_column="ner", text_option="--text-column", label_option="--label-column")
    head = [(1, "a\tN\tx")]
    with pytest.raises(UserError, match="'ner', asked for by --label-column; choose"):
        find_columns(head, choice, Path("a.conll"))
    with pytest.raises(UserError, match="choose it with --label-column, by name or number"):
        find_columns(head, replace(choice, label_column=None), Path("a.conll"))
    with pytest.raises(UserError, match=r"'doc', asked for by data\.document_column_name; choose"):
        find_columns(head, Choice(label_column="3", document_column="doc"), Path("a.conll"))
    with pytest.raises(UserError, match="the column of the words with --text-column"):
        find_columns([(1, "Hello world")], replace(choice, label_column=None, need_tags=False), Path("a.txt"))
