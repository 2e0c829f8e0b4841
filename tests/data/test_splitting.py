"""The splitting of raw text is that which gives back the words of training."""

from __future__ import annotations

import pytest

from determined_ner.data.splitting import SplittingChoice, glue_printed, kept_words, written_together
from determined_ner.data.words import word_offsets

NEWS = [
    ("Ada 's friends went to St. John ( Oslo ) .", "B O O O O B I O B O O"),
    ('" Ada Bo , of U.S. , met John - Paul , " he said .', "O B I O O B O O B I I O O O O O"),
]
MAIL = [("write to ana.bob7@mail.org today .", "O O B O O"), ("ask cy@x.io , ana.bob7@mail.org .", "O B O B O")]


def printed(sentence: str) -> str:
    words = sentence.split()
    return " ".join("".join(run) for run in written_together(words, glue_printed(words)))


def better(corpus: list[tuple[str, str]]) -> str:
    choice = SplittingChoice()
    for words, tags in corpus:
        choice.add(words.split(), tags.split())
    return choice.better()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Ada 's friends went , too ( see below ) .", "Ada's friends went, too (see below)."),
        ('" Ada " , he said , " is n\'t $ 5 , 100 % ... "', '"Ada", he said, "isn\'t $5, 100%..."'),
        ("- x / y : # 1 @ bo", "- x / y: #1 @bo"),
        ("我 爱 北京 , Oslo", "我爱北京, Oslo"),
        ("", ""),
    ],
)
def test_a_sentence_is_written_as_text_is_printed(words, text):
    assert printed(words) == text


def test_newswire_is_cut_by_rules_and_addresses_at_white_space():
    assert better(NEWS) == "rules"
    assert better(MAIL) == "whitespace"
    assert better([("Oslo, ( Rome.", "B O B")]) == "whitespace"
    assert better([("我 爱 北 京 。", "O O B I O")]) == "rules"
    assert better([]) == better([("a@b c", "O O")]) == "rules"


def test_of_a_mixed_corpus_the_splitting_is_that_which_parts_fewer_tagged_words():
    assert better(NEWS * 5 + MAIL) == "rules"
    assert better(NEWS + MAIL * 5) == "whitespace"


def test_what_each_splitting_parts_of_printed_text_is_counted():
    choice = SplittingChoice()
    for words, tags in (*MAIL, ("Ada , Bo .", "B O B O"), ("no@body here", "O O")):
        choice.add(words.split(), tags.split())
    assert choice.parted == {"tagged": 5, "rules": 3, "whitespace": 4}


def test_plain_tags_count_all_words():
    assert better([("a@b , c", "X PUNCT X")]) == "rules" and better([("a@b c/d e", "X X X")]) == "whitespace"


def test_words_that_come_out_otherwise_are_told():
    words = ["to", "ana@x.org", ".", "Ada\u00ad", "\u200b", "New York"]
    assert kept_words(words, glue_printed(words), "rules") == [True, False, True, True, True, False]
    assert kept_words(words, glue_printed(words), "whitespace") == [True, False, False, True, True, False]


def test_a_kept_word_is_one_that_cutting_gives():
    for sentence, _ in NEWS + MAIL:
        words = sentence.split()
        text = printed(sentence)
        cut = [text[start:end] for start, end in word_offsets(text)]
        kept = [w for w, k in zip(words, kept_words(words, glue_printed(words), "rules"), strict=True) if k]
        assert all(cut.count(word) >= kept.count(word) for word in kept)


def test_texts_that_were_cut_here_are_cut_alike_when_they_are_tagged() -> None:
    choice = SplittingChoice()
    choice.add(["ana@x.org"] * 9, ["B-X"] * 9)
    assert choice.better() == "whitespace"
    choice.add(["ana", "@", "x.org"], ["B-X", "I-X", "I-X"], "rules")
    assert choice.better() == "rules"
