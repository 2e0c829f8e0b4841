"""A folder is taken for one run, as it was left; what is not ours in it stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import ner_trial
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.local.folder import lock_folder


def test_resume_with_nothing_there_is_refused(refuse, tmp_path):
    folder = tmp_path / "nothing"
    message = refuse(options=("--resume", "--output-dir", str(folder)))
    assert "--resume" in message and str(folder) in message and not folder.exists()


def test_a_folder_of_the_users_own_is_left_as_it_was(tmp_path, config_file, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    arguments = [str(config_file), "--output-dir", str(folder)]
    assert ner_trial.main([*arguments, "--config", "data.max_seq_length=1000"]) == 2
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]
    assert ner_trial.main(arguments) == 0
    capsys.readouterr()


def test_resume_with_changed_data_is_refused(refuse, train, corpus):
    folder = train(output="begun")
    corpus["train"].write_text(corpus["train"].read_text().replace("went", "goes"))
    message = refuse(options=("--resume", "--output-dir", str(folder)))
    assert "data has changed" in message and "train" in message and "validation" not in message


def test_resume_with_other_labels_is_refused(refuse, train, corpus):
    folder = train(output="begun")
    for file in corpus.values():
        file.write_text(file.read_text().replace("B-PER", "B-HUM").replace("I-PER", "I-HUM"))
    message = refuse(options=("--resume", "--output-dir", str(folder)))
    assert "B-PER" in message and "B-HUM" in message


def test_a_folder_that_another_process_trains_into_is_refused(refuse, train):
    folder = train(output="begun")
    with lock_folder(folder):
        assert "another process" in refuse(options=("--resume", "--output-dir", str(folder)))


def test_a_broken_config_of_a_run_is_refused(refuse, train):
    folder = train(output="begun")
    (folder / "config.json").write_text('{"name": ')
    message = refuse(options=("--resume", "--output-dir", str(folder)))
    assert f"{folder / 'config.json'}: not readable" in message and "copy the run again" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"data', "not readable"),
        (None, "has no ner_settings.json"),
        ("{}", "does not say what data"),
        ('{"data_fingerprints": null, "labels": 5}', "does not say what data"),
    ],
)
def test_a_damaged_checkpoint_without_checksums_is_refused(refuse, train, content, expected):
    folder = train(output="begun")
    for settings in folder.glob("checkpoints/*/ner_settings.json"):
        (settings.parent / CHECKSUMS_FILE).unlink()
        settings.unlink() if content is None else settings.write_text(content)
    message = refuse(options=("--resume", "--output-dir", str(folder)))
    assert expected in message and str(folder / "checkpoints") in message and "again" in message


def test_resume_with_other_settings_is_refused(refuse, train):
    folder = train(output="begun")
    message = refuse("hyperparameters.learning_rate=0.5", options=("--resume", "--output-dir", str(folder)))
    assert "hyperparameters.learning_rate: 0.001 → 0.5" in message


def test_a_folder_with_a_run_is_not_overwritten(refuse, train):
    folder = train(output="begun")
    before = (folder / "metrics.jsonl").read_bytes()
    assert "--resume" in refuse(options=("--output-dir", str(folder)))
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_an_output_folder_that_cannot_be_written_is_refused(refuse, tmp_path):
    (tmp_path / "file").write_text("")
    message = refuse(options=("--output-dir", str(tmp_path / "file" / "run")))
    assert str(tmp_path / "file" / "run") in message
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "cannot be written" in refuse(options=("--output-dir", str(tmp_path / "locked" / "run")))


def test_a_full_disk_ends_with_a_message_and_no_half_checkpoint(tmp_path, config_file, train, capsys, monkeypatch):
    def full(checkpoint, path, *_, **__):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert ner_trial.main([str(config_file), "--output-dir", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert "No space left" in message and "--resume" in message
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
