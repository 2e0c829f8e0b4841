"""How sure a score is, whether two differ, and whether a model's probabilities mean what they say.

Pure functions on arrays of counts. A *unit* is what is drawn at random: a sentence, or a document where sentences of
one are not independent. A *statistic* maps sums of counts ``(…, C)`` to a score ``(…)``.

Units with equal counts are interchangeable, so each draw is of *how many* of a kind there are (multinomial for the
bootstrap, binomial for swaps): the same distribution as drawing units one by one, at a cost that grows with the
different rows, not with the units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Statistic = Callable[[Any], Floats]

SEED = 0
RESAMPLES = 2_000
"""Of the bootstrap: the borders of a 95 % interval then vary by a few per cent of its width."""
ROUNDS = 10_000
"""Of the randomisation test: the least p-value that it can report is 1 / (ROUNDS + 1)."""
LEVEL = 0.95
_DRAWS_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def f1(counts: Any) -> Floats:
    """F1 of ``(…, 3)`` sums of right, gold and predicted entities; 0 where there are none, as in seqeval."""
    counts = np.asarray(counts, np.float64)
    return _ratio(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def share(counts: Any) -> Floats:
    """The first of ``(…, 2)`` sums over the second; 0 where there is none. Accuracy, precision and recall are such."""
    counts = np.asarray(counts, np.float64)
    return _ratio(counts[..., 0], counts[..., 1])


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def resampled_sums(rows: Ints, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Sums of counts in bootstrap samples: as many units as there are, drawn with replacement.

    Args:
        rows: (U, C) counts of each unit; counts that belong together (two models', two types') go in one row.

    Returns:
        (resamples, C), the same for the same rows in any order.
    """
    if not len(rows):
        return np.zeros((resamples, rows.shape[1]))
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    at_a_time = max(1, _DRAWS_AT_A_TIME // len(kinds))
    probabilities = times / times.sum()
    parts = [
        random.multinomial(len(rows), probabilities, size=min(at_a_time, resamples - begin)) @ kinds.astype(np.float64)
        for begin in range(0, resamples, at_a_time)
    ]
    return np.concatenate(parts)


def interval(samples: Any) -> Interval:
    """The percentile interval at `LEVEL` of a statistic's values in bootstrap samples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    low, high = np.quantile(np.asarray(samples), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def difference_interval(a: Ints, b: Ints, statistic: Statistic) -> Interval:
    """Interval of ``statistic(a) - statistic(b)``, both on the same drawn units (paired bootstrap).

    Args:
        a, b: (U, C) counts of two models on the same units.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004).
    """
    sums = resampled_sums(np.concatenate([a, b], axis=1))
    columns = a.shape[1]
    return interval(statistic(sums[:, :columns]) - statistic(sums[:, columns:]))


def p_value(a: Ints, b: Ints, statistic: Statistic, rounds: int = ROUNDS, seed: int = SEED) -> float:
    """How often two models that do not differ would show at least this difference: approximate randomisation.

    In each round every unit's two outputs change places with probability one half; two-sided, and with the observed
    arrangement counted as a round, so that the test is valid and never reports 0.

    Args:
        a, b: (U, C) counts of two models on the same units.

    Source: Yeh, More accurate tests for the statistical significance of result differences (COLING 2000); Noreen,
    Computer-Intensive Methods for Testing Hypotheses (1989).
    """
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    observed = abs(float(statistic(total_a) - statistic(total_b)))
    change = np.asarray(b, np.int64) - np.asarray(a, np.int64)
    change = change[change.any(axis=1)]  # units without a change change nothing by swapping
    if not len(change):
        return 1.0
    kinds, times = np.unique(change, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    at_a_time = max(1, _DRAWS_AT_A_TIME // len(kinds))
    reached = 0
    for begin in range(0, rounds, at_a_time):
        swapped = random.binomial(times, 0.5, size=(min(at_a_time, rounds - begin), len(kinds))) @ kinds
        differences = np.abs(statistic(total_a + swapped) - statistic(total_b - swapped))
        reached += int(np.count_nonzero(differences >= observed - 1e-12))
    return (reached + 1) / (rounds + 1)


# -- Calibration -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Words by the probability that the model gave to the tag it chose, in bins of equal width."""

    edges: Floats
    """(bins + 1,) from 0 to 1; a bin holds its upper edge, not its lower."""
    count: NDArray[np.int64]
    """(bins,) words."""
    confidence: Floats
    """(bins,) mean probability, nan in an empty bin."""
    accuracy: Floats
    """(bins,) share of right tags, nan in an empty bin."""
    error: float
    """Expected calibration error, 0 to 1: the mean over words of the gap between their bin's two shares."""


def reliability(confidence: Any, right: Any, bins: int = 10) -> Reliability:
    """Compare probabilities with how often they are right.

    Args:
        confidence: (N,) probability of the chosen tag, 0 to 1.
        right: (N,) bool, whether the tag is the gold one.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equations 2 and 3.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(bin_of, weights=right, minlength=bins) / count
    gaps = np.nan_to_num(np.abs(mean - accuracy))
    return Reliability(edges, count, mean, accuracy, float((gaps * count).sum() / max(1, count.sum())))
