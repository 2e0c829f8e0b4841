"""The trial: what Determined's training loop calls on a cluster; and the command, on a cluster and off it.

    python3 ner_trial.py [CONFIG] [--config KEY=VALUE ...] [--output-dir DIR] [--resume]

As the entrypoint of an experiment the same command takes everything from the cluster; ``ner_trial:NERTrial``, the
older form of an entrypoint, trains the same, but ends without test score and report. All else is in the package
``determined_ner``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import determined_ner
from determined_ner.interrupts import die_of_interrupt, end_at_interrupt
from determined_ner.threads import spin_briefly

if __name__ == "__main__":
    end_at_interrupt()
    spin_briefly()

from determined_ner.train import main, train

if Path(determined_ner.__file__).resolve().parents[1] != Path(__file__).resolve().parent:
    raise ImportError(
        f"{__file__} belongs to the package determined_ner beside it, but that of {determined_ner.__file__} is "
        f"imported already: load this checkpoint in a process that has not imported determined_ner"
    )
if __name__ == "__main__":
    # What follows needs Determined; on a cluster it is imported as ner_trial, the name by which checkpoints know it.
    status = main()
    die_of_interrupt()
    sys.exit(status)

from typing import Any

from determined import pytorch

from determined_ner import determined_api
from determined_ner.cluster.callbacks import BeginEvaluation, SelfContained, StopWhereDiverged
from determined_ner.cluster.progress import ProgressLines
from determined_ner.cluster.reducers import EvaluationReducer, TrainingReducer
from determined_ner.cluster.searcher import StopBeforeLength
from determined_ner.cluster.tracking import TellTrackers
from determined_ner.cluster.trial_context import build_training, make_loader
from determined_ner.cluster.workarounds import UploadLastEvents, prepare_task
from determined_ner.model.directory import ModelDirectory
from determined_ner.model.torch_model import untrained_model
from determined_ner.trackers.runs import Trackers
from determined_ner.training.setup import Training
from determined_ner.training.summary import log_summary
from determined_ner.training.tracking import trackers_of

__all__ = ["NERTrial", "main", "train"]


class NERTrial(pytorch.PyTorchTrial):
    """Token classification with any Hugging Face encoder, built from the context alone."""

    training: Training

    def __init__(self, context: pytorch.PyTorchTrialContext, cache_dir: Path | None = None) -> None:
        """
        Args:
            cache_dir: where tokenized data is kept unless ``data.cache_dir`` says otherwise.

        Raises:
            det.InvalidHP: a hyperparameter point that cannot work; a search goes on with its other points.
            UserError: anything else that the user can fix.
        """
        self.context = context
        if not determined_api.is_managed(context):
            # Determined rebuilds a trial from a checkpoint, of which this file is code/ner_trial.py, to load its
            # weights: no data is needed.
            remedy = "load a checkpoint without trial_class, so that the code beside its label map is used"
            directory = ModelDirectory(Path(__file__).resolve().parents[1], remedy)
            self.model = context.wrap_model(untrained_model(directory))
            return
        prepare_task(context)
        self.training = build_training(context, cache_dir)
        self.model = self.training.engine.model
        self.schedule = context.wrap_lr_scheduler(
            self.training.schedule, step_mode=pytorch.LRScheduler.StepMode.STEP_EVERY_OPTIMIZER_STEP
        )
        self.training_metrics = context.wrap_reducer(TrainingReducer(), for_validation=False)
        self.progress = ProgressLines(self.training, self.training_metrics)
        self.validation_metrics = context.wrap_reducer(
            self.training.make_metrics("validation", EvaluationReducer), for_training=False
        )
        self.searcher_stop = StopBeforeLength(self.training, context)
        self.trackers = Trackers()
        if context.distributed.rank == 0:
            log_summary(self.training)

    def build_training_data_loader(self) -> pytorch.DataLoader:
        return make_loader(self.training, "train", self.training.train_batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        batches = self.training.evaluation_batches("validation", self.context.distributed.size)
        return make_loader(self.training, "validation", batches)

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        loss = self.training.train_step(batch, batch_idx)
        self.training_metrics.update(loss, batch, self.training.engine.compile_seconds)
        self.progress.after_batch(batch_idx)
        # A plain float: a tensor here would cost a device synchronization a step.
        return {"learning_rate": self.schedule.get_last_lr()[0]}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        self.training.score_batch(batch, self.validation_metrics)
        return {}

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        trackers = {"trackers": TellTrackers(self.trackers, self.context)} if trackers_of(self.training) else {}
        return {
            "searcher": self.searcher_stop,  # first here, its word comes last
            "self_contained": SelfContained(self.training, self.context),
            "evaluation": BeginEvaluation(self.training),
            "diverged": StopWhereDiverged(self.training, self.context),
            "last_events": UploadLastEvents(self.context),
            **trackers,
        }
