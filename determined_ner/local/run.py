"""A run without a cluster: Determined's own loop, with a folder where its master would be.

runs/NAME/  metrics.jsonl   every report, one JSON object a line
            summary.json    last, best and test scores, speed, settings
            checkpoints/    the best and the newest, each written atomically
            model/          the best one as a Hugging Face directory
            figures/        curves
            tensorboard/    events
            cache/          tokenized data
            config.json     the experiment config, for --resume
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import os
import time
from pathlib import Path
from typing import Any

import determined as det
from determined import core

from determined_ner import determined_api
from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import read_json
from determined_ner.finish.folder_end import FolderEnd
from determined_ner.finish.run_end import finish
from determined_ner.local.core_context import LocalController, local_core_context
from determined_ner.local.folder import OpenedFolder, open_folder
from determined_ner.local.processes import joined_processes, on_chief
from determined_ner.local.progress import Progress
from determined_ner.logs import set_up_logging
from determined_ner.masks import shown
from determined_ner.model.checkpoint import checkpoint_name
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.settings.loop import REPORTING_BATCHES, Duration, parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.callbacks import DivergedError
from determined_ner.training.run_config import write_config
from determined_ner.training.run_folder import RunFolder
from determined_ner.training.setup import Training, check_batch_size
from determined_ner.training.trial_context import make_trial_context, train_unit

logger = logging.getLogger("determined_ner")


def run_locally(arguments: argparse.Namespace, trial_class: Any) -> None:
    """Train as the config says; under ``torchrun``, with all its processes.

    Args:
        arguments: of `add_train_arguments`.
        trial_class: the ``PyTorchTrial``, with its `Training` as ``training``.

    Raises:
        UserError: whatever the user can fix; what was written is removed again if nothing was trained.
    """
    set_up_logging(chief=int(os.environ.get("RANK", "0")) == 0)
    determined_api.drop_batch_size_message()
    with joined_processes() as processes, contextlib.ExitStack() as stack:
        opened = on_chief(processes, lambda: stack.enter_context(open_folder(arguments)))
        _train(RunFolder(opened.path), opened, arguments.resume, processes, trial_class)


def _train(
    folder: RunFolder, opened: OpenedFolder, resume: bool, processes: core.DistributedContext, trial_class: Any
) -> None:
    started = time.perf_counter()
    config, chief = opened.config, processes.rank == 0
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    check_batch_size(settings.hparams.global_batch_size, processes.size)
    loop = parse_loop(config, settings)
    _check_beginning(config)
    if loop.profiling and chief:
        logger.warning("profiling.enabled: has no meaning here: the profiler reports to a cluster's master")
    resumed = on_chief(processes, lambda: folder.begin(resume))
    steps = resumed or 0

    trial_file = Path(inspect.getfile(trial_class))
    with local_core_context(folder, loop, processes, trial_file) as core_context:
        context = make_trial_context(core_context, config, settings, loop, steps)
        try:
            trial = trial_class(context, cache_dir=folder.path / "cache")
        except det.InvalidHP as error:
            assert isinstance(error.__cause__, UserError)
            raise error.__cause__ from None  # without a searcher it is a mistake like any other
        training: Training = trial.training
        if resumed is not None:
            on_chief(processes, lambda: _check_same_data(training, folder.checkpoint(steps)))
        if resume:  # the run is longer from here on, if that was asked for; a stop leaves it so
            on_chief(processes, lambda: _keep_config(folder, config))
        total = training.in_batches(loop.length)
        reporting = Duration(loop.reporting_batches or max(1, min(REPORTING_BATCHES, total // 50)), "batches")
        progress = Progress(total, steps, training.epoch_batches, chief)
        core_context.train.progress = progress
        controller = LocalController(
            progress,
            trial_inst=trial,
            context=context,
            checkpoint_period=train_unit(training, loop.checkpoint_period),
            validation_period=train_unit(training, loop.validation_period),
            reporting_period=train_unit(training, reporting),
            smaller_is_better=loop.smaller_is_better,
            steps_completed=steps,
            latest_checkpoint=None if resumed is None else checkpoint_name(steps),
            local_training=True,
            test_mode=False,
            searcher_metric_name=loop.metric,
            checkpoint_policy=loop.checkpoint_policy,
            step_zero_validation=loop.perform_initial_validation,
            max_length=train_unit(training, loop.length),
            global_batch_size=settings.hparams.global_batch_size,
            profiling_enabled=False,
        )
        try:
            controller.run()
        except DivergedError as error:
            good = None if error.good is None else str(folder.checkpoints / error.good)
            raise DivergedError(error.what, good, error.remedy) from None
        finally:
            progress.close()
        finish(training, FolderEnd(folder, training, time.perf_counter() - started))


def _check_beginning(config: dict[str, Any]) -> None:
    """
    Raises:
        UserError: it is to begin with weights that a cluster's master has.
    """
    for name in ("source_checkpoint_uuid", "source_trial_id"):
        value = (config.get("searcher") or {}).get(name)
        if value is not None:
            raise UserError(
                f"searcher.{name}",
                f"{shown(value)} is known to a cluster alone, and this run is not on one",
                "make a model directory of the checkpoint (determined-ner export UUID --output DIR) and name that in "
                "hyperparameters.pretrained_model_name_or_path",
            )


def _keep_config(folder: RunFolder, config: dict[str, Any]) -> None:
    with write_errors_explained(folder.path, "make room or rights, then go on with --resume"):
        write_config(folder.path, config)


def _check_same_data(training: Training, checkpoint: Path) -> None:
    """
    Raises:
        UserError: the files hold other text or tags than when the checkpoint was made, or it does not say.
    """
    remedy = "copy the checkpoint again, or start a new run"
    saved = read_json(checkpoint / SETTINGS_FILE, "the checkpoint")
    if saved is None:
        raise UserError("--resume", f"{checkpoint} has no {SETTINGS_FILE}", remedy)
    before, labels = saved.get("data_fingerprints"), saved.get("labels")
    if not isinstance(before, dict) or not isinstance(labels, list):
        problem = f"{checkpoint / SETTINGS_FILE} does not say what data and labels it is of"
        raise UserError("--resume", problem, remedy)
    now = training.data_fingerprints
    changed = [split for split in now if before.get(split) != now[split]]
    if labels != list(training.labels.names):
        changed.append(f"labels {' '.join(map(str, labels))} → {' '.join(training.labels.names)}")
    if changed:
        raise UserError(
            "--resume",
            f"the data has changed since {checkpoint} was made: {', '.join(changed)}",
            "bring the old files back, or start a new run",
        )
