"""Who goes on at a rung: tables of scores made up, worked out by hand from Determined's rule, and its stand-in."""

from __future__ import annotations

import random
from typing import Any

import pytest

from determined_ner.errors import UserError
from determined_ner.search.halving import Bracket, History, is_stopped, make_brackets, make_rungs, scores_needed
from tests.cluster.searcher import AdaptiveSearch

TWO_RUNGS = Bracket((1, 4), 8)


def play(bracket: Bracket, divisor: float, curves: list[list[float]]) -> list[int]:
    """How many epochs each trial trains whose scores, larger being better, would be these after each epoch."""
    before: list[History] = []
    lengths = []
    for curve in curves:
        needed = scores_needed(bracket, divisor, before)
        for epoch in range(1, len(curve) + 1):
            trial = History([(at, -curve[at - 1]) for at in range(1, epoch + 1)])
            if is_stopped(bracket, needed, trial):
                break
        before.append(trial)
        lengths.append(epoch)
    return lengths


@pytest.mark.parametrize(
    ("scores", "epochs"),
    [
        ([0.5, 0.6, 0.7, 0.8], [4, 4, 4, 4]),  # each the best so far
        ([0.8, 0.7, 0.6, 0.5], [4, 1, 1, 1]),  # with fewer than a divisor of them, only the best of all goes on
        ([0.8, 0.8, 0.7, 0.8], [4, 4, 1, 4]),  # as good is enough
        ([0.50, 0.61, 0.42, 0.55, 0.70, 0.33, 0.58, 0.47], [4, 4, 1, 1, 4, 1, 1, 1]),
        # With the eighth the best two of eight go on, with the twelfth the best three.
        ([0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8], [4, 1, 1, 1, 1, 1, 1, 4]),
        ([0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7], [4, *[1] * 10, 4]),
        ([0.9, 0.8, 0.75, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7], [4, *[1] * 11]),
    ],
)
def test_a_trial_goes_on_where_it_is_among_the_best_so_far(scores: list[float], epochs: list[int]) -> None:
    assert play(TWO_RUNGS, 4, [[score] * 4 for score in scores]) == epochs


def test_a_trial_is_compared_at_each_rung_with_those_that_came_there() -> None:
    bracket = Bracket((1, 3, 9), 6)
    curves = [
        [0.1] * 9,  # the first has nobody to lose to
        [0.2, 0.2, 0.05, *[0.05] * 6],  # best after 1, worse after 3
        [0.0] * 9,  # worse after 1
        [0.3] * 9,
        [0.25] * 9,  # the fifth of five; of five, one goes on
        [0.25, 0.25, 0.9, *[0.9] * 6],  # two of six go on after 1; it is the best after 3
    ]
    assert play(bracket, 3, curves) == [9, 3, 1, 9, 1, 9]


def test_a_score_counts_at_the_first_validation_after_a_rung() -> None:
    bracket = Bracket((100, 400), 2)
    first = History([(150, -0.5), (300, -0.9)])
    assert scores_needed(bracket, 4, [first]) == [-0.5]
    assert not is_stopped(bracket, [-0.5], History([(90, -0.1)]))
    assert is_stopped(bracket, [-0.5], History([(90, -0.9), (160, -0.4), (300, -0.9)]))


def test_a_trial_that_failed_is_the_worst_where_it_was_on_its_way_to() -> None:
    assert scores_needed(TWO_RUNGS, 2, [History([], failed=True)]) == [float("inf")]
    before = [History([(1, -0.5), (4, -0.5)]), History([], failed=True), History([], failed=True)]
    assert scores_needed(TWO_RUNGS, 2, before) == [float("inf")]  # two of four go on
    assert scores_needed(TWO_RUNGS, 4, before) == [-0.5]


def test_a_trial_that_ended_by_itself_is_known_only_where_it_came() -> None:
    assert scores_needed(Bracket((2, 4), 2), 4, [History([(1, -0.5)])]) == [None]


@pytest.mark.parametrize("smaller_is_better", [False, True])
def test_what_goes_on_is_what_the_stand_in_of_determined_s_searcher_lets_go_on(smaller_is_better: bool) -> None:
    drawn = random.Random(4)
    for _ in range(100):
        divisor, number = drawn.choice([1.5, 2, 3, 4]), drawn.randint(1, 4)
        length = drawn.randint(4, 30)
        rungs = list(make_rungs(number, divisor, length))
        curves = [[drawn.randint(0, 9) / 10 for _ in range(length)] for _ in range(15)]
        theirs: Any = AdaptiveSearch("f1", smaller_is_better, "epochs", rungs, divisor)
        theirs._metrics = [[] for _ in rungs]
        expected = []
        for trial, curve in enumerate(curves):
            for epoch in range(1, length + 1):
                if theirs.stops(trial, {"epochs": epoch, "f1": curve[epoch - 1]}):
                    break
            expected.append(epoch)
        signed = [[-score for score in curve] for curve in curves] if smaller_is_better else curves
        assert play(Bracket(tuple(rungs), 15), divisor, signed) == expected


@pytest.mark.parametrize(
    ("length", "trials", "mode", "rungs", "expected"),
    [
        # By hand from the rule: at most log(length) and log(trials) to the divisor, each and one, rungs.
        (4, 16, "standard", (), [((1, 4), 11), ((4,), 5)]),
        (4, 16, "aggressive", (), [((1, 4), 16)]),
        (16, 16, "aggressive", (), [((1, 4, 16), 16)]),
        (16, 16, "standard", (), [((1, 4, 16), 12), ((4, 16), 4)]),
        (16, 16, "conservative", (), [((1, 4, 16), 12), ((4, 16), 3), ((16,), 1)]),
        (64, 3, "standard", (), [((64,), 3)]),
        (10, 5, "standard", (1, 3), [((1, 2, 10), 4), ((10,), 1)]),
    ],
)
def test_brackets_have_the_rungs_and_trials_that_determined_gives_them(
    length: int, trials: int, mode: str, rungs: tuple[int, ...], expected: list[tuple[tuple[int, ...], int]]
) -> None:
    made = make_brackets(length, trials, 4, 5, mode, rungs)
    assert [(bracket.rungs, bracket.trials) for bracket in made] == expected


def test_rungs_without_number_are_refused() -> None:
    with pytest.raises(UserError, match="too many"):
        make_brackets(10, 5, 4, 5, "standard", (5000,))
