"""The adaptive search of Determined 0.38.1, as its master decides which trials go on (``asha_stopping``)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any


@dataclass
class AdaptiveSearch:
    """All trials of one experiment; one bracket, which is what two rungs give.

    At each rung a trial goes on if it is among the best 1/divisor of those that have come so far, or the best of all.
    """

    metric: str
    smaller_is_better: bool
    time_metric: str
    rungs: list[int]
    """Lengths at which trials are compared, the last of which is the whole."""
    divisor: float
    scores: list[float] | None = None
    """In the place of what trials report: of each trial, in the order of their beginning."""
    _metrics: list[list[float]] = field(default_factory=list)
    _reached: dict[int, int] = field(default_factory=dict)
    """Of each trial its rung."""

    @classmethod
    def of(cls, searcher: dict[str, Any], scores: list[float] | None = None) -> AdaptiveSearch:
        """
        Args:
            searcher: of the experiment config.
        """
        length, divisor, rungs = searcher["max_time"], searcher.get("divisor", 4), 1
        while divisor**rungs <= length and rungs < searcher.get("max_rungs", 5):
            rungs += 1
        assert rungs <= 2, "a search of several brackets"
        lengths = [max(1, int(length / divisor ** (rungs - 1 - i))) for i in range(rungs)]
        direction, time_metric = searcher["smaller_is_better"], searcher["time_metric"]
        made = cls(searcher["metric"], direction, time_metric, lengths, divisor, scores)
        made._metrics = [[] for _ in lengths]
        return made

    def stops(self, trial: int, metrics: dict[str, Any]) -> bool:
        """Take a validation of a trial, and say whether it is to end."""
        score = metrics[self.metric] if self.scores is None else self.scores[trial]
        sign = 1 if self.smaller_is_better else -1
        for rung in range(self._reached.get(trial, 0), len(self.rungs)):
            self._reached[trial] = rung
            if metrics[self.time_metric] < self.rungs[rung]:
                return False
            known = self._metrics[rung]
            place = bisect.bisect_left(known, sign * score)
            known.insert(place, sign * score)
            if rung == len(self.rungs) - 1 or place >= max(1, int(len(known) / self.divisor)):
                return True
        raise AssertionError("above the last rung")
