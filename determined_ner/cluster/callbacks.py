"""What happens around Determined's checkpoints and validations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from determined import core, pytorch

from determined_ner import determined_api
from determined_ner.errors import UserError
from determined_ner.training.checkpoint_state import (
    complete_checkpoint,
    label_state,
    make_portable,
    restore_run,
    saved_labels,
    set_learning_rate,
)
from determined_ner.training.divergence import DivergedError, DivergenceCheck
from determined_ner.training.setup import Training


class SelfContained(pytorch.PyTorchCallback):
    """Makes a checkpoint say what labels it is of, and refuses one of others."""

    def __init__(self, training: Training, context: pytorch.PyTorchTrialContext) -> None:
        self._training, self._context = training, context
        self._to_load: str | None = None

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        self._to_load = checkpoint_uuid

    def on_training_start(self) -> None:
        if self._to_load is not None:  # the loop passes over a state that is no dict
            raise UserError(f"checkpoint {self._to_load}", "holds no state of a training", "copy the checkpoint again")
        self._training.ask_teachers()

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        make_portable(checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return label_state(self._training)

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        self._to_load = None
        labels, saved = list(self._training.labels.names), saved_labels(checkpoint)
        if saved != labels and self._starts_from_another_trial():
            raise UserError(
                "searcher.source_checkpoint_uuid",
                f"the checkpoint has the labels {' '.join(saved)}, the data has {' '.join(labels)}",
                "train on data with the same labels, or name the model directory of that checkpoint in "
                "hyperparameters.pretrained_model_name_or_path with ignore_mismatched_sizes: true",
            )
        if saved != labels:
            raise UserError(
                "",
                f"the checkpoint has the labels {' '.join(saved)}, the data now has {' '.join(labels)}",
                "bring the old files back, or start a new experiment",
            )
        if self._starts_from_another_trial():
            # Its weights are where this one begins. Its schedule has ended (linear: at a learning rate of 0), and its
            # optimizer would bring its own learning rate along.
            optimizers, schedules = self._context.optimizers, self._context.lr_schedulers
            checkpoint["optimizers_state_dict"] = [optimizer.state_dict() for optimizer in optimizers]
            checkpoint["lr_schedulers_state_dict"] = [schedule.state_dict() for schedule in schedules]
        else:
            set_learning_rate(checkpoint, self._training.schedule)
            restore_run(checkpoint, self._training)

    def _starts_from_another_trial(self) -> bool:
        """``source_trial_id`` or ``source_checkpoint_uuid``: a trial's own checkpoints have steps behind them."""
        return bool(self._context.get_initial_batch() == 0)

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        complete_checkpoint(Path(checkpoint_dir), self._training)


class BeginEvaluation(pytorch.PyTorchCallback):
    """Tells the engine that a validation begins."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_validation_start(self) -> None:
        self._training.engine.begin_evaluation()


class StopWhereDiverged(pytorch.PyTorchCallback):
    """Ends a training, on all slots at once, whose loss or weights are no longer finite."""

    def __init__(self, training: Training, context: pytorch.PyTorchTrialContext) -> None:
        self._context = context
        self._check = DivergenceCheck(training)

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        self._check.good = checkpoint_uuid

    def on_training_start(self) -> None:
        self._check.at_beginning()

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        self._check.good = uuid

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: dict[str, Any]) -> None:
        try:
            self._check.at_report(avg_metrics)
        except DivergedError as error:
            self._stop(error)

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        try:
            self._check.at_validation(metrics)
        except DivergedError as error:
            self._stop(error)

    def _stop(self, error: DivergedError) -> None:
        """
        Raises:
            DivergedError: always, except in a search on a cluster, which goes on with its other points.
        """
        on_cluster = not isinstance(determined_api.core_context(self._context).train, core.DummyTrainContext)
        searcher = (self._context.get_experiment_config().get("searcher") or {}).get("name")
        if not on_cluster or searcher == "single":
            raise error
        logging.getLogger("determined_ner.invalid").error(str(error))
        determined_api.end_as_invalid(self._context)
