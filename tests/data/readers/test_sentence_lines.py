"""Files with a sentence a line, and documents of two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.pairs import one_a_document
from determined_ner.data.readers.sentence_lines import PARALLEL, Joined
from determined_ner.errors import UserError
from tests.data.readers.files import TWO, Write, pairs, refused

IOB = "EU|NNP|B-ORG rejects|VBZ|O .|.|O\nPeter|NNP|B-PER Blackburn|NNP|I-PER\n"


def test_words_and_tags_joined_by_pipes(write: Write) -> None:
    path = write("a.iob", IOB)
    assert pairs(path) == TWO
    assert describe(path) == Joined("|", 2).layout()
    assert pairs(write("b.iob", IOB.replace("|NNP", "").replace("|VBZ", "").replace("|.", ""))) == TWO


def test_parts_of_speech_alone_are_not_taken_for_entities(write: Write) -> None:
    refused(write("a.txt", "the|DT dog|NN barks|VBZ\na|DT cat|NN\n"), 1, "no column holds tags")


def test_words_and_tags_joined_by_slashes(write: Write) -> None:
    text = "EU/B-ORG rejects/O ./O\nPeter/B-PER Blackburn/I-PER\n"
    assert pairs(write("a.txt", text)) == TWO
    assert pairs(write("b.txt", "Ada/PERSON met/O him/O on/O 1/2/O\n")) == [
        (["Ada", "met", "him", "on", "1/2"], ["PERSON", "O", "O", "O", "O"])
    ]


def test_a_word_may_hold_a_pipe(write: Write) -> None:
    assert pairs(write("a.iob", "a|b|NN|O x|NN|B-X\nc|NN|O d|NN|O ||NN|O\n")) == [
        (["a|b", "x"], ["O", "B-X"]),
        (["c", "d", "|"], ["O", "O", "O"]),
    ]


def test_columns_with_pipes_are_columns_still(write: Write) -> None:
    assert pairs(write("a.conll", "EU | NNP | B-ORG\nrejects | VBZ | O\n")) == [(["EU", "rejects"], ["B-ORG", "O"])]
    assert pairs(write("b.conll", "a|b B-X\nc|d O\n")) == [(["a|b", "c|d"], ["B-X", "O"])]


@pytest.mark.parametrize("bad", ["rejects", "rejects|O", "|VBZ|O", "rejects|VBZ|"])
def test_a_word_without_its_parts_is_refused(write: Write, bad: str) -> None:
    refused(write("a.iob", f"{IOB}EU|NNP|O {bad}\n"), 3, repr(bad), "word|…|tag")


def test_words_and_tags_in_two_files(write: Write) -> None:
    words = write("seq.in", "EU rejects .\nPeter Blackburn\n")
    tags = write("seq.out", "B-ORG O O\nB-PER I-PER\n")
    assert pairs(words) == pairs(tags) == TWO
    assert describe(words) == describe(tags) == PARALLEL
    other = write("train.seq.in", "EU rejects .\n")
    write("train.seq.out", "B-ORG O O\n")
    assert pairs(other) == TWO[:1]
    assert one_a_document([words, tags]) == one_a_document([tags]) == [words]


def test_a_column_of_what_has_none_is_refused(write: Write) -> None:
    write("seq.out", "B-ORG O O\n")
    refused(write("seq.in", "EU rejects .\n"), None, "is seq.in, without a column 'x'", "data.text", text_column="x")
    write("a.txt", "Ada")
    refused(write("a.ann", "T1\tPER 0 3\tAda\n"), None, "is brat, without a column '2'", label_column="2")
    text = "1|t|Ada\n1\t0\t3\tAda\tPER\n"
    refused(write("a.pubtator", text), None, "is pubtator, without a column '2'", "data.label", label_column="2")


def test_two_files_that_do_not_belong_together_are_refused(write: Write, tmp_path: Path) -> None:
    words, tags = write("seq.in", "EU rejects .\nPeter\n"), write("seq.out", "B-ORG O O\nB-PER I-PER\n")
    refused(words, 2, "1 word", "2 tags", "seq.out")
    tags.write_text("B-ORG O O\n")
    refused(words, 2, "1 word", "0 tags")
    tags.write_text("B-ORG O O\nO\nO\n")
    refused(words, 3, "0 words", "1 tag")
    tags.unlink()
    refused(words, None, "seq.out")
    with pytest.raises(UserError, match=r"seq\.out, which is not beside it"):
        one_a_document([words])
