"""Runs on several corpora with weights and partial labels: resumed, on two slots, going on from a trained tagger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import ner_trial
from determined_ner.masks import without_secrets
from determined_ner.model.checkpoint import checkpoint_name
from determined_ner.settings.data import DataSettings
from tests.conftest import (
    assert_same_training,
    make_sentences,
    read_metrics,
    without_times,
    write_config,
    write_conll,
)
from tests.forked import together


def with_corpora(path: Path, encoder: Path, corpus: dict[str, Path], **hyperparameters) -> Path:
    """A config whose training data is two corpora, one of persons alone, of unequal weights."""
    config_file = write_config(path, encoder, corpus, **hyperparameters)
    config = json.loads(config_file.read_text())
    persons = [[(word, tag if "PER" in tag else "O") for word, tag in row] for row in make_sentences(20, 300)]
    files = {"all": {"file": str(corpus["train"]), "loss_weight": 2}}
    file = write_conll(path.parent / "persons.conll", persons)
    files["persons"] = {"file": str(file), "annotated_types": ["human"], "label_map": {"PER": "human"}}
    config["data"] |= {"train_file": files, "label_map": {"PER": "human"}}
    config_file.write_text(json.dumps(config))
    return config_file


def test_a_run_on_weighted_and_partly_labelled_corpora_resumes_bit_identical(tmp_path, tiny_encoder, corpus):
    config = with_corpora(tmp_path / "c.yaml", tiny_encoder, corpus)
    folders = [tmp_path / "whole", tmp_path / "half"]
    options = ["--config", "scheduling_unit=1", "--config", "checkpoint_policy=all"]
    options += ["--config", "checkpoint_storage.save_trial_latest=9"]
    for folder in folders:
        assert ner_trial.main([str(config), "--output-dir", str(folder), *options]) == 0
    shutil.rmtree(folders[1] / "checkpoints" / checkpoint_name(16))
    assert ner_trial.main(["--output-dir", str(folders[1]), "--resume"]) == 0
    reports = [without_times(read_metrics(folder)) for folder in folders]
    assert reports[0] == reports[1] and reports[0][-1]["batches"] == 16
    assert_same_training(*folders)


def test_a_weight_is_another_run_to_resume(tmp_path, tiny_encoder, corpus, capsys):
    config = with_corpora(tmp_path / "c.yaml", tiny_encoder, corpus, num_train_epochs=1)
    folder = tmp_path / "run"
    assert ner_trial.main([str(config), "--output-dir", str(folder)]) == 0
    change = ("--config", "data.train_file.all.loss_weight=3")
    assert ner_trial.main(["--output-dir", str(folder), "--resume", *change]) == 2
    assert "data.train_file" in capsys.readouterr().err


@pytest.mark.parametrize("grouped", [True, False])
def test_two_slots_train_what_one_trains_on_weighted_and_partly_labelled_corpora(
    tmp_path, tiny_encoder_without_dropout, corpus, grouped
):
    options = {"global_batch_size": 7, "group_by_length": grouped}
    config = with_corpora(tmp_path / "c.yaml", tiny_encoder_without_dropout, corpus, **options)
    found = []
    for processes in (1, 2):
        folder = tmp_path / f"p{processes}"
        arguments = [str(config), "--output-dir", str(folder), "--config", "scheduling_unit=1"]
        status, output = together(lambda arguments=arguments: ner_trial.main(arguments), processes)
        assert status == 0, output
        found.append(without_times(read_metrics(folder)))
    assert len(found[0]) == len(found[1])
    for one, two in zip(*found, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_the_log_says_what_each_corpus_has_and_weighs(tmp_path, tiny_encoder, corpus):
    config = with_corpora(tmp_path / "c.yaml", tiny_encoder, corpus, num_train_epochs=1)
    arguments = [str(config), "--output-dir", str(tmp_path / "run")]
    status, output = together(lambda: ner_trial.main(arguments), 1)
    assert status == 0, output
    assert "train: corpus all: 44 sentences" in output and "each weighing 1." in output
    assert "train: corpus persons: 20 sentences" in output and "labelled with human alone" in output


def test_a_type_is_added_to_a_trained_tagger_whose_labels_stay(tmp_path, tiny_encoder, corpus):
    """Of data that labels the new type alone, the head keeps its rows and gets new ones."""
    first = write_config(tmp_path / "a.yaml", tiny_encoder, corpus)
    assert ner_trial.main([str(first), "--output-dir", str(tmp_path / "a")]) == 0
    rows = [[(word, "B-VERB" if word == "went" else "O") for word, _ in row] for row in make_sentences(20)]
    marked = str(write_conll(tmp_path / "verbs.conll", rows))
    second = write_config(tmp_path / "b.yaml", tmp_path / "a" / "model", corpus)
    config = json.loads(second.read_text())
    config["data"]["train_file"] = {"verbs": {"file": marked, "annotated_types": ["VERB"]}}
    second.write_text(json.dumps(config))
    assert ner_trial.main([str(second), "--output-dir", str(tmp_path / "b")]) == 0
    labels = json.loads((tmp_path / "b" / "summary.json").read_text())["labels"]
    assert labels == ["B-LOC", "B-PER", "B-VERB", "I-PER", "O"]


def test_a_list_of_corpora_names_them_by_their_files_without_secrets():
    files = ["https://me:hunter2@h/x/a.conll?sig=hunter2", "/home/me/a.conll", "b/a.conll", "https://h/b.conll;sig=1"]
    data = DataSettings(train_file=files, validation_file="v.conll")
    assert [*data.corpora] == ["a.conll", "a.conll-2", "a.conll-3", "b.conll"]
    assert [corpus.file for corpus in data.corpora.values()] == files
    kept = json.dumps(without_secrets(data.model_dump()))
    assert "hunter2" not in kept and "sig" not in kept


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.train_file={a: {file: x.conll, weight: 2}}", "a.weight is no setting of a corpus"),
        ("data.train_file={a: {file: x.conll, loss_weight: 0}}", "a.loss_weight"),
        ("data.train_file={a: {loss_weight: 2}}", "names no file"),
        ("data.train_file=[x.conll, x.conll]", "x.conll stands twice"),
        ("data.train_file=[]", "a list of corpora has a file each"),
        ("data.label_map={1: PER, 2: [x]}", "data.label_map"),
        ("data.label_map={PER: 'a b'}", "no white space"),
        ("data.label_map=PER", "write the types of the files"),
        ("data.train_file={a: {file: x.conll, label_map: {PER: 3}}}", "a.label_map"),
    ],
)
def test_mistakes_in_the_settings_of_corpora_are_refused_before_data_is_read(refuse, setting, said):
    """None of these files is there."""
    message = refuse(setting, "data.validation_file=nowhere.conll", "data.test_file=null")
    assert said in message and "nowhere.conll" not in message


@pytest.mark.parametrize("held_out", ["data.validation_split_percentage=10", "data.folds=2"])
def test_partly_labelled_corpora_are_not_validated_on(refuse, held_out):
    corpora = "data.train_file={a: {file: x.conll, annotated_types: [PER]}}"
    more = ["data.fold=1"] if "folds" in held_out else []
    message = refuse(corpora, "data.validation_file=null", held_out, *more)
    assert "give a validation_file that labels all types" in message


@pytest.mark.parametrize("asked", ["class_weights=balanced", "label_smoothing=0.1", "head=crf"])
def test_losses_that_do_not_go_with_partial_labels_are_refused_before_data_is_read(refuse, asked):
    corpora = "data.train_file={a: {file: x.conll, annotated_types: [PER]}}"
    message = refuse(corpora, "data.validation_file=nowhere.conll", f"hyperparameters.{asked}")
    assert "annotated_types" in message and asked.partition("=")[0] in message


def test_class_weights_do_not_go_with_corpora_that_weigh_otherwise(tmp_path, tiny_encoder, corpus, capsys):
    config = with_corpora(tmp_path / "c.yaml", tiny_encoder, corpus, class_weights="balanced")
    assert ner_trial.main([str(config), "--output-dir", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert "hyperparameters.class_weights: " in message and "of a corpus (data.train_file) count words" in message
