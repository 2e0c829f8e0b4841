"""How long a training is, and how often what is done."""

from __future__ import annotations

import pytest

from determined_ner.errors import UserError
from determined_ner.settings.loop import Duration, parse_loop
from determined_ner.settings.parsing import parse_settings

SECTIONS = {
    "hyperparameters": {"pretrained_model_name_or_path": "x", "num_train_epochs": 3},
    "data": {"train_file": "a", "validation_file": "b"},
    "searcher": {"name": "single", "metric": "f1", "smaller_is_better": False},
}


def loop_of(**sections):
    config = {name: {**section, **sections.pop(name, {})} for name, section in SECTIONS.items()} | sections
    return parse_loop(config, parse_settings(config["hyperparameters"], config["data"]))


def test_without_a_word_it_validates_and_saves_once_an_epoch_and_keeps_the_best():
    loop = loop_of()
    assert loop.length == Duration(3, "epochs")
    assert loop.validation_period == loop.checkpoint_period == Duration(1, "epochs")
    assert (loop.checkpoint_policy, loop.keep_best, loop.keep_latest, loop.seed) == ("best", 1, 1, 42)
    assert loop.warnings == ()


@pytest.mark.parametrize(
    ("sections", "length"),
    [
        ({"hyperparameters": {"max_steps": 10}}, Duration(10, "batches")),
        (
            {"hyperparameters": {"max_steps": 10}, "optimizations": {"aggregation_frequency": 4}},
            Duration(40, "batches"),
        ),
        ({"searcher": {"max_length": {"records": 100}}}, Duration(100, "records")),
        ({"searcher": {"max_length": 5, "unit": "epochs"}}, Duration(5, "epochs")),
        ({"searcher": {"time_metric": "batches", "max_time": 7}}, Duration(7, "batches")),
    ],
)
def test_the_length_of_a_training(sections, length):
    assert loop_of(**sections).length == length


def test_a_length_that_overrules_another_is_told():
    loop = loop_of(searcher={"max_length": {"epochs": 5}})
    assert "searcher.max_length trains 5 epochs; hyperparameters.num_train_epochs: 3 is overruled" in loop.warnings[0]


@pytest.mark.parametrize(
    ("duration", "batches"),
    [
        (Duration(2, "epochs"), 40),
        (Duration(7, "batches"), 7),
        (Duration(32, "records"), 8),
        (Duration(1, "records"), 1),
    ],
)
def test_a_duration_in_batches(duration, batches):
    assert duration.batches(epoch_batches=20, global_batch_size=8, accumulation_steps=2) == batches


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"checkpoint_policy": "some"}, "checkpoint_policy: 'some' is none of best, all, none"),
        ({"searcher": {"metric": 1}}, "searcher.metric: 1 is not the name of a metric"),
        (
            {"searcher": {"smaller_is_better": True}},
            "searcher.smaller_is_better: true keeps the model with the worst f1",
        ),
        ({"searcher": {"smaller_is_better": "no"}}, "searcher.smaller_is_better: 'no' is neither true nor false"),
        ({"searcher": {"max_time": 3}}, "searcher.time_metric: None must be batches or epochs"),
        ({"min_validation_period": {"weeks": 1}}, "min_validation_period: {'weeks': 1} is no length; write e.g."),
        ({"scheduling_unit": -1}, "scheduling_unit: -1 must be a whole number of at least 0"),
        ({"optimizations": 3}, "optimizations: 3 is not a section of KEY: VALUE lines"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(sections, expected):
    with pytest.raises(UserError) as refused:
        loop_of(**sections)
    assert str(refused.value).startswith(expected)


def test_a_direction_that_is_left_open_is_warned_of():
    loop = loop_of(searcher={"smaller_is_better": None})
    assert not loop.smaller_is_better and "write smaller_is_better: false" in loop.warnings[0]
    assert loop_of(searcher={"metric": "loss", "smaller_is_better": None}).smaller_is_better
