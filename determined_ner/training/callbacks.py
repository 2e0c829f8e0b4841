"""What happens around Determined's checkpoints and validations."""

from __future__ import annotations

import errno
import logging
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from determined import core, pytorch

from determined_ner import determined_api
from determined_ner.errors import UserError
from determined_ner.files.checksums import write_checksums
from determined_ner.model.checkpoint import STATE_FILE
from determined_ner.model.weights import find_infinite_weight
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

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        # Determined loads a checkpoint with torch's defaults, which from torch 2.6 on refuse NumPy's arrays, and with
        # the random state every resume; before 2.4 the safe loader reads none at all. NumPy takes a list as well.
        name, keys, *rest = checkpoint["rng_state"]["np_rng_state"]
        checkpoint["rng_state"]["np_rng_state"] = (name, keys.tolist(), *rest)
        # Weights have the same names whatever number of slots trained them; Determined loads them into any number.
        for weights in checkpoint["models_state_dict"]:
            torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")

    def state_dict(self) -> dict[str, Any]:
        return {"labels": list(self._training.labels.names)}

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        self._to_load = None
        labels = list(self._training.labels.names)
        saved = checkpoint.get("callbacks", {}).get("self_contained", {}).get("labels")
        if saved is None:
            raise UserError(
                "the checkpoint to begin from", "does not say what its labels are: it is of other code", "name another"
            )
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
            self._set_learning_rate(checkpoint)

    def _set_learning_rate(self, checkpoint: dict[str, Any]) -> None:
        """Have the next step take the rate of this training's schedule, which may be longer than the checkpoint's.

        Where the length is the same, so is the rate, to the bit.
        """
        (state,) = checkpoint["lr_schedulers_state_dict"]
        (optimizer,) = checkpoint["optimizers_state_dict"]
        factors = zip(state["base_lrs"], self._training.schedule.lr_lambdas, strict=True)
        state["_last_lr"] = rates = [base * factor(state["last_epoch"]) for base, factor in factors]
        for group, rate in zip(optimizer["param_groups"], rates, strict=True):
            group["lr"] = rate

    def _starts_from_another_trial(self) -> bool:
        """``source_trial_id`` or ``source_checkpoint_uuid``: a trial's own checkpoints have steps behind them."""
        return bool(self._context.get_initial_batch() == 0)

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        state = Path(checkpoint_dir) / STATE_FILE
        if not zipfile.is_zipfile(state):  # on a full disk torch 2.3 leaves the end out, and says nothing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(state))
        self._training.write_description(Path(checkpoint_dir))
        write_checksums(Path(checkpoint_dir))  # no other callback writes there


class BeginEvaluation(pytorch.PyTorchCallback):
    """Tells the engine that a validation begins."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_validation_start(self) -> None:
        self._training.engine.begin_evaluation()


class StopWhereDiverged(pytorch.PyTorchCallback):
    """Ends a training, on all slots at once, whose loss or weights are no longer finite.

    It looks where the loss is read anyway: at each report, which comes before each checkpoint too, and each validation.
    So the newest checkpoint is always a good one.
    """

    def __init__(self, training: Training, context: pytorch.PyTorchTrialContext) -> None:
        self._training, self._context = training, context
        self._good: str | None = None
        """The newest checkpoint."""

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        self._good = checkpoint_uuid

    def on_training_start(self) -> None:
        if name := find_infinite_weight(self._training.model):
            raise UserError("", f"the weights to begin with are not finite ({name})", "begin with others")

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        self._good = uuid

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: dict[str, Any]) -> None:
        batches = int(avg_metrics["batches"])
        if not math.isfinite(avg_metrics["loss"]):
            self._stop(f"the training loss is {avg_metrics['loss']} at batch {batches:,}")
        if name := find_infinite_weight(self._training.model):
            self._stop(f"the weights are no longer finite at batch {batches:,} ({name})")

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        if not math.isfinite(metrics["loss"]):
            self._stop(f"the validation loss is {metrics['loss']}")

    def _stop(self, problem: str) -> None:
        """
        Raises:
            DivergedError: always, except in a search on a cluster, which goes on with its other points.
        """
        hparams = self._training.settings.hparams
        cures = [f"a lower hyperparameters.learning_rate (it is {hparams.learning_rate:g})", "a longer warmup_ratio"]
        cures += ["precision: bf16 or fp32"] if hparams.precision == "fp16" or hparams.use_apex_amp else []
        cures += ["max_grad_norm: 1.0"] if not hparams.max_grad_norm else []
        remedy = f"start again with {', or '.join(cures)}"
        error = DivergedError(f"{problem}: the training diverged", self._good, remedy)
        on_cluster = not isinstance(determined_api.core_context(self._context).train, core.DummyTrainContext)
        searcher = (self._context.get_experiment_config().get("searcher") or {}).get("name")
        if not on_cluster or searcher == "single":
            raise error
        logging.getLogger("determined_ner.invalid").error(str(error))
        determined_api.end_as_invalid(self._context)


class DivergedError(UserError):
    """Training came to numbers that are none.

    Attributes:
        what: happened.
        good: the newest checkpoint, as the loop names it; None: there is none yet.
    """

    def __init__(self, what: str, good: str | None, remedy: str) -> None:
        self.what, self.good = what, good
        newest = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        super().__init__("", f"{what}, and {newest}", remedy)
        self.args = (what, good, remedy)  # from which a copy is made
