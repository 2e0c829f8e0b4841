"""Lines of CoNLL columns to sentences: what ends one, what is data and what is a comment."""

from __future__ import annotations

import pytest

from determined_ner.data.readers.open import describe
from determined_ner.data.readers.sentences import Choice, Layout, Repair, Sentence
from tests.data.readers.files import TWO, TWO_CONLL, Write, pairs, read, refused


def test_stray_tabs_in_a_file_of_spaces(write: Write) -> None:
    assert pairs(write("a.txt", "a B-X\nb O\nc\tO\n")) == [(["a", "b", "c"], ["B-X", "O", "O"])]
    refused(write("b.txt", "a\nb\nc\tO\n"), 3, "2 columns", r"'c\tO'", need_tags=False)


def test_word_with_spaces_in_a_tab_file(write: Write) -> None:
    assert pairs(write("a.conll", "New York\tB-LOC\n\u00a0\tO\n \tO\n")) == [
        (["New York", "\u00a0", " "], ["B-LOC", "O", "O"])
    ]


@pytest.mark.parametrize("blank", ["", "\t", " ", "\t\t \t", "\n\n\n", "\r"])
def test_blank_lines_of_any_white_space_end_a_sentence(write: Write, blank: str) -> None:
    assert pairs(write("a.conll", f"a\tB-X\n{blank}\nb\tO\n{blank}\n")) == [(["a"], ["B-X"]), (["b"], ["O"])]


def test_carriage_return_alone_is_no_line_end(write: Write) -> None:
    assert pairs(write("a.conll", "a\rb\tB-X\nc\tO\n")) == [(["a\rb", "c"], ["B-X", "O"])]
    refused(write("b.conll", "EU\tB-ORG\rrejects\tO\r"), 1, "old Mac line ends", "EU", "tr ")


def test_docstart_begins_a_document_and_is_no_data(write: Write) -> None:
    text = "-DOCSTART- -X- O\n\na N B-X\n\nb N O\n-DOCSTART- -X- O\nc N O\n\n-DOCSTART-\n\n-DOCSTART- -X- O\n\nd N O\n"
    assert [(s.words, s.document, s.line) for s in read(write("a.conll", text))] == [
        (["a"], 0, 3),
        (["b"], 0, 5),
        (["c"], 1, 7),
        (["d"], 2, 13),
    ]


def test_docstart_at_the_end_of_documents(write: Write) -> None:
    text = "a B-X\n\n-DOCSTART- O\n\nb O\n\n-DOCSTART- O\n"  # as in WikiGold
    assert [s.document for s in read(write("a.conll", text))] == [0, 1]


@pytest.mark.parametrize("mark", ["# newdoc", "# newdoc id = batch-0001", "#begin document (bc/cctv); part 000"])
def test_newdoc_begins_a_document(write: Write, mark: str) -> None:
    text = f"{mark}\na\tB-X\n\nb\tO\n\n{mark}\nc\tO\n{mark}\nd\tO\n"
    assert [s.document for s in read(write("a.iob2", text))] == [0, 0, 1, 2]


def test_hashtags_are_words_and_comments_are_not(write: Write) -> None:
    text = "# text = # #WNUT now\n#\tO\n# sent_id = 3\n#WNUT\tO\n# a comment\nnow\tB-X\n#a longer\tcomment\there\n"
    assert read(write("a.conll", text)) == [Sentence(["#", "#WNUT", "now"], ["O", "O", "B-X"], 2, 0)]


def test_hash_is_a_word_in_a_file_of_spaces(write: Write) -> None:
    assert pairs(write("a.txt", "# O\n# remark\na B-X\n#tag O\n")) == [(["#", "a", "#tag"], ["O", "B-X", "O"])]
    plain = "the DT\n# #\n# remark\n# NN\n1 NN\n"  # `#` is a Penn tag, but not seen here
    assert pairs(write("b.txt", plain)) == [(["the", "#", "1"], ["DT", "NN", "NN"])]


def test_a_file_of_hashtags_alone(write: Write) -> None:
    assert pairs(write("a.conll", "# text = #WNUT\n#WNUT\tB-X\n#17\tO\n")) == [(["#WNUT", "#17"], ["B-X", "O"])]


@pytest.mark.parametrize("tag", ["", "person"])
def test_hashtag_with_a_bad_tag_is_not_dropped_as_a_comment(write: Write, tag: str) -> None:
    refused(write("a.conll", f"a\tB-X\n#WNUT\t{tag}\n"), 2, "'#WNUT'", repr(tag), "comment")


def test_conllu_skips_multiword_tokens_and_empty_nodes(write: Write) -> None:
    text = (
        "# global.columns = ID FORM UPOS NER\n# sent_id = 1\n# text = vámonos\n1-2\tvámonos\t_\t_\n1\tvamos\tV\tB-X\n"
        "2\tnos\tP\tO\n2.1\tya\tA\t_\n\n1\tsí\tI\tO\n"
    )
    path = write("a.conllu", text)
    assert read(path) == [Sentence(["vamos", "nos"], ["B-X", "O"], 5, 0), Sentence(["sí"], ["O"], 9, 0)]
    assert describe(path) == Layout("conll", "FORM", "NER", "\t")
    assert pairs(path, label_column="UPOS") == [(["vamos", "nos"], ["V", "P"]), (["sí"], ["I"])]


