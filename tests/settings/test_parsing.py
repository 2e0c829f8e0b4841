"""Both sections of a config: every mistake is found, and named with what would be right."""

from __future__ import annotations

import pytest

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.masks import without_secrets
from determined_ner.settings.parsing import parse_settings

HPARAMS = {"pretrained_model_name_or_path": "bert-base-cased"}
DATA = {"train_file": "train.conll", "validation_file": "validation.conll"}


@pytest.mark.parametrize(
    ("hparams", "data", "expected"),
    [
        (
            {"learning_rat": 1},
            {},
            "hyperparameters.learning_rat: unknown setting (value 1); did you mean learning_rate?",
        ),
        ({"learning_rate": -1}, {}, "hyperparameters.learning_rate: -1 is wrong: "),
        ({"learning_rate": True}, {}, "hyperparameters.learning_rate: True is wrong: true is not a number or text"),
        ({"max_steps": 0}, {}, "hyperparameters.max_steps: 0 is wrong: give at least 1 step"),
        ({"num_labels": {"type": "int"}}, {}, "hyperparameters.num_labels: 'int' is a search range"),
        ({"use_fast": False}, {}, "hyperparameters.use_fast: False is not offered; word boundaries need a fast"),
        ({"use_apex_amp": True, "precision": "bf16"}, {}, "hyperparameters: use_apex_amp: true and precision: bf16"),
        ({}, {"train_file": None}, "data: give either dataset_name or train_file"),
        ({}, {"max_seq_length": 3}, "data.max_seq_length: 3 is wrong: "),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(hparams, data, expected):
    with pytest.raises(UserError) as refused:
        parse_settings({**HPARAMS, **hparams}, {**DATA, **data})
    assert str(refused.value).startswith(expected)


def test_all_mistakes_are_found_together():
    with pytest.raises(UserError) as refused:
        parse_settings({"learning_rate": -1, "nonsense": 1}, {"stride": -1, **DATA})
    assert type(refused.value) is UserError  # not of hyperparameters alone
    assert [error.where for error in refused.value.errors] == [
        "hyperparameters.pretrained_model_name_or_path",
        "hyperparameters.learning_rate",
        "hyperparameters.nonsense",
        "data.stride",
    ]
    assert len(str(refused.value).splitlines()) == 4


def test_a_wrong_hyperparameter_alone_is_an_invalid_point_of_a_search():
    with pytest.raises(HyperparameterError):
        parse_settings({**HPARAMS, "learning_rate": -1}, DATA)
    with pytest.raises(HyperparameterError):  # though it takes both sections to tell
        parse_settings({**HPARAMS, "teacher": "runs/big", "distillation_weight": 0}, DATA)
    with pytest.raises(UserError) as refused:
        parse_settings(HPARAMS, {**DATA, "unlabelled_file": "text.txt"})
    assert type(refused.value) is UserError


def test_settings_of_earlier_examples_are_warned_of():
    settings = parse_settings({**HPARAMS, "num_labels": 9, "adafactor": False}, {**DATA, "task_name": "ner"})
    assert [warning.split(":")[0] for warning in settings.warnings] == [
        "hyperparameters.num_labels",
        "hyperparameters.adafactor",
        "data.task_name",
    ]


def test_a_constant_of_a_search_space_is_its_value():
    settings = parse_settings({**HPARAMS, "global_batch_size": {"type": "const", "val": 16}}, DATA)
    assert settings.hparams.global_batch_size == 16
    assert settings.given == {"pretrained_model_name_or_path", "global_batch_size"}


def test_own_files_win_over_a_named_data_set_and_that_is_said():
    settings = parse_settings(HPARAMS, {**DATA, "dataset_name": "conll2003"})
    assert settings.data.dataset_name is None and settings.data.train_file == "train.conll"
    assert "data.dataset_name: 'conll2003' is not used" in settings.warnings[0]


def test_no_secret_of_a_url_goes_into_a_model():
    url = "https://user:password@example.com/train.conll?token=secret"
    settings = parse_settings(HPARAMS, {**DATA, "train_file": url})
    assert without_secrets(settings.data.model_dump())["train_file"] == "https://example.com/train.conll?…"
