"""A run with a CRF: the same on any number of slots and across resumes, and the same wherever its model is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from determined_ner import Tagger
from determined_ner.cli import main
from determined_ner.report.text import read_labelled, tag_text
from determined_ner.tags.entities import TagTable
from determined_ner.tags.scores import evaluate
from determined_ner.training.trained import find_trained
from tests.conftest import (
    assert_equal_states,
    assert_trained_alike,
    final_state,
    make_sentences,
    newest_checkpoint,
    read_metrics,
    without_times,
    write_config,
    write_conll,
)
from tests.forked import train
from tests.training.test_setup import make_training

CRF = "hyperparameters.head=crf"


def run(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    return train(config, folder, CRF, "scheduling_unit=2", *overrides, processes=processes, resume=resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder) -> Path:
    """A run whose transitions have moved far enough to matter."""
    folder = tmp_path_factory.mktemp("crf")
    splits = {"train": (44, 0), "validation": (13, 100), "test": (7, 200)}
    corpus = {name: write_conll(folder / f"{name}.conll", make_sentences(*split)) for name, split in splits.items()}
    config = write_config(folder / "c.yaml", tiny_encoder, corpus, crf_learning_rate=0.2)
    output = run(config, folder / "run", "data.max_seq_length=16", "data.stride=4")  # texts of several windows
    assert output.count("loss: the negative log-likelihood of a CRF") == 1
    return folder


def words_of(file: Path) -> list[list[str]]:
    sentences = file.read_text().strip().split("\n\n")
    return [[line.split("\t")[0] for line in sentence.splitlines()] for sentence in sentences]


def test_transitions_are_trained_kept_beside_the_model_and_at_their_own_rate(trained):
    state = torch.load(newest_checkpoint(trained / "run") / "state_dict.pth", weights_only=True)
    learnt = state["models_state_dict"][0]["crf.transitions"]
    assert learnt.abs().max() > 0.5
    assert [group["initial_lr"] for group in state["optimizers_state_dict"][0]["param_groups"]][-1] == 0.2
    beside = json.loads((newest_checkpoint(trained / "run") / "ner_settings.json").read_text())["transitions"]
    np.testing.assert_array_equal(np.array(beside, np.float32), learnt.numpy())


def test_a_tagger_decodes_what_validation_scored(trained):
    """Tags and scores with the transitions, which change some of them."""
    best = json.loads((trained / "run" / "summary.json").read_text())["best"]
    tagger = Tagger.from_pretrained(trained / "run" / "model")
    texts = words_of(trained / "validation.conll")
    tagged = tagger.tag(texts)
    lines = [line for line in (trained / "validation.conll").read_text().splitlines() if line]
    gold = np.array([tagger.labels.index(line.split("\t")[1]) for line in lines])
    scores = evaluate(gold, tagged.ids, tagged.starts, TagTable(tagger.labels))
    assert scores == {name: best[name] for name in scores}
    assert (tagged.ids != tagged.logits.argmax(1)).any(), "the transitions change nothing"
    from_checkpoint = Tagger.from_pretrained(newest_checkpoint(trained / "run")).tag(texts)
    assert from_checkpoint.transitions is not None and from_checkpoint.ids.shape == tagged.ids.shape
    assert all(0 <= score <= 1 for scores in tagged.entity_scores for score in scores)
    np.testing.assert_allclose(tagged.probabilities.sum(1), 1, rtol=1e-6)


def test_an_export_tags_as_the_trained_model_does(trained, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime.quantization")
    source, target = trained / "run", tmp_path / "exported"
    assert main(["export", str(source), "--output", str(target), "--onnx", "--quantize"]) == 0
    texts = words_of(trained / "test.conll")
    expected = Tagger.from_pretrained(source / "model").tag(texts)
    for options in ({}, {"backend": "onnx"}, {"backend": "onnx", "onnx_file": "model_quantized.onnx"}):
        found = Tagger.from_pretrained(target, **options).tag(texts)
        np.testing.assert_array_equal(found.transitions, expected.transitions)
        if "onnx_file" not in options:
            np.testing.assert_array_equal(found.ids, expected.ids)
    for file in ("model.onnx", "model_quantized.onnx"):
        metadata = {entry.key: entry.value for entry in onnx.load(str(target / file)).metadata_props}
        np.testing.assert_array_equal(np.array(json.loads(metadata["transitions"]), np.float32), expected.transitions)


def test_the_report_scores_what_validation_scored(trained, tmp_path):
    run = find_trained(str(trained / "run"), tmp_path)
    text = read_labelled(run, None)
    tagged, _ = tag_text(run, "it", text, run.directory.labels)
    best = json.loads((trained / "run" / "summary.json").read_text())["best"]
    scores = evaluate(np.asarray(text.gold), tagged.tags, text.sentences, TagTable(run.directory.labels))
    assert scores == {name: best[name] for name in scores}


@pytest.mark.parametrize("of_hub", [False, True])
def test_another_training_goes_on_with_the_transitions(trained, tmp_path, caplog, of_hub):
    caplog.set_level("INFO", "determined_ner")
    begin = [f"hyperparameters.pretrained_model_name_or_path={trained / 'run' / 'model'}"]
    if of_hub:  # as it lies in the library's cache
        repository = tmp_path / "models--ada--tagger"
        shutil.copytree(trained / "run" / "model", repository / "snapshots" / "1")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("1")
        begin = ["hyperparameters.pretrained_model_name_or_path=ada/tagger", f"hyperparameters.cache_dir={tmp_path}"]
    training = make_training(trained / "c.yaml", tmp_path / "run", CRF, *begin)
    before = Tagger.from_pretrained(trained / "run" / "model")
    np.testing.assert_array_equal(training.transitions, before.tag([["Ada"]]).transitions)
    assert "the transitions of the CRF go on" in caplog.text


def test_one_slot_two_slots_and_accumulation_train_the_same_crf(tmp_path, tiny_encoder_without_dropout, corpus):
    config = write_config(tmp_path / "c.yaml", tiny_encoder_without_dropout, corpus, learning_rate=1e-4)
    folders = {name: tmp_path / name for name in ("one", "two", "accumulated")}
    run(config, folders["one"])
    run(config, folders["two"], processes=2)
    run(config, folders["accumulated"], "optimizations.aggregation_frequency=2", "scheduling_unit=4")
    assert final_state(folders["one"])["models_state_dict"][0]["crf.transitions"].any()
    assert_trained_alike(folders.values())
    scores = [[line["f1"] for line in read_metrics(folder, "validation")] for folder in folders.values()]
    assert scores[0] == scores[1] == scores[2]


def test_a_resumed_run_trains_the_same_crf(config_file, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(config_file, whole, "checkpoint_storage.save_trial_latest=9")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000012")
    run(config_file, folder, "checkpoint_storage.save_trial_latest=9", resume=True)
    for part in ("models_state_dict", "optimizers_state_dict"):
        assert_equal_states(final_state(folder)[part], final_state(whole)[part])
    assert without_times(read_metrics(folder)) == without_times(read_metrics(whole))


def test_a_crf_on_plain_tags_is_refused(refuse, tmp_path, tiny_encoder):
    sentences = [[("Ada", "NOUN"), ("went", "VERB")], [("Bo", "NOUN"), ("sang", "VERB")]]
    corpus = {name: write_conll(tmp_path / f"{name}.conll", sentences) for name in ("train", "validation")}
    config = write_config(tmp_path / "pos.yaml", tiny_encoder, corpus)
    message = refuse(CRF, "searcher.metric=accuracy", config=config)
    assert message.startswith("error: hyperparameters.head: 'crf' is for tags of entities")
    assert "head is linear" in refuse("hyperparameters.crf_learning_rate=0.1")
