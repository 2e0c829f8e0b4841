"""Intervals, significance and calibration against closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.report import statistics


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(right, missed, spurious):
    gold, predicted = right + missed, right + spurious
    precision, recall = right / predicted if predicted else 0.0, right / gold if gold else 0.0
    expected = 2 * precision * recall / (precision + recall) if right else 0.0
    assert statistics.f1([right, gold, predicted]) == pytest.approx(expected)
    assert statistics.share([right, gold]) == pytest.approx(recall)


def test_bootstrap_samples_are_as_many_units_drawn_with_replacement():
    """All 3^3 samples of three units are as likely; their sums' frequencies are those found."""
    rows = np.array([[0, 1], [1, 1], [5, 1]])
    drawn = statistics.resampled_sums(rows, resamples=40_000)
    assert (drawn[:, 1] == 3).all()
    exact = np.zeros(16)
    for sample in itertools.product(rows[:, 0], repeat=3):
        exact[sum(sample)] += 1 / 27
    found = np.bincount(drawn[:, 0].astype(int), minlength=16) / len(drawn)
    assert np.abs(found - exact).max() < 4 * math.sqrt(0.25 / len(drawn))


def test_units_with_equal_counts_are_drawn_as_if_each_were_another():
    rows = np.array([[1, 1]] * 30 + [[0, 1]] * 70)
    expected = statistics.interval(np.random.default_rng(1).binomial(100, 0.3, 200_000) / 100)
    for at_once in (statistics.DRAWS_AT_ONCE, 7):
        drawn = statistics.resampled_sums(rows, resamples=20_000, draws_at_once=at_once)
        found = statistics.interval(statistics.share(drawn))
        assert abs(found.low - expected.low) <= 0.0101 and abs(found.high - expected.high) <= 0.0101


def test_the_interval_of_an_accuracy_is_that_of_the_normal_approximation():
    rows = np.stack([np.arange(2000) % 5 > 0, np.ones(2000)], axis=1).astype(int)
    found = statistics.interval(statistics.share(statistics.resampled_sums(rows)))
    half = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert found.low == pytest.approx(0.8 - half, abs=0.002) and found.high == pytest.approx(0.8 + half, abs=0.002)


def test_the_order_of_the_units_is_nothing_and_no_units_are_zero():
    rows = np.random.default_rng(0).integers(0, 4, (50, 3))
    np.testing.assert_array_equal(statistics.resampled_sums(rows), statistics.resampled_sums(rows[::-1]))
    assert not statistics.resampled_sums(rows[:0]).any()


def exact_p(a, b, statistic):
    """Over all 2^U ways to swap."""
    observed = abs(float(statistic(a.sum(0)) - statistic(b.sum(0))))
    reached = 0
    for swapped in itertools.product([False, True], repeat=len(a)):
        chosen = np.array(swapped)[:, None]
        left, right = np.where(chosen, b, a).sum(0), np.where(chosen, a, b).sum(0)
        reached += abs(float(statistic(left) - statistic(right))) >= observed - 1e-12
    return reached / 2 ** len(a)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_p_is_the_share_of_swaps_that_reach_the_difference(seed):
    random = np.random.default_rng(seed)
    gold = random.integers(0, 4, 9)
    a, b = (
        np.stack([np.minimum(random.integers(0, 4, 9), gold), gold, random.integers(1, 4, 9)], axis=1) for _ in range(2)
    )
    rounds = 20_000
    exact = exact_p(a, b, statistics.f1)
    found = statistics.p_value(a, b, statistics.f1, rounds=rounds)
    assert abs(found - exact) < 5 * math.sqrt(0.25 / rounds) + 1 / rounds
    assert found == pytest.approx(statistics.p_value(b, a, statistics.f1, rounds=rounds), abs=0.02)  # two-sided


def test_p_of_equal_models_is_one_and_it_is_never_zero():
    rows = np.array([[1, 2, 2], [0, 1, 3]])
    assert statistics.p_value(rows, rows, statistics.f1) == 1.0
    good, bad = np.tile([[1, 1, 1]], (60, 1)), np.tile([[0, 1, 1]], (60, 1))
    assert statistics.p_value(good, bad, statistics.f1, rounds=999) == 1 / 1000


