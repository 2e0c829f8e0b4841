"""A run that was stopped anywhere and resumed ends as one that was not, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pytest

import ner_trial
from determined_ner.model.checkpoint import checkpoint_name
from determined_ner.training.run_folder import RunFolder
from determined_ner.training.setup import Training
from tests.conftest import (
    assert_equal_states,
    assert_same_training,
    final_state,
    read_metrics,
    run_command,
    without_times,
    write_config,
)
from tests.forked import Copy


@pytest.mark.parametrize(("accumulation", "grouped"), [(1, True), (2, True), (1, False)])
def test_a_killed_and_resumed_run_ends_bit_identical(tmp_path, tiny_encoder, corpus, accumulation, grouped):
    """SIGKILL at random steps of epoch 2 and later, twice; checkpoints at odd places. A new process makes the end."""
    config = write_config(
        tmp_path / "c.yaml",
        tiny_encoder,
        corpus,
        num_train_epochs=16 // accumulation,
        warmup_ratio=0.2,
        group_by_length=grouped,
    )
    arguments = [str(config), "--config", "scheduling_unit=2", "--config", "min_checkpoint_period.batches=5"]
    arguments += ["--config", f"optimizations.aggregation_frequency={accumulation}"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert ner_trial.main([*arguments, "--output-dir", str(undisturbed)]) == 0

    rng = random.Random(time.time_ns())
    for options in ([], ["--resume"]):
        command = [*arguments, "--output-dir", str(killed), *options]
        process = Copy(lambda command=command: ner_trial.main(command), tmp_path / "log.txt")
        # 6 batches an epoch, 96 in all; the second kill comes after the first one's place
        threshold = rng.randint(13, 30) if not options else rng.randint(40, 60)
        process.wait_until(lambda threshold=threshold: reported(killed) >= threshold)
        process.kill()
    done = run_command(*arguments, "--output-dir", killed, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr

    assert without_times(read_metrics(killed)) == without_times(read_metrics(undisturbed))
    assert_same_training(killed, undisturbed)
    assert (killed / "model/model.safetensors").read_bytes() == (undisturbed / "model/model.safetensors").read_bytes()
    summaries = [json.loads((f / "summary.json").read_text()) for f in (killed, undisturbed)]
    assert summaries[0]["test"] == summaries[1]["test"]


def reported(folder: Path) -> int:
    """Batches of the last whole line of metrics.jsonl."""
    try:
        lines = (folder / "metrics.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return 0
    return json.loads(lines[-1])["batches"] if lines else 0


def test_resume_takes_settings_from_the_run_folder(tmp_path, train):
    folder = train("scheduling_unit=1", "searcher.max_length.epochs=2")
    whole = without_times(read_metrics(folder))
    # As if it had been stopped right after the first epoch.
    half = train("scheduling_unit=1", "checkpoint_policy=all", "checkpoint_storage.save_trial_latest=9", output="half")
    shutil.rmtree(half / "checkpoints" / checkpoint_name(12))
    assert RunFolder(half).saved_steps() == [6]
    assert ner_trial.main(["--output-dir", str(half), "--resume"]) == 0
    assert without_times(read_metrics(half)) == whole


def test_a_run_stopped_before_its_first_checkpoint_resumes_from_the_beginning(train, tmp_path):
    whole, stopped = train(output="whole"), train(output="stopped")
    shutil.rmtree(stopped / "checkpoints")
    assert ner_trial.main(["--output-dir", str(stopped), "--resume"]) == 0
    assert without_times(read_metrics(stopped)) == without_times(read_metrics(whole))
    assert_equal_states(final_state(stopped)["models_state_dict"], final_state(whole)["models_state_dict"])


def test_resuming_a_finished_run_changes_nothing(train, tmp_path):
    folder = train()
    before = read_metrics(folder)
    assert ner_trial.main(["--output-dir", str(folder), "--resume"]) == 0
    assert read_metrics(folder) == before


def test_a_run_goes_on_to_more_epochs_and_may_be_stopped_there(tmp_path, train, monkeypatch):
    """From where it was, at the rate that the schedule of the new length has there."""
    longer = ("--config", "hyperparameters.num_train_epochs=4")
    folders = [train("scheduling_unit=1", output=name) for name in ("whole", "killed")]
    assert ner_trial.main(["--output-dir", str(folders[0]), "--resume", *longer]) == 0

    die_at(16, monkeypatch)
    with pytest.raises(KilledError):
        ner_trial.main(
            ["--output-dir", str(folders[1]), "--resume", *longer, "--config", "min_checkpoint_period.batches=5"]
        )
    monkeypatch.undo()
    assert RunFolder(folders[1]).saved_steps()[-1] == 15
    assert ner_trial.main(["--output-dir", str(folders[1]), "--resume"]) == 0  # the new length is the run's by now

    reports = [without_times(read_metrics(folder)) for folder in folders]
    assert reports[0] == reports[1] and reports[0][-1]["batches"] == 24
    assert_same_training(*folders)
    rates = [line["learning_rate"] for line in read_metrics(folders[0], "training")]
    assert rates[:12] == pytest.approx([1e-3 * (1 - step / 12) for step in range(12)])
    assert rates[12:] == pytest.approx([1e-3 * (1 - step / 24) for step in range(12, 24)])


class KilledError(Exception):
    pass


def die_at(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Training.train_step

    def dying(self, micro_batch, index):
        if index == batch:
            raise KilledError
        return step(self, micro_batch, index)

    monkeypatch.setattr(Training, "train_step", dying)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("hyperparameters.num_train_epochs=1", "is of 2 epochs, and this asks for less: 1 epochs"),
        ("hyperparameters.max_steps=100", "is of 2 epochs, and this asks for 100 batches, another unit"),
    ],
)
def test_a_run_does_not_become_shorter(train, refuse, override, problem):
    folder = train(output="begun")
    message = refuse(override, options=("--resume", "--output-dir", str(folder)))
    assert problem in message and "value=" not in message and "start a new run" in message


def test_a_run_that_was_killed_before_it_pruned_ends_as_one_that_was_not(tmp_path, train, monkeypatch):
    """Without a place for the best, the newest is shipped: a better one that should be gone is not."""
    options = ("checkpoint_policy=all", "checkpoint_storage.save_trial_best=0", "hyperparameters.num_train_epochs=3")
    whole = train(*options, "searcher.metric=loss", "searcher.smaller_is_better=true", output="whole")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "prune", lambda *_: None)
        killed = train(*options, "searcher.metric=loss", "searcher.smaller_is_better=true", output="killed")
    assert len(RunFolder(killed).saved_steps()) == 3
    reports = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    for report in reports:  # as if the loss had risen
        if report["kind"] == "validation":
            report["loss"] = report["batches"]
    (killed / "metrics.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
    assert ner_trial.main(["--output-dir", str(killed), "--resume"]) == 0
    assert RunFolder(killed).saved_steps() == RunFolder(whole).saved_steps() == [18]
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]
