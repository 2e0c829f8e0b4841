"""Scores that are as often right as they say: what is fitted once, on text that the training did not see.

Logits, but for a CRF's, are divided by one temperature, which changes no word's best label and no sequence's rank. The
probability p of an entity, which follows from them (`lattice`), becomes ``1 / (1 + exp(-(slope · log(p / (1 - p)) +
offset)))``, with two numbers for all types or for each. No tag depends on any of this: they are chosen before.

Sources: Guo et al. 2017, "On Calibration of Modern Neural Networks" (temperature); Platt 1999, "Probabilistic Outputs
for Support Vector Machines" (slope and offset).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEAREST = 1e-9
"""To 0 and to 1 that a probability is taken to come."""
LARGEST = 1e300
"""Numbers of a file are smaller: an integer of hundreds of digits is no float."""
GREATEST = 100.0
"""Temperature and slope; the least is its inverse, or for a slope 0."""


@dataclass(frozen=True)
class Curve:
    """What makes scores of probabilities. It never falls."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, probabilities: Floats) -> Floats:
        """Scores, from 0 to 1, in the shape of the probabilities."""
        return sigmoid(self.slope * log_odds(probabilities) + self.offset)


@dataclass(frozen=True)
class Calibration:
    """What was fitted; by default nothing, so that scores are the model's own probabilities."""

    temperature: float = 1.0
    curve: Curve | None = None
    """Of entities of all types; None: their probabilities are their scores."""
    of_type: Mapping[str, Curve] = field(default_factory=dict)
    """Of types that have one of their own."""

    def scores(self, probabilities: Floats, types: NDArray[np.integer[Any]], names: list[str]) -> Floats:
        """(M,) scores of entities.

        Args:
            probabilities: (M,).
            types: (M,) index in ``names``.
            names: of the types.
        """
        if self.curve is None:
            return probabilities
        scores = self.curve(probabilities)
        for name, curve in self.of_type.items():
            if name in names:
                chosen = types == names.index(name)
                scores[chosen] = curve(probabilities[chosen])
        return scores

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return {
            "temperature": self.temperature,
            "curve": None if self.curve is None else vars(self.curve),
            "of_type": {name: vars(curve) for name, curve in self.of_type.items()},
        }

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Calibration:
        """The inverse of `as_json`; other keys do not matter.

        Raises:
            ValueError: it is something else; the message says what.
        """
        temperature = kept.get("temperature")
        if not (is_number(temperature) and 1 / GREATEST <= temperature <= GREATEST):
            raise ValueError(f"temperature: {temperature!r} is no number from {1 / GREATEST} to {GREATEST:.0f}")
        curves = kept.get("of_type")
        if not isinstance(curves, dict):
            raise ValueError(f"of_type: {curves!r} is no object")
        curve = None if kept.get("curve") is None else _read_curve("curve", kept["curve"])
        return cls(temperature, curve, {name: _read_curve(f"of_type.{name}", c) for name, c in curves.items()})


ERRORS = ("entities", "before", "after", "by_chance", "mean_score", "share_correct")
"""What is measured of a split: how many entities were found; the expected calibration error of their probabilities, of
their scores, and the mean one of outcomes drawn from the scores; what share of them is right by the scores, and is."""


def read_errors(kept: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured when a calibration was fitted, by split: the numbers that `ERRORS` names.

    Args:
        kept: the file of the calibration.

    Raises:
        ValueError: it is something else.
    """
    errors = kept.get("errors", {})
    if not isinstance(errors, dict):
        raise ValueError(f"errors: {errors!r} is no object")
    for split, numbers in errors.items():
        if not (isinstance(numbers, dict) and all(is_number(numbers.get(name)) for name in ERRORS)):
            raise ValueError(f"errors.{split}: {numbers!r} has not the numbers {', '.join(ERRORS)}")
    return errors


def _read_curve(name: str, kept: Any) -> Curve:
    slope, offset = (kept.get("slope"), kept.get("offset")) if isinstance(kept, dict) else (None, None)
    if not (is_number(slope) and is_number(offset) and 0 <= slope <= GREATEST):
        raise ValueError(f"{name}: {kept!r} is no slope from 0 to {GREATEST:.0f} and offset")
    return Curve(slope, offset)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether what a file has is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def log_odds(probabilities: Floats) -> Floats:
    """``log(p / (1 - p))``."""
    near = np.clip(probabilities, NEAREST, 1 - NEAREST)
    odds: Floats = np.log(near) - np.log1p(-near)
    return odds


def sigmoid(values: Floats) -> Floats:
    """The inverse of `log_odds`."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * values))
    return result
