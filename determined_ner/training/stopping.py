"""A run that ends before its length: no gain in its validations any more, or its time is over.

It ends as one that is done: validated, saved, scored. Whoever drives the training asks here, and all slots agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from determined_ner.errors import HyperparameterError
from determined_ner.settings.hyperparameters import Hyperparameters
from determined_ner.settings.loop import LoopSettings


@dataclass(frozen=True)
class Bar:
    """A score that a trial of a search needs to go on."""

    batches: int
    """Of training: the first validation after so many counts."""
    score: float
    """In the searcher's metric; as good is enough."""
    where: str
    """The place in words, such as ``1 epochs``."""


class Stopping:
    """What ends one run early, if anything is to.

    Attributes:
        ended: why the run ends here, as all slots have agreed; None: it goes on.
        over: whether this process has seen its time run out.
    """

    def __init__(self, hparams: Hyperparameters, loop: LoopSettings) -> None:
        """Made where the run begins: its time counts from here on."""
        self._patience, self._threshold = hparams.early_stopping_patience, hparams.early_stopping_threshold
        self._limit, self._schedule = hparams.time_limit, hparams.lr_scheduler_type
        self._metric, self._sign = loop.metric, -1 if loop.smaller_is_better else 1
        self._length = loop.length
        self._bars: Sequence[Bar] = ()
        self._scores: dict[int, float] = {}
        self._seconds_before, self._started = 0.0, monotonic()
        self.ended: str | None = None
        self.over = False

    def compare(self, bars: Sequence[Bar]) -> None:
        """Have the run, a trial of a search, end where it is worse than one of these."""
        self._bars = bars

    @property
    def asked(self) -> bool:
        """Whether anything may end the run early."""
        return self._patience is not None or self._limit is not None

    def at_validation(self, batches: int, metrics: Mapping[str, Any]) -> None:
        """Take the scores of a validation; of one that is known already, nothing changes.

        Args:
            batches: after which it was made.
            metrics: its report, in which what is no number may be None.
        """
        score = metrics.get(self._metric)
        self._scores[batches] = math.nan if score is None else float(score)

    def out_of_patience(self) -> str | None:
        """Why there is no more patience; None: there is.

        A gain is a score better than the best before it by more than the threshold, as in transformers'
        ``EarlyStoppingCallback``; a score that is no number is none.
        """
        if self._patience is None:
            return None
        best, at, without_gain = -math.inf, 0, 0
        for batches, score in sorted(self._scores.items()):
            signed = self._sign * score
            without_gain = 0 if signed - best > self._threshold else without_gain + 1
            if signed > best:
                best, at = signed, batches
        if without_gain < self._patience:
            return None
        gain = f"a gain of more than {self._threshold:g}" if self._threshold else "a gain"
        found = f" (best {self._sign * best:.4f}, after batch {at:,})" if math.isfinite(best) else ""
        return f"early stopping: {without_gain} validations without {gain} in {self._metric}{found}"

    def below_a_bar(self) -> str | None:
        """Why the search has no more use for the run; None: it goes on. A score that is no number is the worst."""
        for bar in self._bars:
            reached = [score for batches, score in sorted(self._scores.items()) if batches >= bar.batches]
            if not reached:
                return None
            if not self._sign * reached[0] >= self._sign * bar.score:
                need = f"{bar.score:.4f} is needed to go on" if math.isfinite(bar.score) else "a number is needed"
                return f"stopped by the search: {self._metric} is {reached[0]:.4f} after {bar.where}, where {need}"
        return None

    @property
    def seconds(self) -> float:
        """That the run has taken so far, its earlier processes up to their checkpoints included."""
        return self._seconds_before + monotonic() - self._started

    @property
    def out_of_time(self) -> bool:
        """Whether there is no more time, by the clock of this process."""
        return self._limit is not None and self.seconds >= self._limit

    def end_by_time(self) -> None:
        """End the run here, as all slots have agreed that there is no more time."""
        self.over = True
        self._end_at_limit()

    def _end_at_limit(self) -> None:
        self.ended = self.ended or f"time limit: {self._limit:,g} s are over"

    def end_where_it_did(self) -> None:
        """End a run that goes on from where it has ended already, whatever the clocks of its slots say."""
        if self._limit is not None and self._seconds_before >= self._limit:
            self._end_at_limit()
        self.end_without_gain()

    def end_without_gain(self) -> None:
        """End the run here if there is no more patience, or a better trial: all slots know the same scores."""
        self.ended = self.ended or self.out_of_patience() or self.below_a_bar()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing where nothing is asked for."""
        state: dict[str, Any] = {}
        if self._patience is not None or self._bars:
            state["scores"] = sorted(self._scores.items())
        if self._limit is not None:
            # The clock that said so may be another slot's.
            state["seconds"] = max(self.seconds, self._limit) if self.over else self.seconds
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, perhaps under other settings; from nothing, at the beginning."""
        self._scores = {int(batches): float(score) for batches, score in state.get("scores", ())}
        self._seconds_before = float(state.get("seconds", 0.0))

    def describe(self) -> str | None:
        """What may end the run early, in words; None: nothing."""
        after = []
        if self._patience is not None:
            gain = f"a gain of more than {self._threshold:g}" if self._threshold else "a gain"
            after.append(f"after {self._patience} validations without {gain} in {self._metric}")
        if self._limit is not None:
            after.append(f"after {self._limit:,g} s in all")
        if not after:
            return None
        return f"ends early: {' or '.join(after)}; the learning rate ({self._schedule}) is that of {self._length}"

    def describe_end(self, done: str, rate: float) -> str:
        """How the run ended, in words.

        Args:
            done: how much of its length it has trained.
            rate: the learning rate of the next step.
        """
        return f"{self.ended}: the run ends after {done}, with the learning rate ({self._schedule}) at {rate:.3g}"


def check_patience(patience: int | None, batches: int, validation_period: int) -> None:
    """Check that there is a validation to be patient about before the end.

    Args:
        patience: ``early_stopping_patience``.
        batches: of the training, or its length in another unit.
        validation_period: in the same unit.

    Raises:
        HyperparameterError: there is none.
    """
    if patience is not None and validation_period >= batches:
        raise HyperparameterError(
            "hyperparameters.early_stopping_patience",
            f"{patience} has nothing to wait for: the only validation comes at the end of the training",
            "write a min_validation_period shorter than the training, such as {batches: 100}, or leave it out",
        )
