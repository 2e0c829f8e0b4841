"""A training in Determined's terms: built from a trial's context, with its loaders and lengths."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import determined as det
from determined import pytorch

from determined_ner import determined_api
from determined_ner.data.collate import only_item
from determined_ner.errors import HyperparameterError
from determined_ner.settings.loop import Duration, parse_loop
from determined_ner.settings.parsing import parse_settings
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
