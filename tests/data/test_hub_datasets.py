"""Data sets of the datasets library: columns and label names found, rows checked, parts chosen."""

from __future__ import annotations

import numpy as np
import pytest

from determined_ner.errors import UserError
from determined_ner.tags.schemes import Scheme
from tests.conftest import make_sentences
from tests.data.corpora import save_dataset, tags_of

SENTENCES = make_sentences(9)


def test_a_dataset_directory_keeps_the_order_of_its_label_names(load, tmp_path):
    import datasets

    names = ["O", "I-PER", "B-PER", "B-LOC"]
    features = datasets.Features({"tokens": [datasets.Value("string")], "ner_tags": [datasets.ClassLabel(names=names)]})
    rows = {"tokens": [[w for w, _ in s] for s in SENTENCES], "ner_tags": [[t for _, t in s] for s in SENTENCES]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": dataset, "validation": dataset}).save_to_disk(tmp_path / "data")
    loaded = load(dataset_name=str(tmp_path / "data"))
    assert list(loaded.labels.names) == names
    assert tags_of(loaded.splits["train"], loaded.labels) == rows["ner_tags"]


def test_a_dataset_without_validation_can_hold_some_out(load, tmp_path):
    import datasets

    rows = {"tokens": [["a", "b"]] * 200, "ner_tags": [["O", "B-X"]] * 200}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="validation_split_percentage"):
        load(dataset_name=str(tmp_path / "data"))
    splits = load(dataset_name=str(tmp_path / "data"), validation_split_percentage=20).splits
    counts = {name: len(split.sentences) - 1 for name, split in splits.items()}
    assert counts == {"train": 160, "validation": 40}


def test_a_dataset_that_was_a_script_is_taken_from_the_hubs_conversion(load, monkeypatch):
    import datasets

    asked = []

    def hub(path, name=None, revision=None):
        asked.append(revision)
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found conll2003.py")
        rows = {"tokens": [["a"]], "ner_tags": [["O"]]}
        return {s: datasets.Dataset.from_dict(rows) for s in ("train", "validation", "test")}

    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert set(load(dataset_name="conll2003").splits) == {"train", "validation", "test"}
    assert asked == [None, "refs/convert/parquet"]


def test_declared_names_without_the_tags_that_iob1_becomes_are_completed(load, tmp_path):
    rows = [(["Ada", "in", "Oslo"], [1, 0, 1]), (["a", "b", "c"], [1, 1, 0])]
    folder = save_dataset(tmp_path / "data", ["O", "I-PER", "I-LOC"], train=rows, validation=[(["Oslo"], [2])])
    labels = load(dataset_name=folder).labels
    assert labels.scheme is Scheme.IOB1
    assert labels.names == ("O", "I-PER", "I-LOC", "B-LOC", "B-PER")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (([None, "b"], ["O", "O"]), r"data \(train\):2: column 'tokens' has null for word 1"),
        ((["a", "b"], None), r"data \(train\):2: column 'ner_tags' has null instead of a list"),
        ((["a", "b"], ["O", None]), r"data \(train\):2: column 'ner_tags' has null for tag 2"),
        ((["a", "b"], ["O"]), r"data \(train\):2: 2 words but 1 tag"),
    ],
)
def test_rows_of_a_dataset_are_checked_like_those_of_a_table(load, tmp_path, row, message):
    good = (["a", "b"], ["O", "B-X"])
    folder = save_dataset(tmp_path / "data", train=[good, row], validation=[good])
    with pytest.raises(UserError, match=message):
        load(dataset_name=folder)


def test_words_of_a_dataset_are_text(load, tmp_path):
    folder = save_dataset(tmp_path / "data", train=[([1, 2], ["O", "B-X"])], validation=[([1], ["O"])])
    with pytest.raises(UserError, match=r"has 1 \(int\) for word 1; words are text"):
        load(dataset_name=folder)


def test_text_of_a_dataset_is_split_as_that_of_a_file(load, tmp_path):
    rows = [("Ada went", ["B-X", "O"])]
    split = load(dataset_name=save_dataset(tmp_path / "data", train=rows, validation=rows)).splits["train"]
    assert len(split.tags) == 2


def test_a_tag_beyond_the_declared_names_is_refused_in_train(load, tmp_path):
    rows = [(["a"], [0])]
    folder = save_dataset(tmp_path / "data", ["O", "B-X"], train=[*rows, (["b"], [-1])], validation=rows)
    with pytest.raises(UserError, match=r"\(train\):2: column 'ner_tags' has -1 \(int\) for tag 1.*0 to 1"):
        load(dataset_name=folder)


