"""The end of a trial that the searcher stops: Determined 0.38.1 marks it as stopping and tells its task nothing.

The master signals a task on pause, cancel, kill and error alone. What it says of the trial when asked is the state
``STOPPING_COMPLETED``, so the chief asks, wherever the loop asks whether to pause.
"""

from __future__ import annotations

import logging
from typing import Any

from determined import core, pytorch

from determined_ner import determined_api
from determined_ner.settings.loop import Duration
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")

_STOPPING = "STATE_STOPPING_"
STOPPED_BY_SEARCHER = "STATE_STOPPING_COMPLETED"


class StopWithSearcher(pytorch.PyTorchCallback):
    """Ends a trial, on all slots at once and with its checkpoint, once the master says that it is stopping.

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
        if isinstance(core_context.train, core.DummyTrainContext):
            return  # no cluster
        if self.last_word and self._context.distributed.rank == 0:
            logger.warning(
                "entrypoint: ner_trial:NERTrial ends without test score, metadata, report and registered model; with "
                "them where it says: entrypoint: python3 ner_trial.py"
            )
        self._sending = determined_api.Sending(core_context.train)
        preempted = core_context.preempt.should_preempt

        def should_preempt(auto_ack: bool = True) -> bool:
            pausing: bool = preempted(auto_ack)
            if not pausing:
                self._ask()
            return pausing

        core_context.preempt.should_preempt = should_preempt

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self._just_validated = True

    def _ask(self) -> None:
        """Learn the trial's state, on all slots together, and request its stop if it is to end before its time."""
        if self._context.distributed.rank == 0:
            if self._just_validated:  # a thread sends the report, and the searcher decides when it has come
                self._sending.wait()
            self._state = determined_api.trial_state(determined_api.core_context(self._context).train)
        self._just_validated = False
        self._state = self._context.distributed.broadcast(self._state)
        if self._stopped and not self._context.get_stop_requested():
            self._context.set_stop_requested(True)

    @property
    def _stopped(self) -> bool:
        """Whether the trial is to end; one that is through ends by itself, whatever the searcher says."""
        return self._state.startswith(_STOPPING) and self._batches < self._training.in_batches(self._length)

    def on_trial_shutdown(self) -> None:
        if self.last_word:
            self.log_stop()

    def log_stop(self) -> None:
        """Say who stopped the trial and after how much of it, if anybody did."""
        if not self._stopped or self._context.distributed.rank > 0:
            return
        searcher = (self._context.get_experiment_config().get("searcher") or {}).get("name")
        who = f"the searcher ({searcher})" if self._state == STOPPED_BY_SEARCHER else f"the master ({self._state})"
        batches_per_unit = self._training.epoch_batches if self._length.unit == "epochs" else 1
        done = f"{self._batches / batches_per_unit:.4g} of its {self._length}"
        logger.info(f"stopped by {who} after {done}; its checkpoint is of there")

    @property
    def _batches(self) -> int:
        """That are trained."""
        return int(self._context.current_train_batch()) + 1

    @property
    def _length(self) -> Duration:
        return self._training.loop.length
