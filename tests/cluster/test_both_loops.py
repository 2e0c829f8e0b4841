"""A task of a cluster and a run without one train the same bits, and the run goes on with a checkpoint of the task."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import ner_trial
from determined_ner.model.checkpoint import checkpoint_name
from tests.cluster.master import TRIAL_SEED
from tests.cluster.trials import DISTRIBUTED, STEPS, Cluster, Trial
from tests.conftest import assert_equal_states, newest_checkpoint, read_metrics, without_times
from tests.forked import together

RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "fp32": (1, {}),
    "bf16-accumulated": (1, {"precision": "bf16", "optimizations": {"aggregation_frequency": 2}}),
    "two-slots": (2, {"entrypoint": DISTRIBUTED, "slots": 2}),
}


def run(trial: Trial, folder: Path, processes: int, options: dict[str, Any], *more: str) -> None:
    settings = [f"reproducibility.experiment_seed={TRIAL_SEED}", "scheduling_unit=2", "checkpoint_policy=all"]
    settings += ["checkpoint_storage.save_trial_latest=99"]
    settings += [f"optimizations.{name}={value}" for name, value in options.get("optimizations", {}).items()]
    arguments = [str(trial.folder / "experiment.yaml"), "--output-dir", str(folder), *more]
    arguments += [word for setting in settings for word in ("--config", setting)]
    status, output = together(lambda: ner_trial.main(arguments), processes)
    assert status == 0, output


def assert_same(trial: Trial, folder: Path) -> None:
    """All reports, and the last weights, optimizer, schedule and random state."""
    for group in ("training", "validation"):
        lines = without_times(read_metrics(folder, group))
        ours = [(line["batches"], {name: line[name] for name in line if name != "kind"}) for line in lines]
        assert ours == trial.compared(group)
    paths = (newest_checkpoint(folder), trial.checkpoint())
    one, two = (torch.load(path / "state_dict.pth", weights_only=True) for path in paths)
    assert one.keys() == two.keys()
    for part in one.keys() - {"callbacks"}:
        assert_equal_states(one[part], two[part], part)


@pytest.mark.parametrize("name", RUNS)
def test_a_task_and_a_run_without_a_cluster_train_the_same_bits(cluster: Cluster, tmp_path: Path, name: str) -> None:
    slots, options = RUNS[name]
    trial = cluster.run(f"both-{name}", **options)
    folder = tmp_path / "run"
    run(trial, folder, slots, options)
    assert_same(trial, folder)

    # The task's checkpoint of the second epoch in the place of the run's own.
    steps = 2 * STEPS * options.get("optimizations", {}).get("aggregation_frequency", 1)
    for checkpoint in (folder / "checkpoints").iterdir():
        if checkpoint.name >= checkpoint_name(steps):
            shutil.rmtree(checkpoint)
    (index,) = (i for i, made in enumerate(trial.master.checkpoints) if made["metadata"]["steps_completed"] == steps)
    shutil.copytree(trial.checkpoint(index), folder / "checkpoints" / checkpoint_name(steps))
    run(trial, folder, slots, options, "--resume")
    assert_same(trial, folder)
