"""Tags in any spelling are read as the entities that they mean, in every split, and what was read is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from determined_ner.errors import UserError
from determined_ner.tags.schemes import Scheme
from tests.data.corpora import save_dataset, tags_of

TAGS = [["B-PER", "I-PER", "O", "O", "B-LOC"], ["O", "O", "B-PER", "B-PER", "O"]]
"""Of two sentences, in IOB2."""


def bare(tag: str) -> str:
    return tag[0]


def without_prefix(tag: str) -> str:
    return tag[2:] or "O"


def underscored(tag: str) -> str:
    return tag.replace("-", "_")


def save(path: Path, tags: list[list[str | int]]) -> str:
    rows = [{"tokens": [f"word{i}" for i in range(len(row))], "ner_tags": row} for row in tags]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def spelled(path: Path, spell) -> str:
    return save(path, [[spell(tag) for tag in row] for row in TAGS])


@pytest.mark.parametrize(
    ("spell", "told"),
    [
        (underscored, "tags are spelled B_PER: read as B-PER"),
        (lambda tag: "-".join(reversed(tag.split("-"))), "tags are spelled PER-B: read as B-PER"),
        (lambda tag: tag.replace("-", "/"), "tags are spelled B/PER: read as B-PER"),
        (lambda tag: "0" if tag == "O" else tag, "tags have '0' for O: it is read as O"),
    ],
)
def test_another_spelling_gives_the_labels_and_the_tags_of_iob2(load, tmp_path, spell, told):
    corpus = load(
        train_file=spelled(tmp_path / "train.jsonl", spell), validation_file=spelled(tmp_path / "dev.jsonl", spell)
    )
    assert corpus.labels.names == ("B-LOC", "B-PER", "I-PER", "O") and corpus.labels.scheme is Scheme.IOB2
    for name, split in corpus.splits.items():
        assert tags_of(split, corpus.labels) == TAGS and split.counts["repaired_tags"] == 0
        assert corpus.texts[name].describe_tags(corpus.labels) == told


def test_bare_prefixes_and_types_without_prefix(load, tmp_path):
    file = spelled(tmp_path / "bare.jsonl", bare)
    corpus = load(train_file=file, validation_file=file)
    assert corpus.labels.names == ("B-_", "I-_", "O")
    assert tags_of(corpus.splits["train"], corpus.labels)[1] == ["O", "O", "B-_", "B-_", "O"]
    file = spelled(tmp_path / "types.jsonl", without_prefix)
    corpus = load(train_file=file, validation_file=file)
    # Neighbours of one type cannot be told apart.
    assert tags_of(corpus.splits["train"], corpus.labels) == [TAGS[0], ["O", "O", "B-PER", "I-PER", "O"]]


def test_the_cache_keeps_tags_as_they_stand_in_the_file(load, tmp_path):
    file = spelled(tmp_path / "a.jsonl", underscored)
    (batch,) = load(train_file=file, validation_file=file).texts["train"].batches()
    assert batch.column("tags").to_pylist()[0] == ["B_PER", "I_PER", "O", "O", "B_LOC"]


def test_a_split_may_have_a_spelling_of_its_own(load, tmp_path):
    corpus = load(
        train_file=spelled(tmp_path / "train.jsonl", underscored),
        validation_file=spelled(tmp_path / "dev.jsonl", str),
        test_file=spelled(tmp_path / "test.jsonl", without_prefix),
    )
    assert tags_of(corpus.splits["test"], corpus.labels)[0] == TAGS[0]
    assert tags_of(corpus.splits["validation"], corpus.labels) == TAGS


def test_the_spelling_of_train_reads_what_alone_could_not_be_told(load, tmp_path):
    """In the validation file, fewer than half of the words are O."""
    train = spelled(tmp_path / "train.jsonl", without_prefix)
    dev = save(tmp_path / "dev.jsonl", [["PER", "PER", "LOC", "O"]])
    corpus = load(train_file=train, validation_file=dev)
    assert tags_of(corpus.splits["validation"], corpus.labels) == [["B-PER", "I-PER", "B-LOC", "O"]]
    with pytest.raises(UserError, match=r"tag 'ORG' of word 1 .* does not occur in the training data"):
        load(train_file=train, validation_file=save(tmp_path / "new.jsonl", [["ORG", "O"]]))


def test_a_type_known_by_its_b_alone_may_have_an_i_elsewhere(load, tmp_path):
    train = save(tmp_path / "train.jsonl", [["B-PER", "I-PER", "B-LOC", "O"]])
    dev = save(tmp_path / "dev.jsonl", [["B-LOC", "I-LOC", "O"]])
    corpus = load(train_file=train, validation_file=dev)
    assert corpus.labels.names == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    assert tags_of(corpus.splits["validation"], corpus.labels) == [["B-LOC", "I-LOC", "O"]]
    # Where no split has one, labels stay those of train.
    assert load(train_file=train, validation_file=train).labels.names == ("B-LOC", "B-PER", "I-PER", "O")
    with pytest.raises(UserError, match=r"tag 'B-ORG' of word 1 .* does not occur in the training data"):
        load(train_file=train, validation_file=save(tmp_path / "b.jsonl", [["B-ORG"]]))


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("0", "tag '0' of word 2 ('word1') of the sentence that begins here is not a tag of entities as most are"),
        ("-", "is no tag (spaCy writes - for a word whose tag is unknown); write O where the word is no entity"),
        (-100, "tag '-100' of word 2 .* is the mark of ignored pieces; train on the words"),
    ],
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_stray_tag_is_named_with_its_place_in_any_split(load, tmp_path, tag, message, split):
    rows = [*TAGS * 40, ["O", tag, "O"]]
    names = {"train_file": tmp_path / "train.jsonl", "validation_file": tmp_path / "validation.jsonl"}
    paths = {key: save(path, rows if path.stem == split else TAGS) for key, path in names.items()}
    with pytest.raises(UserError) as caught:
        load(**paths)
    assert caught.value.where == f"{names[f'{split}_file']}:81"
    assert all(part in str(caught.value) for part in message.split(" .* "))


def test_tags_with_hidden_characters_are_read_without_them(load, tmp_path):
    file = save(tmp_path / "a.jsonl", [*TAGS, ["O", "B-PER\u200b", "O"]])
    assert load(train_file=file, validation_file=file).labels.names == ("B-LOC", "B-PER", "I-PER", "O")


# -- Numbers ---------------------------------------------------------------------------------------------------

NAMES = ["O", "B-PER", "I-PER", "B-LOC"]
NUMBERS = [[NAMES.index(tag) for tag in row] for row in TAGS]


def as_conll(path: Path) -> str:
    path.write_text("\n".join("".join(f"word\t{tag}\n" for tag in row) for row in NUMBERS))
    return str(path)


def as_csv(path: Path) -> str:
    lines = ["tokens,ner_tags", *(f"{' '.join('word' for _ in row)},{' '.join(map(str, row))}" for row in NUMBERS)]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("name", "write"), [("a.jsonl", lambda path: save(path, NUMBERS)), ("a.csv", as_csv), ("a.conll", as_conll)]
)
def test_numbers_take_their_names_from_the_settings_in_every_format(load, tmp_path, name, write):
    file = write(tmp_path / name)
    corpus = load(train_file=file, validation_file=file, label_column_name="2" if name == "a.conll" else None,
                  label_names=NAMES)  # fmt: skip
    assert corpus.labels.names == tuple(NAMES) and tags_of(corpus.splits["train"], corpus.labels) == TAGS


def test_numbers_of_a_data_set_take_their_names_from_the_settings(load, tmp_path):
    rows = [(["a"] * len(row), row) for row in NUMBERS]
    named = save_dataset(tmp_path / "named", NAMES, train=rows, validation=rows)
    bare_numbers = save_dataset(tmp_path / "bare", None, train=rows, validation=rows)
    assert load(dataset_name=bare_numbers).labels.scheme is Scheme.PLAIN
    assert load(dataset_name=bare_numbers, label_names=NAMES).labels == load(dataset_name=named).labels
    with pytest.raises(UserError, match=r"data\.label_names: .*names its labels itself: \['O', .*drop the setting"):
        load(dataset_name=named, label_names=NAMES)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 9], r"a\.jsonl:1: column 'ner_tags' has 9 \(int\) for tag 2, which has no name; write one of 0 to 3"),
        ([0, -100], r"a\.jsonl:1: .*-100 .*is the mark of ignored pieces; train on the words"),
        (["O", "B-ORG"], r"a\.jsonl:1: .*'B-ORG' .*none of the names .*drop data\.label_names"),
    ],
)
def test_a_number_without_a_name_is_refused(load, tmp_path, row, message):
    file = save(tmp_path / "a.jsonl", [row])
    with pytest.raises(UserError, match=message):
        load(train_file=file, validation_file=file, label_names=NAMES)


# -- Plain tags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([["NOUN", "VERB"]], r"a\.jsonl:1 has 'NOUN' for word 1 \('word0'\), which is neither O nor like B-PER"),
        ([["O", "B-PER"], ["O", "PER", "ORG", "LOC"]], r"a\.jsonl:2 has 'PER' for word 2 \('word1'\)"),
        (NUMBERS, r"numbers without names \(0, 1, 2, 3\); name them, from 0 on: data\.label_names: \[O, B-PER"),
    ],
)
def test_where_f1_is_asked_of_plain_tags_the_first_of_them_is_named(refuse, tmp_path, tags, message):
    file = save(tmp_path / "a.jsonl", tags)
    said = refuse(*(f"data.{split}_file={file}" for split in ("train", "validation", "test")))
    assert re.search(message, said) and "it reports loss, accuracy" in said


def test_parts_of_speech_stay_plain(load, tmp_path):
    file = save(tmp_path / "a.jsonl", [["DET", "NOUN", "_", "_", "_"], ["_", "_", "PUNCT", "X"]])
    corpus = load(train_file=file, validation_file=file)
    assert corpus.labels.scheme is Scheme.PLAIN and corpus.texts["train"].describe_tags(corpus.labels) == ""
    file = save(tmp_path / "b.jsonl", [["PER", "O", "O"]])
    assert load(task="pos", train_file=file, validation_file=file).labels.names == ("O", "PER")
