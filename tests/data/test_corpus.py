"""From files to a training: every format the same content, every start the same cache, real corpora as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from determined_ner.data.batches import EvaluationBatches
from determined_ner.data.collate import BatchDataset
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.errors import UserError
from determined_ner.tags.schemes import Scheme
from determined_ner.training.metrics import EvaluationMetrics
from tests.conftest import NAMES, make_sentences, write_config, write_conll
from tests.data.corpora import files

SENTENCES = make_sentences(9)


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


def test_another_task_is_trained_on_conll_columns_without_names(load, tmp_path):
    file = write_conll(tmp_path / "a.conll", [[("the", "DT"), ("dog", "NN")]])
    loaded = load(task="pos", train_file=str(file), validation_file=str(file))
    assert loaded.labels.names == ("DT", "NN")


# -- The cache -------------------------------------------------------------------------------------------------


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


def test_a_damaged_cache_is_not_trained_on(load, corpus, tmp_path, caplog):
    split = load(**files(corpus)).splits["train"]
    before = {array: getattr(split, array).copy() for array in ("ids", "labels", "windows", "words", "tags")}
    written = [path for path in (tmp_path / "cache").glob("*/*") if path.stat().st_size]
    assert len(written) > 30
    for path in written:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        caplog.clear()
        split = load(**files(corpus)).splits["train"]
        assert len([line for line in caplog.messages if "built again" in line]) == 1, path
        for array, values in before.items():
            np.testing.assert_array_equal(getattr(split, array), values)


# -- Trainings -------------------------------------------------------------------------------------------------


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


def test_a_document_of_20000_words_trains_validates_and_is_scored_word_by_word(tmp_path, tiny_encoder, capsys):
    words = [(NAMES[i % 6], "B-PER") if i % 7 == 0 else ("went", "O") for i in range(20_000)]
    file = write_conll(tmp_path / "long.conll", [words])
    config = write_config(tmp_path / "c.yaml", tiny_encoder, {"train": file, "validation": file}, max_steps=2)
    import ner_trial

    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "run")]) == 0
    assert "1 sentences, 20,000 words" in capsys.readouterr().err


def test_one_odd_tag_among_entities_is_named(tmp_path, tiny_encoder, capsys):
    import ner_trial

    rows = [{"tokens": ["Ada", "went"], "ner_tags": ["B-PER", "O"]}] * 9
    rows.append({"tokens": ["Bo", "went"], "ner_tags": ["B_PER", "O"]})
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    config = write_config(tmp_path / "c.yaml", tiny_encoder, {"train": file, "validation": file})
    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert f"{file}:10: tag 'B_PER' of word 1 ('Bo')" in message and "searcher.metric" not in message


def test_predictions_take_at_most_8_bytes_a_word_until_the_report(load, tmp_path):
    """Sentences of one word are the worst case."""
    file = write_conll(tmp_path / "a.conll", [[("a", "B-X" if i % 2 else "O")] for i in range(500)])
    corpus = load(train_file=str(file), validation_file=str(file))
    split = corpus.splits["validation"]
    metrics = EvaluationMetrics(split, corpus.labels)

    class Specials:
        prefix, suffix, pad_id = (2,), (3,), 0

    dataset = BatchDataset(split, Specials())
    for (batch,) in EvaluationBatches(split, 2, 1):
        collated = dataset[batch]
        metrics.update(torch.nn.functional.one_hot(collated["labels"].clamp(min=0), 2).float(), collated)
    _, windows, tags = metrics.per_slot_reduce()
    assert windows.nbytes + tags.nbytes <= 8 * 500
    assert metrics.cross_slot_reduce([metrics.per_slot_reduce()])["f1"] == 1.0


# -- Real corpora ----------------------------------------------------------------------------------------------


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
    import ner_trial

    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "run"), *options]) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["best"]["accuracy"] > 0
