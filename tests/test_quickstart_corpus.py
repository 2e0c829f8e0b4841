"""The embedded corpus is what its script writes and its README says, and validation is unseen in training."""

from __future__ import annotations

import subprocess
import sys

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from determined_ner.data.readers.open import read_file
from determined_ner.tags.schemes import Scheme, bad_tags, detect_scheme
from tests.conftest import ROOT

FOLDER = ROOT / "quickstart"
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def corpus():
    return {split: list(read_file(str(FOLDER / f"{split}.conll"))) for split in SPLITS}


def names(sentences) -> set[str]:
    found = set()
    for sentence in sentences:
        for _, begin, end in get_entities(sentence.tags):
            found.add(" ".join(sentence.words[begin : end + 1]).lower())
    return found


def test_the_files_are_what_the_script_writes():
    done = subprocess.run([sys.executable, FOLDER / "make_corpus.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_changed_file_is_noticed(tmp_path):
    for split in SPLITS:
        (tmp_path / f"{split}.conll").write_bytes((FOLDER / f"{split}.conll").read_bytes())
    (tmp_path / "test.conll").write_text("changed\tO\n")
    command = [sys.executable, FOLDER / "make_corpus.py", "--check", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "test.conll" in done.stderr and "train.conll" not in done.stderr


def test_no_entity_of_validation_and_test_occurs_in_training(corpus):
    training = names(corpus["train"])
    assert len(training) > 500
    for split in ("validation", "test"):
        assert not names(corpus[split]) & training


def test_no_sentence_occurs_twice_across_the_splits(corpus):
    texts = [{tuple(s.words) for s in corpus[split]} for split in SPLITS]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_tags_are_valid_iob2(corpus):
    for sentences in corpus.values():
        assert detect_scheme(s.tags for s in sentences) is Scheme.IOB2
        assert not any(bad_tags(s.tags, Scheme.IOB2) for s in sentences)


def test_the_counts_of_its_readme_are_right(corpus):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split, sentences in corpus.items():
        found = [[kind for kind, _, _ in get_entities(s.tags)] for s in sentences]
        kinds = [kind for sentence in found for kind in sentence]
        counts = [len(sentences), found.count([]), sum(len(s.words) for s in sentences), len(kinds)]
        counts += [kinds.count(kind) for kind in ("LOC", "ORG", "PER", "PRODUCT")]
        assert f"| {split} | " + " | ".join(f"{n:,}" for n in counts) + " |" in readme


def test_some_words_are_names_here_and_none_there(corpus):
    inside, outside = set(), set()
    for sentence in corpus["train"]:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            (outside if tag == "O" else inside).add(word.lower())
    assert {"may", "mark", "rose"} <= inside & outside and len(inside & outside) >= 30
