"""A run without a cluster: a loop of our own, with a folder where Determined's master would be.

runs/NAME/  metrics.jsonl   every report, one JSON object a line
            summary.json    last, best and test scores, speed, settings
            checkpoints/    the best and the newest, each written atomically
            model/          the best one as a Hugging Face directory
            figures/        curves
            report/         how good the best one is, and where not
            tensorboard/    events
            cache/          tokenized data
            config.json     the experiment config, for --resume
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError, write_errors_explained
from determined_ner.files.atomic import read_json, write_json
from determined_ner.finish.documents import Documents
from determined_ner.finish.folder_end import FolderEnd, check_report
from determined_ner.finish.run_end import Chosen, finish
from determined_ner.finish.uploads import Uploads, open_hub_repository
from determined_ner.interrupts import stop_signals_heard
from determined_ner.local.checkpoints import Checkpoints
from determined_ner.local.folder import OpenedFolder, open_folder
from determined_ner.local.loop import Loop, seed_generators
from determined_ner.local.processes import joined_processes, process_count
from determined_ner.local.progress import Progress
from determined_ner.local.reports import RunReports
from determined_ner.logs import set_up_logging
from determined_ner.masks import shown
from determined_ner.model.device_memory import OF_A_TRAINING, enough_memory
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.settings.loop import Duration, parse_loop
from determined_ner.settings.parsing import Settings, parse_settings
from determined_ner.trackers.runs import Trackers, check_trackers
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.run_config import write_config
from determined_ner.training.run_folder import SUMMARY_FILE, TRACKERS_FILE, RunFolder
from determined_ner.training.setup import Training
from determined_ner.training.slots import Slots, check_batch_size, on_chief
from determined_ner.training.stopping import Bar
from determined_ner.training.summary import log_summary
from determined_ner.training.tracking import begin_trackers, trackers_of

logger = logging.getLogger("determined_ner")


@dataclass(frozen=True)
class SearchedTrial:
    """What a search has of one of its trials beyond what the command line of a training says."""

    config: dict[str, Any]
    """Of the experiment, with the values of this trial; it takes the place of the file."""
    cache: Path
    """Where all its trials keep tokenized data, unless ``data.cache_dir`` says otherwise."""
    bars: Sequence[tuple[Duration, float]]
    """What it is compared with: after how much of training, and the score that is needed to go on; ascending."""


def run_locally(arguments: argparse.Namespace, trial: SearchedTrial | None = None) -> str | None:
    """Train as the config says; under ``torchrun``, with all its processes.

    Args:
        arguments: of `add_train_arguments`.
        trial: of a search, if the run is one.

    Returns:
        why the run ended before its length; None: it did not.

    Raises:
        StopRequestedError: a signal asked for it.
        UserError: whatever the user can fix; what was written is removed again if nothing was trained.
    """
    process_count()  # as the others are told by what else torchrun says
    set_up_logging(chief=os.environ.get("RANK", "0") == "0")
    with stop_signals_heard(), joined_processes() as slots, contextlib.ExitStack() as stack:
        config = None if trial is None else trial.config
        opened = on_chief(slots, lambda: stack.enter_context(open_folder(arguments, config)))
        with enough_memory(*OF_A_TRAINING):
            return _train(RunFolder(opened.path), opened, arguments.resume, slots, trial)


def _train(
    folder: RunFolder, opened: OpenedFolder, resume: bool, slots: Slots, trial: SearchedTrial | None
) -> str | None:
    started = time.perf_counter()
    config, chief = opened.config, slots.rank == 0
    settings = parse_settings(config.get("hyperparameters"), config.get("data"))
    check_batch_size(settings.hparams.global_batch_size, slots.size)
    loop = parse_loop(config, settings)
    _check_beginning(config)
    check_trackers(settings.data.report_to)
    if loop.profiling and chief:
        logger.warning("profiling.enabled: has no meaning here: the profiler reports to a cluster's master")
    on_chief(slots, lambda: check_report(folder))  # at once, not after hours of training
    repository = on_chief(slots, lambda: open_hub_repository(settings.data))
    resumed = on_chief(slots, lambda: folder.begin(resume))
    if resumed is not None and settings.hparams.group_by_length is None:
        settings = _with_the_same_batches(settings, folder.checkpoint(resumed))

    seed_generators(loop.seed)
    context = TorchContext(slots, loop.aggregation_frequency)
    cache = trial.cache if trial else folder.path / "cache"
    training = Training(settings, loop, context.device, slots, loop.aggregation_frequency, loop.seed, cache)
    training.begin(context)
    if trial:
        training.stopping.compare([Bar(training.in_batches(at), score, str(at)) for at, score in trial.bars])
    if chief:
        log_summary(training)
    if resumed is not None:
        on_chief(slots, lambda: _check_same_data(training, folder.checkpoint(resumed)))
    if resume:  # the run is longer from here on, if that was asked for; a stop leaves it so
        on_chief(slots, lambda: _keep_config(folder, config))
    progress = Progress(training.in_batches(loop.length), resumed or 0, training.epoch_batches, chief)
    trackers, title = Trackers(), str(config.get("name") or folder.path.name)
    on_chief(slots, lambda: _begin_trackers(trackers, folder, training, title))
    reports = RunReports(folder, loop, progress, trackers, "tensorboard" in settings.data.report_to)
    checkpoints = Checkpoints(folder, training, context, config)
    try:
        training.ask_teachers()
        ended = Loop(training, context, checkpoints, reports, progress).run(resumed)
        progress.close()
        reports.close()
        finish(training, FolderEnd(folder, training, time.perf_counter() - started))
        if chief:  # the others need not wait
            _upload(Uploads(trackers, repository), folder, training, title)
        trackers.close(finished=True)
        return ended
    finally:
        progress.close()
        reports.close()
        trackers.close(finished=False)


def _begin_trackers(trackers: Trackers, folder: RunFolder, training: Training, title: str) -> None:
    if not trackers_of(training):
        return
    file = folder.path / TRACKERS_FILE
    known = read_json(file, "the run") or {"key": uuid.uuid4().hex}
    write_json(file, known)
    begin_trackers(trackers, training, str(known["key"]), title, folder.path)


def _upload(uploads: Uploads, folder: RunFolder, training: Training, title: str) -> None:
    summary = read_json(folder.path / SUMMARY_FILE, "the run")
    assert summary is not None
    name = Path(summary["checkpoint"]).name
    chosen = Chosen(summary["model_batches"], name, summary["best"], folder.metrics.reports())
    uploads.send(Documents(training, Path(title), chosen, summary), folder.model, str(folder.path))


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


def _with_the_same_batches(settings: Settings, checkpoint: Path) -> Settings:
    """Settings with the order of batches that the checkpoint's training had, whatever computes the rest of it."""
    saved = (read_json(checkpoint / SETTINGS_FILE, "the checkpoint") or {}).get("hyperparameters")
    grouped = saved.get("group_by_length") if isinstance(saved, dict) else None
    return replace(settings, hparams=settings.hparams.model_copy(update={"group_by_length": grouped}))


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
