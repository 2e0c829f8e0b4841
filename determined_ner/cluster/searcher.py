"""The end of a trial before its length: the searcher stops it, its validations gain nothing, or its time is over.

Determined 0.38.1 marks a trial that the searcher stops and tells its task nothing: the master signals a task on pause,
cancel, kill and error alone. What it says of the trial when asked is the state ``STOPPING_COMPLETED``, so the chief
asks, wherever the loop asks whether to pause.
"""

from __future__ import annotations

import logging
from typing import Any

import determined as det
from determined import core, pytorch

from determined_ner import determined_api
from determined_ner.settings.loop import Duration
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")

_STOPPING = "STATE_STOPPING_"
STOPPED_BY_SEARCHER = "STATE_STOPPING_COMPLETED"


class EndedBeforeError(Exception):
    """A trial goes on from where it has ended: there is nothing left to train."""


def trained_batches(context: pytorch.PyTorchTrialContext) -> int:
    """How many batches a trial has trained, those of its earlier tasks included."""
    try:
        return int(context.current_train_batch()) + 1
    except det.errors.InternalException:  # none in this task
        return int(context.get_initial_batch())


class StopBeforeLength(pytorch.PyTorchCallback):
    """Ends a trial, on all slots at once and with its checkpoint, where the master or its own settings have it end.

    Attributes:
        last_word: whether the end of the loop is the trial's, so that `log_stop` is called there.
    """

    last_word = True

    def __init__(self, training: Training, context: pytorch.PyTorchTrialContext) -> None:
        self._training, self._context = training, context
        self._just_validated = False
        self._state = ""
        """In which the master had the trial when it was asked last."""

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        core_context = determined_api.core_context(self._context)
        self._on_cluster = not isinstance(core_context.train, core.DummyTrainContext)
        if self._on_cluster:
            if self.last_word and self._context.distributed.rank == 0:
                logger.warning(
                    "entrypoint: ner_trial:NERTrial ends without test score, metadata, report, registered model, "
                    "upload and trackers; with them where it says: entrypoint: python3 ner_trial.py"
                )
            self._sending = determined_api.Sending(core_context.train)
        elif not self._training.stopping.asked:
            return
        preempted = core_context.preempt.should_preempt

        def should_preempt(auto_ack: bool = True) -> bool:
            pausing: bool = preempted(auto_ack)
            if not pausing:
                self._ask()
            return pausing

        core_context.preempt.should_preempt = should_preempt

    def on_training_start(self) -> None:
        """
        Raises:
            EndedBeforeError: the checkpoint is of the trial's end, and the task that made it has not come through.
        """
        self._training.stopping.end_where_it_did()
        if self._training.stopping.ended and not self._through and not self.last_word:
            raise EndedBeforeError

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self._just_validated = True
        self._training.stopping.at_validation(self._batches, metrics)

    def _ask(self) -> None:
        """Learn, on all slots together, whether the trial is to end before its length, and request its stop."""
        stopping, over = self._training.stopping, False
        if self._context.distributed.rank == 0:
            if self._on_cluster:
                if self._just_validated:  # a thread sends the report, and the searcher decides when it has come
                    self._sending.wait()
                self._state = determined_api.trial_state(determined_api.core_context(self._context).train)
            over = stopping.out_of_time
        self._just_validated = False
        self._state, over = self._context.distributed.broadcast((self._state, over))
        stopping.end_without_gain()
        if over:
            stopping.end_by_time()
        if (self._stopped or stopping.ended) and not self._through and not self._context.get_stop_requested():
            self._context.set_stop_requested(True)

    @property
    def _stopped(self) -> bool:
        """Whether the master has the trial end; one that is through ends by itself, whatever the searcher says."""
        return self._state.startswith(_STOPPING) and not self._through

    @property
    def _through(self) -> bool:
        return self._batches >= self._training.in_batches(self._length)

    def on_trial_shutdown(self) -> None:
        if self.last_word:
            self.log_stop()

    def log_stop(self) -> None:
        """Say who or what stopped the trial and after how much of it, if anything did."""
        if self._context.distributed.rank > 0:
            return
        if self._training.stopping.ended and not self._through:
            logger.info(self._training.describe_end(self._batches))
            return
        if not self._stopped:
            return
        searcher = (self._context.get_experiment_config().get("searcher") or {}).get("name")
        who = f"the searcher ({searcher})" if self._state == STOPPED_BY_SEARCHER else f"the master ({self._state})"
        done = self._training.describe_done(self._batches)
        logger.info(f"stopped by {who} after {done}; its checkpoint is of there")

    @property
    def _batches(self) -> int:
        """That are trained."""
        return trained_batches(self._context)

    @property
    def _length(self) -> Duration:
        return self._training.loop.length
