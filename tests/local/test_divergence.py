"""A training whose loss or weights are no longer finite stops at once, names the last checkpoint, ships nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ner_trial
from tests.conftest import newest_checkpoint, read_metrics
from tests.forked import together

EXPLODES = (
    "hyperparameters.learning_rate=1e30",
    "hyperparameters.num_warmup_steps=6",
    "min_checkpoint_period.batches=1",
)
"""The first step is taken at a rate of 0."""


def diverge(config: Path, folder: Path, *overrides: str, processes: int = 1) -> str:
    options = [word for override in (*EXPLODES, *overrides) for word in ("--config", override)]
    arguments = [str(config), "--output-dir", str(folder), *options]
    status, output = together(lambda: ner_trial.main(arguments), processes)
    assert status == 2 and output.count("error: ") == 1, output
    assert not (folder / "model").exists() and not (folder / "summary.json").exists()
    return output[output.index("error: ") :]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite_ends_the_run_on_all_slots(config_file, tmp_path, processes):
    folder = tmp_path / "run"
    message = diverge(config_file, folder, processes=processes)
    assert "the training diverged" in message and "a lower hyperparameters.learning_rate (it is 1e+30)" in message
    last = newest_checkpoint(folder)
    assert f"the last good checkpoint is {last};" in message
    state = torch.load(last / "state_dict.pth", weights_only=True)
    assert all(weights.isfinite().all() for weights in state["models_state_dict"][0].values())
    assert read_metrics(folder)[-1]["batches"] <= 3, "went on"


def test_a_run_that_diverged_before_its_first_checkpoint_says_so(config_file, tmp_path, capsys):
    arguments = [str(config_file), "--output-dir", str(tmp_path / "run"), "--config", "scheduling_unit=1"]
    arguments += ["--config", "hyperparameters.max_grad_norm=0"]
    assert ner_trial.main([*arguments, "--config", "hyperparameters.learning_rate=1e30"]) == 2
    message = capsys.readouterr().err
    assert "there is no checkpoint yet" in message and "max_grad_norm: 1.0" in message
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
