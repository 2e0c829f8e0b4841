"""A promise of precision is kept as often as promised; the bound is the formula's; files of promises are checked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from determined_ner.tags.guarantees import (
    Promise,
    Threshold,
    betting_bound,
    candidates,
    count_units,
    fit_threshold,
    lowest,
)


def population(random, units, precision, worst=False):
    """Units whose entities stand or fall together half of the time; scores that say nothing where ``worst``."""
    sizes = random.integers(0, 4, units)
    unit = np.repeat(np.arange(units), sizes)
    chance = np.full(len(unit), precision) if worst else random.beta(6, 1, len(unit))
    together = random.random(units)[unit]
    drawn = np.where(random.random(units)[unit] < 0.5, together, random.random(len(unit)))
    return chance, drawn < chance, unit


@pytest.mark.parametrize("precision", [0.8, 0.9])
def test_a_promise_is_kept_as_often_as_promised(precision):
    random = np.random.default_rng(0)
    scores, correct, unit = population(random, 600, precision)
    counts = count_units(scores, correct, unit, 600, candidates(precision))
    found, right = counts.sum(axis=1).T
    broken = refused = 0
    for _ in range(300):
        chosen = lowest(counts[:, random.integers(0, 600, 600)], precision, 0.9)
        refused += chosen is None
        broken += chosen is not None and right[chosen] < precision * found[chosen]
    assert broken <= 0.1 * 300 and refused < 60


def test_where_no_threshold_is_right_one_is_named_as_seldom_as_promised():
    """Every threshold has a precision just below what is asked for: the hardest case, and none of luck."""
    random, named = np.random.default_rng(1), 0
    for _ in range(1000):
        _, correct, unit = population(random, 200, 0.899, worst=True)
        scores = random.random(len(unit))
        named += fit_threshold(scores, correct, unit, 200, 0.9, 0.9).score is not None
    assert named <= 0.1 * 1000 + 3 * math.sqrt(1000 * 0.1 * 0.9)


def test_the_bound_is_the_inverse_of_the_mean_of_products_over_stakes():
    found, correct, number = np.array([0, 1, 1, 3]), np.array([0, 1, 0, 3]), np.array([10, 40, 2, 9])
    gains = correct - 0.8 * found

    most = 1 / (0.8 * 3)
    for times, least in ((1, 0.5), (40, 15 / np.sqrt(40 * number.sum()))):

        def wealth(stake, times=times):
            return float(np.prod((1 + stake * gains) ** (number * times)))

        mean = quad(wealth, least * most, most)[0] / ((1 - least) * most)
        assert betting_bound(found, correct, number * times, 0.8) == pytest.approx(1 / mean, rel=0.02)
    assert betting_bound(found, 0 * correct, number, 0.8) == 1
    assert betting_bound(*(np.zeros(0, np.int64),) * 3, 0.8) == 1


def test_thresholds_are_tested_in_an_order_that_no_data_decides():
    order = candidates(0.95)
    assert order[0] == 0.9875 and order[1] == 0.975 and order[2] == 0.95 and order[-1] == 0
    assert np.all(np.diff(order) < 0) and len(order) < 110


def test_more_text_and_better_scores_give_lower_thresholds():
    random = np.random.default_rng(2)
    fits = []
    for units in (50, 1500, 6000):
        scores, correct, unit = population(random, units, 0.9)
        fits.append(fit_threshold(scores, correct, unit, units, 0.9, 0.9))
    assert fits[0].score is None and fits[0].given == 0
    assert fits[2].score < fits[1].score <= 0.9 and fits[2].given > 0.5 * fits[2].found
    assert fits[2].correct >= 0.9 * fits[2].given


def test_all_entities_right_need_so_many_of_them():
    def fitted(units, precision):
        every = np.ones(units)
        return fit_threshold(every, every > 0, np.arange(units), units, precision, 0.9)

    assert fitted(200, 0.95) == Threshold(0.0, 200, 200, 200)
    assert fitted(20, 0.95) == Threshold(None, 20)
    assert fitted(0, 0.95) == Threshold(None, 0)


def test_a_promise_is_read_as_it_was_kept_and_types_without_one_get_nothing():
    of_type = {"PER": Threshold(0.75, 100, 80, 78), "LOC": Threshold(None, 3)}
    promise = Promise(0.95, 0.9, "sentences", 200, "v.conll", None, of_type)
    assert Promise.of_json(promise.as_json()) == promise
    assert promise.least_scores(["LOC", "MISC", "PER"]).tolist() == [np.inf, np.inf, 0.75]
    overall = Promise(0.95, 0.9, "documents", 40, "v.conll", Threshold(0.5, 9, 8, 8), {}, "model_quantized.onnx")
    assert Promise.of_json(overall.as_json()) == overall and overall.least_scores(["A", "B"]).tolist() == [0.5, 0.5]
    for name, value in (
        ("precision", 1.0),
        ("precision", "0.9"),
        ("confidence", float("nan")),
        ("units", -1),
        ("unit", None),
        ("onnx_file", 3),
        ("of_type", {"PER": {"score": 2.0, "found": 1, "given": 1, "correct": 1}}),
        ("overall", {"score": 0.5}),
        ("overall", None),
    ):
        with pytest.raises(ValueError):
            Promise.of_json({**overall.as_json(), name: value})
    with pytest.raises(ValueError):
        Promise.of_json({"precision": 0.9})


def test_entities_that_are_all_wrong_are_no_evidence_however_many():
    assert betting_bound(np.array([1]), np.array([0]), np.array([100_000]), 0.9) == 1
    unit, wrong = np.arange(3000), np.zeros(3000, bool)
    assert fit_threshold(np.ones(3000), wrong, unit, 3000, 0.9, 0.9).score is None


@pytest.mark.parametrize(
    ("passing", "chances", "named"),
    [
        ("11111", [0.005, 0.015, 0.1, 0.1, 0.1], 4),
        ("10111", [0.005, 0.015, 0.085, 0.085, 0.085], 4),
        ("01011", [0.005, 0.01, 0.095], 1),
        ("00100", [0.005, 0.01, 0.085, 0.085], 2),
        ("11000", [0.005, 0.015, 0.1], 1),
        ("000", [0.005, 0.01, 0.085], None),
    ],
)
def test_a_threshold_that_fails_hands_no_chance_of_error_on(passing, chances, named):
    """The shares are a twentieth, a tenth and the rest of 1 - 0.9; below them all is handed on."""
    asked, tests = [], iter(passing)
    counts = [np.full((1, 2), 1 + i) for i in range(len(passing))]

    def just(wanted):
        def bound(*_):
            passes = next(tests) == "1"
            asked.append(wanted[len(asked)])
            return asked[-1] - 1e-9 if passes else asked[-1] + 1e-9

        return bound

    assert lowest(counts, 0.9, 0.9, just(chances)) == named
    assert asked == chances
