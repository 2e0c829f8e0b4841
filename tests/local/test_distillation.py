"""A student and its teacher: exact copies, one loss on any number of slots, resumes, and what is refused."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ner_trial
from determined_ner import Tagger
from determined_ner.cli import main
from determined_ner.data.batches import MicroBatch
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.errors import UserError
from determined_ner.hub import Pretrained
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.torch_model import load_model
from determined_ner.training import teacher as teachers
from determined_ner.training.checkpoint_state import LABELS_KEY, label_state, restore_run
from determined_ner.training.setup import Training
from determined_ner.training.trained import find_trained
from tests.conftest import (
    assert_equal_states,
    final_state,
    make_encoder,
    make_sentences,
    newest_checkpoint,
    read_metrics,
    without_times,
    write_config,
    write_conll,
)
from tests.determined_loop import train_by_determined
from tests.forked import together
from tests.training.test_setup import make_training

SPLITS = {"train": (44, 0), "validation": (13, 100), "test": (7, 200)}
"""Those of the fixture ``corpus``."""


def run(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    words = [word for override in ("scheduling_unit=2", *overrides) for word in ("--config", override)]
    arguments = [str(config), "--output-dir", str(folder), *words, *(["--resume"] if resume else [])]
    status, output = together(lambda: ner_trial.main(arguments), processes)
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three layers, without dropout."""
    return make_encoder(tmp_path_factory.mktemp("encoder"), dropout=0.0, layers=3)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A run's folder."""
    folder = tmp_path_factory.mktemp("teacher")
    corpus = {name: write_conll(folder / f"{name}.conll", make_sentences(*split)) for name, split in SPLITS.items()}
    run(write_config(folder / "c.yaml", encoder, corpus, learning_rate=1e-2), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """The same model as another trainer leaves one: its labels the other way round, and nothing but what it needs."""
    folder = tmp_path_factory.mktemp("other")
    directory = ModelDirectory(teacher / "model")
    model = load_model(directory)
    for parameter in model.classifier.parameters():
        parameter.data = parameter.data.flip(0)
    model.config.id2label = dict(enumerate(reversed(directory.labels)))
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    model.save_pretrained(folder)
    load_tokenizer(Pretrained(str(directory.path), None)).pretrained.save_pretrained(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, encoder: Path, corpus: dict[str, Path]) -> Path:
    return write_config(tmp_path / "c.yaml", encoder, corpus)


def asked(**settings: Any) -> list[str]:
    return [f"hyperparameters.{name}={value}" for name, value in settings.items()]


def taught(training: Training) -> Any:
    training.ask_teachers()
    return training.taught


def words_of(file: Path) -> list[list[str]]:
    return [[line.split("\t")[0] for line in part.splitlines()] for part in file.read_text().strip().split("\n\n")]


def log_probabilities(logits: Any) -> Any:
    return torch.from_numpy(logits).log_softmax(-1).numpy()


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
    (one, *others) = (final_state(folder)["models_state_dict"][0] for folder in folders.values())
    for weights in others:
        for name, expected in one.items():
            torch.testing.assert_close(weights[name], expected, atol=2e-5, rtol=1e-4, msg=name)
    losses = [[line["loss"] for line in read_metrics(folder, "training")] for folder in folders.values()]
    for other_losses in losses[1:]:
        assert losses[0] == pytest.approx(other_losses, rel=1e-4)


# -- Text without labels ---------------------------------------------------------------------------------------


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A text without labels."""
    lines = [" ".join(word for word, _ in row) for row in make_sentences(21, 300)]
    (tmp_path / "more.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "more.txt"


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
    (one, *others) = (final_state(folder)["models_state_dict"][0] for folder in folders.values())
    for weights in others:
        for name, expected in one.items():
            torch.testing.assert_close(weights[name], expected, atol=2e-5, rtol=1e-4, msg=name)
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


# -- Stopped, resumed, read ------------------------------------------------------------------------------------


def test_a_resumed_student_ends_with_the_same_bits_and_asks_no_teacher_again(config, tmp_path, teacher, monkeypatch):
    options = (*asked(teacher=teacher, student_layers=2), "checkpoint_storage.save_trial_latest=9")
    whole, folder = tmp_path / "whole", tmp_path / "half"
    run(config, whole, *options)
    shutil.copytree(whole, folder)
    shutil.rmtree(newest_checkpoint(folder))
    monkeypatch.setattr(teachers, "_mean", None)
    assert ner_trial.main(["--output-dir", str(folder), "--resume"]) == 0
    assert_equal_states(final_state(folder)["models_state_dict"], final_state(whole)["models_state_dict"])
    assert without_times(read_metrics(folder)) == without_times(read_metrics(whole))


def test_a_run_does_not_go_on_with_another_teacher(config, tmp_path, teacher, capsys):
    moved = tmp_path / "teacher"
    shutil.copytree(teacher / "model", moved)
    folder = tmp_path / "run"
    run(config, folder, *asked(teacher=moved, student_layers=2))
    shutil.rmtree(moved)
    make: Callable[[], int] = lambda: ner_trial.main(["--output-dir", str(folder), "--resume"])  # noqa: E731
    capsys.readouterr()
    assert make() == 2
    said = capsys.readouterr().err
    assert "\nerror: hyperparameters.teacher: '" in said and "is no directory" in said
    shutil.copytree(teacher / "model", moved)
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (moved / "checksums.json").unlink()
    assert make() == 2
    assert "the data has changed since" in (said := capsys.readouterr().err) and ": teacher;" in said


def test_neither_loop_goes_on_with_another_teacher_or_text(config, tmp_path, teacher, other, more):
    """Where both restore."""
    options = (*asked(teacher=teacher, student_layers=2), f"data.unlabelled_file={more}")
    state = {"callbacks": {LABELS_KEY: label_state(make_training(config, tmp_path, *options))}}
    restore_run(state, make_training(config, tmp_path, *options))
    for changed, message in (
        (asked(teacher=other), "the teacher has changed since"),
        (("data.unlabelled_file=null",), "the unlabelled text has changed since"),
        (
            (*asked(teacher="null", student_layers="null"), "data.unlabelled_file=null"),
            "the teacher, the unlabelled te",
        ),
    ):
        with pytest.raises(UserError, match=message):
            restore_run(state, make_training(config, tmp_path, *options, *changed))


def test_a_student_is_a_plain_model_that_needs_no_teacher(config, tmp_path, teacher, corpus, capsys):
    moved = tmp_path / "teacher"
    shutil.copytree(teacher / "model", moved)
    folder = tmp_path / "run"
    run(config, folder, *asked(teacher=moved, student_layers=2, distillation_temperature=3))
    shutil.rmtree(moved)
    directory = ModelDirectory(folder / "model")
    assert load_model(directory).config.num_hidden_layers == 2
    assert not [name for name in load_model(directory).state_dict() if "layer.2." in name]
    described = json.loads((folder / "model" / "ner_settings.json").read_text())
    settings = described["hyperparameters"]
    assert (settings["teacher"], settings["student_layers"], settings["distillation_temperature"]) == (
        [str(moved)],
        2,
        3,
    )
    assert described["data_fingerprints"].keys() == {"train", "validation", "test", "teacher"}
    assert Tagger.from_pretrained(folder / "model").tag(words_of(corpus["test"])).tags
    assert main(["report", str(folder), "--output", str(tmp_path / "report")]) == 0
    assert main(["export", str(newest_checkpoint(folder)), "--output", str(tmp_path / "export")]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| teacher | teacher |" in card and "base_model" not in card and str(moved) not in card
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<td>teacher</td>" in page and "<td>student_layers</td>" in page


def test_the_check_says_what_is_distilled_and_asks_no_teacher(config, tmp_path, teacher, more, capsys, monkeypatch):
    monkeypatch.setattr(teachers, "_mean", None)
    arguments = ["check", str(config), "--no-timing"]
    for setting in (*asked(teacher=teacher, student_layers=2), f"data.unlabelled_file={more}"):
        arguments += ["--config", setting]
    capsys.readouterr()
    assert main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Distillation teacher: {teacher}; the student begins with embeddings, head and layers 1, 3 unlab" in said
    grouped = ["--config", "hyperparameters.group_by_length=true"]  # padded; and steps are timed
    assert main([*(word for word in arguments if word != "--no-timing"), *grouped, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["distillation"]) == 4
    assert "the teacher reads " in said


def test_determineds_loop_trains_the_bits_of_the_same_student(config, tmp_path, teacher, more):
    options = (*asked(teacher=teacher, student_layers=2), f"data.unlabelled_file={more}", "scheduling_unit=2")
    run(config, tmp_path / "ours", *options)
    status, output = together(lambda: train_by_determined(config, tmp_path / "theirs", *options), 1)
    assert status == 0, output
    left, right = final_state(tmp_path / "ours"), final_state(tmp_path / "theirs")
    for part in left.keys() - {"callbacks"}:
        assert_equal_states(left[part], right[part], part)


def test_trials_of_a_search_ask_their_teacher_once(config, tmp_path, teacher, capsys):
    section = json.loads(config.read_text())
    section["searcher"] |= {"name": "grid"}
    section["hyperparameters"] |= {
        "teacher": str(teacher),
        "student_layers": {"type": "categorical", "vals": [1, [1, 3]]},
    }
    config.write_text(json.dumps(section))
    capsys.readouterr()
    assert main(["search", str(config), "--output-dir", str(tmp_path / "search")]) == 0
    said = capsys.readouterr().err
    assert said.count("teacher: reading ") == 1 and "layer 1\n" in said and "layers 1, 3\n" in said


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="PEFT is not installed")
def test_adapters_of_a_student_are_merged_and_have_no_encoder_of_their_own(config, tmp_path, teacher, capsys):
    run(config, tmp_path / "run", *asked(teacher=teacher, student_layers=2, peft="{r: 2}"))
    assert load_model(ModelDirectory(tmp_path / "run" / "model")).config.num_hidden_layers == 2
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "export"), "--adapters"]) == 2
    assert "has adapters of a student" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("hyperparameters.class_weights={ORG: 2}", "hyperparameters.class_weights"),
        ("hyperparameters.early_stopping_patience=2", "hyperparameters.early_stopping_patience: 2 has"),
        ("hyperparameters.num_warmup_steps=9999", "9999 is more than the"),
    ],
)
def test_what_cannot_be_is_refused_before_teachers_are_asked(refuse, config, teacher, monkeypatch, settings, message):
    monkeypatch.setattr(teachers, "_mean", None)
    options = (*asked(teacher=teacher, student_layers=2, num_train_epochs=3), "min_validation_period={batches: 18}")
    assert message in refuse(*options, settings, config=config)


def test_a_full_disk_is_told_and_leaves_nothing(config, tmp_path, teacher, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    training = make_training(config, tmp_path, *asked(teacher=teacher, student_layers=2))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left.*; set data.cache_dir"):
        training.ask_teachers()
    assert not list((tmp_path / "cache").glob("teacher-*"))


# -- Refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "nowhere"}, "hyperparameters.teacher: 'nowhere' is no directory; write a model directory or"),
        ({"teacher": "x" * 5000}, "is no directory; write a model directory or a run"),
        ({"teacher": "~nobody/model"}, "hyperparameters.teacher: '~nobody/model' is no directory"),
        ({"teacher": "[]"}, "hyperparameters.teacher: [] is wrong: write a model directory or a run's folder, or a"),
        ({"teacher": "[T, T]"}, "stands twice"),
        ({"teacher": "s3://bucket/model"}, "a URL is no directory of this machine"),
        ({"student_layers": 2}, "student_layers: 2 has no meaning without a teacher"),
        ({"distillation_weight": 0.5}, "distillation_weight: 0.5 has no meaning without a teacher"),
        ({"distillation_temperature": 3}, "distillation_temperature: 3.0 has no meaning without a teacher"),
        (
            {"teacher": "T", "distillation_weight": 0},
            "hyperparameters.distillation_weight: 0 has nothing learnt of the",
        ),
        ({"teacher": "T", "distillation_weight": 1.5}, "hyperparameters.distillation_weight: 1.5 is wrong"),
        ({"teacher": "T", "distillation_temperature": 0}, "hyperparameters.distillation_temperature: 0 is wrong"),
        ({"teacher": "T", "student_layers": 4}, "4 is more than the 3 layers of the teacher; write at most 3"),
        (
            {"teacher": "T", "student_layers": "[2,4]"},
            "[2, 4] names layer 4, and the teacher has 3; name layers from 1",
        ),
        ({"teacher": "T", "student_layers": "[3,1]"}, "write how many, or which, ascending from 1, the lowest"),
        ({"teacher": "T", "student_layers": 0}, "write how many, or which, ascending from 1, the lowest"),
        (
            {"teacher": "T", "student_layers": 2, "use_pretrained_weights": "false"},
            "use_pretrained_weights: false asks",
        ),
        ({"teacher": "T", "student_layers": 2, "config_name": "x"}, "config_name: x asks for others; drop one"),
        ({"teacher": "T", "student_layers": 2, "freeze": 3}, "3 is more than the 2 layers of this encoder"),
        ({"teacher": "T", "head": "crf"}, "hyperparameters.head: 'crf' excludes teacher: its loss is of sequences"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_read(refuse, config, teacher, settings, message):
    data = json.loads(config.read_text())["data"]
    Path(data["train_file"]).write_text("\0 no text\n")  # which would be refused, too
    given = {name: str(value).replace("T", str(teacher)) for name, value in settings.items()}
    assert message in refuse(*asked(**given), config=config)


def test_text_without_labels_needs_a_teacher_and_a_file(refuse, config, teacher, more):
    message = refuse(f"data.unlabelled_file={more}", config=config)
    assert "data.unlabelled_file: " in message and "is learnt of a teacher, and there is none; write hyper" in message
    message = refuse(*asked(teacher=teacher), f"data.unlabelled_file={more}.gz", config=config)
    assert f"{more}.gz: no such file" in message


def test_labels_of_all_pieces_are_refused(refuse, config, teacher):
    message = refuse(*asked(teacher=teacher), "data.label_all_tokens=true", config=config)
    assert "hyperparameters.teacher: teaches words, and data.label_all_tokens: true" in message


def test_a_teacher_of_sequences_is_refused(refuse, config, tmp_path, train):
    crf = train("hyperparameters.head=crf", output="crf")
    message = refuse(*asked(teacher=crf), config=config)
    assert message.startswith("error: hyperparameters.teacher: '") and "has a CRF, which tells of sequences" in message


def test_a_teacher_of_other_labels_is_refused(refuse, config, tmp_path, teacher):
    rows = [[(word, tag.replace("PER", "HUMAN")) for word, tag in row] for row in make_sentences(44)]
    message = refuse(
        *asked(teacher=teacher),
        f"data.train_file={write_conll(tmp_path / 'renamed.conll', rows)}",
        f"data.validation_file={write_conll(tmp_path / 'also.conll', rows)}",
        "data.test_file=null",
        config=config,
    )
    assert "has other labels than the training data: it lacks B-HUMAN I-HUMAN, the data lacks B-PER I-PER" in message


def test_students_of_another_tokenizer_or_longer_windows_are_refused(refuse, config, tmp_path, teacher):
    strange, longer = tmp_path / "strange", tmp_path / "longer"
    for folder, positions in ((strange, 64), (longer, 128)):
        folder.mkdir()
        make_encoder(folder, positions=positions)
    vocabulary = json.loads((strange / "tokenizer.json").read_text())
    pieces = vocabulary["model"]["vocab"]
    pieces["a"], pieces["b"] = pieces["b"], pieces["a"]
    (strange / "tokenizer.json").write_text(json.dumps(vocabulary))
    (strange / "vocab.txt").unlink(missing_ok=True)
    message = refuse(*asked(teacher=teacher, pretrained_model_name_or_path=strange), config=config)
    assert (
        "reads text by another tokenizer than the student: the piece 'a' is number 5 of 85 here and 6 of 85" in message
    )
    message = refuse(*asked(teacher=teacher, pretrained_model_name_or_path=longer), config=config)
    assert "takes 64 pieces, and the windows of the student have up to 128; write data.max_seq_length: 64" in message
