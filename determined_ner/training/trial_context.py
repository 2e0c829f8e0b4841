"""Determined's trial context without a cluster."""

from __future__ import annotations

from typing import Any

import torch
from determined import core, pytorch

from determined_ner.settings.loop import Duration, LoopSettings
from determined_ner.settings.parsing import Settings
from determined_ner.training.setup import Training


def make_trial_context(
    core_context: core.Context,
    config: dict[str, Any],
    settings: Settings,
    loop: LoopSettings,
    steps_completed: int = 0,
    tensorboard: bool = True,
) -> pytorch.PyTorchTrialContext:
    """The context that a trial is built from.

    Args:
        config: of the experiment.
        steps_completed: batches that were trained before.
        tensorboard: write events.
    """
    # As written, except what Determined computes with.
    hparams = {**config["hyperparameters"], "global_batch_size": settings.hparams.global_batch_size}
    return pytorch.PyTorchTrialContext(
        core_context=core_context,
        trial_seed=loop.seed,
        hparams=hparams,
        slots_per_trial=core_context.distributed.size,
        num_gpus=torch.cuda.device_count(),
        exp_conf={**config, "hyperparameters": hparams},
        aggregation_frequency=loop.aggregation_frequency,
        steps_completed=steps_completed,
        managed_training=True,
        debug_enabled=False,
        enable_tensorboard_logging=tensorboard,
    )


def train_unit(training: Training, duration: Duration) -> pytorch.TrainUnit:
    """A duration of the experiment config as Determined's loop takes it."""
    if duration.unit == "epochs":
        return pytorch.Epoch(duration.value)
    return pytorch.Batch(training.in_batches(duration))
