"""A run without a cluster: Determined's own loop, with a folder where its master would be.

runs/NAME/  metrics.jsonl   every report, one JSON object a line
            summary.json    last, best and test scores, speed, settings
            checkpoints/    the best and the newest, complete or not there
            model/          the best one as a Hugging Face directory
            figures/        curves
            tensorboard/    events
            cache/          tokenized data
            config.json     the experiment config, for --resume
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import core, pytorch

from determined_ner.data.encode import SETTINGS_FILE
from determined_ner.errors import UserError, read_json
from determined_ner.settings.experiment import REPORTING_BATCHES, Span, make_plan
from determined_ner.finish.run_end import finish
from determined_ner.training.run_folder import RunFolder, alone_in, discard, open_folder
from determined_ner.settings.hyperparameters import parse_settings
from determined_ner.local.core_context import LocalController, local_core_context
from determined_ner.local.progress import Progress, log_readably
from ner_trial import NERTrial, check_batch_size

logger = logging.getLogger("ner")


def run_locally(arguments: argparse.Namespace) -> None:
    """Train as the config says; under ``torchrun``, with all its processes.

    Raises:
        UserError: whatever the user can mend; what was written is removed again if nothing was trained.
    """
    chief = int(os.environ.get("RANK", "0")) == 0
    log_readably(chief)
    with _distributed() as distributed:
        folder, config, before = _on_chief(distributed, lambda: open_folder(arguments))
        try:
            with contextlib.ExitStack() as stack:
                _on_chief(distributed, lambda: stack.enter_context(alone_in(folder)))
                _train(RunFolder(folder), config, arguments.resume, distributed)
        except UserError:
            if distributed.rank == 0 and not (folder / "metrics.jsonl").exists():
                discard(folder, before)
            raise


def _train(folder: RunFolder, config: dict[str, Any], resume: bool, distributed: core.DistributedContext) -> None:
    started = time.perf_counter()
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    check_batch_size(settings.hparams.global_batch_size, distributed.size)
    plan = make_plan(config, settings)
    if plan.profiling and distributed.rank == 0:
        logger.warning("profiling.enabled: has no meaning here: the profiler reports to a cluster's master")
    checkpoint = _on_chief(distributed, lambda: folder.begin(resume))
    steps = checkpoint[1] if checkpoint else 0

    NERTrial.cache_dir = folder.path / "cache"
    # As written, but for the one that Determined computes with.
    hparams = {**config["hyperparameters"], "global_batch_size": settings.hparams.global_batch_size}
    with local_core_context(folder, plan, distributed) as core_context:
        context = pytorch.PyTorchTrialContext(
            core_context=core_context,
            trial_seed=plan.seed,
            hparams=hparams,
            slots_per_trial=distributed.size,
            num_gpus=torch.cuda.device_count(),
            exp_conf={**config, "hyperparameters": hparams},
            aggregation_frequency=plan.aggregation_frequency,
            steps_completed=steps,
            managed_training=True,
            debug_enabled=False,
        )
        try:
            trial = NERTrial(context)
        except det.InvalidHP as error:
            raise UserError(str(error)) from error  # without a searcher it is a mistake like any other
        if checkpoint:
            _on_chief(distributed, lambda: _check_same_data(trial, folder.checkpoints / checkpoint[0]))
        total = trial.in_batches(plan.length)
        core_context.train.progress = Progress(total, steps, trial.epoch_batches, distributed.rank == 0)
        controller = LocalController(
            trial_inst=trial,
            context=context,
            checkpoint_period=trial.in_determined_units(plan.checkpoint_period),
            validation_period=trial.in_determined_units(plan.validation_period),
            reporting_period=trial.in_determined_units(
                Span(plan.reporting_batches or max(1, min(REPORTING_BATCHES, total // 50)), "batches")
            ),
            smaller_is_better=plan.smaller_is_better,
            steps_completed=steps,
            latest_checkpoint=checkpoint[0] if checkpoint else None,
            local_training=True,
            test_mode=False,
            searcher_metric_name=plan.metric,
            checkpoint_policy=plan.checkpoint_policy,
            step_zero_validation=plan.perform_initial_validation,
            max_length=trial.in_determined_units(plan.length),
            global_batch_size=settings.hparams.global_batch_size,
            profiling_enabled=False,
        )
        try:
            controller.run()
        finally:
            core_context.train.progress.close()
        if distributed.rank == 0:
            finish(folder, trial, plan, time.perf_counter() - started)


def _check_same_data(trial: NERTrial, checkpoint: Path) -> None:
    """
    Raises:
        UserError: the files hold other text or tags than when the checkpoint was made.
    """
    saved = read_json(checkpoint / SETTINGS_FILE, "the checkpoint")
    if saved is None:
        raise UserError(f"--resume: {checkpoint} has no {SETTINGS_FILE}: copy the checkpoint again, or start a new run")
    before, now = saved["data_fingerprints"], trial.data_fingerprints
    changed = [split for split in now if before.get(split) != now[split]]
    if saved["labels"] != list(trial.labels.names):
        changed.append(f"labels {' '.join(saved['labels'])} → {' '.join(trial.labels.names)}")
    if changed:
        raise UserError(
            f"--resume: the data has changed since {checkpoint} was made: {', '.join(changed)}; "
            f"bring the old files back, or start a new run"
        )


@contextlib.contextmanager
def _distributed() -> Iterator[core.DistributedContext]:
    """One process, or those of ``torchrun``, which sets the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield core.DummyDistributedContext()
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "True"  # what Determined's launcher sets
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    ports: list[Any] = [_free_port(), _free_port()]  # Determined's own are fixed: a second run here would clash
    torch.distributed.broadcast_object_list(ports)
    environment = os.environ
    try:
        yield core.DistributedContext(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment["LOCAL_WORLD_SIZE"]),
            cross_rank=int(environment["GROUP_RANK"]),
            cross_size=int(environment["GROUP_WORLD_SIZE"]),
            chief_ip=environment["MASTER_ADDR"],
            pub_port=ports[0],
            pull_port=ports[1],
        )
    finally:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _on_chief(distributed: core.DistributedContext, action: Any) -> Any:
    """Run ``action`` on the first slot; all get its result, or its error."""
    result, error = None, None
    if distributed.rank == 0:
        try:
            result = action()
        except UserError as mistake:
            error = mistake
    result, error = distributed.broadcast((result, error))
    if error is not None:
        raise error
    return result