@pytest.mark.parametrize("hidden", [[-1, -1], None, []])
def test_a_test_part_with_hidden_labels_is_left_out_with_a_warning(load, tmp_path, caplog, hidden):
    rows = [(["a", "b"], [0, 1])]
    names = ["O", "B-X"]
    folder = save_dataset(tmp_path / "data", names, train=rows, validation=rows, test=[(["a", "b"], hidden)])
    assert set(load(dataset_name=folder).splits) == {"train", "validation"}
    assert "data (test): left out" in caplog.text and "'ner_tags' has null, -1 or no labels" in caplog.text
    folder = save_dataset(tmp_path / "strict", names, train=rows, validation=[(["a", "b"], hidden)])
    with pytest.raises(UserError, match=r"strict \(validation\):1"):
        load(dataset_name=folder)


def test_a_test_part_without_the_label_column_is_left_out_with_a_warning(load, tmp_path, caplog):
    import datasets

    train = datasets.Dataset.from_dict({"tokens": [["a"]], "ner_tags": [["B-X"]]})
    test = datasets.Dataset.from_dict({"tokens": [["a"]], "pos_tags": [["N"]]})
    folder = tmp_path / "data"
    datasets.DatasetDict({"train": train, "validation": train, "test": test}).save_to_disk(folder)
    assert set(load(dataset_name=str(folder)).splits) == {"train", "validation"}
    assert "no column 'ner_tags' among tokens, pos_tags" in caplog.text


def test_empty_rows_of_a_dataset_are_skipped_and_counted(load, tmp_path, caplog):
    rows = [(["a"], ["B-X"]), ([], []), (["b"], ["O"]), ([], [])]
    folder = save_dataset(tmp_path / "data", train=rows, validation=rows[:1])
    assert len(load(dataset_name=folder).splits["train"].tags) == 2
    assert caplog.text.count("data (train): 2 rows without a word were skipped") == 1


def test_empty_rows_are_counted_once_where_validation_is_held_out_of_the_same_part(load, tmp_path, caplog):
    folder = save_dataset(tmp_path / "data", train=[(["a"], ["B-X"]), ([], []), (["b"], ["O"]), (["c"], ["O"])])
    splits = load(dataset_name=folder, validation_split_percentage=50).splits
    assert {name: len(split.tags) for name, split in splits.items()} == {"train": 2, "validation": 1}
    assert caplog.text.count("data (train): 1 rows without a word were skipped") == 1


def test_whole_documents_of_a_dataset_are_held_out(load, tmp_path):
    import datasets

    rows = {
        "tokens": [["a", "b"]] * 12,
        "ner_tags": [["O", "B-X"]] * 12,
        "source": [name for name in "abcd" for _ in range(3)],
    }
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(tmp_path / "data")
    held_out = {"dataset_name": str(tmp_path / "data"), "validation_split_percentage": 50}
    splits = load(**held_out, document_column_name="source", context="document").splits
    assert {name: np.diff(split.windows).tolist() for name, split in splits.items()} == {
        "train": [6, 6],
        "validation": [6, 6],
    }


def test_rows_of_a_dataset_are_no_documents_by_themselves(load, tmp_path):
    import datasets

    rows = {"tokens": [["a", "b"]] * 4, "ner_tags": [["O", "B-X"]] * 4, "source": [1, 1, 2, 2]}
    dataset = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": dataset, "validation": dataset}).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="no documents are marked"):
        load(dataset_name=str(tmp_path / "data"), context="document")
    joined = load(dataset_name=str(tmp_path / "data"), context="document", document_column_name="source")
    assert np.diff(joined.splits["train"].windows).tolist() == [4, 4]


def test_a_script_of_a_dataset_is_neither_run_nor_asked_about(load, tmp_path, monkeypatch):
    folder = tmp_path / "scripted"
    folder.mkdir()
    marker = tmp_path / "code-has-run"
    (folder / "scripted.py").write_text(f"open({str(marker)!r}, 'w')\n")

    def never(*_: object) -> str:
        raise AssertionError("standard input was read")

    monkeypatch.setattr("builtins.input", never)
    with pytest.raises(UserError, match=r"data\.dataset_name: .* cannot be loaded"):
        load(dataset_name=str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["dev", "valid", "val", "Validation"])
def test_a_part_to_validate_on_may_have_another_name(load, tmp_path, name):
    rows = [(["a", "b"], ["O", "B-X"])]
    folder = save_dataset(tmp_path / "data", train=rows * 3, **{name: rows * 2})
    loaded = load(dataset_name=folder)
    assert {name: len(split.sentences) - 1 for name, split in loaded.splits.items()} == {"train": 3, "validation": 2}


def test_a_saved_dataset_without_parts_is_train(load, tmp_path):
    import datasets

    rows = {"tokens": [["a", "b"]] * 10, "ner_tags": [["O", "B-X"]] * 10}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="has no validation split"):
        load(dataset_name=str(tmp_path / "data"))
    splits = load(dataset_name=str(tmp_path / "data"), validation_split_percentage=20).splits
    assert {name: len(split.sentences) - 1 for name, split in splits.items()} == {"train": 8, "validation": 2}
