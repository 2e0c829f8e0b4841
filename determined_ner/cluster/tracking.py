"""A trial of a cluster in experiment trackers: one run of theirs, however many tasks the trial has."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import determined as det
from determined import pytorch

from determined_ner.cluster.searcher import trained_batches
from determined_ner.errors import UserError
from determined_ner.trackers.runs import Trackers, check_trackers
from determined_ner.training.setup import Training
from determined_ner.training.tracking import begin_trackers

_REMEDY = "set it in environment.environment_variables"


def check_places(names: Sequence[str]) -> None:
    """Check that what the trackers are told outlives the task's container.

    Args:
        names: of ``data.report_to``.

    Raises:
        UserError: it does not, or the library of one is not installed.
    """
    check_trackers(names)
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        problem = "mlflow needs MLFLOW_TRACKING_URI on a cluster, where a container's folder ends with it"
        raise UserError("data.report_to", problem, f"{_REMEDY}, or leave mlflow out")
    if "wandb" in names and os.environ.get("WANDB_MODE") == "offline" and not os.environ.get("WANDB_DIR"):
        problem = "wandb with WANDB_MODE=offline needs WANDB_DIR on a cluster, where a container's folder ends with it"
        raise UserError("data.report_to", problem, f"{_REMEDY} to a mounted directory, or leave wandb out")


def begin_trackers_of_trial(trackers: Trackers, training: Training, info: det.ClusterInfo, title: str) -> None:
    """Begin the trial's runs, or go on with those of its earlier tasks.

    Args:
        title: of the trial, for people.

    Raises:
        UserError: a tracker does not answer.
    """
    trial = info.trial.trial_id
    key = uuid.uuid5(uuid.NAMESPACE_OID, f"{info.cluster_id} {trial}").hex
    named = title if str(trial) in title.split() else f"{title}, trial {trial}"
    begin_trackers(trackers, training, key, named, Path(os.environ.get("WANDB_DIR", ".")))


class TellTrackers(pytorch.PyTorchCallback):
    """Has the first slot tell the trackers what it reports to the master."""

    def __init__(self, trackers: Trackers, context: pytorch.PyTorchTrialContext) -> None:
        self._trackers, self._context = trackers, context

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: dict[str, Any]) -> None:
        self._trackers.report("training", avg_metrics, trained_batches(self._context))

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self._trackers.report("validation", metrics, trained_batches(self._context))
