"""When a run ends early: gains counted as transformers counts them, in either direction."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from determined_ner.training.stopping import Stopping


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
