"""From files to windows: every word keeps its tag, every format the same content, every start the same cache."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from determined_ner.data.corpus import load_corpus
from determined_ner.data.sources import find_sources
from determined_ner.data.split import IGNORED, Split
from determined_ner.data.tokenizer import WordTokenizer, load_tokenizer
from determined_ner.errors import UserError
from determined_ner.files.cache import build_once, hash_file
from determined_ner.settings.data import DataSettings
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.tags.labels import Labels
from determined_ner.tags.schemes import Scheme, to_iob2
from determined_ner.training.metrics import EvaluationMetrics
from tests.conftest import NAMES, make_sentences, run_command, write_config, write_conll
from tests.data.tokenizer_families import FAMILIES


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return load_tokenizer(Hyperparameters(pretrained_model_name_or_path=str(tiny_encoder)))


@pytest.fixture
def load(tokenizer, tmp_path):
    def run(max_seq_length: int = 64, cache: str = "cache", task: str = "ner", overwrite: bool = False, **settings):
        return load_corpus(DataSettings(**settings), task, tokenizer, max_seq_length, tmp_path / cache, overwrite)

    return run


def files(corpus: dict[str, Path]) -> dict[str, str]:
    return {f"{split}_file": str(file) for split, file in corpus.items()}


def tags_of(split: Split, labels: Labels) -> list[list[str]]:
    tags = [labels.names[i] for i in split.tags]
    return [tags[b:e] for b, e in zip(split.sentences[:-1], split.sentences[1:], strict=True)]


# ----- formats

SENTENCES = make_sentences(9)
SPLITS = ("train", "validation")


def as_jsonl(path: Path, sentences) -> None:
    rows = [{"tokens": [w for w, _ in s], "ner_tags": [t for _, t in s]} for s in sentences]
    path.write_text("\n".join(map(json.dumps, rows)))


def as_kaggle(path: Path, sentences) -> None:
    lines = ["Sentence #,Word,POS,Tag"]
    for i, sentence in enumerate(sentences):
        lines += [f"{f'Sentence: {i}' if j == 0 else ''},{w},X,{t}" for j, (w, t) in enumerate(sentence)]
    path.write_text("\n".join(lines))


def as_csv_lists(path: Path, sentences) -> None:
    def quoted(values):
        return '"' + json.dumps(values).replace('"', '""') + '"'

    rows = [f"{quoted([w for w, _ in s])},{quoted([t for _, t in s])}" for s in sentences]
    path.write_text("\n".join(["tokens,ner_tags", *rows]))


def as_parquet(path: Path, sentences) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words, tags = [[w for w, _ in s] for s in sentences], [[t for _, t in s] for s in sentences]
    pq.write_table(pa.table({"tokens": words, "ner_tags": tags}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", as_jsonl), ("a.csv", as_kaggle), ("b.csv", as_csv_lists), ("a.parquet", as_parquet)],
)
def test_every_format_gives_the_same_windows(load, tmp_path, corpus, name, write):
    reference = write_conll(tmp_path / "reference.conll", SENTENCES)
    write(tmp_path / name, SENTENCES)
    one, two = (
        load(train_file=str(file), validation_file=str(reference)).splits["train"]
        for file in (reference, tmp_path / name)
    )
    for array in ("ids", "labels", "is_first_piece", "windows", "words", "tags", "sentences"):
        np.testing.assert_array_equal(getattr(one, array), getattr(two, array))


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


def save_dataset(path: Path, names: list[str] | None = None, label: str = "ner_tags", **parts) -> str:
    """A data set whose parts are rows of words and tags (numbers, where their names are given)."""
    import datasets

    features = None
    if names:
        tags = datasets.Sequence(datasets.ClassLabel(names=names))
        features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), label: tags})
    made = {
        part: datasets.Dataset.from_dict({"tokens": [w for w, _ in rows], label: [t for _, t in rows]}, features)
        for part, rows in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(path)
    return str(path)


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
    with pytest.raises(UserError, match=r"has 1 \(int\) for word 1: words are text"):
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


def test_validation_is_read_by_the_columns_of_train(load, tmp_path):
    (tmp_path / "train.conll").write_text("EU NNP B-NP B-ORG\nsays VBZ B-VP O\n")
    (tmp_path / "validation.conll").write_text("He PRP B-NP O\nsays VBZ B-VP O\n")
    sources = {
        source.split: source
        for source in find_sources(DataSettings(**files({s: tmp_path / f"{s}.conll" for s in SPLITS})), "ner")
    }
    assert [layout.tag_column for source in sources.values() for layout in source.layouts()] == ["4", "4"]
    corpus = load(**files({split: tmp_path / f"{split}.conll" for split in SPLITS}))
    assert corpus.labels.names == ("B-ORG", "O")
    assert tags_of(corpus.splits["validation"], corpus.labels) == [["O", "O"]]


def test_later_training_files_are_read_by_the_columns_of_the_first(load, tmp_path):
    (tmp_path / "train-1.conll").write_text("EU NNP B-NP B-ORG\nsays VBZ B-VP O\n")
    (tmp_path / "train-2.conll").write_text("He PRP B-NP O\nsays VBZ B-VP O\n")
    corpus = load(train_file=str(tmp_path / "train-*"), validation_file=str(tmp_path / "train-1.conll"))
    assert corpus.labels.names == ("B-ORG", "O")


def test_another_task_is_trained_on_conll_columns_without_names(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("the", "DT"), ("dog", "NN")]])
    loaded = load(task="pos", train_file=str(file), validation_file=str(file))
    assert loaded.labels.names == ("DT", "NN")


def test_integer_labels_sort_as_numbers(load, tmp_path):
    rows = [{"tokens": ["a"] * 3, "ner_tags": [10, 9, 0]}, {"tokens": ["a"] * 2, "ner_tags": [2, 1]}]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    loaded = load(train_file=str(file), validation_file=str(file))
    assert loaded.labels.names == ("0", "1", "2", "9", "10") and loaded.labels.scheme is Scheme.PLAIN


def test_held_out_sentences_are_the_same_each_time_and_in_no_other_part(load, tmp_path):
    file = write_conll(tmp_path / "all.conll", [[(f"w{i}", "O"), ("x", "B-X")] for i in range(300)])
    splits = load(train_file=str(file), validation_split_percentage=10).splits
    again = load(cache="another", train_file=str(file), validation_split_percentage=10).splits
    assert (len(splits["train"].tags), len(splits["validation"].tags)) == (540, 60)
    np.testing.assert_array_equal(splits["validation"].ids, again["validation"].ids)


def test_whole_documents_are_held_out(load, tmp_path):
    documents = ["".join(f"d{d}\tO\nx\tB-X\n\n" for _ in range(5)) for d in range(60)]
    file = tmp_path / "all.conll"
    file.write_text("".join(f"-DOCSTART-\tO\n\n{document}" for document in documents))
    splits = load(train_file=str(file), validation_split_percentage=20).splits
    assert all((len(split.sentences) - 1) % 5 == 0 for split in splits.values())


def test_samples_can_be_limited(load, corpus):
    splits = load(**files(corpus), max_train_samples=5, max_eval_samples=4, max_predict_samples=3).splits
    assert [len(splits[s].sentences) - 1 for s in ("train", "validation", "test")] == [5, 4, 3]


def test_several_files_are_one_split(load, tmp_path, corpus):
    for i in range(3):
        write_conll(tmp_path / f"part-{i}.conll", SENTENCES[3 * i : 3 * i + 3])
    whole = write_conll(tmp_path / "whole.conll", SENTENCES)
    parts, one = (
        load(train_file=str(tmp_path / pattern), validation_file=str(whole)).splits["train"]
        for pattern in ("part-*.conll", "whole.conll")
    )
    np.testing.assert_array_equal(parts.ids, one.ids)


# ----- alignment


def test_the_first_piece_of_a_word_carries_its_label(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("ab", "B-X"), ("c", "I-X"), ("def", "O")]])
    loaded = load(train_file=str(file), validation_file=str(file))
    b, i, o = (loaded.labels.ids()[t] for t in ("B-X", "I-X", "O"))
    x = IGNORED
    assert loaded.splits["train"].labels.tolist() == [b, x, i, o, x, x]
    assert loaded.splits["train"].is_first_piece.tolist() == [True, False, True, True, False, False]


def test_with_label_all_tokens_one_entity_stays_one(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("ab", "B-X"), ("c", "I-X"), ("def", "O"), ("gh", "B-Y")]])
    loaded = load(train_file=str(file), validation_file=str(file), label_all_tokens=True)
    names = [loaded.labels.names[k] if k != IGNORED else None for k in loaded.splits["train"].labels]
    # Y has no I- anywhere, so nothing is said of the later pieces of its words.
    assert names == ["B-X", "I-X", "I-X", "O", "O", "O", "B-Y", None]
    assert loaded.splits["train"].labelled_pieces().tolist() == [7]


def test_a_word_without_pieces_still_has_a_tag(load, tmp_path, tokenizer):
    file = write_conll(tmp_path / "a.conll", [[("a", "O"), ("\u200b", "B-X"), ("\u200d\u200b", "O"), ("b", "O")]])
    split = load(train_file=str(file), validation_file=str(file)).splits["train"]
    assert split.is_first_piece.all() and len(split.tags) == 4
    assert split.ids[1] == split.ids[2] == tokenizer.unknown_id
    assert split.counts["unknown_words"] == 2


def test_a_word_longer_than_a_window_is_read_by_its_beginning(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "O"), ("b" * 60, "B-X"), ("c", "O")]])
    split = load(16, train_file=str(file), validation_file=str(file)).splits["train"]
    assert split.is_first_piece.sum() == len(split.tags) == 3 and split.counts["cut_words"] == 1
    assert np.diff(split.windows).max() <= 14


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """One of each family."""
    loaded = []
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family.__name__)
        family(folder)
        loaded.append(load_tokenizer(Hyperparameters(pretrained_model_name_or_path=str(folder))))
    return loaded


words = st.text(st.sampled_from("abcz09-\u200b€ÅÅ"), min_size=1, max_size=9).filter(lambda w: w.strip() == w and w)
tags = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
documents = st.lists(st.lists(st.tuples(words, tags), min_size=1, max_size=60), min_size=1, max_size=5)


@given(documents=documents, size=st.integers(4, 40), context=st.sampled_from(["sentence", "document"]), data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_in_are_tags_out(documents, size, context, data, tokenizers, tmp_path_factory):
    """A model that reads the gold labels off its windows scores 1 on every word, however the text is cut."""
    tokenizer = data.draw(st.sampled_from(tokenizers))
    capacity = size - tokenizer.specials
    stride = data.draw(st.integers(0, capacity - 1))
    folder = tmp_path_factory.mktemp("words")
    rows = [
        {"tokens": [w for w, _ in d], "ner_tags": [t for _, t in d], "doc_id": i // 2} for i, d in enumerate(documents)
    ]
    rows.append({"tokens": ["a"], "ner_tags": ["O"], "doc_id": 99})
    documents = [*documents, [("a", "O")]]
    file = folder / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    corpus = load_corpus(
        DataSettings(train_file=str(file), validation_file=str(file), stride=stride, context=context),
        "ner",
        tokenizer,
        size,
        folder,
    )
    split = corpus.splits["train"]
    assert len(split.tags) == sum(map(len, documents)) == split.is_first_piece.sum()
    assert split.words[-1] == len(split.tags) and np.diff(split.windows).max() <= capacity

    metrics = EvaluationMetrics(split, corpus.labels)
    order = np.random.default_rng(0).permutation(len(split.windows) - 1)  # as sorted batches would have them
    predicted = [split.labels[split.windows[w] : split.windows[w + 1]] for w in order]
    flat = np.concatenate([p[p != IGNORED] for p in predicted])
    scores = metrics.cross_slot_reduce([(0.0, order, flat)])
    assert scores["accuracy"] == 1.0
    entities = any(t.startswith(("B-", "I-")) for d in documents for _, t in d)
    assert scores["f1"] == scores["f1_strict"] == float(entities)
    assert tags_of(split, corpus.labels) == [to_iob2([t for _, t in d], corpus.labels.scheme)[0] for d in documents]


# ----- documents and bad tags


def with_documents(path: Path, sizes: list[list[int]]) -> Path:
    """Documents of sentences of so many one-letter words."""
    lines = []
    for document in sizes:
        lines += ["-DOCSTART-\tO", ""]
        for size in document:
            lines += [f"{'abcdefgh'[i % 8]}\t{'B-X' if i == 0 else 'O'}" for i in range(size)] + [""]
    path.write_text("\n".join(lines))
    return path


def test_in_document_context_a_sentence_sees_its_neighbours_and_each_word_is_owned_once(load, tmp_path):
    file = str(with_documents(tmp_path / "a.conll", [[3, 4, 2], [5], [30, 30]]))
    alone, joined = (
        load(24, train_file=file, validation_file=file, context=context, stride=8).splits["train"]
        for context in ("sentence", "document")
    )
    np.testing.assert_array_equal(alone.tags, joined.tags)
    np.testing.assert_array_equal(alone.sentences, joined.sentences)  # scores are of sentences all the same
    assert joined.is_first_piece.sum() == len(joined.tags) == 74
    # The first document is one window of 9 pieces, the second one of 5, the third 60 pieces through windows of 22.
    assert np.diff(joined.windows)[:3].tolist() == [9, 5, 22]
    assert np.diff(alone.windows)[:5].tolist() == [3, 4, 2, 5, 22]


def test_document_context_without_documents_is_refused(load, corpus):
    with pytest.raises(UserError, match=r"no documents are marked.*document_column_name"):
        load(**files(corpus), context="document")


def test_a_document_is_not_cut_where_the_reader_pauses(load, tmp_path, monkeypatch):

    file = str(with_documents(tmp_path / "a.conll", [[3, 4, 2], [5], [6, 6, 6]]))
    whole = load(train_file=file, validation_file=file, context="document").splits["train"]
    monkeypatch.setattr("determined_ner.data.text_store._CHUNK_WORDS", 4)
    pieces = load(cache="other", train_file=file, validation_file=file, context="document").splits["train"]
    for array in ("ids", "labels", "windows", "words", "tags", "sentences"):
        np.testing.assert_array_equal(getattr(whole, array), getattr(pieces, array))
    sentences = load(cache="third", train_file=file, validation_file=file).splits["train"]
    assert sentences.is_first_piece.sum() == len(whole.tags)


def test_a_document_column_marks_documents(load, tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": ["B-X", "O"], "source": d} for d in "112223"]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    split = load(
        train_file=str(file), validation_file=str(file), document_column_name="source", context="document"
    ).splits["train"]
    assert np.diff(split.windows).tolist() == [4, 6, 2]


def test_bad_tags_are_repaired_and_told_with_their_place(load, tmp_path):
    good = [("a", "B-X"), ("b", "I-X"), ("c", "O")]
    file = write_conll(tmp_path / "a.conll", [good, [("a", "O"), ("bad", "I-X")], good])
    corpus = load(train_file=str(file), validation_file=str(file))
    split = corpus.splits["train"]
    assert split.counts["repaired_tags"] == 1
    assert split.bad_tags == (f"{file}:5: tag 'I-X' of word 2 ('bad') of the sentence that begins here, after 'O'",)
    assert tags_of(split, corpus.labels)[1] == ["O", "B-X"]


def test_bad_tags_are_refused_where_the_data_must_be_clean(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "B-X")], [("a", "O"), ("bad", "I-X")], [("c", "B-X")]])
    with pytest.raises(UserError, match=r"a\.conll:3: tag 'I-X' of word 2 \('bad'\).*on_bad_tags: repair"):
        load(train_file=str(file), validation_file=str(file), on_bad_tags="error")


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (Scheme.BIOES, ["S-X", "O", "B-X", "I-X", "E-X", "S-Y"]),
        (Scheme.BILOU, ["U-X", "O", "B-X", "I-X", "L-X", "U-Y"]),
        (Scheme.IOB1, ["I-X", "O", "I-X", "I-X", "B-X", "I-Y"]),
    ],
)
def test_other_schemes_are_read_as_iob2(load, tmp_path, scheme, tags):
    file = write_conll(tmp_path / "a.conll", [[("a", t) for t in tags]])
    corpus = load(train_file=str(file), validation_file=str(file), on_bad_tags="error")
    assert corpus.labels.scheme is scheme
    expected = ["B-X", "O", "B-X", "I-X", "B-X" if scheme is Scheme.IOB1 else "I-X", "B-Y"]
    assert tags_of(corpus.splits["train"], corpus.labels) == [expected]


def test_plain_tags_train_with_token_scores_alone(tmp_path, tiny_encoder, recwarn):
    import ner_trial

    file = write_conll(tmp_path / "a.conll", [[("a", "DET"), ("dog", "NOUN"), ("ran", "VERB")]] * 8)
    options = ["--output-dir", str(tmp_path / "run")]
    config = tmp_path / "c.yaml"
    config.write_text("name: pos\nsearcher: {name: single, metric: accuracy, smaller_is_better: false}\n")
    for setting in (
        f"hyperparameters.pretrained_model_name_or_path={tiny_encoder}",
        f"data.train_file={file}",
        f"data.validation_file={file}",
    ):
        options += ["--config", setting]
    assert ner_trial.main([str(config), *options]) == 0
    best = json.loads((tmp_path / "run/summary.json").read_text())["best"]
    assert set(best) == {"kind", "batches", "epochs", "loss", "accuracy"}
    assert not [w for w in recwarn if "seqeval" in str(w.filename)]


def test_a_document_of_20000_words_trains_validates_and_is_scored_word_by_word(tmp_path, tiny_encoder):
    words = [(NAMES[i % 6], "B-PER") if i % 7 == 0 else ("went", "O") for i in range(20_000)]
    file = write_conll(tmp_path / "long.conll", [words])
    config = write_config(tmp_path / "c.yaml", tiny_encoder, {"train": file, "validation": file}, max_steps=2)
    done = run_command(config, "--output-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "1 sentences, 20,000 words" in done.stderr


# ----- cache


def test_a_second_start_takes_the_cache(load, corpus, monkeypatch):
    first = load(**files(corpus)).splits["train"]

    def again(*_, **__):
        raise AssertionError("tokenized twice")

    monkeypatch.setattr(WordTokenizer, "pieces", again)
    np.testing.assert_array_equal(load(**files(corpus)).splits["train"].ids, first.ids)
    with pytest.raises(AssertionError, match="tokenized twice"):
        load(**files(corpus), overwrite=True)


def test_changed_content_or_settings_are_not_taken_from_the_cache(load, corpus):
    before = load(**files(corpus)).splits["train"].ids
    corpus["train"].write_text(corpus["train"].read_text().replace("went", "goes"))
    assert not np.array_equal(load(**files(corpus)).splits["train"].ids, before)
    short, long = (load(size, **files(corpus)).splits["train"] for size in (16, 64))
    assert len(short.windows) > len(long.windows)


def test_a_failed_build_leaves_nothing_in_the_cache(load, corpus, tmp_path):
    corpus["train"].write_text(corpus["train"].read_text() + "\nbroken line here\n")
    with pytest.raises(UserError):
        load(**files(corpus))
    assert [p.name for p in (tmp_path / "cache").iterdir() if not p.name.endswith(".lock")] == []


def test_overwriting_leaves_what_others_have_mapped_and_what_stands_if_it_fails(tmp_path):
    def build(text: str):
        return lambda directory: (directory / "a").write_text(text)

    def fail(directory: Path) -> None:
        raise UserError("broken")

    folder = build_once(tmp_path, "x", build("one"))
    mapped = np.memmap(folder / "a", mode="r")
    assert (build_once(tmp_path, "x", build("two")) / "a").read_text() == "one"
    assert (build_once(tmp_path, "x", build("two"), overwrite=True) / "a").read_text() == "two"
    assert bytes(mapped) == b"one"
    with pytest.raises(UserError, match="broken"):
        build_once(tmp_path, "x", fail, overwrite=True)
    assert (folder / "a").read_text() == "two"
    assert {path.name for path in tmp_path.iterdir()} == {"x", ".x.lock"}


def test_the_cache_knows_a_file_by_its_format_too(load, tmp_path):
    text = 'text\ttags\n"a b"\tO B-X\n'
    words = []
    for name in ("a.tsv", "a.conll"):  # a row a sentence, a line a word
        (tmp_path / name).write_text(text)
        corpus = load(train_file=str(tmp_path / name), validation_file=str(tmp_path / name))
        words.append(len(corpus.splits["train"].tags))
    assert words == [2, 1]


def test_a_cached_bad_tag_is_told_with_the_file_of_today(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("a", "B-X"), ("b", "I-X")], [("c", "O"), ("d", "I-X")]])
    load(train_file=str(file), validation_file=str(file))
    moved = file.rename(tmp_path / "b.conll")
    told = load(train_file=str(moved), validation_file=str(moved)).splits["train"].bad_tags
    assert told == (f"{moved}:4: tag 'I-X' of word 2 ('d') of the sentence that begins here, after 'O'",)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"a\.conll: cannot be read \(Permission denied\).*rights"):
        hash_file(tmp_path / "a.conll")


def _build(root: Path, start: object, counter: Path) -> None:
    def build(directory: Path) -> None:
        with counter.open("a") as file:
            file.write("built\n")
        (directory / "a").write_text("done")

    start.wait()  # type: ignore[attr-defined]
    assert (build_once(root, "x", build) / "a").read_text() == "done"


def test_processes_that_start_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    processes = [context.Process(target=_build, args=(tmp_path / "cache", start, tmp_path / "count")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "built\n"


# ----- real corpora, as they lie there


@pytest.mark.parametrize(
    ("train", "scheme", "sentences", "labels"),
    [
        ("wikigold/wikigold.conll.txt", Scheme.IOB1, 1696, 9),
        ("uner-pt-bosque/pt_bosque-ud-train.iob2", Scheme.IOB2, None, 7),
        ("ncbi-disease/train.tsv", Scheme.IOB2, None, 3),
        ("wnut17/wnut17train.conll", Scheme.IOB2, 3394, 13),
    ],
)
def test_real_corpora_load_as_they_lie_there(load, shared_data, train, scheme, sentences, labels):
    file = str(shared_data / train)
    corpus = load(train_file=file, validation_file=file)
    assert corpus.labels.scheme is scheme
    assert len(corpus.labels.names) <= labels and "O" in corpus.labels.names
    split = corpus.splits["train"]
    assert sentences in (None, len(split.sentences) - 1)
    assert split.is_first_piece.sum() == len(split.tags)


def test_iob1_and_iob2_of_wikigold_hold_the_same_entities(load, shared_data):
    """The original is IOB1; the project's JSON of the same corpus was converted elsewhere."""
    raw = load(train_file=str(shared_data / "wikigold/wikigold.conll.txt"), validation_split_percentage=1)
    parts = [str(shared_data / f"wikigold/{s}.json") for s in ("train", "validation", "test")]
    converted = load(**dict(zip(("train_file", "validation_file", "test_file"), parts, strict=True)))

    def begins(corpus):
        ids = [i for i, name in enumerate(corpus.labels.names) if name.startswith("B-")]
        return sum(np.isin(split.tags, ids).sum() for split in corpus.splits.values())

    assert begins(raw) == begins(converted) > 3000


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ("wikigold/wikigold.conll.txt", "wikigold/wikigold.conll.txt"),
        ("uner-pt-bosque/pt_bosque-ud-dev.iob2", "uner-pt-bosque/pt_bosque-ud-test.iob2"),
    ],
)
def test_real_corpora_train_as_they_lie_there(shared_data, tmp_path, tiny_encoder, train, validation):
    config = tmp_path / "c.yaml"
    config.write_text("name: x\nsearcher: {name: single, metric: f1, smaller_is_better: false}\n")
    overrides = {
        "hyperparameters.pretrained_model_name_or_path": tiny_encoder,
        "hyperparameters.max_steps": 3,
        "data.train_file": shared_data / train,
        "data.validation_file": shared_data / validation,
    }
    options = [o for k, v in overrides.items() for o in ("--config", f"{k}={v}")]
    done = run_command(config, "--output-dir", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/summary.json").read_text())["best"]["accuracy"] > 0


def test_one_odd_tag_among_entities_is_named_where_f1_is_asked_for(tmp_path, tiny_encoder, capsys):
    import ner_trial

    rows = [{"tokens": ["Ada", "went"], "ner_tags": ["B-PER", "O"]}] * 9
    rows.append({"tokens": ["Bo", "went"], "ner_tags": ["B_PER", "O"]})
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    config = write_config(tmp_path / "c.yaml", tiny_encoder, {"train": file, "validation": file})
    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert "searcher.metric: 'f1'" in message and "'B_PER'" in message


def test_rows_of_a_dataset_are_no_documents_by_themselves(load, tmp_path):
    import datasets

    rows = {"tokens": [["a", "b"]] * 4, "ner_tags": [["O", "B-X"]] * 4, "source": [1, 1, 2, 2]}
    dataset = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": dataset, "validation": dataset}).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="no documents are marked"):
        load(dataset_name=str(tmp_path / "data"), context="document")
    joined = load(dataset_name=str(tmp_path / "data"), context="document", document_column_name="source")
    assert np.diff(joined.splits["train"].windows).tolist() == [4, 4]


def test_predictions_take_at_most_8_bytes_a_word_until_the_report(load, tmp_path):
    """Sentences of one word are the worst case."""
    import torch

    from determined_ner.data.batches import EvaluationBatches
    from determined_ner.data.collate import BatchDataset
    from determined_ner.training.metrics import EvaluationMetrics as Metrics

    file = write_conll(tmp_path / "a.conll", [[("a", "B-X" if i % 2 else "O")] for i in range(500)])
    corpus = load(train_file=str(file), validation_file=str(file))
    split = corpus.splits["validation"]
    metrics = Metrics(split, corpus.labels)

    class Specials:
        prefix, suffix, pad_id = (2,), (3,), 0

    dataset = BatchDataset(split, Specials())
    for (batch,) in EvaluationBatches(split, 2, 1):
        collated = dataset[batch]
        metrics.update(torch.nn.functional.one_hot(collated["labels"].clamp(min=0), 2).float(), collated)
    kept = [tensor for tensors in (metrics._windows, metrics._tags) for tensor in tensors]
    assert sum(t.numel() * t.element_size() for t in kept) <= 8 * 500
    assert metrics.cross_slot_reduce([metrics.per_slot_reduce()])["f1"] == 1.0
