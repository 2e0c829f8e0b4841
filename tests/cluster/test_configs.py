"""The shipped experiments run through Determined's chain: two steps each, with a tiny encoder on a small corpus."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
import yaml

from tests.cluster.experiments import BY_THEMSELVES, STEPS, Experiments, of_another_trial, refused_here
from tests.cluster.trials import Trial
from tests.conftest import ROOT
from tests.shipped import SHIPPED, why_not_offered

ALIKE = {
    "apex": "ort",
    "distributed": "multi_node",
    "long_documents": "constant",
    "ner_config": "constant",
    "own_data_mounted": "own_data",
}
"""Experiments, each with one that goes the same way through the chain, except for settings that other tests look at."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] if p.stem in ALIKE else [], id=p.stem) for p in BY_THEMSELVES],
)
def test_a_shipped_experiment_trains(path: Path, experiments: Experiments) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if reason := why_not_offered(config):
        pytest.skip(reason)
    trial = experiments.ran(path.stem)
    (task,) = trial.tasks
    assert trial.master.refused == []
    assert "Traceback" not in task.log
    if setting := refused_here(config):
        assert setting in task.log
        assert trial.master.checkpoints == []
        return
    assert task.status == 0, task.log
    assert_trained(trial)
    validation = trial.master.reports("validation")[-1]
    assert math.isfinite(validation.metrics[config["searcher"]["metric"]])
    assert [
        line
        for line in task.log.splitlines()
        if ("Warning:" in line or re.match(r"(\[rank=0\] )?(WARN|ERROR)", line))
        and "pynvml module not found" not in line  # of the profiler, where there is no GPU
        and "Ignoring partial checkpoint download" not in line  # of several slots that load a checkpoint of a directory
    ] == []


def assert_trained(trial: Trial, steps: int = STEPS) -> None:
    assert max(report.steps for report in trial.master.reports("training")) == steps
    assert trial.master.checkpoints[-1]["metadata"]["steps_completed"] == steps


# ----- what the headers of the configs say


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_header_tells_purpose_command_hardware_time_and_result(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\nname:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"#   det experiment create configs/{path.name} ." in header
    for expected in ("Hardware: ", "Time", "esult", "measured"):
        assert expected in header, expected


@pytest.mark.parametrize("name", ["distributed", "multi_node"])
def test_learning_rates_follow_the_stated_rule(name: str) -> None:
    reference, scaled = (
        yaml.safe_load((ROOT / "configs" / f"{stem}.yaml").read_text(encoding="utf-8")) for stem in ("constant", name)
    )
    one, many = reference["hyperparameters"], scaled["hyperparameters"]
    assert many["global_batch_size"] == one["global_batch_size"] * scaled["resources"]["slots_per_trial"]
    factor = many["global_batch_size"] / one["global_batch_size"]
    assert many["learning_rate"] == pytest.approx(one["learning_rate"] * math.sqrt(factor), rel=5e-3)


# ----- searches


def test_a_trial_that_the_searcher_stops_ends_at_once(experiments: Experiments) -> None:
    trial = experiments.ran("search_adaptive")
    searcher = trial.master.config["searcher"]
    (validation,) = trial.master.reports("validation")
    assert validation.metrics[searcher["time_metric"]] == 1 < searcher["max_time"]
    assert searcher["metric"] in validation.metrics
    assert [report.steps for report in trial.master.reports("training")] == [STEPS]
    assert [saved["metadata"]["steps_completed"] for saved in trial.master.checkpoints] == [STEPS]
    assert "does not match" not in trial.tasks[0].log  # fit's length and the searcher's agree


def test_a_second_trial_of_a_node_does_not_tokenize(experiments: Experiments) -> None:
    def build_once() -> dict[str, tuple[int, int]]:
        cache = experiments.inputs / "agent" / "determined-ner"
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.iterdir() if path.is_dir()}

    assert experiments.ran("search_random").master.checkpoints
    before = build_once()
    assert sum(name.startswith("encoded-") for name in before) == 2
    config = experiments.small(ROOT / "configs/search_grid.yaml")
    assert config["data"] == experiments.small(ROOT / "configs/search_random.yaml")["data"]
    config["hyperparameters"].update(learning_rate=1e-3, global_batch_size=4)  # another point
    with experiments.trial("search_grid", config) as trial:
        trial.run_well()
    assert_trained(trial)
    assert build_once() == before


# ----- going on from a checkpoint


def test_an_experiment_is_continued_with_more_steps(experiments: Experiments) -> None:
    """``det experiment continue``: the same trial, from its latest checkpoint, with the overridden config."""
    trial = experiments.ran("bf16")
    with trial.master as master:
        master.config["hyperparameters"]["max_steps"]["val"] = 2 * STEPS
        trial.run_well()
    assert [report.steps for report in master.reports("training")] == [STEPS, 2 * STEPS]
    assert_trained(trial, 2 * STEPS)
    (schedule,) = trial.state()["lr_schedulers"]
    assert schedule["last_epoch"] == 2 * STEPS


def test_a_new_trial_begins_with_the_weights_of_a_checkpoint(experiments: Experiments) -> None:
    source = experiments.ran("constant")
    config = experiments.small(ROOT / "configs/continue.yaml")
    config["searcher"]["source_checkpoint_uuid"] = of_another_trial(source.checkpoint())
    config["hyperparameters"]["learning_rate"] = 1e-7
    with experiments.trial("continue", config, source.storage) as trial:
        trial.run_well()
    assert_trained(trial)
    (report,) = trial.master.reports("training")
    assert 0 < report.metrics["learning_rate"] < 1e-7  # of its own schedule; that of the source has come to 0
    before = source.weights()
    moved = 0.0
    for name, tensor in trial.weights().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-6, msg=name)
        moved = max(moved, float((tensor - before[name]).abs().max()))
    assert moved > 0
