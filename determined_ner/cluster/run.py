"""A training as a task of a cluster."""

from __future__ import annotations

import argparse
import contextlib
import logging
import shutil
from pathlib import Path
from typing import Any

import determined as det
from determined import pytorch

from determined_ner import determined_api
from determined_ner.cluster.launch import start_a_process_for_each_slot
from determined_ner.cluster.searcher import EndedBeforeError
from determined_ner.cluster.tracking import begin_trackers_of_trial, check_places
from determined_ner.cluster.trial_context import train_unit
from determined_ner.cluster.trial_end import TrialEnd, title_of
from determined_ner.cluster.workarounds import wait_for_master
from determined_ner.errors import HyperparameterError, UserError
from determined_ner.finish.run_end import finish
from determined_ner.finish.uploads import Uploads, open_hub_repository, refuse_search
from determined_ner.model.device_memory import OF_A_TRAINING, enough_memory
from determined_ner.settings.loop import REPORTING_BATCHES, Duration, LoopSettings, parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.checkpoint_code import TRIAL, copy_code
from determined_ner.training.setup import Training
from determined_ner.training.slots import check_batch_size, on_chief
from determined_ner.training.tracking import trackers_of

logger = logging.getLogger("determined_ner")


def find_trial() -> det.ClusterInfo | None:
    """What this task knows of its trial; None: it is a task of another kind, such as a notebook."""
    info = det.get_cluster_info()
    return info if info is not None and info.task_type == "TRIAL" else None


@enough_memory(*OF_A_TRAINING)
def run_on_cluster(arguments: argparse.Namespace, info: det.ClusterInfo, trial_class: Any) -> None:
    """Train as the experiment config says, from the latest checkpoint if there is one.

    Args:
        arguments: of `add_train_arguments`; here all is taken from the cluster, and none may be given.
        trial_class: the ``PyTorchTrial``, with its `Training` as ``training``.

    Raises:
        UserError: the config asks for what cannot be.
    """
    _refuse(arguments)
    start_a_process_for_each_slot(info)
    logging.basicConfig(level=logging.INFO, format=det.LOG_FORMAT)
    wait_for_master()
    determined_api.drop_batch_size_message()
    config = determined_api.experiment_config(info)
    try:
        settings = parse_settings(info.trial.hparams, config.get("data"))
        # Before Determined divides by it.
        check_batch_size(settings.hparams.global_batch_size, len(info.container_addrs) * len(info.slot_ids))
    except HyperparameterError as error:
        logger.error(str(error))
        with pytorch.init():  # tells the searcher, and ends with exit status 0
            raise det.InvalidHP(str(error)) from error
    loop = parse_loop(config, settings)
    check_places(settings.data.report_to)
    if (searcher := str((config.get("searcher") or {}).get("name", "single"))) != "single":
        refuse_search(settings.data, searcher, "UUID")
    _keep_code_of_installed_package()
    with pytorch.init(
        hparams=info.trial.hparams, exp_conf=config, aggregation_frequency=loop.aggregation_frequency
    ) as context:
        repository = on_chief(context.distributed, lambda: open_hub_repository(settings.data))
        trial = trial_class(context)
        training: Training = trial.training
        trackers, title = trial.trackers, title_of(info)
        if trackers_of(training):
            on_chief(training.slots, lambda: begin_trackers_of_trial(trackers, training, info, title))
        try:
            ended = _train(trial, context, info, loop, Uploads(trackers, repository))
            trackers.close(finished=ended)
        finally:
            trackers.close(finished=False)
        trial.searcher_stop.log_stop()


def _train(
    trial: Any, context: pytorch.PyTorchTrialContext, info: det.ClusterInfo, loop: LoopSettings, uploads: Uploads
) -> bool:
    """
    Returns:
        whether the trial has come to its end; else it was paused.
    """
    training: Training = trial.training
    trial.searcher_stop.last_word = False
    reporting = Duration(loop.reporting_batches or REPORTING_BATCHES, "batches")
    with contextlib.suppress(EndedBeforeError):
        pytorch.Trainer(trial, context).fit(
            max_length=train_unit(training, loop.length),
            validation_period=train_unit(training, loop.validation_period),
            checkpoint_period=train_unit(training, loop.checkpoint_period),
            reporting_period=train_unit(training, reporting),
            checkpoint_policy=loop.checkpoint_policy,
            latest_checkpoint=info.latest_checkpoint,
            step_zero_validation=loop.perform_initial_validation,
            profiling_enabled=loop.profiling,
        )
    end = TrialEnd(context, training, info, uploads)
    if not end.is_reached():
        return False
    end.validate_if_due()
    finish(training, end)
    return True


def _keep_code_of_installed_package() -> None:
    """Where the image has the package, and the experiment's directory only its data: our code in checkpoints.

    Determined copies that directory: into each checkpoint, with the data, and without what loads it.
    """

    def write_code(checkpoint: Path, on_cluster: bool) -> None:
        code = Path(checkpoint) / "code"
        if code.exists():
            shutil.rmtree(code)
        copy_code(code)

    if TRIAL.parent != Path.cwd().resolve():
        determined_api.write_code_by(write_code)


def _refuse(arguments: argparse.Namespace) -> None:
    """
    Raises:
        UserError: an argument is given.
    """
    given = [str(word) for word in (arguments.config_file, arguments.output_dir, *arguments.overrides) if word]
    given += ["--resume"] if arguments.resume else []
    if given:
        raise UserError("entrypoint", f"{' '.join(given)!r} has no meaning on a cluster", "write it to the config")
