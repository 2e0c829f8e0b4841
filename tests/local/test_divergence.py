"""A training whose loss or weights are no longer finite stops at once, names the last checkpoint, ships nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from determined import core, pytorch

import ner_trial
from determined_ner.errors import UserError
from determined_ner.training.callbacks import DivergedError, StopWhereDiverged
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


# -- The callback, without a run -----------------------------------------------------------------------------------


def callback(searcher: str | None = None, **hyperparameters: Any) -> StopWhereDiverged:
    """Of a local run, or of a trial of that search on a cluster."""
    hparams = {"learning_rate": 0.5, "precision": "fp32", "use_apex_amp": False, "max_grad_norm": 1.0}
    training: Any = SimpleNamespace(
        model=torch.nn.Linear(3, 2), settings=SimpleNamespace(hparams=SimpleNamespace(**hparams | hyperparameters))
    )
    train: Any = core.DummyTrainContext()
    if searcher:
        train = SimpleNamespace(report_early_exit=lambda reason: train.reasons.append(reason), reasons=[])
    context: Any = SimpleNamespace(
        _core=SimpleNamespace(train=train),
        distributed=core.DummyDistributedContext(),
        get_experiment_config=lambda: {"searcher": {"name": searcher}},
    )
    made = StopWhereDiverged(training, context)
    made.training, made.train = training, train
    return made


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_weight_that_is_not_finite_is_named(value: float, name: str) -> None:
    made = callback()
    made.on_training_workload_end({"loss": 0.5, "batches": 7}, {})
    with torch.no_grad():
        getattr(made.training.model, name).view(-1)[1] = value
    with pytest.raises(DivergedError, match=rf"weights are no longer finite at batch 7 \({name}\)"):
        made.on_training_workload_end({"loss": 0.5, "batches": 7}, {})


def test_weights_to_begin_with_that_are_not_finite_are_refused() -> None:
    made = callback()
    made.on_training_start()
    torch.nn.init.constant_(made.training.model.bias, float("nan"))
    with pytest.raises(UserError, match=r"to begin with are not finite \(bias\)"):
        made.on_training_start()


def test_the_newest_checkpoint_is_the_last_good_one() -> None:
    made = callback(precision="fp16")
    made.on_trial_startup(3, "first")
    with pytest.raises(DivergedError, match="the last good checkpoint is first") as raised:
        made.on_validation_end({"loss": float("nan")})
    assert "precision: bf16 or fp32" in raised.value.remedy
    made.on_checkpoint_upload_end("second")
    with pytest.raises(DivergedError, match="the last good checkpoint is second"):
        made.on_validation_end({"loss": float("nan")})


def test_on_a_cluster_a_single_trial_ends_and_a_search_goes_on() -> None:
    with pytest.raises(DivergedError):
        callback("single").on_validation_end({"loss": float("inf")})
    made = callback("random")
    with pytest.raises(pytorch._ShouldExit):
        made.on_validation_end({"loss": float("inf")})
    assert made.train.reasons == [core.EarlyExitReason.INVALID_HP]
