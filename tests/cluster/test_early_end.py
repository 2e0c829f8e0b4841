"""A trial that ends before its length by its own settings: as one that has trained it, on any number of slots."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.experiments import Experiments
from tests.cluster.trials import DISTRIBUTED
from tests.conftest import ROOT

PATIENT = {"early_stopping_patience": 1, "early_stopping_threshold": 1.0}


def small(experiments: Experiments, slots: int, **hyperparameters: Any) -> dict[str, Any]:
    config = experiments.small(ROOT / "configs" / "search_adaptive.yaml")
    config["resources"]["slots_per_trial"] = slots
    config["hyperparameters"].update(hyperparameters)
    if slots > 1:
        config["entrypoint"] = DISTRIBUTED
    return config


@pytest.mark.parametrize("slots", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trial_without_gain_is_done(experiments: Experiments, slots: int) -> None:
    with experiments.trial(f"patient-{slots}", small(experiments, slots, **PATIENT)) as trial:
        task = trial.run_well()
        assert [report.metrics["epochs"] for report in trial.master.reports("validation")] == [1, 2]
        again = trial.run_well()  # a task that was to follow finds it done
    line = "early stopping: 1 validations without a gain of more than 1 in f1"
    assert task.log.count(line) == 1 and "best checkpoint: " in task.log
    assert len(trial.master.reports("validation")) == 2
    assert "best checkpoint: " in again.log
    assert not trial.master.bodies("/signals/ack_preemption")


@pytest.mark.parametrize("slots", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trial_that_is_out_of_time_is_scored_and_done(experiments: Experiments, slots: int) -> None:
    config = small(experiments, slots, time_limit=1e-6) | {"scheduling_unit": 1}  # over at the first border
    with experiments.trial(f"hurried-{slots}", config) as trial:
        task = trial.run_well()
    (validation,) = trial.master.reports("validation")
    (saved,) = trial.master.checkpoints
    assert validation.steps == saved["metadata"]["steps_completed"] == validation.metrics["batches"] == 1
    assert task.log.count("time limit: 1e-06 s are over: the run ends after ") == 1
    assert "best checkpoint: " in task.log
