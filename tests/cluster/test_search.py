"""Adaptive search as Determined 0.38.1 does it: a trial that lost gets another state at the master, and no signal."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest

from tests.cluster.experiments import Experiments
from tests.cluster.searcher import AdaptiveSearch
from tests.cluster.trials import DISTRIBUTED, SCRIPT, Trial
from tests.conftest import ROOT

SEARCHER = {"metric": "f1", "smaller_is_better": False, "time_metric": "epochs", "max_time": 4, "divisor": 4}
SCORES = [0.50, 0.61, 0.42, 0.55, 0.70, 0.33, 0.58, 0.47]
"""Of eight trials: the first, second and fifth are each the best so far, and train all four epochs."""
PROMISED = 3 * 4 + 5 * 1
LINE = "stopped by the searcher (adaptive_asha) after 1 of its 4 epochs"


def small(experiments: Experiments, slots: int) -> dict[str, Any]:
    config = experiments.small(ROOT / "configs" / "search_adaptive.yaml")
    config["resources"]["slots_per_trial"] = slots
    if slots > 1:
        config["entrypoint"] = DISTRIBUTED
    return config


def trained(trial: Trial) -> int:
    """Epochs of a trial."""
    return max(int(report.metrics["epochs"]) for report in trial.master.reports("validation"))


def test_the_stand_in_of_the_searcher_promises_what_the_real_one_did() -> None:
    search = AdaptiveSearch.of(SEARCHER, SCORES)
    assert search.rungs == [1, 4]
    epochs = 0
    for trial in range(len(SCORES)):
        for epoch in range(1, 5):
            epochs += 1
            if search.stops(trial, {"epochs": epoch}):
                break
        else:
            raise AssertionError("a trial without an end")
    assert epochs == PROMISED == 17


@pytest.mark.parametrize("slots", [1, 2])
def test_a_trial_that_the_searcher_stops_ends_however_late_its_report_comes(
    experiments: Experiments, slots: int
) -> None:
    def stops(_: dict[str, Any]) -> bool:
        time.sleep(3)  # the loop would be through with an epoch by then
        return True

    with experiments.trial(f"stopped-late-{slots}", small(experiments, slots)) as trial:
        trial.master.searcher = stops
        task = trial.run_well()
    assert trained(trial) == 1
    ours = [line for line in task.log.splitlines() if "determined_ner: " in line]
    assert LINE in ours[-1] and task.log.count(LINE) == 1
    (saved,) = trial.master.checkpoints
    assert saved["metadata"]["steps_completed"] == trial.master.reports("validation")[-1].steps
    assert not trial.master.bodies("/signals/ack_preemption")  # the trial is done, not paused


def test_a_trial_that_is_through_is_stopped_by_nobody(experiments: Experiments) -> None:
    """The searcher also ends the trials that have reached their whole length."""
    config = small(experiments, 1)
    config["searcher"]["max_time"] = 1
    with experiments.trial("through", config) as trial:
        trial.master.searcher = lambda _: True
        task = trial.run_well()
    assert trained(trial) == 1
    assert "stopped by" not in task.log
    assert SCRIPT in config["entrypoint"]


@pytest.mark.slow
def test_a_search_trains_the_epochs_that_it_promises(experiments: Experiments) -> None:
    search = AdaptiveSearch.of(SEARCHER, SCORES)
    epochs = []
    for number in range(len(SCORES)):
        with experiments.trial(f"of-a-search-{number}", small(experiments, 1)) as trial:
            trial.master.searcher = functools.partial(search.stops, number)
            task = trial.run_well()
        epochs.append(trained(trial))
        assert (LINE in task.log) == (epochs[-1] == 1)
        assert trial.master.checkpoints
    stopped = epochs.count(1)
    assert sum(epochs) <= PROMISED + stopped  # at most one validation period for each
    assert sum(epochs) == PROMISED, epochs
