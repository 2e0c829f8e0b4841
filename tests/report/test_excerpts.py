"""Mistakes are shown in their sentences."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from determined_ner.report.excerpts import CONTEXT_WORDS, LONGEST_EXCERPT, Excerpt, find_frequent, find_mistakes
from determined_ner.report.mistakes import MistakeKind
from determined_ner.report.tagged_text import TaggedText
from determined_ner.tags.entities import TagTable

TABLE = TagTable(["O", "B-A", "I-A", "B-B", "I-B"])


def tagged_text(*sentences: tuple[str, str], confidence=None) -> TaggedText:
    """Sentences of gold and predicted tags: ``O A a B b`` for O, B-A, I-A, B-B, I-B; word N of all is ``wN``."""
    gold, tags = (np.array(["OAaBb".index(tag) for pair in sentences for tag in pair[side]]) for side in (0, 1))
    borders = np.cumsum([0, *(len(pair[0]) for pair in sentences)])
    words = [[f"w{i}" for i in range(a, b)] for a, b in itertools.pairwise(borders.tolist())]
    return TaggedText(
        name="it",
        table=TABLE,
        sentences=borders,
        documents=np.arange(len(sentences)),
        words=words,
        place=lambda sentence: f"text:{sentence}",
        gold=gold,
        tags=tags,
        decoded=tags,
        confidence=np.full(len(gold), 0.5) if confidence is None else np.array(confidence),
    )


def only_mistake(tagged: TaggedText) -> tuple[MistakeKind, Excerpt]:
    [found] = [(kind, shown) for kind, all_ in find_mistakes(tagged, tagged.matching()).items() for shown in all_]
    return found


def test_each_mistake_is_shown_where_it_is(tagged):
    mistakes = find_mistakes(tagged.tagged, tagged.tagged.matching())
    assert MistakeKind.CORRECT not in mistakes and sum(map(len, mistakes.values())) > 5
    lines = Path(tagged.text.files[0]).read_text().splitlines()
    for kind, excerpts in mistakes.items():
        for shown in excerpts:
            file, line = shown.place.split(":")
            assert file == "validation.conll"
            here = lines[int(line) - 1 :]
            assert [row.split("\t")[0] for row in here[: len(shown.words)]] == shown.words
            gold, model = (dict(shown.rows)[name] for name in ("gold", "model"))
            assert gold != model
            if kind is MistakeKind.WRONG_TYPE:
                assert {(b, e) for b, e, _ in gold} & {(b, e) for b, e, _ in model}
                assert shown.types[0] != shown.types[1]


def test_types_and_words_by_hand():
    kind, shown = only_mistake(tagged_text(("OO", "OO"), ("OAaO", "OBbO"), confidence=[1, 1, 1, 0.9, 0.7, 1]))
    assert kind is MistakeKind.WRONG_TYPE
    assert (shown.place, shown.types, shown.confidence) == ("text:1", ("A", "B"), 0.7)
    assert shown.words == ["w2", "w3", "w4", "w5"] and not shown.cut_before and not shown.cut_after
    assert shown.rows == [("gold", [(1, 3, "A")]), ("model", [(1, 3, "B")])]
    assert only_mistake(tagged_text(("AO", "OO")))[1].types == ("A", "nothing")
    assert only_mistake(tagged_text(("OO", "AO")))[1].types == ("nothing", "A")


def test_segments_are_the_words_cut_at_the_entities():
    excerpt = only_mistake(tagged_text(("OAaBO", "OAaOO")))[1]
    gold, model = (list(excerpt.segments(entities)) for _, entities in excerpt.rows)
    assert gold == [(["w0"], None), (["w1", "w2"], "A"), (["w3"], "B"), (["w4"], None)]
    assert model == [(["w0"], None), (["w1", "w2"], "A"), (["w3", "w4"], None)]


def test_a_long_sentence_and_a_long_entity_are_cut():
    far = "O" * 50
    _, shown = only_mistake(tagged_text((f"{far}A{far}", f"{far}O{far}")))
    assert len(shown.words) == 2 * CONTEXT_WORDS + 1 and shown.cut_before and shown.cut_after
    assert shown.rows[0] == ("gold", [(CONTEXT_WORDS, CONTEXT_WORDS + 1, "A")])
    _, shown = only_mistake(tagged_text(("A" + "a" * 300, "O" * 301)))
    assert len(shown.words) == LONGEST_EXCERPT and shown.rows[0] == ("gold", [(0, LONGEST_EXCERPT, "A")])


def test_the_most_confident_come_first():
    confidence = [0.2, 0.9, 0.5]
    tagged = tagged_text(("A", "O"), ("A", "O"), ("A", "O"), confidence=confidence)
    missed = find_mistakes(tagged, tagged.matching())[MistakeKind.MISSED]
    assert [shown.confidence for shown in missed] == [0.9, 0.5, 0.2]


def test_frequent_texts_are_those_that_occur_again():
    tagged = tagged_text(("A", "O"), ("Aa", "OO"), ("Aa", "OO"), ("O", "B"), ("O", "B"))
    tagged = replace(tagged, words=[["x"], ["New", "York"], ["New", "York"], ["May"], ["May"]])
    frequent = find_frequent(tagged, tagged.matching())
    assert frequent == {MistakeKind.MISSED: [("New York", "A", 2)], MistakeKind.SPURIOUS: [("May", "B", 2)]}
