"""Which column is which is told from all rows of a file: ids are no words, of two columns of tags none is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from determined_ner.data.readers import evidence
from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Choice
from tests.data.readers.files import Write, pairs, refused

NAMES = ["Ida", "Jo", "Kim", "Lea", "Max"]
VERBS = ["saw", "met", "left"]
PLACES = ["Bern", "Graz", "Thun", "Ulm"]
SENTENCES = [
    (
        [NAMES[i % 5], "Berg", VERBS[i % 3], PLACES[i % 4], "last", "year", "."],
        ["B-PER", "I-PER", "O", "B-LOC", "O", "O", "O"],
    )
    for i in range(30)
]

Cell = Callable[[int, int, int, str, str], str]
"""A cell, by numbers of sentence, word in it and row, word and tag."""


def word(sentence: int, at: int, row: int, text: str, tag: str) -> str:
    return text


def tag(sentence: int, at: int, row: int, text: str, tag: str) -> str:
    return tag


def pos(sentence: int, at: int, row: int, text: str, tag: str) -> str:
    return "NNP" if text[0].isupper() else "VB" if text.isalpha() else "."


def chunk(sentence: int, at: int, row: int, text: str, tag: str) -> str:
    return ["B-NP", "I-NP", "B-VP", "B-NP", "B-NP", "I-NP", "O"][at]


def columns(*cells: Cell, separator: str = "\t", sentences: list[tuple[list[str], list[str]]] = SENTENCES) -> str:
    lines, row = [], 0
    for i, (words, tags) in enumerate(sentences):
        for at, (text, mark) in enumerate(zip(words, tags, strict=True)):
            lines.append(separator.join(cell(i, at, row, text, mark) for cell in cells))
            row += 1
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize(
    "ident",
    [
        lambda i, at, row, text, tag: str(at),
        lambda i, at, row, text, tag: str(at + 1),
        lambda i, at, row, text, tag: str(row),
        lambda i, at, row, text, tag: str(i),
        lambda i, at, row, text, tag: f"{0.37 * row:.2f}",
        lambda i, at, row, text, tag: f"s{i}.w{at}",
        lambda i, at, row, text, tag: f"{hash(row) * 7919 % 100_003:x}-{row}",
        lambda i, at, row, text, tag: "report-" + "abc"[i // 10],
        lambda i, at, row, text, tag: "en",
    ],
    ids=["from 0", "from 1", "running on", "sentence", "decimals", "numbered", "hashes", "document", "language"],
)
def test_a_column_of_ids_is_no_column_of_words(write: Write, ident: Cell, separator: str) -> None:
    assert pairs(write("a.conll", columns(ident, word, pos, tag, separator=separator))) == SENTENCES
    assert pairs(write("b.conll", columns(ident, ident, word, tag, separator=separator))) == SENTENCES
    assert pairs(write("c.conll", columns(word, tag, ident, separator=separator))) == SENTENCES


def test_words_that_are_numbers_stay_words_where_no_other_column_is(write: Write) -> None:
    numbers = columns(lambda i, at, row, text, tag: str(row), tag)
    assert [s[1] for s in pairs(write("a.conll", numbers))] == [tags for _, tags in SENTENCES]


def test_two_columns_with_the_tag_first(write: Write) -> None:
    path = write("a.bio", columns(tag, word))
    assert pairs(path) == SENTENCES
    assert (describe(path).text_column, describe(path).tag_column) == ("2", "1")
    assert pairs(write("b.bio", columns(tag, word, pos))) == SENTENCES


def test_classes_left_of_words_are_not_taken_for_words(write: Write) -> None:
    many = columns(pos, lambda i, at, row, text, tag: f"{text}{'xyz'[i % 3]}" if at else text, tag)
    path = write("a.conll", many)
    refused(path, 1, "column 1, which has 3 different cells", "column 2", "data.text_column_name")
    assert len(pairs(path, text_column="2")) == len(SENTENCES)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda tag: tag if tag == "O" else tag[2:],
        lambda tag: tag.replace("O", "0") if tag == "O" else tag,
        lambda tag: "o" if tag == "O" else tag,
        lambda tag: tag[0],
        lambda tag: tag.replace("-", "_"),
        lambda tag: tag.lower(),
    ],
    ids=["ORG", "0", "o", "B", "B_ORG", "b-org"],
)
def test_chunks_are_not_taken_for_entities_spelled_otherwise(write: Write, spelled: Callable[[str], str]) -> None:
    path = write("a.conll", columns(word, pos, chunk, lambda i, at, row, text, tag: spelled(tag)))
    refused(path, 1, "column 3 (B-NP, ", "column 4 (", "data.label_column_name")
    assert pairs(path, label_column="4")[0][1] == [spelled(tag) for tag in SENTENCES[0][1]]


def test_entities_that_most_words_are_in_are_still_told_from_chunks(write: Write) -> None:
    dense = [(words[:4], tags[:4]) for words, tags in SENTENCES]
    assert pairs(write("a.conll", columns(word, chunk, tag, sentences=dense))) == dense
    types = columns(word, chunk, lambda i, at, row, text, tag: tag if tag == "O" else tag[2:], sentences=dense)
    refused(write("b.conll", types), 1, "column 2 (B-NP, ", "column 3 (PER, ")
    refused(write("c.conll", columns(word, tag, chunk, sentences=dense)), 1, "column 2 (", "column 3 (B-NP")


def test_chunks_left_of_entities_are_passed_over(write: Write) -> None:
    assert pairs(write("a.conll", columns(word, pos, chunk, tag))) == SENTENCES


def test_of_two_layers_of_entities_none_is_guessed(write: Write) -> None:
    inner = columns(word, tag, lambda i, at, row, text, tag: "B-part" if tag == "B-LOC" else "O")
    refused(write("a.conll", inner), 1, "column 2 (O, ", "column 3 (O, B-part", "data.label_column_name")
    predicted = columns(word, tag, lambda i, at, row, text, tag: "O" if row % 7 == 0 else tag)
    refused(write("b.conll", predicted), 1, "column 2", "column 3")
    assert pairs(write("c.conll", "word\tner\tinner\n" + inner)) == SENTENCES  # the header says it


def test_chunks_to_the_right_of_entities_are_not_taken_for_them(write: Write) -> None:
    refused(write("a.conll", columns(word, tag, chunk)), 1, "column 2 (O, ", "column 3 (B-NP")


def test_a_name_here_and_there_is_no_type_of_entity(write: Write) -> None:
    annotators = columns(word, tag, lambda i, at, row, text, tag: "-" if tag == "O" else "mia")
    assert pairs(write("a.conll", annotators)) == SENTENCES


def test_a_stray_tag_is_named_with_its_line_however_late(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (columns(word, tag) + "\n") * 20
    count = lines.count("\n")
    assert count > 2000
    refused(write("a.conll", lines + "Bern\t0\n"), count + 1, "'0' is not a tag", "most of column 2")


def test_what_follows_the_head_counts(write: Write) -> None:
    ids = columns(lambda i, at, row, text, tag: "7", word, tag)
    head = "".join("Bern\tO\tO\n\n" for _ in range(1100))
    path = write("a.conll.gz", head + columns(word, tag, lambda i, at, row, text, tag: "B-x" if at == 3 else "O"))
    refused(path, 1, "column 2", "column 3 (O, B-x")
    assert pairs(write("b.conll", "\n".join([ids] * 20))) == SENTENCES * 20


def test_a_file_is_looked_at_once_though_it_is_opened_often(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.conll", columns(word, tag) * 20)
    passes = []
    gather = evidence.gather
    monkeypatch.setattr(evidence, "gather", lambda *arguments: passes.append(1) or gather(*arguments))
    layout = describe(path)
    assert pairs(path, like=layout) == pairs(path)
    assert len(passes) == 1
    path.write_text(columns(tag, word) * 20)
    assert describe(path).text_column == "2" and len(passes) == 2


def test_hashtags_with_a_tag_of_their_own_are_words(write: Write) -> None:
    text = "the DT\n#fun HT\n@me USR\n# a comment\n\n#go HT\nit PRP\n"
    expected = [(["the", "#fun", "@me"], ["DT", "HT", "USR"]), (["#go", "it"], ["HT", "PRP"])]
    assert pairs(write("a.txt", text)) == expected
    assert pairs(write("b.txt", text.replace(" ", "\t").replace("#\ta\t", "# a "))) == expected
    refused(write("c.txt", "the DT\n#a comment\nit PRP\n"), 2, "'#a comment' is a comment or the word '#a'")
    refused(write("d.txt", "Bern B-LOC\n#a comment\nit O\n"), 2, "'comment' is not a tag")


def test_a_header_is_known_by_what_stands_below_it(write: Write) -> None:
    for header in ("Token\tPOS\tNE", "word\tWortart\tEntität"):
        path = write("a.conll", header + "\n" + columns(word, pos, tag))
        assert pairs(path) == SENTENCES
        assert describe(path).text_column == header.split("\t")[0]


@pytest.mark.parametrize("tag", ["B_PRODUCT", "PRODUCT_B", "b-product", "B", "PRODUCT"])
@pytest.mark.parametrize("first", ["Word", "Text", "Token"])
def test_a_first_word_with_a_tag_is_no_header(write: Write, first: str, tag: str) -> None:
    path = write("a.conll", f"{first} {tag}\nis O\nold O\n\nShe O\nleft O\n{first} {tag}\n")
    assert pairs(path) == [([first, "is", "old"], [tag, "O", "O"]), (["She", "left", first], ["O", "O", tag])]


def test_a_header_above_types_alone_is_none_of_them(write: Write) -> None:
    path = write("a.conll", "Token\tEntität\nis\tO\nold\tO\nBern\tLOC\n")
    assert pairs(path) == [(["is", "old", "Bern"], ["O", "O", "LOC"])]


def test_a_mark_of_byte_order_is_taken_off_any_line(write: Write) -> None:
    mark = "\ufeff"
    text = f"{mark}-DOCSTART- O\n\nBern B-LOC\n\n{mark}-DOCSTART- O\n\n{mark}Ulm B-LOC\n"
    assert pairs(write("a.conll", text)) == [(["Bern"], ["B-LOC"]), (["Ulm"], ["B-LOC"])]


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u200b", " \u00a0\t", "\ufeff"])
def test_a_line_of_blanks_that_are_no_spaces_parts_sentences(write: Write, blank: str) -> None:
    assert pairs(write("a.conll", f"Bern B-LOC\n{blank}\nUlm B-LOC\n")) == [(["Bern"], ["B-LOC"]), (["Ulm"], ["B-LOC"])]


def test_a_sentence_a_line_without_a_header(write: Write) -> None:
    rows = [(" ".join(words), " ".join(tags)) for words, tags in SENTENCES]
    assert pairs(write("a.tsv", "".join(f"{words}\t{tags}\n" for words, tags in rows))) == SENTENCES
    assert pairs(write("b.txt", "".join(f"{tags}\t{words}\n" for words, tags in rows))) == SENTENCES


def test_a_column_may_tell_sentences_apart(write: Write) -> None:
    text = columns(lambda i, at, row, text, tag: str(i), word, tag).replace("\n\n", "\n")
    assert pairs(write("a.conll", text), sentence_column="1") == SENTENCES
    refused(write("b.conll", text), 1, "'sid', asked for by data.sentence_column_name", sentence_column="sid")


def test_invisible_characters_in_a_tag_are_taken_off_and_counted(write: Write) -> None:
    for name, text in (
        ("a.conll", "Bern\tB-LOC\u200b\nUlm\tO\n"),
        ("a.csv", "sentence_id,word,tag\n1,Bern,B-LOC\u200b\n1,Ulm,O\n"),
        ("a.jsonl", '{"tokens": ["Bern", "Ulm"], "tags": ["B-LOC\u200b", "O"]}\n'),
    ):
        path = write(name, text)
        (sentence,) = list(_read(path))
        assert sentence.tags == ["B-LOC", "O"]
        (repair,) = sentence.repairs
        assert repair.kind == "tags with invisible characters"
        assert "'B-LOC\\u200b' is read as 'B-LOC'" in repair.example


def test_an_empty_word_is_kept_and_counted_in_any_format(write: Write) -> None:
    for name, text in (
        ("a.conll", "Bern\tB-LOC\n\tO\n"),
        ("a.csv", "sentence_id,word,tag\n1,Bern,B-LOC\n1,,O\n"),
        ("b.csv", 'text,tags\n"[""Bern"", """"]",B-LOC O\n'),
        ("a.jsonl", '{"tokens": ["Bern", ""], "tags": ["B-LOC", "O"]}\n'),
    ):
        (sentence,) = list(_read(write(name, text)))
        assert (sentence.words, sentence.tags) == (["Bern", ""], ["B-LOC", "O"])
        (repair,) = sentence.repairs
        assert repair.kind == "words that are empty" and "tagged 'O'" in repair.example


def _read(path: Path):
    from determined_ner.data.readers.open import read_file

    return read_file(path, Choice())
