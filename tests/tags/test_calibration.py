"""Calibration: fits find what is there, no curve turns an order round, a file that says something else is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from determined_ner.tags import fitting
from determined_ner.tags.calibration import Calibration, Curve, log_odds, read_errors, sigmoid
from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import Spans
from determined_ner.tags.fitting import (
    MODEST,
    Evidence,
    Labelled,
    choose_curves,
    fit,
    fit_curve,
    fit_temperature,
    losses,
    same_spans,
    temperature_of,
)
from determined_ner.tags.lattice import softmax
from determined_ner.tags.schemes import Scheme

LABELS = ("B-A", "B-B", "I-A", "I-B", "O")


def made_evidence(curves: dict[str, Curve], count: int = 2_000, seed: int = 0) -> Evidence:
    """Entities that are right as often as the curve of their type says, five in a unit."""
    random, names = np.random.default_rng(seed), sorted(curves)
    probabilities, types = random.beta(3, 1, count), random.integers(len(names), size=count)
    truth = np.array([curves[names[t]](np.array([p]))[0] for p, t in zip(probabilities, types, strict=True)])
    return Evidence(probabilities, types, names, random.random(count) < truth, np.arange(count) // 5, count // 5)


def made_text(temperature: float, words: int = 4_000) -> Labelled:
    """Tags that are drawn from the softmax of the logits over a temperature."""
    random = np.random.default_rng(3)
    logits = random.normal(scale=3, size=(words, len(LABELS)))
    drawn = (softmax(logits / temperature).cumsum(1) < random.random((words, 1))).sum(1)
    starts = np.arange(0, words + 1, 8)
    return Labelled(logits.astype(np.float32), np.minimum(drawn, 4), starts, starts, LABELS, plain=False)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_the_text(temperature):
    text = made_text(temperature)
    assert fit_temperature(text.logits, text.gold) == pytest.approx(temperature, rel=0.08)


def test_the_temperature_is_the_least_loss_of_the_words_and_of_some_that_are_as_the_model_says():
    text = made_text(1.7)
    own = softmax(text.logits.astype(np.float64))

    def loss(at: float) -> float:
        said = np.log(softmax(text.logits / at))
        return float(-said[np.arange(len(text.gold)), text.gold].sum() - MODEST * (own * said).sum(1).mean())

    found = fit_temperature(text.logits, text.gold)
    assert all(loss(found) < loss(found * other) for other in (0.99, 1.01))
    assert fit_temperature(text.logits[:0], text.gold[:0]) == 1


def test_of_few_words_that_are_all_right_no_score_becomes_1():
    random = np.random.default_rng(0)
    logits = np.log(np.where(np.eye(3)[random.integers(0, 3, 60)] == 1, random.uniform(0.7, 0.85, (60, 1)), 0.1))
    right, wrong = logits.argmax(1), logits.argmin(1)
    assert 0.4 < fit_temperature(logits, right) < 0.9 and 1.5 < fit_temperature(logits, wrong) < 30
    many = np.repeat(logits, 100, 0)
    assert fit_temperature(many, np.repeat(right, 100)) < 0.3 and fit_temperature(many, np.repeat(wrong, 100)) > 50


def test_a_crf_has_no_temperature():
    text = made_text(2.5, words=400)
    assert temperature_of(text) > 2 and temperature_of(replace(text, transitions=np.zeros((5, 5)))) == 1
    assert fit(replace(text, transitions=np.zeros((5, 5)))).temperature == 1


def test_no_tag_depends_on_the_temperature():
    """Dividing all logits keeps each order: what is scored at any temperature are the entities of the plain logits."""
    text = made_text(1.0, words=400)
    allowed = allowed_transitions(LABELS, Scheme.IOB2)
    tags = best_tags(text.logits, text.starts, allowed)
    for temperature in (0.05, 0.7, 1.3, 20.0):
        scaled = text.logits.astype(np.float64) / temperature
        np.testing.assert_array_equal(best_tags(scaled, text.starts, allowed), tags)
        assert len(text.evidence(temperature).correct) == len(text.spans(tags).begin)


def test_a_curve_is_the_one_of_least_loss_as_scipy_finds_it():
    found = made_evidence({"A": Curve(0.6, -0.8)}, count=300)
    odds, held = log_odds(found.probabilities), fitting.CLOSENESS / 4

    def value(at: np.ndarray) -> float:
        raised = at[0] * odds + at[1]
        return float((np.logaddexp(0, raised) - found.correct * raised).sum() + held / 2 * ((at - [1, 0]) ** 2).sum())

    curve = fit_curve(odds, found.correct)
    np.testing.assert_allclose([curve.slope, curve.offset], minimize(value, [1.0, 0.0]).x, atol=1e-3)


def test_no_curve_turns_the_order_of_scores_round():
    found = made_evidence({"A": Curve(1, 0)})
    curve = fit_curve(log_odds(found.probabilities), found.probabilities < 0.8)
    assert curve.slope == 0
    assert curve(np.array([0.5]))[0] == pytest.approx((found.probabilities < 0.8).mean(), abs=0.01)


def test_without_entities_a_curve_is_what_it_is_held_to():
    assert fit_curve(np.zeros(0), np.zeros(0, np.bool_)) == Curve(1, 0)
    assert fit_curve(np.zeros(0), np.zeros(0, np.bool_), Curve(0.3, 2)) == Curve(0.3, 2)


@pytest.mark.parametrize(
    ("curves", "own"),
    [
        ({"A": Curve(0.5, -0.5), "B": Curve(0.5, -0.5)}, set()),
        ({"A": Curve(1, 2), "B": Curve(0.5, -1.5)}, {"A", "B"}),
    ],
)
def test_a_curve_is_taken_where_it_is_better_on_the_other_half(curves, own):
    evidence = made_evidence(curves)
    found = choose_curves(evidence, 1.5)
    assert found.temperature == 1.5 and found.curve is not None and set(found.of_type) == own
    new = made_evidence(curves, seed=1)
    assert losses(found, new).sum() < losses(Calibration(), new).sum()


def test_a_curve_that_is_no_better_on_the_other_half_is_not_taken():
    """What is right in five entities by chance is no curve of twenty others."""
    random = np.random.default_rng(1)
    evidence = made_evidence({"A": Curve(), "B": Curve()}, count=40)
    assert any(
        choose_curves(replace(evidence, correct=random.random(40) < evidence.probabilities), 1.0).curve is None
        for _ in range(10)
    )


def test_probabilities_that_are_right_stay_about_what_they_are():
    evidence = made_evidence({"A": Curve(), "B": Curve()})
    scores = evidence.scores(choose_curves(evidence, 1.0))
    assert np.abs(scores - evidence.probabilities).max() < 0.06


def test_fits_are_the_same_again_and_leave_random_generators_alone():
    text, before = made_text(1.4), np.random.get_state()[1].tolist()
    assert fit(text) == fit(text)
    assert np.random.get_state()[1].tolist() == before


def test_nothing_to_fit_to_leaves_the_model_s_own_probabilities():
    nothing = np.zeros(0, np.int64)
    empty = Labelled(np.zeros((0, 5)), nothing, np.zeros(1, np.int64), np.zeros(1, np.int64), LABELS, plain=False)
    assert fit(empty) == Calibration()
    outside = Labelled(np.eye(5)[[4] * 6], np.full(6, 4), np.array([0, 6]), np.array([0, 6]), LABELS, plain=False)
    assert fit(outside).curve is None  # no entity


def test_a_type_without_an_entity_is_scored_by_the_curve_of_all():
    calibration = Calibration(1.0, Curve(1, 1), {"A": Curve(0, 0)})
    scores = calibration.scores(np.array([0.5, 0.5]), np.array([0, 1]), ["A", "NEW"])
    np.testing.assert_allclose(scores, [0.5, sigmoid(np.array([1.0]))[0]])


def test_an_entity_is_right_where_words_and_type_are():
    found = Spans(np.array([0, 2, 2, 5]), np.array([1, 4, 4, 6]), np.array([0, 0, 1, 1], np.int32))
    gold = Spans(np.array([0, 2, 4]), np.array([1, 4, 6]), np.array([1, 1, 1], np.int32))
    assert same_spans(found, gold).tolist() == [False, False, True, False]


def test_what_is_kept_is_read_again():
    calibration = Calibration(1.25, Curve(0.9, -0.1), {"PER": Curve(1.1, 0.2)})
    assert Calibration.of_json(json.loads(json.dumps(calibration.as_json()))) == calibration
    assert Calibration.of_json(Calibration().as_json()) == Calibration()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0}, "temperature: 0"),
        ({"temperature": "1"}, "temperature: '1'"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"curve": {"slope": -1, "offset": 0}}, "curve: "),
        ({"curve": [1, 0]}, "curve: "),
        ({"of_type": None}, "of_type: None"),
        ({"of_type": {"PER": {"slope": 1}}}, "of_type.PER: "),
    ],
)
def test_a_file_that_says_something_else_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        Calibration.of_json(Calibration().as_json() | changes)


@pytest.mark.parametrize("errors", [[], {"test": 0.1}, {"test": {"entities": 3, "before": None}}])
def test_errors_that_are_no_numbers_are_refused(errors):
    with pytest.raises(ValueError, match="errors"):
        read_errors({"errors": errors})
