"""Precision that is promised: the lowest score from which enough entities of new text are right.

A *unit* is a sentence or a document; units are taken for independent draws of what new text is made of, the entities of
one unit for nothing. Of a threshold t, unit i has C of P found entities right. Precision on new text is E[C] / E[P]; it
is at least p where the mean of ``Z = C - p P`` is not below 0.

*One threshold.* Where that mean is at most 0, and no unit has more than M wrong entities of this score, the product
over units of ``1 + s Z`` is on average at most 1 for a stake s of at most ``1 / (p M)``, and so is its mean over such
stakes; by Markov's inequality that is 1 / a or more with probability at most a. Its inverse is a p-value, at any number
of units. M has to be known; the most entities of this score, right or wrong, that a unit of the text has stands for it.
(Units with more wrong ones may be too rare to be among them: rarer than about 3 in U.) Of U units the stakes are
even between ``min(1/2, 15 / sqrt(U))`` of the greatest one and that: the best for what is just detectable falls with
``1 / sqrt(U)``. Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B
2024).

*The lowest one.* Thresholds are tested in an order that no data decides, with a chance of error that those which pass
hand on, so that the chance of any wrong one among them is at most 1 less the confidence: two above p have a twentieth
and a tenth of it, p itself, where scores that are right give most evidence, has the rest, and all below it what is
handed on. Sources: Angelopoulos et al., "Learn then Test" (2021); Wiens, "A fixed sequence Bonferroni procedure for
testing multiple endpoints" (2003), the fallback procedure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from determined_ner.tags.calibration import Floats, is_number

Ints = NDArray[np.int64]
Bound = Callable[[Ints, Ints, Ints, float], float]
"""From P and C of each kind of unit, how many units are of it, and p: a p-value."""
STAKES = 40
SHARES = (0.05, 0.1, 0.85)
"""Of the chance of error, of the first thresholds."""
STEP = 0.01
"""Between those that follow."""


def why_no_share(value: float) -> str | None:
    """What is wrong with a precision or a confidence that is asked for; None: nothing."""
    if 0 < value < 1:
        return None
    return "no text can show that" if value == 1 else "is no share"


@dataclass(frozen=True)
class Threshold:
    """Of all types together, or of one."""

    score: float | None
    """The least score from which the precision is promised; None: it cannot be."""
    found: int
    """Entities in the text that it was fitted to."""
    given: int = 0
    """Of these, those from this score on."""
    correct: int = 0
    """Of those given."""


@dataclass(frozen=True)
class Promise:
    """A precision that is promised, for all types together or for each by itself."""

    precision: float
    confidence: float
    unit: str
    """What was taken for independent: sentences or documents."""
    units: int
    text: str
    """Names of the files that it was fitted to."""
    overall: Threshold | None
    """None: the promise is for each type."""
    of_type: Mapping[str, Threshold] = field(default_factory=dict)
    onnx_file: str | None = None
    """What computes the scores: an ONNX file; None: the weights, or the float32 file that is equal to them."""

    def least_scores(self, types: list[str]) -> Floats:
        """(types,) from which entities are given; infinite for types that nothing is promised of."""
        found = [self.overall or self.of_type.get(name, Threshold(None, 0)) for name in types]
        return np.array([np.inf if each.score is None else each.score for each in found])

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """By what they are of."""
        return dict(self.of_type) if self.overall is None else {"all types": self.overall}

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return {
            **vars(self),
            "overall": self.overall and asdict(self.overall),
            "of_type": {name: asdict(each) for name, each in self.of_type.items()},
        }

    @classmethod
    def of_json(cls, kept: Any) -> Promise:
        """The inverse of `as_json`.

        Raises:
            ValueError: it is something else; the message says what.
        """
        names = set(cls.__dataclass_fields__)
        if not isinstance(kept, dict) or set(kept) != names:
            raise ValueError(f"{str(kept)[:80]} is no promise: it has not the keys {', '.join(sorted(names))}")
        for name in ("precision", "confidence"):
            if not (is_number(kept[name]) and 0 < kept[name] < 1):
                raise ValueError(f"{name}: {kept[name]!r} is no number between 0 and 1")
        if not (
            all(isinstance(kept[name], str) for name in ("unit", "text"))
            and isinstance(kept["onnx_file"], str | None)
            and _is_count(kept["units"])
        ):
            raise ValueError("unit, units, text or onnx_file is no name or no count")
        if not isinstance(kept["of_type"], dict) or (kept["overall"] is None) == (not kept["of_type"]):
            raise ValueError("it has to have either overall or of_type")
        overall = None if kept["overall"] is None else _read_threshold(kept["overall"])
        of_type = {name: _read_threshold(each) for name, each in kept["of_type"].items()}
        return cls(**{**kept, "overall": overall, "of_type": of_type})


def _read_threshold(kept: Any) -> Threshold:
    known = isinstance(kept, dict) and set(kept) == set(Threshold.__dataclass_fields__)
    if not (known and all(_is_count(kept[name]) for name in ("found", "given", "correct"))):
        raise ValueError(f"{str(kept)[:80]} is no threshold")
    if not (kept["score"] is None or (is_number(kept["score"]) and 0 <= kept["score"] <= 1)):
        raise ValueError(f"score: {kept['score']!r} is no number from 0 to 1")
    return Threshold(**kept)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# -- Fitting ---------------------------------------------------------------------------------------------------


def candidates(precision: float) -> Floats:
    """The thresholds in the order in which they are tested, whatever the data: from high to low."""
    above = 1 - (1 - precision) * np.array([0.25, 0.5])
    below = np.maximum(0, precision - STEP * np.arange(math.ceil(precision / STEP) + 1))
    return np.round(np.concatenate([above, below]), 10)


def count_units(scores: Floats, correct: NDArray[np.bool_], unit: Ints, units: int, thresholds: Floats) -> Ints:
    """Found and right entities of each unit from each threshold on.

    Args:
        scores: (M,) of entities.
        correct: (M,).
        unit: (M,) from 0 to ``units`` - 1.
        thresholds: (G,)

    Returns:
        (G, U, 2).
    """
    counts = np.zeros((len(thresholds), units, 2), np.int64)
    for i, threshold in enumerate(thresholds):
        chosen = scores >= threshold
        for column, kept in enumerate((chosen, chosen & correct)):
            counts[i, :, column] = np.bincount(unit[kept], minlength=units)
    return counts


def betting_bound(found: Ints, correct: Ints, number: Ints, precision: float) -> float:
    """A p-value of "the precision is at most this"; see the module.

    Args:
        found: (K,) entities in a unit of each kind.
        correct: (K,) of these.
        number: (K,) units of the kind.
        precision: p.
    """
    most = max(1, int(found.max(initial=0)))
    least = min(0.5, 15 / math.sqrt(max(1, int(number.sum()))))
    stakes = (least + (1 - least) * (np.arange(STAKES) + 0.5) / STAKES) / (precision * most)
    wealth = number @ np.log1p((correct - precision * found)[:, None] * stakes)
    highest = float(wealth.max())
    if highest <= 0:  # no bet has won anything
        return 1.0
    return min(1.0, math.exp(-highest) / float(np.exp(wealth - highest).mean()))


def lowest(counts: Iterable[Ints], precision: float, confidence: float, bound: Bound = betting_bound) -> int | None:
    """Which of the `candidates` is the lowest that is promised; None: none is.

    Args:
        counts: (U, 2) of each candidate, of `count_units`.
    """
    passed, chance = None, 0.0
    for i, rows in enumerate(counts):
        share = SHARES[i] if i < len(SHARES) else 0.0
        chance += share * (1 - confidence)
        found, correct = rows.T
        width = int(found.max(initial=0)) + 1
        kinds, number = np.unique(found * width + correct, return_counts=True)
        if chance and bound(kinds // width, kinds % width, number, precision) <= chance:
            passed = i
        else:
            chance = 0.0
            if i >= len(SHARES) - 1:
                break
    return passed


def fit_threshold(
    scores: Floats,
    correct: NDArray[np.bool_],
    unit: Ints,
    units: int,
    precision: float,
    confidence: float,
) -> Threshold:
    """The lowest score from which a precision is promised.

    Args:
        scores, correct, unit, units: as of `count_units`.
        precision: above 0, below 1.
        confidence: that the promise is kept; above 0, below 1.
    """
    thresholds = candidates(precision)
    counts = count_units(scores, correct, unit, units, thresholds)
    chosen = lowest(counts, precision, confidence) if len(scores) else None
    if chosen is None:
        return Threshold(None, len(scores))
    given, right = counts[chosen].sum(axis=0).tolist()
    return Threshold(float(thresholds[chosen]), len(scores), given, right)
