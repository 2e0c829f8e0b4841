"""Calibration fitted to text with gold tags: the temperature to words, curves to the entities that were found.

Each fit minimises the mean of ``-log(probability of what is so)``, a proper score, by Newton's method; all are convex.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.calibration import GREATEST, Calibration, Curve, Floats, log_odds, sigmoid
from determined_ner.tags.decoding import CELLS, allowed_transitions, best_tags
from determined_ner.tags.entities import BoolArray, IntArray, Spans, TagTable, entity_spans
from determined_ner.tags.lattice import entity_probabilities, softmax
from determined_ner.tags.schemes import Scheme

SEED = 0
HALVINGS = 10
"""Of the text, to see which curve is better on text that it was not fitted to."""
MODEST = 50
"""Words by which a temperature is held to 1."""
CLOSENESS = 20.0
"""How much a curve is held to what it would be without data, in entities of even odds: with few, it hardly moves."""


@dataclass(frozen=True)
class Evidence:
    """M entities that a model found in U units of text (sentences, or documents)."""

    probabilities: Floats
    """(M,) of `lattice.entity_probabilities`."""
    types: NDArray[np.integer[Any]]
    """(M,) index in ``names``."""
    names: list[str]
    """Of the types."""
    correct: BoolArray
    """(M,) whether gold has an entity of the same words and type."""
    unit: NDArray[np.int64]
    """(M,) from 0 to U - 1."""
    units: int

    def scores(self, calibration: Calibration) -> Floats:
        """(M,) their scores."""
        return calibration.scores(self.probabilities, self.types, self.names)

    def take(self, units: BoolArray) -> Evidence:
        """The entities of some units.

        Args:
            units: (U,).
        """
        chosen = units[self.unit]
        return replace(
            self,
            probabilities=self.probabilities[chosen],
            types=self.types[chosen],
            correct=self.correct[chosen],
            unit=self.unit[chosen],
        )


@dataclass(frozen=True)
class Labelled:
    """N words in S texts with gold tags and what a model gives to them."""

    logits: NDArray[np.floating[Any]]
    """(N, K)"""
    gold: IntArray
    """(N,) label ids."""
    starts: IntArray
    """(S + 1,) first word of each text, and N."""
    units: IntArray
    """(U + 1,) first word of each unit, whose texts belong together, and N."""
    labels: Sequence[str]
    """(K,) IOB2 or plain."""
    plain: bool
    transitions: NDArray[np.floating[Any]] | None = None
    """(K, K) of a CRF."""

    def spans(self, tags: IntArray) -> Spans:
        """Entities; of plain tags, the words."""
        if self.plain:
            words = np.arange(len(tags))
            return Spans(words, words + 1, np.asarray(tags, np.int32))
        return entity_spans(tags, self.starts, TagTable(self.labels, plain=False))

    def evidence(self, temperature: float) -> Evidence:
        """The entities that a tagger finds, at a temperature."""
        scheme = Scheme.PLAIN if self.plain else Scheme.IOB2
        found = self.spans(
            best_tags(self.logits, self.starts, allowed_transitions(self.labels, scheme), transitions=self.transitions)
        )
        return Evidence(
            entity_probabilities(
                self.logits, self.starts, self.labels, scheme, found, temperature, transitions=self.transitions
            ),
            found.type_id,
            list(self.labels) if self.plain else TagTable(self.labels, plain=False).types,
            same_spans(found, self.spans(self.gold)),
            np.searchsorted(self.units, found.begin, side="right") - 1,
            len(self.units) - 1,
        )


def same_spans(found: Spans, gold: Spans) -> BoolArray:
    """(M,) whether each of the M found entities is among the gold ones."""
    rows = [np.stack([spans.begin, spans.end, spans.type_id], axis=1).astype(np.int64) for spans in (found, gold)]
    both, inverse = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    is_gold = np.zeros(len(both), np.bool_)
    inverse = inverse.ravel()
    is_gold[inverse[len(found.begin) :]] = True
    return is_gold[inverse[: len(found.begin)]]


def fit(text: Labelled) -> Calibration:
    """The calibration of a model on a labelled text; without words, none."""
    temperature = temperature_of(text)
    return choose_curves(text.evidence(temperature), temperature)


def temperature_of(text: Labelled) -> float:
    """That of `fit_temperature`; 1 for a CRF, whose logits of one word say nothing without the others."""
    return fit_temperature(text.logits, text.gold) if text.transitions is None else 1.0


def fit_temperature(logits: NDArray[np.floating[Any]], gold: IntArray) -> float:
    """The temperature at which the gold labels of N words are most probable, and of `MODEST` that are as it is.

    These are as sure as the N are in the mean, and right as often as the model says at a temperature of 1: where few
    words are given and all of them are right, scores do not become 1.

    Args:
        logits: (N, K).
        gold: (N,) label ids.
    """
    if not len(gold):
        return 1.0
    inverse = 1.0  # in which the loss is convex
    share = MODEST / len(gold)
    right = logits[np.arange(len(gold)), gold].astype(np.float64) - logits.max(1)
    aim = right + share * _moments(logits, inverse)[0]
    for _ in range(50):
        means, variance = _moments(logits, inverse)
        slope, curvature = float(((1 + share) * means - aim).sum()), (1 + share) * variance
        step = slope / curvature if curvature > 0 else np.sign(slope) * inverse
        low, high = max(inverse / 2, 1 / GREATEST), min(2 * inverse, GREATEST)
        before, inverse = inverse, float(np.clip(inverse - step, low, high))
        if abs(inverse - before) < 1e-9 * before:
            break
    return 1 / inverse


def _moments(logits: NDArray[np.floating[Any]], inverse: float) -> tuple[Floats, float]:
    """(N,) mean of each word's logits, less its greatest, by their softmax over a temperature; their variance, summed.

    The first and the second derivative of the loss by the inverse of the temperature are made of these.
    """
    means, variance = np.empty(len(logits)), 0.0
    at_once = max(1, CELLS // logits.shape[1])
    for begin in range(0, len(logits), at_once):
        here = slice(begin, begin + at_once)
        centred = logits[here].astype(np.float64)
        centred -= centred.max(1, keepdims=True)
        weights = softmax(inverse * centred)
        means[here] = (weights * centred).sum(1)
        variance += float(((weights * centred**2).sum(1) - means[here] ** 2).sum())
    return means, variance


def choose_curves(found: Evidence, temperature: float) -> Calibration:
    """The curves that are best on halves of the text that they were not fitted to, fitted to all of it.

    None, one for all types, or one for each type: whatever has the least loss there, the simpler one of equals.
    """
    kinds: tuple[Callable[[Evidence, float], Calibration], ...] = (_no_curve, _one_curve, _curve_a_type)
    if not len(found.correct):
        return _no_curve(found, temperature)
    held_out = np.zeros(len(kinds))
    for half in halves(found.units, HALVINGS, SEED):
        fitted, other = found.take(half), found.take(~half)
        held_out += [losses(kind(fitted, temperature), other).sum() for kind in kinds]
    return kinds[int(held_out.argmin())](found, temperature)


def halves(units: int, halvings: int, seed: int) -> Iterator[BoolArray]:
    """(U,) masks of random halves of a text's units; each is followed by its other half."""
    random = np.random.default_rng(seed)
    for _ in range(halvings):
        half = np.zeros(units, np.bool_)
        half[random.permutation(units)[: units // 2]] = True
        yield half
        yield ~half


def losses(calibration: Calibration, found: Evidence) -> Floats:
    """(M,) ``-log(probability of what is so)`` of each entity."""
    scores = found.scores(calibration)
    each: Floats = -np.log(np.maximum(np.where(found.correct, scores, 1 - scores), 1e-12))
    return each


def _no_curve(found: Evidence, temperature: float) -> Calibration:
    return Calibration(temperature)


def _one_curve(found: Evidence, temperature: float) -> Calibration:
    return Calibration(temperature, fit_curve(log_odds(found.probabilities), found.correct))


def _curve_a_type(found: Evidence, temperature: float) -> Calibration:
    odds = log_odds(found.probabilities)
    shared = fit_curve(odds, found.correct)
    curves = {}
    for i in np.unique(found.types).tolist():
        chosen = found.types == i
        curves[found.names[i]] = fit_curve(odds[chosen], found.correct[chosen], shared)
    return Calibration(temperature, shared, curves)


def fit_curve(odds: Floats, correct: BoolArray, prior: Curve | None = None) -> Curve:
    """Slope and offset under which what is so is most probable, held to those of ``prior``.

    Args:
        odds: (M,) `log_odds` of the probabilities.
        correct: (M,).
        prior: what it is without data; None: the identity.
    """
    start = np.array([prior.slope, prior.offset]) if prior is not None else np.array([1.0, 0.0])
    inputs, so = np.stack([odds, np.ones_like(odds)], axis=1), correct.astype(np.float64)
    held = CLOSENESS / 4  # an entity of even odds has a curvature of 1/4

    def value(at: Floats) -> float:
        raised = inputs @ at
        return float((np.logaddexp(0, raised) - so * raised).sum() + held / 2 * ((at - start) ** 2).sum())

    at, free = start.copy(), np.array([True, True])
    for _ in range(100):
        scores = sigmoid(inputs @ at)
        gradient = inputs.T @ (scores - so) + held * (at - start)
        free[0] = at[0] > 0 or gradient[0] < 0  # a slope below 0 would turn the order round
        hessian = (inputs * (scores * (1 - scores))[:, None]).T @ inputs + held * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        size, before = 1.0, value(at)
        while value(new := _within(at - size * step)) > before and size > 1e-9:
            size /= 2
        if np.abs(new - at).max() < 1e-10:
            break
        at = new
    return Curve(float(at[0]), float(at[1]))


def _within(at: Floats) -> Floats:
    return np.array([np.clip(at[0], 0, GREATEST), at[1]])
