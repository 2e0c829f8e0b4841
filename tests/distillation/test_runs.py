"""Runs of students: stopped, resumed, searched, checked; and what they leave needs no teacher."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Callable

import pytest

import ner_trial
from determined_ner import Tagger
from determined_ner.cli import main
from determined_ner.errors import UserError
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.torch_model import load_model
from determined_ner.training import teacher as teachers
from determined_ner.training.checkpoint_state import LABELS_KEY, label_state, restore_run
from tests.conftest import (
    assert_equal_states,
    final_state,
    newest_checkpoint,
    read_metrics,
    without_times,
)
from tests.determined_loop import train_by_determined
from tests.distillation.conftest import asked, run, words_of
from tests.forked import together
from tests.training.test_setup import make_training

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
            "the teacher, the unlabelled",
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


def test_text_without_labels_is_looked_at_too(config, tmp_path, teacher, corpus, capsys):
    text = [" ".join(words) for words in words_of(corpus["validation"])[:2]]
    (tmp_path / "odd.txt").write_text("\n".join([*text, "Ada \u4e16 " + 80 * "a", "\u754c"]) + "\n")
    options = (*asked(teacher=teacher, student_layers=1), f"data.unlabelled_file={tmp_path / 'odd.txt'}")
    said = run(config, tmp_path / "run", *options)
    assert "unlabelled: words longer than a window are read by their beginning: 1" in said
    assert ", read as plain text, learnt of the teacher alone" in said
    settings = [word for option in options for word in ("--config", option)]
    capsys.readouterr()
    assert main(["check", str(config), "--no-timing", *settings]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"unlabelled {tmp_path / 'odd.txt'} plain text " in said
    assert "unlabelled: 2 of the sentences stand in validation too, whose score then is of known text" in said
    assert "unlabelled 1: word longer than a window of 64 pieces" in said and "of the words have characters" in said
    said = run(config, tmp_path / "same", *options[:-1], f"data.unlabelled_file={corpus['validation']}")
    assert f"validation: {corpus['validation']} is learnt of as text without labels, too" in said


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


def test_no_search_and_no_folds_go_on_with_another_teacher(config, tmp_path, teacher, other, capsys):
    section = json.loads(config.read_text())
    both = {"type": "categorical", "vals": [str(tmp_path / "teacher"), [str(teacher)]]}
    of_search = {"teacher": both, "student_layers": 1, "learning_rate": {"type": "categorical", "vals": [1e-3]}}
    search = section | {"searcher": section["searcher"] | {"name": "grid"}}
    search["hyperparameters"] = section["hyperparameters"] | of_search
    (tmp_path / "search.yaml").write_text(json.dumps(search))
    folds = ["--folds", "2", "--config", "data.validation_file=null", "--config", "data.test_file=null"]
    for setting in asked(teacher=tmp_path / "teacher", student_layers=1, num_train_epochs=1):
        folds += ["--config", setting]
    for number, arguments in enumerate((["search", str(tmp_path / "search.yaml")], ["train", str(config), *folds])):
        shutil.copytree(teacher / "model", tmp_path / "teacher")
        arguments += ["--output-dir", str(tmp_path / f"runs-{number}")]
        assert main(arguments) == 0
        assert ("scores of folds are too high" in capsys.readouterr().err) == (number == 1)
        shutil.rmtree(tmp_path / "teacher")
        shutil.copytree(other, tmp_path / "teacher")
        assert main([*arguments, "--resume"]) == 2
        assert "begun with other settings or data: teachers: [" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "teacher")


def test_an_audit_takes_no_teacher(config, tmp_path, teacher, corpus, capsys):
    settings = ["--config", f"hyperparameters.teacher={teacher}", "--output-dir", str(tmp_path / "audit")]
    assert main(["audit", str(config), *settings]) == 2
    assert "hyperparameters.teacher: " in (said := capsys.readouterr().err) and "may have learnt the errors" in said
    assert not (tmp_path / "audit").exists()


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="PEFT is not installed")
def test_adapters_of_a_student_are_merged_and_have_no_encoder_of_their_own(config, tmp_path, teacher, capsys):
    run(config, tmp_path / "run", *asked(teacher=teacher, student_layers=2, peft="{r: 2}"))
    assert load_model(ModelDirectory(tmp_path / "run" / "model")).config.num_hidden_layers == 2
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "export"), "--adapters"]) == 2
    assert "has adapters of a student" in capsys.readouterr().err


def test_a_full_disk_is_told_and_leaves_nothing(config, tmp_path, teacher, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    training = make_training(config, tmp_path, *asked(teacher=teacher, student_layers=2))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left.*; set data.cache_dir"):
        training.ask_teachers()
    assert not list((tmp_path / "cache").glob("teacher-*"))
