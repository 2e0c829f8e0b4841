"""How certain a score is, whether two scores differ, and whether a model's probabilities can be believed.

Pure functions on arrays of counts. A *unit* is what is drawn at random: a sentence, or a document where sentences of
one are not independent. A *statistic* maps sums of counts ``(…, C)`` to a score ``(…)``.

Units with equal counts are interchangeable, so what is drawn is *how many* of each kind there are (multinomial for the
bootstrap, binomial for swaps). That has the same distribution as drawing units one by one, at a cost that grows with
the number of different rows, not with the number of units.
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
"""Of the bootstrap: so many that the ends of a 95 % interval vary by only a few per cent of its width."""
ROUNDS = 10_000
"""Of the randomisation test: the least p-value that it can report is 1 / (ROUNDS + 1)."""
LEVEL = 0.95
"""Share of the bootstrap samples that an interval covers."""
MASS_BINS = 15
"""Of equal mass."""
DRAWS_AT_ONCE = 1 << 22
"""Numbers that are drawn together, which bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """Ends of an interval at `LEVEL`."""

    low: float
    high: float


def f1(counts: Any) -> Floats:
    """F1 of ``(…, 3)`` sums of correct, gold and predicted entities; 0 where there are none, as in seqeval."""
    counts = np.asarray(counts, np.float64)
    return _ratio(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def share(counts: Any) -> Floats:
    """The first of ``(…, 2)`` sums over the second, 0 where that is 0: accuracy, precision and recall."""
    counts = np.asarray(counts, np.float64)
    return _ratio(counts[..., 0], counts[..., 1])


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def resampled_sums(
    rows: Ints, resamples: int = RESAMPLES, seed: int = SEED, draws_at_once: int = DRAWS_AT_ONCE
) -> Floats:
    """Sums of counts in bootstrap samples: as many units as there are, drawn with replacement.

    Args:
        rows: (U, C) counts of each unit; counts that are drawn together (of two models, of all types) go in one row.
        resamples: number of samples.
        draws_at_once: numbers to hold in memory.

    Returns:
        (resamples, C), the same for the same rows in any order.
    """
    if not len(rows):
        return np.zeros((resamples, rows.shape[1]))
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    at_once = max(1, draws_at_once // len(kinds))
    probabilities = times / times.sum()
    parts = [
        random.multinomial(len(rows), probabilities, size=min(at_once, resamples - begin)) @ kinds.astype(np.float64)
        for begin in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)


def interval(samples: Any) -> Interval:
    """The percentile interval at `LEVEL` of a statistic's values in bootstrap samples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    low, high = np.quantile(np.asarray(samples), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def difference_interval(a: Ints, b: Ints, statistic: Statistic) -> Interval:
    """The interval of ``statistic(a) - statistic(b)``, both on the same drawn units (paired bootstrap).

    Args:
        a, b: (U, C) counts of two models on the same units.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004).
    """
    sums = resampled_sums(np.concatenate([a, b], axis=1))
    columns = a.shape[1]
    return interval(statistic(sums[:, :columns]) - statistic(sums[:, columns:]))


def p_value(a: Ints, b: Ints, statistic: Statistic, rounds: int = ROUNDS, seed: int = SEED) -> float:
    """How often two models that do not differ would show at least this difference: approximate randomisation.

    In each round the two outputs of every unit are swapped with probability one half. The test is two-sided. The
    observed arrangement counts as one round, which keeps the test valid and its result above 0.

    Args:
        a, b: (U, C) counts of two models on the same units.

    Source: Yeh, More accurate tests for the statistical significance of result differences (COLING 2000); Noreen,
    Computer-Intensive Methods for Testing Hypotheses (1989).
    """
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    observed = abs(float(statistic(total_a) - statistic(total_b)))
    change = np.asarray(b, np.int64) - np.asarray(a, np.int64)
    change = change[change.any(axis=1)]  # swapping equal rows changes nothing
    if not len(change):
        return 1.0
    kinds, times = np.unique(change, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // len(kinds))
    reached = 0
    for begin in range(0, rounds, at_once):
        swapped = random.binomial(times, 0.5, size=(min(at_once, rounds - begin), len(kinds))) @ kinds
        differences = np.abs(statistic(total_a + swapped) - statistic(total_b - swapped))
        reached += int(np.count_nonzero(differences >= observed - 1e-12))
    return (reached + 1) / (rounds + 1)


# -- Calibration -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Words or entities by the probability that the model gave to them, in bins of equal width or of equal mass."""

    edges: Floats
    """(bins + 1,) from 0 to 1; a bin includes its upper edge, not its lower."""
    count: NDArray[np.int64]
    """(bins,) words or entities."""
    confidence: Floats
    """(bins,) mean probability, nan in an empty bin."""
    accuracy: Floats
    """(bins,) share of correct tags, nan in an empty bin."""
    error: float
    """Expected calibration error, 0 to 1: the gap between a bin's confidence and accuracy, averaged over words."""

    @property
    def words(self) -> int:
        """In all bins."""
        return int(self.count.sum())

    @property
    def mean_confidence(self) -> float:
        """Over words; nan where there are none."""
        return self._mean(self.confidence)

    @property
    def mean_accuracy(self) -> float:
        """Over words; nan where there are none."""
        return self._mean(self.accuracy)

    def _mean(self, per_bin: Floats) -> float:
        return float(np.nansum(per_bin * self.count)) / self.words if self.words else float("nan")


def reliability(confidence: Any, correct: Any, bins: int = 10) -> Reliability:
    """Compare the probabilities of the chosen tags with how often those are correct, in bins of equal width.

    Args:
        confidence: (N,) probability of the chosen tag, 0 to 1.
        correct: (N,) bool, whether the tag is the gold one.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equations 2 and 3.
    """
    confidence = np.asarray(confidence, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return _of_bins(edges, bin_of, confidence, correct)


def adaptive_reliability(scores: Any, correct: Any, bins: int = MASS_BINS) -> Reliability:
    """The same in bins that hold equally many (of N, ``N // bins`` or one more), by rank.

    Bins of equal width would put most entities of a good model into the last one.

    Args:
        scores: (N,) 0 to 1.
        correct: (N,) bool.

    Source: Nguyen and O'Connor, Posterior calibration and exploratory analysis for NLP models (EMNLP 2015).
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(scores, kind="stable")
    bin_of = np.empty(len(scores), np.int64)
    bin_of[order] = np.arange(len(scores)) * bins // max(1, len(scores))
    ends = -(-np.arange(1, bins) * len(scores) // bins) - 1  # the last of each bin, by rank
    inner = scores[order][np.maximum(ends, 0)] if len(scores) else np.zeros(bins - 1)
    return _of_bins(np.concatenate([[0], inner, [1]]), bin_of, scores, correct)


@dataclass(frozen=True)
class Coverage:
    """What is given and what of it is right, if entities below a score are withheld; a row for each different score."""

    score: Floats
    """From high to low."""
    share: Floats
    """Of all entities, those that are given."""
    precision: Floats
    """Of those given, the share that is right."""


def coverage(scores: Any, correct: Any) -> Coverage:
    """Precision against the share of entities that is given.

    Args:
        scores: (N,) 0 to 1.
        correct: (N,) bool.

    Source: El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification (JMLR 2010).
    """
    scores, correct = np.asarray(scores, np.float64), np.asarray(correct, bool)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-1.0))  # of those with the same score
    given = last + 1
    return Coverage(scores[order][last], given / max(1, len(scores)), np.cumsum(correct[order])[last] / given)


def error_by_chance(scores: Any, bins: int = MASS_BINS, draws: int = 200, seed: int = SEED) -> float:
    """The mean error of `adaptive_reliability` if each score were right: outcomes are drawn from the scores."""
    scores, random = np.asarray(scores, np.float64), np.random.default_rng(seed)
    drawn = (adaptive_reliability(scores, random.random(len(scores)) < scores, bins).error for _ in range(draws))
    return float(np.mean(list(drawn)))


def _of_bins(edges: Floats, bin_of: Ints, confidence: Floats, correct: Any) -> Reliability:
    bins, correct = len(edges) - 1, np.asarray(correct, bool)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(bin_of, weights=correct, minlength=bins) / count
    gaps = np.nan_to_num(np.abs(mean - accuracy))
    return Reliability(edges, count, mean, accuracy, float((gaps * count).sum() / max(1, count.sum())))
