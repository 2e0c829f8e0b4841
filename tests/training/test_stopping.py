"""When a run ends early: gains counted as transformers counts them, in either direction."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from determined_ner.training.stopping import Bar, Stopping


def made(patience: int | None, threshold: float = 0.0, metric: str = "f1") -> Stopping:
    hparams: Any = SimpleNamespace(
        early_stopping_patience=patience,
        early_stopping_threshold=threshold,
        time_limit=None,
        lr_scheduler_type="linear",
    )
    loop: Any = SimpleNamespace(metric=metric, smaller_is_better=metric == "loss", length="9 epochs")
    return Stopping(hparams, loop)


def ended_at(stopping: Stopping, scores: list[float | None]) -> int | None:
    for number, score in enumerate(scores, 1):
        stopping.at_validation(number, {stopping._metric: score})
        if stopping.out_of_patience():
            return number
    return None


@pytest.mark.parametrize(
    ("patience", "threshold", "metric", "scores", "end"),
    [
        (1, 0.0, "f1", [0.5, 0.6, 0.6], 3),
        (2, 0.0, "f1", [0.5, 0.4, 0.6, 0.5, 0.6], 5),
        (2, 0.1, "f1", [0.5, 0.55, 0.64], 3),  # each a gain, none large enough
        (2, 0.1, "f1", [0.5, 0.55, 0.7, 0.7], None),
        (1, 0.0, "loss", [0.5, 0.4, 0.41], 3),
        (2, 0.0, "f1", [None, math.nan], 2),
        (2, 0.0, "f1", [0.0, None, 0.1, 0.1, 0.0], 5),
        (None, 0.0, "f1", [0.5] * 9, None),
    ],
)
def test_a_run_ends_after_so_many_validations_without_gain(patience, threshold, metric, scores, end):
    assert ended_at(made(patience, threshold, metric), scores) == end


def test_gains_are_those_of_transformers(tmp_path):
    import random

    drawn = random.Random(3)
    arguments = TrainingArguments(str(tmp_path), metric_for_best_model="f1", greater_is_better=True, report_to=[])
    for _ in range(200):
        scores = [drawn.randint(0, 5) / 10 for _ in range(12)]
        threshold, patience = drawn.choice([0.0, 0.1, 0.25]), drawn.randint(1, 4)
        callback, state = EarlyStoppingCallback(patience, threshold), TrainerState()
        theirs = None
        for number, score in enumerate(scores, 1):
            control = callback.on_evaluate(arguments, state, control := TrainerControl(), {"eval_f1": score}) or control
            if state.best_metric is None or score > state.best_metric:  # as the Trainer does next
                state.best_metric = score
            if control.should_training_stop:
                theirs = number
                break
        assert ended_at(made(patience, threshold), scores) == theirs, (scores, threshold, patience)


def test_what_a_checkpoint_keeps_goes_on_and_is_empty_where_nothing_is_asked():
    first = made(2)
    assert ended_at(first, [0.5, 0.4]) is None
    second = made(2)
    second.load(first.state())
    second.at_validation(2, {"f1": 0.4})  # known already
    assert second.out_of_patience() is None
    second.at_validation(3, {"f1": 0.4})
    assert second.out_of_patience()
    assert made(None).state() == {}


@pytest.mark.parametrize(
    ("metric", "scores", "stopped"),
    [
        ("f1", {1: 0.5, 2: 0.4}, False),  # as good is enough, and only the first validation there counts
        ("f1", {1: 0.49}, True),
        ("f1", {1: 0.6, 4: 0.6}, True),  # at the second bar
        ("f1", {1: 0.6, 5: 0.7}, False),
        ("f1", {1: None}, True),
        ("loss", {1: 0.5}, False),
        ("loss", {1: 0.51}, True),
        ("f1", {}, False),
    ],
)
def test_a_trial_of_a_search_ends_below_a_bar(metric: str, scores: dict[int, float | None], stopped: bool) -> None:
    bars = [Bar(1, 0.5, "1 epochs"), Bar(4, 0.7, "4 epochs")]
    stopping = made(None, metric=metric)
    stopping.compare(bars)
    for batches, score in scores.items():
        stopping.at_validation(batches, {metric: score})
    assert (stopping.below_a_bar() is not None) == stopped
    resumed = made(None, metric=metric)
    resumed.compare(bars)
    resumed.load(stopping.state())
    resumed.end_where_it_did()
    assert (resumed.ended is not None) == stopped


def test_a_run_that_is_no_trial_of_a_search_keeps_no_scores() -> None:
    stopping = made(None)
    stopping.at_validation(1, {"f1": 0.5})
    assert stopping.state() == {} and stopping.below_a_bar() is None
