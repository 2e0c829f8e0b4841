"""Whether a text is like the one that scores were calibrated on, told by the scores themselves: it needs no labels.

Scores that are right on the validation text may be off on another kind of text, and what was promised of a precision
may not hold there. Where entities of a text have other scores than those of the validation text had, it is of another
kind. (The opposite does not follow: a text may be another one, and its scores alike.)
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.calibration import Floats, is_number

RANGES = 20
"""Ranges of score, which hold about as many entities of the validation text each."""
SMALL = 0.05
"""A distance that is told from chance only in texts of thousands of entities, and says little of their scores."""
LITTLE = 0.02
"""Between means of scores: a distance looks at their order alone, and .999 is no other score than .998."""
CRITICAL = 1.63
"""Kolmogorov's: by chance one distance of a hundred is greater than this times ``sqrt(1 / n + 1 / m)``."""


@dataclass(frozen=True)
class UsualScores:
    """What scores the entities of the validation text have."""

    entities: int
    mean: float
    steps: tuple[tuple[float, float], ...]
    """Scores, ascending, each with the share of entities whose score is at most that."""

    @classmethod
    def of(cls, scores: Floats) -> UsualScores | None:
        """
        Args:
            scores: (M,) of all entities found.

        Returns:
            None where there are none.
        """
        if not len(scores):
            return None
        scores = np.sort(scores)
        inner = np.arange(1, RANGES) / RANGES
        ends, times = np.unique(np.quantile(scores, inner, method="higher"), return_counts=True)
        # Where many have one score, the share of those below it is a step of its own.
        below = np.searchsorted(scores, ends[times > 1]) - 1
        ends = np.union1d(ends, scores[below[below >= 0]])
        shares = np.searchsorted(scores, ends, side="right") / len(scores)
        return cls(len(scores), float(scores.mean()), tuple(zip(ends.tolist(), shares.tolist(), strict=True)))

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return {"entities": self.entities, "mean": self.mean, "steps": [list(step) for step in self.steps]}

    @classmethod
    def of_json(cls, kept: Any) -> UsualScores:
        """The inverse of `as_json`.

        Raises:
            ValueError: it is something else.
        """
        steps = kept.get("steps") if isinstance(kept, dict) else None
        if not (
            isinstance(steps, list)
            and steps
            and all(isinstance(step, list) and len(step) == 2 and all(map(is_number, step)) for step in steps)
            and all(before[0] < after[0] and before[1] <= after[1] for before, after in itertools.pairwise(steps))
            and is_number(kept.get("entities"))
            and kept["entities"] >= 1
            and is_number(kept.get("mean"))
            and all(0 <= number <= 1 for number in (kept["mean"], *itertools.chain(*steps)))
        ):
            raise ValueError("scores: no number of entities, mean and ascending steps of score and share")
        return cls(int(kept["entities"]), kept["mean"], tuple((score, share) for score, share in steps))


@dataclass(frozen=True)
class Shift:
    """How the scores of a text differ from the usual ones."""

    entities: int
    mean: float
    usual_mean: float
    distance: float
    """Greatest difference of the shares of entities up to a score, 0 to 1 (Kolmogorov and Smirnov's)."""
    by_chance: float
    """Distance that text of the same kind would rarely have, if its entities did not depend on each other."""

    @property
    def is_clear(self) -> bool:
        """Whether the text is of another kind: beyond chance, and by more than a little."""
        return self.distance > self.by_chance + SMALL and abs(self.mean - self.usual_mean) > LITTLE


class SeenScores:
    """Scores of a text of any length, compared with the usual ones."""

    def __init__(self, usual: UsualScores) -> None:
        self._usual = usual
        self._ends, self._shares = np.array(usual.steps).T
        self._up_to: NDArray[np.int64] = np.zeros(len(self._ends), np.int64)
        self._entities, self._sum = 0, 0.0

    def add(self, scores: Floats) -> None:
        """
        Args:
            scores: (M,) of all entities that were found in a part of the text, those withheld included.
        """
        self._up_to += np.searchsorted(np.sort(scores), self._ends, side="right")
        self._entities += len(scores)
        self._sum += float(scores.sum())

    @property
    def shift(self) -> Shift:
        """How those added so far differ; without any, not at all."""
        if not self._entities:
            return Shift(0, 0.0, self._usual.mean, 0.0, 1.0)
        distance = float(np.abs(self._up_to / self._entities - self._shares).max())
        by_chance = min(1.0, CRITICAL * math.sqrt(1 / self._entities + 1 / self._usual.entities))
        return Shift(self._entities, self._sum / self._entities, self._usual.mean, distance, by_chance)
