"""What happens around Determined's checkpoints and validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from determined import pytorch

from determined_ner.errors import UserError
from determined_ner.training.setup import Training


class SelfContained(pytorch.PyTorchCallback):
    """Makes a checkpoint say what labels it is of, and refuses one of others."""

    def __init__(self, training: Training, context: pytorch.PyTorchTrialContext) -> None:
        self._training, self._context = training, context

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

    def _starts_from_another_trial(self) -> bool:
        """``source_trial_id`` or ``source_checkpoint_uuid``: a trial's own checkpoints have steps behind them."""
        return bool(self._context.get_initial_batch() == 0)

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        self._training.write_description(Path(checkpoint_dir))


class BeginEvaluation(pytorch.PyTorchCallback):
    """Tells the engine that a validation begins."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_validation_start(self) -> None:
        self._training.engine.begin_evaluation()
