"""A run that ends before its length, for want of gains or of time: as one that is done, on any number of slots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from determined_ner.local.checkpoints import Checkpoints
from determined_ner.training import stopping
from determined_ner.training.setup import Training
from tests.conftest import (
    assert_same_training,
    newest_checkpoint,
    read_metrics,
    without_times,
    write_config,
)
from tests.determined_loop import train_by_determined
from tests.forked import together, train

PATIENT = ("hyperparameters.early_stopping_patience=2", "hyperparameters.early_stopping_threshold=1")
"""No score is more than 1 above another: the first validation is the only gain."""
LONG = ("hyperparameters.num_train_epochs=8", "scheduling_unit=50", "checkpoint_storage.save_trial_latest=99")
LIMIT = "hyperparameters.time_limit"


def run(config: Path, folder: Path, *overrides: str, processes: int = 1, resume: bool = False) -> str:
    return train(config, folder, *LONG, *overrides, processes=processes, resume=resume)


def validated(folder: Path) -> list[int]:
    return [line["batches"] for line in read_metrics(folder, "validation")]


def assert_done(folder: Path, batches: int) -> None:
    """All that a run leaves at its end, of there."""
    summary = json.loads((folder / "summary.json").read_text())
    assert newest_checkpoint(folder).name == f"step-{batches:08d}"
    assert validated(folder)[-1] == batches and summary["last"]["batches"] == batches
    assert summary["test"] and (folder / "model" / "calibration.json").is_file()


def assert_same_end(left: Path, right: Path) -> None:
    assert_same_training(left, right)
    assert without_times(read_metrics(left)) == without_times(read_metrics(right))


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """The time of a clock on which a step takes one second, and nothing else any."""
    clock = [0.0]
    original = Training.train_step

    def step(self: Training, *given: Any) -> Any:
        clock[0] += 1
        return original(self, *given)

    monkeypatch.setattr(stopping, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Training, "train_step", step)
    return clock


# -- Patience -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_without_gain_ends_as_one_that_is_done(config_file, tmp_path, processes):
    folder = tmp_path / "run"
    said = run(config_file, folder, *PATIENT, processes=processes)
    assert validated(folder) == [6, 12, 18]
    assert_done(folder, 18)
    assert "ends early: after 2 validations without a gain of more than 1 in f1; the learning rate (linear)" in said
    assert said.count("early stopping: 2 validations without a gain of more than 1 in f1 (best ") == 1
    assert "the run ends after 3 of its 8 epochs, with the learning rate (linear) at 0.000625" in said  # 5/8 of 1e-3


def test_it_trains_until_then_what_a_run_without_patience_trains(config_file, tmp_path):
    run(config_file, tmp_path / "whole")
    run(config_file, tmp_path / "ended", *PATIENT)
    whole, ended = (without_times(read_metrics(tmp_path / name)) for name in ("whole", "ended"))
    assert ended == whole[: len(ended)] and len(whole) > len(ended)


def test_a_run_that_was_stopped_ends_where_it_would_have_ended(config_file, tmp_path):
    """Its patience is in the checkpoint; of a validation that came after that, in the report."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(config_file, whole, *PATIENT, "min_checkpoint_period.batches=5")
    for newest in (15, 6):
        shutil.copytree(whole, folder)
        for path in (folder / "checkpoints").iterdir():
            if int(path.name[5:]) > newest:
                shutil.rmtree(path)
        run(config_file, folder, *PATIENT, "min_checkpoint_period.batches=5", resume=True)
        assert_same_end(folder, whole)
        assert_done(folder, 18)
        shutil.rmtree(folder)


def test_a_run_that_has_ended_early_is_done_and_goes_on_with_more_patience(config_file, tmp_path):
    folder = tmp_path / "run"
    run(config_file, folder, *PATIENT)
    run(config_file, folder, *PATIENT, resume=True)
    assert validated(folder) == [6, 12, 18]
    run(config_file, folder, *PATIENT, "hyperparameters.early_stopping_patience=4", resume=True)
    assert validated(folder) == [6, 12, 18, 24, 30]
    assert_done(folder, 30)


