"""The calibration of a run's model: fitted to the validation data, measured where it was not fitted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from determined_ner.finish.splits import SplitLogits
from determined_ner.report.statistics import adaptive_reliability, error_by_chance
from determined_ner.tags.calibration import Calibration
from determined_ner.tags.fitting import Evidence, choose_curves, halves, temperature_of
from determined_ner.tags.shift import UsualScores

logger = logging.getLogger("determined_ner")
SEED = 1
HALVINGS = 5
"""Of the validation data, each half of which the other's curves are measured on."""


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and how far its scores are off."""

    calibration: Calibration
    errors: dict[str, dict[str, float]]
    """By split, see `tags.calibration.ERRORS`; of validation, on halves that the curves were not fitted to."""
    usual: UsualScores | None
    """What scores the entities of the validation data have; None: it has none."""

    def as_json(self) -> dict[str, Any]:
        """As it is kept in the model directory and in the summary."""
        usual = None if self.usual is None else self.usual.as_json()
        return {**self.calibration.as_json(), "errors": self.errors, "scores": usual}


def calibrate(splits: dict[str, SplitLogits]) -> Calibrated:
    """Calibrate the model of a run on its validation data."""
    validation = splits["validation"].text
    temperature = temperature_of(validation)
    own, found = validation.evidence(1.0), validation.evidence(temperature)
    calibration = choose_curves(found, temperature)
    errors = {"validation": _errors_of_halves(own, found, temperature)}
    if "test" in splits:
        test = splits["test"].text
        errors["test"] = _errors(calibration, test.evidence(1.0), test.evidence(temperature))
    _log(calibration, errors)
    return Calibrated(calibration, errors, UsualScores.of(found.scores(calibration)))


def _errors_of_halves(own: Evidence, found: Evidence, temperature: float) -> dict[str, float]:
    """The mean over random halves, each measured by curves that were fitted to the other.

    Args:
        own: the entities at temperature 1.
        found: at that of the calibration, which is one number fitted to all words.
    """
    measured = []
    for half in halves(found.units, HALVINGS, SEED):
        calibration = choose_curves(found.take(half), temperature)
        measured.append(_errors(calibration, own.take(~half), found.take(~half)))
    mean = {name: float(np.mean([errors[name] for errors in measured])) for name in measured[0]}
    return {**mean, "entities": len(found.correct)}


def _errors(calibration: Calibration, own: Evidence, found: Evidence) -> dict[str, float]:
    scores = found.scores(calibration)
    return {
        "entities": len(scores),
        "before": adaptive_reliability(own.probabilities, own.correct).error,
        "after": adaptive_reliability(scores, found.correct).error,
        "by_chance": error_by_chance(scores, draws=50),
        "mean_score": float(scores.mean()) if len(scores) else 0.0,
        "share_correct": float(found.correct.mean()) if len(scores) else 0.0,
    }


def _log(calibration: Calibration, errors: dict[str, dict[str, float]]) -> None:
    described = {"validation": "halves of validation", "test": "test"}
    parts = [
        f"{e['before']:.3f} → {e['after']:.3f} on {described[split]} ({e['by_chance']:.3f} by chance)"
        for split, e in errors.items()
    ]
    logger.info(
        f"calibration: temperature {calibration.temperature:.2f}; expected error of the scores of entities "
        f"{', '.join(parts)}"
    )
