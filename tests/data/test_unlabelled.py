"""Text without labels: read from anything, joined to the training text, its own labels never seen."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from determined_ner.data.batches import MicroBatch, TrainingBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.encode import join_splits
from determined_ner.data.split import IGNORED
from determined_ner.data.unlabelled import load_unlabelled
from determined_ner.data.window_losses import WindowLosses
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from tests.conftest import make_sentences, write_conll


@pytest.fixture
def train(tmp_path) -> Path:
    return write_conll(tmp_path / "train.conll", make_sentences(9))


@pytest.fixture
def read(tokenizer, tmp_path, train):
    """The pieces of each sentence of ``data.unlabelled_file``, as words."""

    def run(file: Path | str, splitting="rules", **settings) -> list[str]:
        asked = DataSettings(train_file=str(train), validation_file=str(train), unlabelled_file=str(file), **settings)
        text, split = load_unlabelled(asked, "ner", splitting, tokenizer, 64, tmp_path / "cache")
        run.formats = [layout.format for layout in text.source.layouts()]
        begins = [*np.flatnonzero(split.is_first_piece), len(split.ids)]
        ids = [split.ids[a:b] for a, b in itertools.pairwise(begins)]
        words = [tokenizer.backend.decode(piece).replace(" ", "").replace("##", "") for piece in ids]
        return [" ".join(words[a:b]) for a, b in itertools.pairwise(split.sentences)]

    return run


@pytest.mark.parametrize(("splitting", "last"), [("rules", "oslo ."), ("whitespace", "oslo.")])
def test_a_line_of_plain_text_is_a_text_cut_as_raw_text_is(read, tmp_path, splitting, last):
    (tmp_path / "text.txt").write_text("Ada went to\n\n  \nOslo.\n")
    assert read(tmp_path / "text.txt", splitting) == ["ada went to", last]
    with gzip.open(tmp_path / "more.txt.gz", "wt") as file:
        file.write("Oslo.\n")
    assert read(tmp_path / "*.txt*", splitting) == [last, "ada went to", last]
    assert read.formats == ["plain text", "plain text"]


@pytest.mark.parametrize("name", ["text.conll", "text"])
def test_a_file_that_is_named_otherwise_is_read_again(read, tmp_path, name):
    (tmp_path / "text.txt").write_text("Ada\nwent\nhome\n")
    assert read(tmp_path / "text.txt", text_column_name="1") == ["ada", "went", "home"]
    (tmp_path / "text.txt").rename(tmp_path / name)
    assert read(tmp_path / name, text_column_name="1") == ["ada went home"]


def test_labels_of_a_file_are_not_looked_at(read, tmp_path):
    rows = [[("Ada", "X-?"), ("went", "B"), ("home", "17")], [("no", "I-"), ("tag", "-100")]]
    expected = ["ada went home", "no tag"]
    assert read(write_conll(tmp_path / "odd.conll", rows)) == expected
    assert read(write_conll(tmp_path / "columns.txt", [[(word, "O") for word, _ in row] for row in rows])) == expected
    for name, key in (("bare.jsonl", None), ("numbers.jsonl", "ner_tags")):
        lines = [{"tokens": [word for word, _ in row], **({key: [7] * len(row)} if key else {})} for row in rows]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert read(tmp_path / name) == expected
    assert read.formats == ["jsonl"]
    assert read(tmp_path / "numbers.jsonl", label_names=["O"]) == expected
    (tmp_path / "few.jsonl").write_text('{"tokens": ["Ada", "home"], "ner_tags": [1]}\n')
    assert read(tmp_path / "few.jsonl") == ["ada home"]
    (tmp_path / "tokens.csv").write_text("word,tag\nAda,O\nwent,\n\nhome,O\n")
    assert read(tmp_path / "tokens.csv") == ["ada went", "home"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The DT\nhouse NN\n\nIt PRP\n", "'The DT' may be columns or plain text; choose"),
        ("7\tAda went home.\n8\tBo went.\n9\tOslo.\n", "has a text in one of 2 columns; name the file .tsv"),
        ("Ada\nwent\n\nBo\nwent\n", "'Ada' and nearly all lines after it hold one word, and blank lines stand"),
        ("Ada NNP B-NP\nwent VBD\n" + 20 * "on IN B-PP\n", "text.txt:2"),
    ],
)
def test_columns_that_would_be_read_as_texts_are_refused(read, tmp_path, train, text, message):
    train.write_text("Ada NNP B-NP B-PER\nwent VBD O O\n")
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(UserError) as error:
        read(tmp_path / "text.txt")
    assert message in str(error.value)


def test_columns_are_those_that_the_settings_and_the_training_file_say(read, tmp_path, train):
    (tmp_path / "four.txt").write_text("The DT B-NP O\nhouse NN I-NP O\n\nIt PRP B-NP O\n")
    assert read(tmp_path / "four.txt", text_column_name="1", label_column_name="-1") == ["the house", "it"]
    train.write_text("Ada NNP B-NP B-PER\nwent VBD O O\n")
    assert read(tmp_path / "four.txt", label_column_name="4") == ["the house", "it"]
    assert read(tmp_path / "four.txt", label_column_name="-1", text_column_name="2") == ["dt nn", "prp"]
    train.write_text("Ada NNP\nwent VBD\n")
    (tmp_path / "two.txt").write_text("The DT\nhouse NN\n\nIt PRP\n")
    assert read(tmp_path / "two.txt", text_column_name="1", label_column_name="2") == ["the house", "it"]


@pytest.mark.parametrize(("splitting", "last"), [("rules", "home ."), ("whitespace", "home.")])
def test_a_string_of_a_table_is_raw_text(read, tmp_path, splitting, last):
    for name, row in (
        ("raw.jsonl", {"text": "Ada went home."}),
        ("classified.jsonl", {"text": "Ada went home.", "label": "positive"}),
        ("spans.jsonl", {"text": "Ada went home.", "entities": [[1, 99, "PER"]]}),
    ):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
        assert read(tmp_path / name, splitting) == [f"ada went {last}"], name
    (tmp_path / "text.csv").write_text("text\nAda went home.\n\"['Ada', 'home.']\"\n")
    assert read(tmp_path / "text.csv", splitting) == [f"ada went {last}", "ada home."]


def test_spans_of_characters_are_not_looked_at(read, tmp_path):
    row = {"text": "Ada went.", "entities": [{"start": 1, "end": 2, "label": "PER"}]}
    (tmp_path / "spans.jsonl").write_text(json.dumps(row) + "\n")
    assert read(tmp_path / "spans.jsonl") == ["ada went ."]
    (tmp_path / "brat.txt").write_text("Ada went.\nHome.\n")
    (tmp_path / "brat.ann").write_text("T1\tPER 0 3\tAda\n")
    assert " ".join(read(tmp_path / "brat.txt")) == "ada went . home ."


@pytest.mark.parametrize(("name", "text"), [("none.txt", "\n \n"), ("none.conll", "\n")])
def test_a_file_without_a_word_is_refused(read, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)
    with pytest.raises(UserError, match="nowhere"):
        read(tmp_path / "nowhere.txt")


def test_joined_windows_are_those_of_both_and_the_second_have_no_labels(load, tokenizer, tmp_path, train):
    more = write_conll(tmp_path / "more.conll", make_sentences(5, 50))
    loaded = load(
        max_seq_length=16, stride=4, train_file=str(train), validation_file=str(more), unlabelled_file=str(more)
    )
    first, second = loaded.splits["train"], loaded.unlabelled
    joined = join_splits(first, second, tmp_path / "cache")
    windows, words = len(first.windows) - 1, len(first.tags)
    assert len(joined.windows) - 1 == windows + len(second.windows) - 1 and len(second.windows) > len(second.sentences)
    np.testing.assert_array_equal(joined.tags[:words], first.tags)
    assert (joined.tags[words:] == IGNORED).all() and (joined.labels[len(first.ids) :] == IGNORED).all()
    assert joined.fingerprint not in (first.fingerprint, second.fingerprint)
    datasets = [BatchDataset(split, tokenizer) for split in (joined, first, loaded.splits["validation"])]
    for number in range(len(joined.windows) - 1):
        whole = datasets[0][MicroBatch((number,))]
        apart = datasets[1 if number < windows else 2][MicroBatch((number - windows * (number >= windows),))]
        for name in ("input_ids", "attention_mask", "is_first_piece"):
            assert whole[name].equal(apart[name])
        assert whole["labels"].equal(apart["labels"]) == (number < windows)
    np.testing.assert_array_equal(joined.counted_pieces(), np.diff(joined.words))  # whether with labels or without
    plan = TrainingBatches(joined, tokenizer.specials, 4, 2, 7, True).plan(0)
    assert sorted(plan.order.tolist()) == list(range(len(joined.windows) - 1))


def test_windows_that_follow_weighted_ones_count_1_and_say_nothing_of_labels():
    losses = WindowLosses(np.array([0.5, 1.5], np.float32), np.array([0, 1]), np.ones((1, 3), np.bool_), 0)
    more = losses.followed_by(2)
    assert more.weights is not None and more.weights.tolist() == [0.5, 1.5, 1, 1]
    assert more.open_labels.tolist() == [0, 1, 0, 0] and more.weights.dtype == np.float32
