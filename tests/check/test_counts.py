"""What is counted equals independent counts; planted faults are found at their places."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from determined_ner.check.command import check
from determined_ner.check.facts import AmbiguousWord
from determined_ner.check.word_kinds import WordKinds
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme
from tests.check.planted import Sentences
from tests.conftest import write_config

MIXED = [("Java", "B-LOC"), ("Java", "B-PER"), ("Oslo", "B-LOC"), ("is", "O"), ("Rome", "B-LOC")] * 6
MIXED += [("Oslo", "B-LOC"), ("Oslo", "O")] * 3


def found(finding) -> tuple[int, list[tuple[str, int, str]]]:
    return finding.count, [(e.place, e.word, e.text) for e in finding.examples]


def test_an_inconsistent_word_is_reported_with_its_counts(planted):
    _, _, report = planted
    java = next(word for word in report.ambiguous_words if word.word == "Java")
    assert (java.count, java.labels) == (6, {"LOC": 3, "O": 2, "PER": 1})
    assert report.ambiguous_words[0] is java
    assert all(word.count >= 5 and len(word.labels) > 1 for word in report.ambiguous_words)


def test_a_long_sentence_and_a_long_word(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert report.max_seq_length == 64
    assert train.in_several_windows.count == 2
    assert [e.place for e in train.in_several_windows.examples] == [place("train", 3), place("train", 4)]
    assert (train.longest.place, train.words_per_sentence.max) == (place("train", 3), 40)
    assert train.pieces_per_sentence.max == 160 + 2
    assert found(train.words_cut) == (1, [(place("train", 4), 1, "x" * 80)])
    # Cut off at 62 pieces, `lima` keeps 16 of its 40 words, and `!` comes after 80 pieces.
    assert (train.lost_by_truncation.words, train.lost_by_truncation.entities) == (24 + 1, 0)
    assert (train.lost.words, train.lost.entities) == (0, 0)


def test_odd_entities_are_reported_with_their_places(planted):
    _, place, report = planted
    train = report.splits["train"]
    assert found(train.long_entities) == (1, [(place("train", 5), 2, " ".join(["house"] * 11))])
    assert found(train.punctuation_entities) == (1, [(place("train", 6), 2, "... -")])
    assert found(train.punctuation_first) == (1, [(place("train", 7), 2, "' Ada")])
    assert found(train.blank_in_entities) == (1, [(place("train", 8), 2, "New York")])


def sentences_of(path: Path) -> Sentences:
    """Words and tags of a file of the shared corpora, read in the simplest way."""
    if path.suffix == ".json":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [list(zip(row["tokens"], row["ner_tags"], strict=True)) for row in rows]
    word, tag = (1, 2) if path.suffix == ".iob2" else (0, 1)
    blocks, rows = [], []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        if line.strip() and not (path.suffix == ".iob2" and line.startswith("# ")):
            rows.append(line.split("\t"))
        elif rows and not line.strip():
            blocks.append([(row[word], row[tag].strip()) for row in rows])
            rows = []
    return blocks


# (Of the two largest without the file to train on, which takes half a minute.)
CORPORA = {
    "ncbi-disease": ("test.tsv", "validation.tsv", "test.tsv"),
    "uner-pt-bosque": ("pt_bosque-ud-dev.iob2", "pt_bosque-ud-test.iob2", "pt_bosque-ud-dev.iob2"),
    "wikigold": ("train.json", "validation.json", "test.json"),
    "wnut17": ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_counts_of_the_shared_corpora(shared_data, tmp_path, tiny_encoder, corpus):
    names = ("train", "validation", "test")
    files = {name: shared_data / corpus / file for name, file in zip(names, CORPORA[corpus], strict=True)}
    config = write_config(tmp_path / "c.yaml", tiny_encoder, files)
    report = check(config, ["data.context=document"] if corpus == "uner-pt-bosque" else [], timing=False)
    train = [tuple(w for w, _ in sentence) for sentence in sentences_of(files["train"])]
    for name in names:
        facts, sentences = report.splits[name], sentences_of(files[name])
        entities = [get_entities([tag for _, tag in sentence]) for sentence in sentences]
        assert facts.sentences == len(sentences)
        assert facts.words == sum(map(len, sentences))
        assert facts.entities == Counter(kind for spans in entities for kind, *_ in spans)
        assert facts.tags == Counter(tag for sentence in sentences for _, tag in sentence)
        assert facts.words_per_sentence.max == max(map(len, sentences))
        assert facts.long_entities.count == sum(e - b + 1 >= 10 for spans in entities for _, b, e in spans)
        texts = [tuple(w for w, _ in sentence) for sentence in sentences]
        assert facts.repeated.count == len(texts) - len(set(texts))
        if name == "train":
            assert facts.in_train is None
        else:
            assert facts.in_train.count == sum(text in set(train) for text in texts)
        if name == "validation":
            assert_pieces(facts, sentences, entities, tiny_encoder)
    kinds: dict[str, Counter] = {}
    for word, tag in (pair for sentence in sentences_of(files["train"]) for pair in sentence):
        kinds.setdefault(word, Counter())[tag[2:] or "O"] += 1
    for entry in report.ambiguous_words:
        assert entry.labels == kinds[entry.word] and entry.count == kinds[entry.word].total()
    expected = sorted((score(c) for c in kinds.values() if len(c) > 1 and c.total() >= 5), reverse=True)[:10]
    assert [score(kinds[entry.word]) for entry in report.ambiguous_words] == pytest.approx(expected)


def score(kinds: Counter) -> float:
    shares = np.array(list(kinds.values())) / kinds.total()
    return float(-(shares * np.log2(shares)).sum() * np.log2(kinds.total()))


def assert_pieces(facts, sentences: Sentences, entities: list, encoder: Path) -> None:
    """Pieces and what truncation loses, by the tokenizer's own truncation."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    words = [[word for word, _ in sentence] for sentence in sentences]
    whole = tokenizer(words, is_split_into_words=True)
    lengths = sorted(len(ids) for ids in whole["input_ids"])
    without = facts.words_without_pieces.count  # which we give a piece
    assert facts.pieces_per_sentence.max in range(lengths[-1], lengths[-1] + without + 1)
    assert facts.pieces_per_sentence.median in range(lengths[len(lengths) // 2 - 1], lengths[len(lengths) // 2] + 1)
    assert sum(lengths) - 2 * len(lengths) == round(facts.pieces_per_word * facts.words) - without
    cut = tokenizer(words, is_split_into_words=True, truncation=True, max_length=64)
    seen = [set(cut.word_ids(i)) for i in range(len(words))]
    kept = [{w for w in range(len(s)) if w in seen[i]} for i, s in enumerate(sentences)]
    lost = sum(any(w not in kept[i] for w in range(b, e + 1)) for i, spans in enumerate(entities) for _, b, e in spans)
    if not without:
        assert facts.lost_by_truncation.words == sum(len(s) - len(k) for s, k in zip(sentences, kept, strict=True))
        assert facts.lost_by_truncation.entities == lost > 0
    assert (facts.lost.words, facts.lost.entities) == (0, 0)


def test_word_counts_do_not_depend_on_when_they_are_added_up():
    names = ("B-LOC", "B-PER", "O")
    words = pa.array([word for word, _ in MIXED])
    tags = np.array([names.index(tag) for _, tag in MIXED], np.int16)

    def ambiguous(merge_rows: int) -> list[AmbiguousWord]:
        kinds = WordKinds(Labels(names, Scheme.IOB2), merge_rows)
        for i in range(0, len(words), 7):
            kinds.add(words[i : i + 7], tags[i : i + 7])
        return kinds.ambiguous()

    assert [(word.word, word.count, word.labels) for word in ambiguous(0)] == [
        ("Java", 12, {"LOC": 6, "PER": 6}),
        ("Oslo", 12, {"LOC": 9, "O": 3}),
    ]
    assert ambiguous(0) == ambiguous(20) == ambiguous(1 << 20)
