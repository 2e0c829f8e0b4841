"""A line of the log at least every half minute of training, between the reports at their fixed borders."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from determined_ner.training.metrics import TrainingMetrics
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner.progress")

INTERVAL = 30.0
"""Seconds."""


class ProgressLines:
    """Says how far a training is, by the first slot alone: its loss, the speed and the time left.

    Reading the loss waits for the device, which is why a line does so and no other batch; nothing is exchanged with
    other slots, and what is reported stays as it is.
    """

    def __init__(
        self, training: Training, metrics: TrainingMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            metrics: in which the loop has counted each batch before `after_batch`.
            clock: seconds.
        """
        self._training, self._metrics, self._clock = training, metrics, clock
        self._total = training.in_batches(training.loop.length)
        self._first: tuple[float, int] | None = None
        """When this task had trained its first batch, and the number of that."""
        self._said = self._before = 0.0
        """When the last line was written, and when the last batch had ended."""

    def after_batch(self, index: int) -> None:
        """
        Args:
            index: of the batch, from 0, over all tasks of the trial.
        """
        if self._training.slots.rank > 0:
            return
        now, done = self._clock(), index + 1
        if self._first is None:
            self._first, self._said, self._before = (now, done), now, now
            return
        step, self._before = now - self._before, now
        if now - self._said + step < INTERVAL:  # the next batch will end in time
            return
        self._said = now
        began, first = self._first
        left = (now - began) / (done - first) * (self._total - done)
        loss, samples_per_second = self._metrics.so_far()
        speed = samples_per_second * self._training.slots.size
        logger.info(
            f"batch {done:,} of {self._total:,}  epoch {done / self._training.epoch_batches:.2f}  loss {loss:.4f}  "
            f"{speed:.1f} samples/s  about {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    """Such as 40 s, 12 min or 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
