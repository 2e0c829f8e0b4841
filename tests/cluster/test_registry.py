"""Versions of a model: added by trials that beat their experiment's, none lost and none made twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from determined.common.api import errors

from determined_ner.cluster import registry
from determined_ner.cluster.registry import Candidate, register
from determined_ner.errors import UserError
from determined_ner.settings.loop import LoopSettings, parse_loop
from determined_ner.settings.parsing import parse_settings

SETTINGS = parse_settings({"pretrained_model_name_or_path": "x"}, {"dataset_name": "d"})


def loop(metric: str) -> LoopSettings:
    return parse_loop({"searcher": {"metric": metric, "smaller_is_better": metric == "loss"}}, SETTINGS)


def refusal(status: int) -> errors.APIException:
    response = requests.Response()
    response.status_code = status
    response._content = b'{"error": {"code": 1, "error": "refused"}}'
    return errors.APIException(response)


class Models:
    """In the place of ``determined.experimental.client``; ``first`` is done once, before a call of that name."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Any]] = {}
        self.first: dict[str, list[Callable[[], None]]] = {}

    def _begin(self, call: str) -> None:
        for action in self.first.pop(call, []):
            action()

    def get_model(self, name: str) -> Any:
        self._begin("get_model")
        if name not in self.versions:
            raise errors.NotFoundException("no model")
        return SimpleNamespace(
            list_versions=lambda: list(self.versions[name]),
            register_version=lambda uuid: self.add(name, uuid, call="register_version"),
        )

    def create_model(self, name: str) -> Any:
        self._begin("create_model")
        if name in self.versions:
            raise refusal(409)
        self.versions[name] = []
        return self.get_model(name)

    def add(self, name: str, uuid: str, experiment: int = 3, call: str = "", **scores: float) -> Any:
        self._begin(call)
        training = SimpleNamespace(experiment_id=experiment, validation_metrics={"avgMetrics": scores})
        checkpoint = SimpleNamespace(uuid=uuid, training=training)
        version = SimpleNamespace(model_version=len(self.versions[name]) + 1, checkpoint=checkpoint, notes="")
        version.set_notes = lambda notes: setattr(version, "notes", notes)
        self.versions[name].append(version)
        return version


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    models = Models()
    monkeypatch.setattr(registry, "client", models)
    monkeypatch.setattr(registry.time, "sleep", lambda _: None)
    return models


def uuids(models: Models) -> list[str]:
    return [version.checkpoint.uuid for version in models.versions["m"]]


@pytest.mark.parametrize(
    ("metric", "score", "registered"),
    [("f1", 0.8, True), ("f1", 0.7, False), ("f1", 0.6, False), ("loss", 0.1, True), ("loss", 0.3, False)],
)
def test_a_trial_that_beats_its_experiments_versions_becomes_one(
    models: Models, metric: str, score: float, registered: bool
) -> None:
    models.versions["m"] = []
    models.add("m", "of another experiment", experiment=2, f1=0.99, loss=0.0)
    models.add("m", "of this", f1=0.7, loss=0.2)
    register("m", Candidate("mine", 3, score), loop(metric), "card")
    assert ("mine" in uuids(models)) == registered
    assert len(uuids(models)) == 2 + registered


def test_of_two_trials_at_once_neither_is_lost(models: Models) -> None:
    """Another trial makes the model, and then a version, each at the moment when this one does."""
    models.first["create_model"] = [lambda: models.versions.update(m=[])]

    def another_wins() -> None:
        models.add("m", "of the other", f1=0.9)
        raise refusal(500)

    models.first["register_version"] = [another_wins]
    register("m", Candidate("mine", 3, 0.8), loop("f1"), "card")
    assert uuids(models) == ["of the other", "mine"]
    assert models.versions["m"][1].notes == "card"


def test_an_answer_that_was_lost_makes_no_second_version(models: Models) -> None:
    models.versions["m"] = []

    def came_through() -> None:
        models.add("m", "mine", f1=0.8)
        raise refusal(502)

    models.first["register_version"] = [came_through]
    register("m", Candidate("mine", 3, 0.8), loop("f1"), "card")
    assert uuids(models) == ["mine"] and models.versions["m"][0].notes == "card"


def test_notes_that_somebody_has_written_stay(models: Models) -> None:
    models.versions["m"] = []
    models.add("m", "mine", f1=0.8).notes = "in production"
    register("m", Candidate("mine", 3, 0.8), loop("f1"), "card")
    assert models.versions["m"][0].notes == "in production"


def test_a_master_that_refuses_costs_the_trial_nothing_but_its_version(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    def refused() -> None:
        raise refusal(403)

    models.first["create_model"] = [refused]
    with caplog.at_level(logging.ERROR, "determined_ner"):
        register("m", Candidate("mine", 3, 0.8), loop("f1"), "card")
    assert "det model register-version 'm' mine" in caplog.text and "models" not in models.versions


@pytest.mark.parametrize("name", ["7", "a/b", " a", "a  b", "", "a?b"])
def test_a_name_that_a_registry_would_not_take_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(UserError, match=r"registry_model"):
        parse_settings({"pretrained_model_name_or_path": "x"}, {"dataset_name": "d", "registry_model": name})
