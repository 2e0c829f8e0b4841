"""Scores of a text beside those of the validation text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from determined_ner.tags.shift import CRITICAL, SeenScores, Shift, UsualScores

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.beta(4, 1, 700)
MANY_EQUAL = np.concatenate([np.full(400, 0.96), RANDOM.uniform(0.2, 0.9, 100)])
"""As a curve of calibration makes them."""


def usual_of(scores: np.ndarray) -> UsualScores:
    usual = UsualScores.of(scores)
    assert usual is not None
    return usual


def shift_of(usual: UsualScores, *parts: np.ndarray) -> Shift:
    seen = SeenScores(usual)
    for part in parts:
        seen.add(part)
    return seen.shift


@pytest.mark.parametrize("usual_scores", [SCORES, MANY_EQUAL, SCORES[:3], SCORES[:1]])
@pytest.mark.parametrize("scores", [RANDOM.beta(2, 2, 300), MANY_EQUAL[:450], SCORES])
def test_the_distance_is_that_of_the_shares_up_to_each_score(usual_scores, scores):
    usual = usual_of(usual_scores)
    ends = [score for score, _ in usual.steps]
    shift = shift_of(usual, scores)
    assert shift.distance == pytest.approx(max(abs((scores <= s).mean() - (usual_scores <= s).mean()) for s in ends))
    assert shift.by_chance == pytest.approx(min(1, CRITICAL * np.sqrt(1 / len(scores) + 1 / len(usual_scores))))
    assert (shift.entities, shift.mean, shift.usual_mean) == (
        len(scores),
        pytest.approx(scores.mean()),
        pytest.approx(usual_scores.mean()),
    )


def test_the_ranges_are_of_about_as_many_entities():
    shares = np.array([share for _, share in usual_of(SCORES).steps])
    assert len(shares) == 19 and np.abs(np.diff(shares, prepend=0, append=1) - 0.05).max() < 0.01


def test_parts_are_the_whole():
    usual = usual_of(SCORES)
    parts = (MANY_EQUAL[:7], np.empty(0), MANY_EQUAL[7:])
    whole, of_parts = shift_of(usual, MANY_EQUAL), shift_of(usual, *parts)
    assert whole.distance == of_parts.distance and whole.mean == pytest.approx(of_parts.mean, rel=1e-12)


@pytest.mark.parametrize("scores", [SCORES, MANY_EQUAL])
def test_halves_of_a_text_are_alike_and_another_text_is_not(scores):
    clear = 0
    for _ in range(300):
        order = RANDOM.permutation(scores)
        clear += shift_of(usual_of(order[: len(order) // 2]), order[len(order) // 2 :]).is_clear
    assert clear <= 1
    assert shift_of(usual_of(scores), scores * 0.8).is_clear
    assert shift_of(usual_of(scores), scores**0.1).is_clear  # much surer is another text, too


def test_scores_that_are_hardly_others_are_alike():
    sure = 1 / (1 + np.exp(-RANDOM.normal(8, 1, 2000)))
    assert not shift_of(usual_of(sure), 1 / (1 + np.exp(-RANDOM.normal(7.5, 1, 2000)))).is_clear
    assert not shift_of(usual_of(MANY_EQUAL), MANY_EQUAL + 1e-12).is_clear  # another machine's last digit


def test_few_entities_tell_nothing():
    usual = usual_of(SCORES)
    assert not shift_of(usual).is_clear and shift_of(usual).entities == 0
    assert not shift_of(usual, np.zeros(2)).is_clear
    assert UsualScores.of(np.empty(0)) is None


def test_what_is_kept_is_read_again():
    usual = usual_of(MANY_EQUAL)
    assert UsualScores.of_json(json.loads(json.dumps(usual.as_json()))) == usual


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {},
        {"entities": 3, "mean": 0.5, "steps": []},
        {"entities": 3, "mean": 0.5, "steps": [[0.5]]},
        {"entities": 3, "mean": 0.5, "steps": [[0.5, "1"]]},
        {"entities": 3, "mean": 0.5, "steps": [[0.5, 0.6], [0.4, 1.0]]},
        {"entities": 3, "mean": 0.5, "steps": [[0.5, 0.6], [0.7, 0.5]]},
        {"entities": 0, "mean": 0.5, "steps": [[0.5, 0.6]]},
        {"entities": 3, "mean": None, "steps": [[0.5, 0.6]]},
        {"entities": 10**400, "mean": 0.5, "steps": [[0.5, 0.6]]},
        {"entities": 3, "mean": 0.5, "steps": [[0.5, 60.0]]},
    ],
)
def test_what_is_something_else_is_refused(kept):
    with pytest.raises(ValueError, match="ascending steps of score and share"):
        UsualScores.of_json(kept)