def test_brackets_are_words(write: Write) -> None:
    assert pairs(write("a.conll", "[\tO\n{a\tB-X\n")) == [(["[", "{a"], ["O", "B-X"])]


def test_number_ranges_are_words_where_there_is_no_id_column(write: Write) -> None:
    assert pairs(write("a.conll", "1-2\tO\n8.1\tB-X\n")) == [(["1-2", "8.1"], ["O", "B-X"])]


def test_numbers_alone_are_words_where_no_other_column_is(write: Write) -> None:
    assert pairs(write("a.conll", "1\tO\n2\tB-X\n")) == [(["1", "2"], ["O", "B-X"])]


def test_document_column_of_conll(write: Write) -> None:
    text = "token\tdoc_id\tner\na\td1\tB-X\n\nb\td1\tO\n\nc\td2\tO\n"
    assert [s.document for s in read(write("a.conll", text))] == [0, 0, 1]
    text = "a\td1\tB-X\n\nb\td2\tO\n"
    assert [s.document for s in read(write("b.conll", text), document_column="2")] == [0, 1]


def test_a_sentence_ends_where_the_document_changes(write: Write) -> None:
    text = "token\tdoc_id\tner\na\td1\tB-X\n\nb\td1\tO\nc\t\tO\nd\td2\tO\n\ne\td2\tO\n"
    expected = [(["a"], 0), (["b", "c"], 0), (["d"], 1), (["e"], 1)]
    for name in ("a.conll", "a.txt", "a.tsv"):
        assert [(s.words, s.document) for s in read(write(name, text))] == expected
    text = "a d1 B-X\nb d1 O\nc d2 O\n"
    assert pairs(write("b.conll", text), document_column="2") == [(["a", "b"], ["B-X", "O"]), (["c"], ["O"])]


def test_words_are_no_documents_though_their_column_is_named_like_them(write: Write) -> None:
    text = "document\tner\na\tB-X\nb\tO\n"
    assert [(s.words, s.document) for s in read(write("a.conll", text), text_column="document")] == [(["a", "b"], 0)]


@pytest.mark.parametrize("title", ["sentence_id", "sent_no", "Sentence"])
@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.iob2", "a.tsv"])
def test_a_sentence_ends_where_the_number_in_a_column_of_that_name_changes(write: Write, name: str, title: str) -> None:
    text = f"{title}\ttoken\tner_tag\n1\tEU\tB-ORG\n1\trejects\tO\n2\tPeter\tB-PER\n"
    assert pairs(write(name, text)) == [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter"], ["B-PER"])]
    spaces = write("b.txt", text.replace("\t", " "))
    assert [len(words) for words, _ in pairs(spaces)] == [2, 1]
    assert describe(spaces) == Layout("conll", "token", "ner_tag", " ", title)


def test_blank_lines_and_numbers_of_sentences_both_end_one(write: Write) -> None:
    text = "sentence_id\ttoken\ttag\n1\ta\tO\n\tb\tB-X\n2\tc\tO\n\n2\td\tO\n\te\tO\n"
    assert [words for words, _ in pairs(write("a.conll", text))] == [["a", "b"], ["c"], ["d", "e"]]


@pytest.mark.parametrize("blank", ["", "\t\t"])
def test_a_column_that_counts_words_ends_no_sentence_whatever_its_name(write: Write, blank: str) -> None:
    text = f"S.No\ttoken\ttag\n1\ta\tO\n2\tb\tB-X\n{blank}\n3\tc\tO\n{blank}\n4\td\tO\n"
    path = write("a.conll", text)
    assert [words for words, _ in pairs(path)] == [["a", "b"], ["c"], ["d"]]
    assert describe(path).sentence_column is None


def test_tags_lose_white_space_around_them(write: Write) -> None:
    assert pairs(write("a.conll", "a\tB-X \nb\t O\n")) == [(["a", "b"], ["B-X", "O"])]


def test_ragged_line(write: Write) -> None:
    refused(write("a.conll", "a\tB-X\nb\tN\tO\n"), 2, "3 columns", "2 in line 1", r"'b\tN\tO'", "a tab")
    refused(write("a.txt", "\na B-X\nb\n"), 3, "1 column in", "2 in line 2", "'b'", "spaces")
    refused(write("b.conll", "a\tB-X\nb O\n"), 2, "1 column in", "'b O'", "a tab")


def test_empty_word_and_empty_tag(write: Write) -> None:
    (sentence,) = read(write("a.conll", "a\tB-X\n\tO\n"))
    assert (sentence.words, sentence.tags) == (["a", ""], ["B-X", "O"])
    assert sentence.repairs == (Repair("words that are empty", "line 2: no word, tagged 'O'"),)
    refused(write("b.conll", "a\tN\tB-X\n" * 2001 + "b\tN\t\n"), 2002, "no tag", "'b'", "'O'")


def test_words_alone_for_prediction(write: Write) -> None:
    path = write("a.txt", "#EU\nrejects\n# a comment\n\nPeter\n#\n")
    expected = [Sentence(["#EU", "rejects"], None, 1, 0), Sentence(["Peter", "#"], None, 5, 0)]
    assert read(path, need_tags=False) == expected
    assert describe(path, Choice(need_tags=False)) == Layout("conll", "1", None, " ")
    assert pairs(write("b.conll", TWO_CONLL), need_tags=False) == TWO  # tags that are detected are used