@pytest.mark.parametrize("first", ["ours", "determineds"])
def test_both_loops_end_a_run_without_gain_at_the_same_place(config_file, tmp_path, first):
    """And go on with each other's patience."""
    folders = {"ours": tmp_path / "ours", "determineds": tmp_path / "determineds"}

    def determineds(folder: Path, resume: bool = False) -> None:
        status, output = together(lambda: train_by_determined(config_file, folder, *LONG, *PATIENT, resume=resume), 1)
        assert status == 0, output

    run(config_file, folders["ours"], *PATIENT)
    determineds(folders["determineds"])
    assert_same_end(*folders.values())
    mixed = tmp_path / "mixed"
    shutil.copytree(folders[first], mixed)
    for path in (mixed / "checkpoints").iterdir():
        if path.name > "step-00000012":
            shutil.rmtree(path)
    if first == "ours":
        determineds(mixed, resume=True)
    else:
        run(config_file, mixed, *PATIENT, resume=True)
    assert_same_end(mixed, folders["ours"])


def test_patience_without_a_validation_before_the_end_is_refused(refuse, tmp_path, config_file, tiny_encoder):
    wrong = "hyperparameters.early_stopping_patience"
    files = dict.fromkeys(("train", "validation", "test"), tmp_path / "missing.conll")  # none is looked at
    config = write_config(tmp_path / "missing.yaml", tiny_encoder, files, early_stopping_patience=3)
    message = refuse("hyperparameters.num_train_epochs=1", config=config)
    assert message.startswith(f"error: {wrong}: 3 has nothing to wait for") and "min_validation_period" in message
    assert wrong in refuse(f"{wrong}=3", "min_validation_period.batches=12")  # which takes the data to tell
    assert "drop it" in refuse("hyperparameters.early_stopping_threshold=0.1")
    assert "early_stopping_patience" in refuse(f"{wrong}=0")


# -- Time -----------------------------------------------------------------------------------------------------------


def test_a_run_that_is_out_of_time_ends_as_one_that_is_done(config_file, tmp_path, seconds):
    """After the step at which time was over, with a validation of its own."""
    folder = tmp_path / "run"
    said = run(config_file, folder, f"{LIMIT}=8")
    assert validated(folder) == [6, 8]
    assert_done(folder, 8)
    assert "ends early: after 8 s in all; the learning rate (linear) is that of 8 epochs" in said
    assert said.count("time limit: 8 s are over: the run ends after 1.333 of its 8 epochs") == 1


@pytest.mark.parametrize("slow", [0, 1])
def test_all_processes_end_after_the_same_step(config_file, tmp_path, monkeypatch, seconds, slow):
    """Though it is the clock of one of them that says so."""
    folder = tmp_path / "run"
    monkeypatch.setattr(stopping.Stopping, "out_of_time", property(lambda self: self.seconds >= 8 and own[0] == slow))
    own = [0]
    original = Training.__init__

    def build(self: Training, settings: Any, loop: Any, device: Any, slots: Any, *given: Any) -> None:
        own[0] = slots.rank
        original(self, settings, loop, device, slots, *given)

    monkeypatch.setattr(Training, "__init__", build)
    for resume in (False, True):
        run(config_file, folder, f"{LIMIT}=8", processes=2, resume=resume)
        assert_done(folder, 9)  # of one that is heard of a step later


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_whose_time_runs_out_while_it_saves_is_done_too(config_file, tmp_path, monkeypatch, seconds, processes):
    folder = tmp_path / "run"
    original = Checkpoints.save

    def save(self: Checkpoints, state: Any) -> Any:
        saved = original(self, state)
        seconds[0] += 4
        return saved

    monkeypatch.setattr(Checkpoints, "save", save)
    options = (f"{LIMIT}=8", "min_checkpoint_period.batches=5")
    run(config_file, folder, *options, processes=processes)
    assert_done(folder, 5)
    run(config_file, folder, *options, processes=processes, resume=True)
    assert validated(folder) == [5]


def test_a_length_in_records_is_told_in_records(config_file, tmp_path, seconds):
    said = run(config_file, tmp_path / "run", f"{LIMIT}=8", "searcher.max_length.records=100")
    assert "the run ends after 64 of its 100 records" in said


def test_time_counts_across_resumes_and_a_longer_one_goes_on(config_file, tmp_path, seconds):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(config_file, whole, f"{LIMIT}=20")
    assert_done(whole, 20)
    run(config_file, folder, f"{LIMIT}=8")
    run(config_file, folder, f"{LIMIT}=8", resume=True)
    assert validated(folder) == [6, 8]
    run(config_file, folder, f"{LIMIT}=20", resume=True)
    assert_done(folder, 20)
    assert_same_training(folder, whole)


@pytest.mark.parametrize("value", ["0", "-1", ".inf", "soon"])
def test_a_time_that_is_none_is_refused(refuse, value):
    assert "hyperparameters.time_limit" in refuse(f"{LIMIT}={value}")
