"""Asynchronous successive halving, as Determined has it.

It is that of Li et al., "A System for Massively Parallel Hyperparameter Tuning" (https://arxiv.org/abs/1810.05934).
Determined 0.38.1 has the variant that stops: at each rung, a length of training, a trial ends unless it is among the
best 1/divisor of those that have come to the rung so far, or the best of all. One that has ended never goes on. Here
trials come one after the other, so what is decided is a function of the scores so far.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from determined_ner.errors import UserError

MOST_RUNGS = 1000


@dataclass(frozen=True)
class Bracket:
    """Trials that are compared with each other."""

    rungs: tuple[int, ...]
    """Lengths at which they are, ascending, in the unit of the search; the last is the whole."""
    trials: int


@dataclass(frozen=True)
class History:
    """What is known of one trial of a bracket."""

    validations: Sequence[tuple[int, float]]
    """Length and signed score, smaller being better, of each validation, ascending; infinity for no number."""
    failed: bool = False
    """It ended with an error, and counts as the worst at the rung that it was on its way to."""

    def score_at(self, rung: int) -> float | None:
        """Its first score after so much training; None: it has not come so far."""
        return next((score for length, score in self.validations if length >= rung), None)


def make_rungs(number: int, divisor: float, length: int) -> tuple[int, ...]:
    """The lengths at which a bracket's trials are compared: the whole, and each a divisor-th of the next."""
    return tuple(max(1, int(length / divisor ** (number - 1 - i))) for i in range(number))


def make_brackets(
    length: int, trials: int, divisor: float, max_rungs: int, mode: str, bracket_rungs: Sequence[int]
) -> tuple[Bracket, ...]:
    """The brackets of an adaptive search, those with the most rungs first.

    Args:
        length: of a whole training.
        trials: of all brackets together; each bracket has at least one.
        mode: how many brackets there are besides the one that stops trials soonest.
        bracket_rungs: numbers of rungs; empty: by ``max_rungs`` and ``mode``.

    Raises:
        UserError: they have too many rungs.
    """
    if not bracket_rungs:
        most = min(max_rungs, *(int(math.log(size) / math.log(divisor)) + 1 for size in (length, trials)))
        least = {"aggressive": most, "standard": (most - 1) // 2 + 1, "conservative": 1}[mode]
        bracket_rungs = range(least, most + 1)
    numbers = sorted(bracket_rungs, reverse=True)
    check_rungs(numbers[0], divisor)
    weights = [divisor ** (number - 1) / number for number in numbers]  # each bracket trains about as long
    shares = [max(int(weight / sum(weights) * trials), 1) for weight in weights]
    shares[0] += max(trials - sum(shares), 0)
    rungs = [make_rungs(number, divisor, length) for number in numbers]
    return tuple(Bracket(*made) for made in zip(rungs, shares, strict=True))


def check_rungs(rungs: int, divisor: float) -> None:
    """
    Raises:
        UserError: their lengths cannot be computed.
    """
    if rungs > MOST_RUNGS or rungs * math.log(divisor) > 600:
        raise UserError("searcher", f"{rungs} rungs with a divisor of {divisor:g} are too many", "write fewer")


def scores_needed(bracket: Bracket, divisor: float, before: Sequence[History]) -> list[float | None]:
    """What the next trial needs at each rung but the last, to go on there; None: anything will do.

    Args:
        before: the trials of the bracket before it, in the order in which they trained.

    Returns:
        signed scores, smaller being better; as good is enough.
    """
    known: list[list[float]] = [[] for _ in bracket.rungs[:-1]]
    for trial in before:
        for scores, rung in zip(known, bracket.rungs, strict=False):
            score = trial.score_at(rung)
            if score is None:
                if trial.failed:
                    bisect.insort(scores, math.inf)
                break
            needed = _needed(scores, divisor)
            bisect.insort(scores, score)
            if not _is_enough(score, needed):
                break
    return [_needed(scores, divisor) for scores in known]


def is_stopped(bracket: Bracket, needed: Sequence[float | None], trial: History) -> bool:
    """Whether a trial has had less than it needed at a rung (`scores_needed`)."""
    scores = [trial.score_at(rung) for rung in bracket.rungs[:-1]]
    return any(s is not None and not _is_enough(s, worst) for s, worst in zip(scores, needed, strict=True))


def _is_enough(score: float, needed: float | None) -> bool:
    return needed is None or score <= needed


def _needed(known: list[float], divisor: float) -> float | None:
    """The worst score that goes on, of a trial that comes to a rung where these have been, ascending."""
    if not known:
        return None
    return known[max(int((len(known) + 1) / divisor), 1) - 1]
