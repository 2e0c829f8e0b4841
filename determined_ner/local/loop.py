"""The training loop of a run without a cluster.

It does what Determined's does with the trial (docs/explanation/exactness.md has it in words), in the same order: each
trains the bits of the other, and goes on with its checkpoints. But it looks for a request to stop at each step, not at
each report.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch

from determined_ner.data.batches import MicroBatch
from determined_ner.data.collate import only_item
from determined_ner.interrupts import StopRequestedError, stop_signals_kept
from determined_ner.local.checkpoints import Checkpoints
from determined_ner.local.progress import Progress
from determined_ner.local.reports import RunReports
from determined_ner.local.stopping import Request, StopAgreement
from determined_ner.settings.loop import REPORTING_BATCHES
from determined_ner.training.divergence import DivergenceCheck
from determined_ner.training.loop_context import TorchContext
from determined_ner.training.metrics import TrainingMetrics
from determined_ner.training.setup import Training
from determined_ner.training.slots import on_chief
from determined_ner.training.trial_state import TrialState

logger = logging.getLogger("determined_ner")


def seed_generators(seed: int) -> None:
    """Before a training is built: what draws without a generator of its own draws the same in every run."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.manual_seed(seed)


class StopAskedError(Exception):
    """All processes have agreed to stop here."""


