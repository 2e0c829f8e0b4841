"""Asked to stop by Slurm, Kubernetes or a cloud: a checkpoint within one step, exit status 143, and the same end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ner_trial
from determined_ner import interrupts
from determined_ner.local.stopping import StopAgreement
from determined_ner.training.setup import Training
from determined_ner.training.slots import OneSlot
from tests.conftest import ROOT, assert_same_training, command, read_metrics, without_times, write_config
from tests.forked import together
from tests.local.test_loop import WITHOUT_DETERMINED

SETTINGS = ("scheduling_unit=50", "checkpoint_storage.save_trial_latest=99")


def arguments(config: Path, folder: Path, *more: str) -> list[str]:
    return [str(config), "--output-dir", str(folder), *(word for one in SETTINGS for word in ("--config", one)), *more]


def sent_at(batch: int, number: int, method: str = "train_step", rank: int = 0) -> Any:
    """The signal comes in the middle of a step, or of the scoring of a batch, of one process."""
    original, calls = getattr(Training, method), []

    def stepping(self: Training, *given: Any) -> Any:
        result = original(self, *given)
        index = given[1] if method == "train_step" else len(calls)
        calls.append(index)
        if index == batch and self.slots.rank == rank:
            os.kill(os.getpid(), number)
        return result

    return stepping


def stopped(
    config: Path, folder: Path, batch: int, number: int, processes: int = 1, rank: int = 0, method: str = "train_step"
) -> str:
    """A run that is asked to stop in that micro-batch; the line that it leaves behind."""

    def action() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, method, sent_at(batch, number, method, rank))
            return ner_trial.main(arguments(config, folder))

    status, output = together(action, processes)
    assert status == 143, output
    (line,) = re.findall(r"^stopped by .*$", output, re.MULTILINE)
    assert "Traceback" not in output and "error: " not in output
    return line


def finished(config: Path, folder: Path, *more: str, processes: int = 1) -> None:
    status, output = together(lambda: ner_trial.main(arguments(config, folder, *more)), processes)
    assert status == 0, output


def assert_same_end(left: Path, right: Path) -> None:
    """Weights, optimizer and schedule to the bit, and the validations."""
    assert_same_training(left, right)
    assert without_times(read_metrics(left, "validation")) == without_times(read_metrics(right, "validation"))
    assert (left / "model" / "model.safetensors").read_bytes() == (right / "model" / "model.safetensors").read_bytes()


def saved(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").iterdir())


@pytest.fixture(autouse=True)
def handlers_of_a_new_process() -> Iterator[None]:
    """Determined, which another test of this process may have imported, handles SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def whole(config_file, tmp_path) -> Path:
    finished(config_file, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("number", interrupts.STOP_SIGNALS)
def test_a_signal_in_mid_epoch_saves_that_step_and_the_run_goes_on_to_the_same_end(
    config_file, tmp_path, whole, number
):
    folder = tmp_path / "run"
    line = stopped(config_file, folder, 7, number)  # the eighth batch, of six an epoch
    checkpoint = folder / "checkpoints" / "step-00000008"
    assert line == (
        f"stopped by {number.name}; batch 8 is saved in {checkpoint}; the same command with --resume goes on from there"
    )
    assert saved(folder) == [6, 8] and not (folder / "model").exists()
    finished(config_file, folder, "--resume")
    assert_same_end(folder, whole)


def test_a_step_of_several_batches_is_ended_first(tmp_path, config_file):
    """A checkpoint holds no gradients."""
    settings = ("--config", "optimizations.aggregation_frequency=4")
    whole, folder = tmp_path / "whole", tmp_path / "run"
    finished(config_file, whole, *settings)

    def action() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "train_step", sent_at(4, signal.SIGTERM))
            return ner_trial.main(arguments(config_file, folder, *settings))

    assert together(action, 1)[0] == 143
    assert saved(folder) == [8]
    finished(config_file, folder, *settings, "--resume")
    assert_same_end(folder, whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_stop_after_the_same_step(config_file, tmp_path, rank):
    """Though one of them alone is asked, of whose signal the other hears one step later."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    finished(config_file, whole, processes=2)
    line = stopped(config_file, folder, 7, signal.SIGTERM, processes=2, rank=rank)
    by = "SIGTERM" if rank == 0 else "a signal to another of its processes"
    assert line.startswith(f"stopped by {by}; batch 9 is saved in {folder}")
    assert saved(folder) == [6, 9]
    finished(config_file, folder, "--resume", processes=2)
    assert_same_end(folder, whole)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_validation_that_a_signal_cut_short_is_made_by_the_run_that_goes_on(config_file, tmp_path, processes):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    finished(config_file, whole, processes=processes)
    line = stopped(config_file, folder, 0, signal.SIGTERM, processes, method="score_batch")
    assert "batch 6 is saved" in line
    assert processes > 1 or not read_metrics(folder, "validation"), "it was not cut short"  # two share two batches
    finished(config_file, folder, "--resume", processes=processes)
    assert_same_end(folder, whole)


def test_a_signal_at_the_last_step_leaves_validation_and_model_to_the_run_that_goes_on(config_file, tmp_path, whole):
    folder = tmp_path / "run"
    assert "batch 12 is saved" in stopped(config_file, folder, 11, signal.SIGTERM)
    finished(config_file, folder, "--resume")
    assert_same_end(folder, whole)


def test_a_run_that_is_stopped_twice_goes_on(config_file, tmp_path, whole):
    folder = tmp_path / "run"
    stopped(config_file, folder, 2, signal.SIGUSR1)
    assert saved(folder) == [3]

    def action() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "train_step", sent_at(3, signal.SIGTERM))
            return ner_trial.main(arguments(config_file, folder, "--resume"))

    assert together(action, 1)[0] == 143
    assert saved(folder) == [3, 4]
    finished(config_file, folder, "--resume")
    assert_same_end(folder, whole)


def test_a_signal_before_the_first_batch_saves_nothing_and_the_run_begins_again(config_file, tmp_path, whole):
    folder = tmp_path / "run"

    def action() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("determined_ner.local.run.log_summary", lambda training: os.kill(os.getpid(), signal.SIGTERM))
            return ner_trial.main(arguments(config_file, folder))

    status, output = together(action, 1)
    assert status == 143 and "stopped by SIGTERM; the same command with --resume" in output
    assert saved(folder) == []
    finished(config_file, folder, "--resume")
    assert_same_end(folder, whole)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_is_killed_by_its_signal_ends_with_143(tmp_path, tiny_encoder, corpus, processes):
    """A process of its own where Determined cannot be imported; under torchrun the launcher hands its SIGTERM on."""
    config = write_config(tmp_path / "c.yaml", tiny_encoder, corpus, num_train_epochs=400)
    folder, script = tmp_path / "run", tmp_path / "without.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{WITHOUT_DETERMINED}")
    launcher = [str(script), str(ROOT / "ner_trial.py")]
    if processes > 1:
        launcher = command(processes=processes)[1:]
    words = [sys.executable, *launcher, str(config), "--output-dir", str(folder), "--config", "scheduling_unit=1"]
    log = tmp_path / "log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output, env=environment) as process:
        while process.poll() is None and not (folder / "metrics.jsonl").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        status = process.wait(100)
    said = log.read_text()
    assert "stopped by SIGTERM; batch " in said, said
    assert "error: " not in said
    if processes == 1:
        assert status == 143 and "Traceback" not in said
    batches = int(re.search(r"stopped by SIGTERM; batch ([\d,]+) is saved", said)[1].replace(",", ""))
    assert max(saved(folder)) == batches == read_metrics(folder)[-1]["batches"] < 2400


def test_without_a_group_nothing_is_agreed_and_a_program_s_own_handling_stays():
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        with interrupts.stop_signals_heard():
            assert signal.getsignal(signal.SIGTERM) is own
            os.kill(os.getpid(), signal.SIGTERM)
            assert not StopAgreement(OneSlot(), SimpleNamespace(out_of_time=False)).at_border()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_signal_changes_nothing():
    """Slurm sends it to each process, and torchrun hands its own on."""
    with interrupts.stop_signals_heard():
        with pytest.raises(interrupts.StopRequestedError):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interrupts.stop_signal() == "SIGTERM"
    assert [signal.getsignal(number) for number in interrupts.STOP_SIGNALS] == [signal.SIG_DFL] * 2
