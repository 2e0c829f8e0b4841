"""Students are exact copies and learn by one loss, on any number of slots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ner_trial
from determined_ner import Tagger
from determined_ner.data.batches import MicroBatch
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.torch_model import load_model
from determined_ner.training import teacher as teachers
from determined_ner.training.trained import find_trained
from tests.conftest import (
    assert_equal_states,
    assert_trained_alike,
    final_state,
    make_sentences,
    newest_checkpoint,
    read_metrics,
    without_times,
    write_conll,
)
from tests.distillation.conftest import asked, log_probabilities, run, taught, words_of
from tests.training.test_setup import make_training

# -- What a student begins with --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(teacher: Path) -> Path:
    return newest_checkpoint(teacher)


@pytest.mark.parametrize("begin", ["teacher", "other", "checkpoint"])
def test_a_student_of_all_layers_says_to_the_bit_what_its_teacher_says(request, config, tmp_path, corpus, begin):
    folder = request.getfixturevalue(begin)
    training = make_training(config, tmp_path, *asked(teacher=folder, student_layers=3, distillation_weight=0))
    directory = find_trained(str(folder), tmp_path).directory
    batch = training.dataset("validation")[next(iter(training.evaluation_batches("validation", 1)))[0]]
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.inference_mode():
        own, its = (
            m.eval()(input_ids=ids, attention_mask=mask).logits for m in (training.model, load_model(directory))
        )
    its = its[..., [directory.labels.index(name) for name in training.labels.names]]
    assert torch.equal(own, its)
    assert len(own.argmax(-1)[batch["is_first_piece"]].unique()) > 1, "it says one label of all words"
    assert not training.distilled  # nothing is learnt of it


def test_without_weight_a_student_trains_the_bits_of_a_training_that_goes_on(config, tmp_path, teacher):
    student, plain = tmp_path / "student", tmp_path / "plain"
    said = run(config, student, *asked(teacher=teacher, student_layers=3, distillation_weight=0))
    assert "layers of the teacher" in said and "divergence" not in said
    run(config, plain, *asked(pretrained_model_name_or_path=teacher / "model"))
    assert_equal_states(final_state(student)["models_state_dict"], final_state(plain)["models_state_dict"])
    assert without_times(read_metrics(student)) == without_times(read_metrics(plain))


def test_a_student_begins_with_the_layers_named_or_with_another_encoder(
    config, tmp_path, teacher, encoder, tiny_encoder
):
    own = make_training(config, tmp_path, *asked(teacher=teacher, student_layers="[1,3]"))
    whole = load_model(ModelDirectory(teacher / "model")).bert.encoder.layer
    for layer, original in zip(own.model.bert.encoder.layer, (whole[0], whole[2]), strict=True):
        assert_equal_states(dict(layer.state_dict()), dict(original.state_dict()))
    assert own.model.config.num_hidden_layers == 2
    another = make_training(config, tmp_path, *asked(teacher=teacher, pretrained_model_name_or_path=tiny_encoder))
    assert len(another.model.bert.encoder.layer) == 1 and another.teachers is not None and another.teachers.layers == []
    np.testing.assert_array_equal(taught(another), taught(own))


# -- What it learns of -----------------------------------------------------------------------------------------


def test_what_teachers_say_is_computed_once_and_is_what_a_tagger_says(
    config, tmp_path, corpus, teacher, other, monkeypatch
):
    settings = ("data.max_seq_length=16", "data.stride=4")  # texts of several windows
    training = make_training(config, tmp_path, *asked(teacher=teacher, student_layers=1), *settings)
    cut = tmp_path / "cut"
    shutil.copytree(teacher / "model", cut)
    described = json.loads((cut / "ner_settings.json").read_text())
    described["max_seq_length"], described["data"]["stride"] = 16, 4
    (cut / "ner_settings.json").write_text(json.dumps(described))
    (cut / "checksums.json").unlink()
    expected = log_probabilities(Tagger.from_pretrained(cut).tag(words_of(corpus["train"])).logits)
    found = taught(training)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)
    assert expected.std() > 0.5

    monkeypatch.setattr(teachers, "_mean", None)  # what they say of a batch: the cache has it
    again = make_training(config, tmp_path, *asked(teacher=teacher, student_layers=2), *settings)
    np.testing.assert_array_equal(taught(again), found)


def test_a_teacher_with_a_crf_says_how_probable_a_label_is_over_all_sequences(config, tmp_path, corpus):
    crf = tmp_path / "crf"
    run(config, crf, *asked(learning_rate=1e-2, head="crf"))
    (crf / "model" / "calibration.json").unlink(missing_ok=True)
    (crf / "model" / "checksums.json").unlink()
    tagged = Tagger.from_pretrained(crf / "model").tag(words_of(corpus["train"]))
    found = taught(make_training(config, tmp_path, *asked(teacher=crf, student_layers=1)))
    np.testing.assert_allclose(np.exp(found.astype(np.float64)), tagged.probabilities, atol=2e-3)
    assert np.abs(np.exp(log_probabilities(tagged.logits)) - tagged.probabilities).max() > 0.01  # not the softmax


def test_several_teachers_say_the_mean_of_their_probabilities(config, tmp_path, teacher, other, corpus, encoder):
    unlike = tmp_path / "unlike"
    run(config, unlike, *asked(learning_rate=1e-2), "reproducibility.experiment_seed=8")
    apart = [taught(make_training(config, tmp_path, *asked(teacher=folder))) for folder in (teacher, unlike)]
    both = taught(make_training(config, tmp_path, *asked(teacher=f"[{teacher},{unlike}]", student_layers=2)))
    mean = np.mean([np.exp(one.astype(np.float64)) for one in apart], axis=0)
    assert np.abs(np.exp(apart[0].astype(float)) - mean).max() > 0.01
    np.testing.assert_allclose(np.exp(both.astype(np.float64)), mean, atol=2e-3)
    same = taught(make_training(config, tmp_path, *asked(teacher=f"[{teacher},{other}]")))  # labels by name
    np.testing.assert_allclose(same, apart[0], atol=2e-3, rtol=2e-3)


def test_a_student_learns_what_its_teacher_says_where_labels_say_nothing(config, tmp_path, teacher):
    """With a weight of 1: nearer to the teacher after each epoch, though the labels are all O."""
    rows = [[(word, "O") for word, _ in row] for row in make_sentences(44)]
    rows += [[("Ada", "B-PER"), ("Bo", "I-PER"), ("Oslo", "B-LOC")]]  # which name the labels
    train = write_conll(tmp_path / "o.conll", rows)
    options = asked(teacher=teacher, student_layers=1, distillation_weight=1, num_train_epochs=6, learning_rate=5e-3)
    run(config, tmp_path / "run", *options, f"data.train_file={train}", "scheduling_unit=6")
    losses = [line["loss"] for line in read_metrics(tmp_path / "run", "training")]
    f1 = [line["f1"] for line in read_metrics(tmp_path / "run", "validation")]
    assert losses[-1] < 0.5 * losses[0] and max(f1) > 0.5, (losses, f1)


@pytest.mark.parametrize("grouped", ["true", "false"])
def test_one_slot_two_slots_and_accumulation_train_the_same_student(config, tmp_path, teacher, grouped):
    settings = asked(teacher=teacher, student_layers=2, group_by_length=grouped, class_weights="balanced")
    folders = {name: tmp_path / name for name in ("one", "two", "accumulated")}
    said = run(config, folders["one"], *settings)
    assert said.count(f"teacher: {teacher}; the student begins with embeddings, head and layers 1, 3\n") == 1
    assert said.count("+ 0.5 × the divergence from the teacher (temperature 2, × 4)") == 1
    assert said.count("teacher: reading ") == 1
    assert run(config, folders["two"], *settings, processes=2).count("teacher: reading ") == 1
    run(config, folders["accumulated"], *settings, "optimizations.aggregation_frequency=2", "scheduling_unit=4")
    assert_trained_alike(folders.values())
    losses = [[line["loss"] for line in read_metrics(folder, "training")] for folder in folders.values()]
    for other_losses in losses[1:]:
        assert losses[0] == pytest.approx(other_losses, rel=1e-4)


# -- Text without labels ---------------------------------------------------------------------------------------


def test_a_word_without_a_label_counts_by_its_divergence_alone(config, tmp_path, teacher, more):
    options = asked(teacher=teacher, student_layers=1, distillation_weight=0.3)
    training = make_training(config, tmp_path, *options, f"data.unlabelled_file={more}")
    training.ask_teachers()
    labelled = len(training.corpus.splits["train"].windows) - 1
    windows = (labelled - 1, labelled, labelled + 3)  # one that has labels
    batch = training.dataset("train")[MicroBatch(windows)]
    logits = training.model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    found = training.loss(logits, batch["labels"], teacher=batch["teacher"], words=batch["words"])
    own = logits[batch["is_first_piece"]].detach().double().numpy()
    its = training.taught[training.train.words_of(np.array(windows))].astype(np.float64)
    p, q = (np.exp(x / 2) / np.exp(x / 2).sum(1, keepdims=True) for x in (its, own))
    divergences = 4 * (p * np.log(p / q)).sum(1)
    count = int(np.diff(training.train.words)[labelled - 1])
    right = training.train.tags[training.train.words_of(np.array(windows[:1]))]
    own -= np.log(np.exp(own).sum(1, keepdims=True))
    expected = 0.3 * divergences[:count].sum() - 0.7 * own[np.arange(count), right].sum() + divergences[count:].sum()
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_one_slot_two_slots_and_accumulation_train_the_same_of_text_without_labels(
    config, tmp_path, teacher, corpus, more
):
    """Each window once an epoch, beside corpora of unequal weights; weight 0 leaves the teacher this text."""
    corpora = f"{{a: {{file: {corpus['train']}, loss_weight: 2}}, b: {corpus['validation']}}}"
    options = (
        *asked(teacher=teacher, student_layers=2, distillation_weight=0, group_by_length="false"),
        f"data.unlabelled_file={more}",
        f"data.train_file={corpora}",
    )
    folders = {name: tmp_path / name for name in ("one", "two", "accumulated")}
    said = run(config, folders["one"], *options)
    assert said.count("unlabelled: 21 sentences, ") == 1 and ", learnt of the teacher alone, with a weight of 1" in said
    files = (corpus["train"], corpus["validation"])
    words = sum(len(words) for file in files for words in words_of(file)) + len(more.read_text().split())
    assert f"teacher: reading {words} words" in said  # at once
    run(config, folders["two"], *options, processes=2)
    run(config, folders["accumulated"], *options, "optimizations.aggregation_frequency=2", "scheduling_unit=4")
    assert_trained_alike(folders.values())
    without = run(config, tmp_path / "without", *options, "data.unlabelled_file=null")
    assert "unlabelled" not in without
    assert len(read_metrics(tmp_path / "without", "training")) < len(read_metrics(folders["one"], "training"))


def test_a_run_with_text_without_labels_resumes_with_the_same_bits_and_that_text_alone(
    config, tmp_path, teacher, more, capsys
):
    options = (*asked(teacher=teacher, student_layers=2), f"data.unlabelled_file={more}")
    whole, folder = tmp_path / "whole", tmp_path / "half"
    run(config, whole, *options, "checkpoint_storage.save_trial_latest=9")
    shutil.copytree(whole, folder)
    shutil.rmtree(newest_checkpoint(folder))
    shutil.rmtree(folder / "cache")
    text = more.read_text()
    more.write_text(text.replace("Oslo", "Rome"))
    assert ner_trial.main(["--output-dir", str(folder), "--resume"]) == 2
    assert "the data has changed since" in (said := capsys.readouterr().err) and ": unlabelled;" in said
    more.write_text(text)
    assert ner_trial.main(["--output-dir", str(folder), "--resume"]) == 0
    assert_equal_states(final_state(folder)["models_state_dict"], final_state(whole)["models_state_dict"])
    assert without_times(read_metrics(folder)) == without_times(read_metrics(whole))
