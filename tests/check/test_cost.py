"""Padding, steps and time: those of the plan and of the settings."""

from __future__ import annotations

import numpy as np
import pytest

from determined_ner.check.command import check
from determined_ner.check.cost import fit_line
from determined_ner.data.padding import Padding, padding_share


def test_padding_is_what_the_batches_hold():
    lengths, borders = np.array([3, 5, 2, 7]), np.array([0, 2, 2, 4])
    assert padding_share(lengths, borders, Padding()) == pytest.approx(1 - 17 / (5 * 2 + 7 * 2))
    assert padding_share(lengths, borders, Padding(least=8)) == pytest.approx(1 - 17 / 32)


def test_padding_of_the_plan_and_of_random_order(planted, monkeypatch):
    monkeypatch.setattr("determined_ner.model.precision.faster_than_mkl", lambda: False)
    config, _, report = planted
    plain = report.splits["train"]
    assert plain.padding == plain.padding_random == 0  # the windows are computed one after the other
    grouped = "hyperparameters.group_by_length=true"
    train = check(config, [grouped], timing=False).splits["train"]
    assert 0 <= train.padding < train.padding_random < 1
    padded = check(config, ["data.pad_to_max_length=true"], timing=False)
    assert padded.splits["train"].padding > 0.5
    rounded = check(config, [grouped, "hyperparameters.precision=bf16"], timing=False).splits["train"]
    assert train.padding < rounded.padding < 0.5
    assert any(remark.text.startswith("data.pad_to_max_length: ") for remark in padded.warnings)


def test_the_line_through_the_timed_steps_forgives_one_that_was_disturbed():
    points = [(pieces, 0.5 + 0.01 * pieces) for pieces in (100, 200, 300, 400, 500)]
    assert fit_line(points) == pytest.approx((0.5, 0.01))
    disturbed = [*points[:2], (300, 60.0), *points[3:]]
    assert fit_line(disturbed) == pytest.approx((0.5, 0.01), rel=0.3)
    assert fit_line([(100, 1.0)]) == (0.0, 0.01)
    assert fit_line([(100, 1.0), (100, 3.0)]) == (0.0, 0.02)


def test_cost_is_that_of_the_settings(planted):
    config, _, _ = planted
    overrides = ["hyperparameters.max_steps=7", "resources.slots_per_trial=2", "optimizations.aggregation_frequency=2"]
    cost = check(config, overrides, timing=True).cost
    assert (cost.steps_per_epoch, cost.steps_total, cost.epochs) == (5, 7, 7 / 5)
    assert (cost.slots, cost.accumulation_steps, cost.global_batch_size) == (2, 2, 8)
    assert cost.timing is not None and cost.timing.threads and cost.timing.device == "cpu"
    assert 0 < cost.timing.seconds_per_epoch < 60 and 1 <= cost.timing.steps <= 5
    assert cost.timing.seconds_total == pytest.approx(cost.timing.seconds_per_epoch * 7 / 5)