class Loop:
    """Drives a training from where it stands to its end; the same on every slot."""

    def __init__(
        self,
        training: Training,
        context: TorchContext,
        checkpoints: Checkpoints,
        reports: RunReports,
        progress: Progress,
    ) -> None:
        self._training, self._context = training, context
        self._checkpoints, self._reports, self._progress = checkpoints, reports, progress
        self._slots, self._settings = training.slots, training.loop
        self._chief = training.slots.rank == 0
        self._total = training.in_batches(self._settings.length)
        reporting = self._settings.reporting_batches or max(1, min(REPORTING_BATCHES, self._total // 50))
        steps = training.accumulation_steps
        self._reporting_period = -(-reporting // steps) * steps
        self._validation_period = training.in_batches(self._settings.validation_period)
        self._checkpoint_period = training.in_batches(self._settings.checkpoint_period)
        self._training_metrics = TrainingMetrics()
        self._validation_metrics = training.make_metrics("validation")
        self._divergence = DivergenceCheck(training)
        self._stop = StopAgreement(self._slots, training.stopping)
        self._state = TrialState()
        self._saved: tuple[int, bool] | None = None
        """Of the newest checkpoint: its batches, and whether it knows that the time is over."""

    def run(self, resumed: int | None) -> str | None:
        """Train to the end.

        Args:
            resumed: batches of the checkpoint to go on from; None: from the beginning.

        Returns:
            why the training ended before its length; None: it did not.

        Raises:
            StopRequestedError: a signal asked for it; what is trained has a checkpoint.
            UserError: the checkpoint cannot be loaded, one cannot be written, or the training diverged.
        """
        last = on_chief(self._slots, self._reports.last_validation)
        validated = None if last is None else last["batches"]
        # The batches are begun before the random generators are restored, from which that draws.
        batches = iter(self._loader("train", self._training.train_batches, skip=resumed or 0, again=True))
        if resumed is not None:
            self._state, self._saved = self._checkpoints.load(resumed), (resumed, False)
            self._divergence.good = str(self._checkpoints.path(resumed))
            if last is not None and validated == resumed:  # it came after the checkpoint, which does not know of it
                self._state.last_val = resumed
                self._training.stopping.at_validation(resumed, last)
        self._divergence.at_beginning()
        with stop_signals_kept():
            try:
                self._validate_what_is_due(validated)
                self._train(batches)
            except StopAskedError:
                raise StopRequestedError(self._save_before_stop()) from None
        stopping = self._training.stopping
        return stopping.ended if self._state.batches_trained < self._total else None

    def _validate_what_is_due(self, validated: int | None) -> None:
        """Before the first batch if that is asked for; and where a stop has come between a step and its validation."""
        batches = self._state.batches_trained
        first = batches == 0 and validated is None and self._settings.perform_initial_validation
        left_out = batches > 0 and batches % self._validation_period == 0 and self._state.last_val != batches
        if first or left_out:
            self._validate()

    def _train(self, batches: Iterator[Any]) -> None:
        """Step after step; at each border what is due there, in this order."""
        stopping = self._training.stopping
        stopping.end_where_it_did()
        while self._state.batches_trained < self._total and stopping.ended is None:
            self._train_to_border(batches)
            due: list[tuple[int, Callable[[], None]]] = [
                (self._total, lambda: None),
                (self._validation_period, self._validate_once),
                (self._checkpoint_period, self._save_once),
                (self._reporting_period, lambda: None),
            ]
            for period, action in due:
                if self._state.batches_trained % period == 0:
                    action()
                    self._reports.flush()
            stopping.end_without_gain()
            self._stop_if(self._stop.at_border())
        self._validate_once()
        self._save_once()
        self._stop_if(self._stop.at_border())
        if stopping.ended and self._state.batches_trained < self._total and self._chief:
            logger.info(self._training.describe_end(self._state.batches_trained))

    def _train_to_border(self, batches: Iterator[Any]) -> None:
        """Train until something is due, or a stop is asked for, and report on it."""
        training, state, steps = self._training, self._state, self._training.accumulation_steps
        self._progress.show_status("training")
        for model in self._context.models:
            model.train()
        self._training_metrics.reset()
        self._validation_metrics.reset()
        rates: list[float] = []
        periods = (self._total, self._validation_period, self._checkpoint_period, self._reporting_period)
        for batch in batches:
            index = state.batches_trained
            self._context.begin_batch(index)
            batch = self._on_device(batch)
            loss = training.train_step(batch, index)
            self._training_metrics.update(loss, batch, training.engine.compile_seconds)
            rates.append(training.schedule.get_last_lr()[0])
            ends_step = (index + 1) % steps == 0
            if ends_step:
                training.schedule.step()
            self._progress.advance()
            state.batches_trained = index + 1
            state.epochs_trained = state.batches_trained // training.epoch_batches
            stop = self._stop.at_step() if ends_step else Request.GO_ON
            if stop or any(state.batches_trained % period == 0 for period in periods):
                self._report_training(rates)
                self._stop_if(stop)
                return

    def _report_training(self, rates: list[float]) -> None:
        reduced = self._training_metrics.cross_slot_reduce(
            self._slots.allgather(self._training_metrics.per_slot_reduce())
        )
        # As a mean over slots, then over batches: of three equal numbers it may differ from them in the last bit.
        over_slots = [np.mean(np.array([rate] * self._slots.size)) for rate in rates]
        metrics = {"learning_rate": np.mean(np.array(over_slots)).item(), **reduced}
        batches, epochs = self._state.batches_trained, self._state.epochs_trained
        if self._chief:
            self._reports.training(metrics, batches, epochs, rates)
        self._divergence.at_report({**metrics, "batches": batches})

    def _validate_once(self) -> None:
        if self._state.last_val != self._state.batches_trained:
            self._validate()

    @torch.no_grad()
    def _validate(self) -> None:
        training, state = self._training, self._state
        self._progress.show_status("validating")
        self._training_metrics.reset()
        self._validation_metrics.reset()
        for model in self._context.models:
            model.eval()
        training.engine.begin_evaluation()
        plan = training.evaluation_batches("validation", self._slots.size)
        batches = iter(self._loader("validation", plan))
        for _ in range(-(-len(plan) // self._slots.size)):  # as often on each slot, to agree on a stop
            batch = next(batches, None)
            if batch is not None:
                training.score_batch(self._on_device(batch), self._validation_metrics)
            self._stop_if(self._stop.at_step())
        metrics = self._validation_metrics.cross_slot_reduce(
            self._slots.allgather(self._validation_metrics.per_slot_reduce())
        )
        self._divergence.at_validation(metrics)
        state.last_val = state.batches_trained
        training.stopping.at_validation(state.batches_trained, metrics)
        best = self._chief and self._reports.validation(metrics, state.batches_trained, state.epochs_trained)
        policy = self._settings.checkpoint_policy
        if self._slots.broadcast(policy == "all" or (policy == "best" and best)):
            self._save_once()

    def _save_once(self) -> None:
        state = self._state
        now = state.batches_trained, self._training.stopping.over
        if self._saved == now:
            return
        self._progress.show_status("checkpointing")
        self._saved, state.last_ckpt = now, state.batches_trained
        self._divergence.good = str(on_chief(self._slots, lambda: self._checkpoints.save(state)))

    def _stop_if(self, asked: Request) -> None:
        if asked is Request.STOP:
            raise StopAskedError
        if asked is Request.END:  # the clock that says so may be another process's
            self._training.stopping.end_by_time()

    def _save_before_stop(self) -> str:
        """
        Returns:
            what is saved, and how to go on.
        """
        if self._state.batches_trained:
            self._save_once()
        self._reports.flush()
        again = "the same command with --resume"
        if self._divergence.good is None:
            return f"nothing is trained yet; {again} begins"
        batches = self._state.batches_trained
        return f"batch {batches:,} is saved in {self._divergence.good}; {again} goes on from there"

    def _loader(self, split: str, plan: Any, skip: int = 0, again: bool = False) -> Any:
        """This slot's batches of a split; ``again`` and again, the first ``skip`` of them left out."""
        return torch.utils.data.DataLoader(
            self._training.dataset(split),
            batch_sampler=_Share(plan, self._slots.rank, self._slots.size, skip, again),
            collate_fn=only_item,
            pin_memory=self._context.device.type == "cuda",
        )

    def _on_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._context.device, non_blocking=True) for name, tensor in batch.items()}


class _Share:
    """A slot's share of a plan: of N slots, every Nth micro-batch."""

    def __init__(self, plan: Any, rank: int, size: int, skip: int, again: bool) -> None:
        self._plan, self._first, self._size, self._again = plan, skip * size + rank, size, again

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        every = chain.from_iterable(repeat(self._plan)) if self._again else self._plan
        return islice(every, self._first, None, self._size)