def test_a_difference_is_drawn_on_the_same_units():
    """Two models that are correct on the same sentences except one: a paired interval is narrow."""
    right = np.arange(400) % 2
    a = np.stack([right, np.ones(400, int)], axis=1)
    b = a.copy()
    b[0, 0] = 1
    found = statistics.difference_interval(b, a, statistics.share)
    assert 0 <= found.low <= 1 / 400 <= found.high <= 5 / 400


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_calibration_is_the_definition(words):
    confidence, right = (np.array([word[i] for word in words]) for i in (0, 1))
    found = statistics.reliability(confidence, right)
    assert found.count.sum() == len(words)
    error = 0.0
    if len(words):
        assert found.mean_confidence == pytest.approx(confidence.mean())
        assert found.mean_accuracy == pytest.approx(right.mean())
    else:
        assert math.isnan(found.mean_confidence) and math.isnan(found.mean_accuracy)
    for i in range(10):
        low, high = found.edges[i], found.edges[i + 1]
        inside = [(c, r) for c, r in words if low < c <= high or (i == 0 and c == 0)]
        assert found.count[i] == len(inside)
        if inside:
            mean, share = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            assert found.confidence[i] == pytest.approx(mean) and found.accuracy[i] == pytest.approx(share)
            error += len(inside) / len(words) * abs(mean - share)
    assert found.error == pytest.approx(error)


def test_a_model_that_is_correct_as_often_as_it_says_has_no_error():
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert statistics.reliability(confidence, right).error == pytest.approx(0)
    assert statistics.reliability(np.full(100, 0.95), np.zeros(100)).error == pytest.approx(0.95)


def test_bins_of_equal_mass_hold_equally_many_whatever_the_scores():
    scores = 1 - np.random.default_rng(0).random(103) ** 4  # most are near 1
    found = statistics.adaptive_reliability(scores, scores > 0.5)
    assert len(found.count) == 15 and set(found.count) == {6, 7} and found.words == 103
    assert (np.diff(found.edges) >= 0).all() and (np.diff(found.confidence) > 0).all()
    assert ((found.confidence > found.edges[:-1]) & (found.confidence <= found.edges[1:])).all()


def test_the_expected_error_in_bins_of_equal_mass_by_hand():
    found = statistics.adaptive_reliability([0.9, 0.2, 0.8, 0.3], [True, False, False, True], bins=2)
    assert found.confidence == pytest.approx([0.25, 0.85]) and found.accuracy == pytest.approx([0.5, 0.5])
    assert found.error == pytest.approx((0.25 + 0.35) / 2)
    assert statistics.adaptive_reliability([], []).error == 0 and statistics.error_by_chance([]) == 0
    assert statistics.adaptive_reliability([0.7], [True]).error == pytest.approx(0.3)


def test_scores_that_are_right_show_the_error_of_chance():
    random = np.random.default_rng(4)
    scores = random.beta(4, 1, 800)
    right = [statistics.adaptive_reliability(scores, random.random(800) < scores).error for _ in range(50)]
    assert statistics.error_by_chance(scores) == pytest.approx(np.mean(right), abs=0.003)
    wrong = statistics.adaptive_reliability(scores, random.random(800) < scores**2).error
    assert wrong > 2 * statistics.error_by_chance(scores)


def test_precision_and_coverage_are_those_of_each_threshold():
    random = np.random.default_rng(0)
    scores = random.integers(0, 20, 300) / 20
    correct = random.random(300) < scores
    found = statistics.coverage(scores, correct)
    assert found.score.tolist() == sorted(set(scores.tolist()), reverse=True)
    for score, share, precision in zip(found.score, found.share, found.precision, strict=True):
        given = scores >= score
        assert share == pytest.approx(given.mean()) and precision == pytest.approx(correct[given].mean())
    assert found.share[-1] == 1 and len(statistics.coverage([], []).score) == 0
