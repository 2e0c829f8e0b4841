"""What a searcher section asks for: points and their order, whose turn it is, what is refused before data is read."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from determined_ner.errors import UserError
from determined_ner.search.plan import Plan, make_plan
from determined_ner.settings.experiment import read_config
from tests.conftest import ROOT

RATE = {"type": "log", "base": 10, "minval": -5.0, "maxval": -4.0}
CONFIG: dict[str, Any] = {
    "hyperparameters": {"pretrained_model_name_or_path": "x", "learning_rate": RATE},
    "data": {"train_file": "train.conll", "validation_file": "validation.conll"},
    "searcher": {"name": "random", "metric": "f1", "smaller_is_better": False, "max_trials": 5},
    "reproducibility": {"experiment_seed": 3},
}
ASHA = {"name": "adaptive_asha", "max_trials": 16, "time_metric": "epochs", "max_time": 4}


def changed(hyperparameters: dict[str, Any] | None = None, searcher: dict[str, Any] | None = None) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    config["hyperparameters"].update(hyperparameters or {})
    config["searcher"].update(searcher or {})
    return config


def grid(**hyperparameters: Any) -> dict[str, Any]:
    config = changed(hyperparameters, {"name": "grid"})
    del config["searcher"]["max_trials"]
    return config


def values(plan: Plan, trials: int | None = None) -> list[tuple[Any, ...]]:
    return [tuple(plan.points.values(trial).values()) for trial in range(1, 1 + (trials or plan.trials))]


def test_a_grid_is_every_combination_in_determined_s_order() -> None:
    """By name, the last name changing fastest, and the last combination first."""
    batch = {"type": "categorical", "vals": [8, 16]}
    decay = {"type": "double", "minval": 0.0, "maxval": 1.0, "count": 3}
    plan = make_plan(grid(weight_decay=decay, global_batch_size=batch, learning_rate=1e-4))
    assert list(plan.ranges) == [("global_batch_size",), ("weight_decay",)]
    assert values(plan) == [(16, 1.0), (16, 0.5), (16, 0.0), (8, 1.0), (8, 0.5), (8, 0.0)]


def test_drawn_points_are_a_function_of_the_seed_alone() -> None:
    first, again, more = make_plan(changed()), make_plan(changed()), make_plan(changed(None, {"max_trials": 9}))
    assert values(first) == values(again) == values(more, 5)
    assert len(set(values(more))) == 9
    assert all(1e-5 <= rate < 1e-4 for (rate,) in values(more))
    other = changed()
    other["reproducibility"]["experiment_seed"] = 4
    assert not set(values(make_plan(other))) & set(values(first))


def test_a_point_has_values_in_the_place_of_ranges_and_constants_nested_ones_too() -> None:
    r = {"type": "categorical", "vals": [4]}
    config = changed({"peft": {"r": r, "alpha": {"type": "const", "val": 2.0}}, "learning_rate": 1e-4})
    plan = make_plan(config)
    assert plan.config_of(1)["hyperparameters"]["peft"] == {"r": 4, "alpha": 2.0}
    assert plan.config_of(1)["hyperparameters"]["learning_rate"] == 1e-4
    whole = make_plan(changed({"peft": {"type": "categorical", "vals": [{"r": 4}, {"r": 8}]}}))
    assert whole.config_of(1)["hyperparameters"]["peft"] in ({"r": 4}, {"r": 8})


def turns(plan: Plan, invalid: set[int]) -> list[int]:
    found: list[int] = []
    while (bracket := plan.next_bracket([number in invalid for number in range(1, 1 + len(found))])) is not None:
        found.append(bracket)
    return found


def test_brackets_take_turns_until_each_has_its_trials() -> None:
    plan = make_plan(changed(None, {**ASHA, "max_trials": 16}))
    assert [(bracket.rungs, bracket.trials) for bracket in plan.brackets] == [((1, 4), 11), ((4,), 5)]
    assert turns(plan, set()) == [0, 1] * 5 + [0] * 6


def test_an_invalid_trial_is_made_up_for_except_in_a_grid() -> None:
    plan = make_plan(changed(None, {**ASHA, "max_trials": 4, "mode": "aggressive"}))
    assert turns(plan, {1, 2}) == [0] * 6
    assert turns(plan, set(range(1, 99))) == [0] * 8  # and not for ever
    assert turns(make_plan(grid(learning_rate={**RATE, "count": 3})), {1}) == [0] * 3


def test_async_halving_is_one_bracket() -> None:
    plan = make_plan(changed(None, {**ASHA, "name": "async_halving", "num_rungs": 3, "divisor": 2}))
    assert [(bracket.rungs, bracket.trials) for bracket in plan.brackets] == [((1, 2, 4), 16)]


@pytest.mark.parametrize("name", ["search_random", "search_grid", "search_adaptive"])
def test_a_shipped_search_can_be_made_here(name: str) -> None:
    plan = make_plan(read_config(ROOT / "configs" / f"{name}.yaml", []))
    said = {"search_random": 20, "search_grid": 96, "search_adaptive": 16}
    assert plan.trials == said[name] and not plan.loop.warnings
    if name == "search_adaptive":  # as its comment says
        assert [bracket.rungs for bracket in plan.brackets] == [(1, 4)]


def without(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    del config[section][name]
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed({"learning_rate": 1e-4}), "hyperparameters: there is no range in it to search"),
        (grid(), "hyperparameters.learning_rate: a grid takes so many points of a range, and this one does not say"),
        (grid(learning_rate={**RATE, "minval": 0}), "minval: 0 is not below maxval: -4.0"),
        (changed(None, {"name": "bayes"}), "searcher.name: 'bayes' is no search that runs here; write one of random"),
        (changed(None, {"name": "custom"}), "'custom' is no search that runs here (a program of the user's decides"),
        (changed(None, {"name": "single"}), "'single' trains one point; write one of random, grid, adaptive_asha"),
        (without(changed(), "searcher", "name"), "searcher.name: is not set"),
        (without(changed(), "searcher", "max_trials"), "searcher.max_trials: is required"),
        (changed(None, {"max_trials": 0}), "searcher.max_trials: 0 is wrong"),
        (changed(None, {"max_trials": 10**6}), "1,000,000 trials one after the other are too many"),
        (changed(None, {"metric": "bleu"}), "searcher.metric: 'bleu' is no metric; write one of loss, accuracy"),
        (changed(None, {"metric": "f1", "smaller_is_better": True}), "true keeps the model with the worst f1"),
        (changed(None, {"name": "grid"}), "searcher.max_trials: unknown setting"),
        (changed(None, {"name": "adaptive_asha"}), "adaptive_asha compares trials after parts of their length"),
        (changed(None, {**ASHA, "divisor": 1}), "searcher.divisor: 1 is wrong"),
        (changed(None, {**ASHA, "mode": "fast"}), "searcher.mode: 'fast' is wrong"),
        (changed(None, {**ASHA, "time_metric": "hours"}), "searcher.time_metric: 'hours' must be batches or epochs"),
        (
            changed({"warmup_ratio": {"type": "double", "minval": 0.0, "maxval": 1.0}}),
            "hyperparameters.warmup_ratio: 1.0 is wrong: Input should be less than 1 (an end of its range)",
        ),
        (
            changed({"peft": {"r": {"type": "int", "minval": 0, "maxval": 9}}}, {"max_trials": 1}),
            "hyperparameters.peft.r: 0 is wrong: Input should be greater than or equal to 1 (an end of its range)",
        ),
        (
            changed({"global_batch_size": {"type": "double", "minval": 8, "maxval": 16}}),
            "hyperparameters.global_batch_size: 1",  # some number with a fraction
        ),
        (
            grid(learning_rate=1e-4, head={"type": "categorical", "vals": ["linear", "crf"]}, crf_learning_rate=0.01),
            "head: crf, or drop it (trial 2 of the search)",
        ),
        (changed({"learning_rat": 1}), "hyperparameters.learning_rat: unknown setting"),
    ],
)
def test_a_search_that_cannot_be_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        make_plan(config)
    assert message in str(refused.value)


def test_a_mistake_that_many_points_have_is_told_once() -> None:
    with pytest.raises(UserError) as refused:
        make_plan(changed({"max_grad_norm": -1}))
    assert str(refused.value).count("max_grad_norm") == 1


def test_settings_that_clash_at_two_ends_alone_are_no_mistake() -> None:
    """No trial of these has both."""
    freeze = {"type": "categorical", "vals": ["encoder", "embeddings"]}
    decay = {"type": "double", "minval": 0.5, "maxval": 1.0}
    config = changed({"freeze": freeze, "layerwise_lr_decay": decay}, {"max_trials": 1})
    for seed in range(20):
        config["reproducibility"]["experiment_seed"] = seed
        try:
            plan = make_plan(config)
        except UserError as error:
            assert "(trial 1 of the search)" in str(error)
        else:
            assert plan.points.values(1)["freeze",] == "embeddings"
            break
    else:
        raise AssertionError("never drawn")
