"""Determined's own loop over a run's folder: what ours is compared with, where Determined is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import determined as det
import torch
from determined import core, pytorch
from determined.common import storage

import ner_trial
from determined_ner.cluster import workarounds
from determined_ner.cluster.trial_context import train_unit
from determined_ner.files.atomic import replacing_directory, write_json
from determined_ner.model.checkpoint import checkpoint_name
from determined_ner.settings.experiment import read_config
from determined_ner.settings.loop import Duration, LoopSettings, parse_loop
from determined_ner.settings.parsing import parse_settings
from determined_ner.training.run_config import write_config
from determined_ner.training.run_folder import RunFolder


class TrainContext(core.DummyTrainContext):
    """Reports go to metrics.jsonl."""

    def __init__(self, folder: RunFolder, loop: LoopSettings) -> None:
        super().__init__(folder.path / "tensorboard")
        self._folder, self._loop = folder, loop

    def report_training_metrics(self, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None) -> None:
        self._folder.metrics.append({"kind": "training", **metrics})

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        self._folder.metrics.append({"kind": "validation", **metrics})

    def get_experiment_best_validation(self) -> float | None:
        best = self._folder.rank(self._loop, self._folder.metrics.reports()).best
        return best[self._loop.metric] if best else None

    def _get_last_validation(self) -> int | None:
        lines = self._folder.metrics.reports()
        return max((line["batches"] for line in lines if line["kind"] == "validation"), default=None)


class CheckpointContext(core.DummyCheckpointContext):
    """All checkpoints are kept, by the names that a run's have."""

    def __init__(self, distributed: core.DistributedContext, folder: RunFolder) -> None:
        super().__init__(distributed, storage.SharedFSStorageManager(str(folder.checkpoints)))
        self._folder = folder

    @contextlib.contextmanager
    def store_path(self, metadata: dict[str, Any] | None = None, *, shard: bool = False) -> Iterator[tuple[Path, str]]:
        assert metadata is not None
        name = checkpoint_name(metadata["steps_completed"])
        with replacing_directory(self._folder.checkpoints / name) as partial:
            write_json(partial / "metadata.json", metadata)
            yield partial, name


@contextlib.contextmanager
def joined() -> Iterator[core.DistributedContext]:
    """The slots, as Determined's launcher for torch starts them."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield core.DummyDistributedContext()
        return
    with mock.patch.dict(os.environ, USE_TORCH_DISTRIBUTED="True"):
        torch.distributed.init_process_group("gloo")
        try:
            rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
            yield core.DistributedContext(
                rank=rank, size=size, local_rank=rank, local_size=size, cross_rank=0, cross_size=1,
                chief_ip="127.0.0.1", pub_port=port - 1, pull_port=port - 2,
            )  # fmt: skip
        finally:
            torch.distributed.destroy_process_group()


def train_by_determined(config_file: Path, path: Path, *overrides: str, resume: bool = False) -> int:
    """Train the trial in Determined's loop, as off a cluster; on several slots in copies of this process.

    Returns:
        exit status 0.
    """
    config = read_config(config_file, list(overrides))
    settings = parse_settings(config["hyperparameters"], config["data"])
    loop = parse_loop(config, settings)
    assert loop.reporting_batches is not None, "say scheduling_unit"
    path.mkdir(exist_ok=True)
    folder = RunFolder(path)
    folder.checkpoints.mkdir(exist_ok=True)
    with (
        joined() as slots,
        mock.patch.object(det.util, "write_user_code", lambda *_: None),
        mock.patch.object(workarounds, "notice_dead_slots", lambda _: None),  # it takes a machine too busy for dead
    ):
        if slots.rank == 0:
            write_config(path, config)
        steps = folder.begin(resume=True) if resume and slots.rank == 0 else None
        steps = slots.broadcast(steps)
        pytorch._PyTorchTrialController._set_random_seeds(loop.seed)
        with core.Context(
            distributed=slots,
            checkpoint=CheckpointContext(slots, folder),
            preempt=core.DummyPreemptContext(slots, core.PreemptMode.WorkersAskChief),
            train=TrainContext(folder, loop),
            searcher=core.DummySearcherContext(slots),
            profiler=core.DummyProfilerContext(),
        ) as core_context:
            hparams = {**config["hyperparameters"], "global_batch_size": settings.hparams.global_batch_size}
            context = pytorch.PyTorchTrialContext(
                core_context=core_context,
                trial_seed=loop.seed,
                hparams=hparams,
                slots_per_trial=slots.size,
                num_gpus=torch.cuda.device_count(),
                exp_conf={**config, "hyperparameters": hparams},
                aggregation_frequency=loop.aggregation_frequency,
                steps_completed=steps or 0,
                managed_training=True,
                debug_enabled=False,
            )
            trial = ner_trial.NERTrial(context, cache_dir=path / "cache")
            pytorch._PyTorchTrialController(
                trial_inst=trial,
                context=context,
                checkpoint_period=train_unit(trial.training, loop.checkpoint_period),
                validation_period=train_unit(trial.training, loop.validation_period),
                reporting_period=train_unit(trial.training, Duration(loop.reporting_batches, "batches")),
                smaller_is_better=loop.smaller_is_better,
                steps_completed=steps or 0,
                latest_checkpoint=None if steps is None else checkpoint_name(steps),
                local_training=True,
                test_mode=False,
                searcher_metric_name=loop.metric,
                checkpoint_policy=loop.checkpoint_policy,
                step_zero_validation=loop.perform_initial_validation,
                max_length=train_unit(trial.training, loop.length),
                global_batch_size=settings.hparams.global_batch_size,
                profiling_enabled=False,
            ).run()
            if slots.size > 1:
                torch.distributed.barrier()  # else the chief might end before its last word has been sent
    return 0
