"""A folder is taken for one run, as it was left; what is not ours in it stays."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import torch

import ner_trial
from determined_ner.errors import UserError
from determined_ner.files.checksums import CHECKSUMS_FILE
from determined_ner.local import folder as module
from determined_ner.local.folder import lock_folder, open_folder
from determined_ner.settings.arguments import parse_train_arguments
from determined_ner.training.run_folder import DIRECTORIES, RUN_NAMES
from tests.forked import content


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


@pytest.mark.parametrize("name", RUN_NAMES)
@pytest.mark.parametrize("kind", ["directory", "file", "dangling link"])
def test_a_folder_that_holds_a_name_of_a_run_is_refused(tmp_path, config_file, capsys, name, kind):
    """It would be replaced, pruned or removed: a directory model/ with the encoder to begin from, say."""
    (folder := tmp_path / "mine").mkdir()
    if kind == "directory":
        (folder / name).mkdir()
        (folder / name / "precious").touch()
    elif kind == "file":
        (folder / name).write_text("precious")
    else:
        (folder / name).symlink_to("nowhere")
    before = sorted(folder.rglob("*"))
    assert ner_trial.main([str(config_file), "--output-dir", str(folder)]) == 2
    message = capsys.readouterr().err
    assert f"--output-dir {folder}: holds " in message and "--resume" in message
    assert name in message or name == "metrics.jsonl"
    assert sorted(folder.rglob("*")) == before


def test_all_that_a_run_writes_has_a_name_that_is_refused(train):
    assert {path.name for path in train().iterdir()} <= {*RUN_NAMES, ".lock"}


def test_a_lock_file_of_a_killed_start_is_no_run(tmp_path, config_file):
    (folder := tmp_path / "run").mkdir()
    (folder / ".lock").touch()
    (folder / ".config.json.partial-abcd1234").mkdir()
    with open_folder(parse_train_arguments([str(config_file), "--output-dir", str(folder)])):
        assert {path.name for path in folder.iterdir()} == {"config.json", ".lock"}


@pytest.mark.parametrize("loser", ["finds the folder", "makes the folder"])
def test_two_that_start_at_once_in_a_new_folder_do_not_touch_each_others(tmp_path, config_file, monkeypatch, loser):
    """Whoever holds the lock has the folder; the other one neither writes nor removes anything in it."""
    folder = tmp_path / "run"

    def arguments(rate: str):
        options = ["--output-dir", str(folder), "--config", f"hyperparameters.learning_rate={rate}"]
        return parse_train_arguments([str(config_file), *options])

    opened, lost = threading.Event(), threading.Event()

    def win() -> None:
        with open_folder(arguments("0.25")):
            opened.set()
            lost.wait(60)

    winner = threading.Thread(target=win)
    locked = module.locked

    def late(*given, **options):
        """The loser's: until then the winner has locked what the loser has made."""
        monkeypatch.setattr(module, "locked", locked)
        winner.start()
        assert opened.wait(60)
        return locked(*given, **options)

    if loser == "makes the folder":
        monkeypatch.setattr(module, "locked", late)
    else:
        winner.start()
        assert opened.wait(60)
    with pytest.raises(UserError, match="another process is training into it"), open_folder(arguments("0.5")):
        raise AssertionError
    assert json.loads((folder / "config.json").read_text())["hyperparameters"]["learning_rate"] == 0.25
    lost.set()
    winner.join(60)
    assert {path.name for path in folder.iterdir()} == {"config.json", ".lock"}


def test_what_was_made_for_a_run_that_could_not_start_goes_again_and_nothing_else(tmp_path, config_file):
    (theirs := tmp_path / "theirs").mkdir()
    (theirs / "notes.txt").write_text("mine")
    for folder in (theirs, tmp_path / "a" / "b" / "run"):
        arguments = parse_train_arguments([str(config_file), "--output-dir", str(folder)])
        with pytest.raises(UserError, match="no more"), open_folder(arguments):
            (folder / "cache").mkdir()
            (folder / "cache" / "x").touch()
            raise UserError("no more")
    assert [path.name for path in theirs.iterdir()] == ["notes.txt"] and not (tmp_path / "a").exists()


def test_a_run_that_has_reported_stays_whatever_ends_it(tmp_path, config_file):
    folder = tmp_path / "run"
    arguments = parse_train_arguments([str(config_file), "--output-dir", str(folder)])
    with pytest.raises(UserError, match="no more"), open_folder(arguments):
        (folder / "metrics.jsonl").touch()
        raise UserError("no more")
    assert {path.name for path in folder.iterdir()} == {"config.json", "metrics.jsonl", ".lock"}


def test_the_litter_of_a_killed_run_is_removed_when_it_goes_on(train):
    folder = train(output="begun")
    for place in (folder, folder / "checkpoints", folder / "figures"):
        (left := place / ".something.partial-abcd1234").mkdir()
        (left / "new").write_text("half")
    train(output="begun", options=["--resume"])
    assert not list(folder.rglob("*.partial*"))


def test_a_resumed_run_follows_no_link_out_of_its_folder(train, tmp_path, capsys):
    """The folder may be somebody else's; what a link in it leads to is neither written to nor removed."""
    folder, outside = train(output="begun"), tmp_path / "outside"
    longer = ["--output-dir", str(folder), "--resume", "--config", "hyperparameters.num_train_epochs=3"]
    for name in DIRECTORIES:
        (place := folder / name).mkdir(exist_ok=True)
        place.rename(outside)
        place.symlink_to(outside)
        (litter := outside / ".precious.partial-abcd1234").mkdir()
        before = content(outside)
        capsys.readouterr()
        assert ner_trial.main(longer) == 2
        message = capsys.readouterr().err
        assert message.count("error: ") == 1 and f"{place}: is a link to {outside}" in message, message
        assert content(outside) == before and litter.is_dir()
        litter.rmdir()
        place.unlink()
        outside.rename(place)
    assert ner_trial.main(longer) == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [("x" * 256, "256 bytes"), (os.fsdecode(b"bad\xff"), "not UTF-8"), ("a\0b", "NUL")],
)
def test_a_folder_of_a_name_that_cannot_be_is_refused(refuse, tmp_path, name, problem):
    assert problem in refuse(options=("--output-dir", str(tmp_path / name)))


@pytest.mark.parametrize("name", ["ö" * 120, "語" * 200, "x" * 300])
def test_a_run_of_a_long_name_has_a_folder(tmp_path, config_file, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with open_folder(parse_train_arguments([str(config_file), "--config", f"name={name}"])) as opened:
            assert opened.path.parent == Path("runs")
    assert len(list((tmp_path / "runs").iterdir())) == 2


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


def test_code_that_a_run_was_allowed_to_run_is_allowed_again_by_the_command_alone(train, capsys):
    """The folder may be somebody else's."""
    folder = train("hyperparameters.trust_remote_code=true")
    arguments = ["--resume", "--output-dir", str(folder)]
    capsys.readouterr()
    assert ner_trial.main(arguments) == 2
    assert "allow it again: --config hyperparameters.trust_remote_code=true" in capsys.readouterr().err
    assert ner_trial.main([*arguments, "--config", "hyperparameters.trust_remote_code=true"]) == 0
