"""A training in Determined's terms: built from a trial's context, with its loaders and lengths; and such a context."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import core, pytorch

from determined_ner import determined_api
from determined_ner.data.collate import only_item
from determined_ner.errors import HyperparameterError
from determined_ner.settings.loop import Duration, LoopSettings, parse_loop
from determined_ner.settings.parsing import Settings, parse_settings
from determined_ner.training.setup import Training


def build_training(context: pytorch.PyTorchTrialContext, cache_dir: Path | None) -> Training:
    """Build the training that a trial's context asks for, and make it ready.

    Args:
        cache_dir: where tokenized data is kept unless ``data.cache_dir`` says otherwise.

    Raises:
        det.InvalidHP: a hyperparameter point that cannot work; a search goes on with its other points.
        UserError: anything else that the user can fix.
    """
    config = context.get_experiment_config()
    try:
        settings = parse_settings(context.get_hparams(), config.get("data"))
        loop = parse_loop(config, settings)
        seed = determined_api.trial_seed(context)
        training = Training(
            settings,
            loop,
            context.device,
            context.distributed,
            determined_api.accumulation_steps(context),
            loop.seed if seed is None else seed,
            cache_dir,
        )
        training.begin(context)
        determined_api.hide_secrets(context)
    except HyperparameterError as error:
        logging.getLogger("determined_ner.invalid").error(str(error))  # Determined ends without saying why
        raise det.InvalidHP(str(error)) from error
    return training


def make_loader(training: Training, split: str, batches: Any) -> pytorch.DataLoader:
    """What Determined's loop takes the batches of a split from.

    Args:
        batches: the training's ``train_batches``, or of its ``evaluation_batches``.
    """
    pinned = training.device.type == "cuda"
    return pytorch.DataLoader(training.dataset(split), batch_sampler=batches, collate_fn=only_item, pin_memory=pinned)


def train_unit(training: Training, duration: Duration) -> pytorch.TrainUnit:
    """A duration of the experiment config as Determined's loop takes it."""
    if duration.unit == "epochs":
        return pytorch.Epoch(duration.value)
    return pytorch.Batch(training.in_batches(duration))


def make_trial_context(
    core_context: core.Context,
    config: dict[str, Any],
    settings: Settings,
    loop: LoopSettings,
    steps_completed: int = 0,
    tensorboard: bool = True,
) -> pytorch.PyTorchTrialContext:
    """The context that a trial is built from where there is no cluster.

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
