"""The best checkpoint of a trial as a version of a model in the cluster's registry."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from determined.common.api import errors
from determined.experimental import client

from determined_ner.settings.loop import LoopSettings

logger = logging.getLogger("determined_ner")
T = TypeVar("T")
TRIES = 5


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may become a version."""

    uuid: str
    experiment: int
    score: float | None
    """Of its validation, by the searcher's metric; None: it has none."""


def register(name: str, candidate: Candidate, loop: LoopSettings, card: str) -> None:
    """Make a checkpoint a version of a model, with its card as the notes, if it beats its experiment's versions so far.

    A version is only ever added, so of two trials that end at once neither takes the other's place. What the master
    refuses is logged, with the command that makes up for it: the trial itself has come to its end.
    """
    try:
        _register(name, candidate, loop, card)
    except (errors.BadRequestException, errors.BadResponseException) as error:
        remedy = f"det model register-version '{name}' {candidate.uuid}"
        logger.error(f"data.registry_model: {name!r} has no version of this trial, the master said: {error}; {remedy}")


def _register(name: str, candidate: Candidate, loop: LoopSettings, card: str) -> None:
    model = _model(name)
    version = _version(model, candidate.uuid)
    if version is None:
        if better := _better(model, candidate, loop):
            logger.info(
                f"data.registry_model: version {better.model_version} of {name!r} is of this experiment and no worse: "
                f"this trial makes none"
            )
            return
        version = _insisting(lambda: _version(model, candidate.uuid) or model.register_version(candidate.uuid))
    if not version.notes:
        version.set_notes(card)
    logger.info(f"data.registry_model: {name!r}, version {version.model_version}: checkpoint {candidate.uuid}")


def _model(name: str) -> client.Model:
    """The model; made if there is none, be it by another trial at the same moment."""
    try:
        return client.get_model(name)
    except errors.NotFoundException:
        pass
    try:
        return client.create_model(name)
    except errors.BadRequestException as refused:
        try:
            return client.get_model(name)
        except errors.NotFoundException:
            raise refused from None


def _version(model: client.Model, uuid: str) -> client.ModelVersion | None:
    """The version that a checkpoint is."""
    return next((version for version in model.list_versions() if _checkpoint(version).uuid == uuid), None)


def _better(model: client.Model, candidate: Candidate, loop: LoopSettings) -> client.ModelVersion | None:
    """A version of the same experiment that the candidate does not beat."""
    for version, score in _scores(model, candidate.experiment, loop.metric):
        if candidate.score is None or (
            score <= candidate.score if loop.smaller_is_better else score >= candidate.score
        ):
            return version
    return None


def _scores(model: client.Model, experiment: int, metric: str) -> Iterator[tuple[client.ModelVersion, float]]:
    for version in model.list_versions():
        training = _checkpoint(version).training
        if training is None or training.experiment_id != experiment:
            continue
        score = (training.validation_metrics.get("avgMetrics") or {}).get(metric)
        if score is not None:
            yield version, score


def _checkpoint(version: client.ModelVersion) -> Any:
    assert version.checkpoint is not None  # whatever the master lists has one
    return version.checkpoint


def _insisting(action: Callable[[], T]) -> T:
    """Try again for a while: the master refuses one of two versions that are made at the same moment."""
    for _ in range(TRIES - 1):
        try:
            return action()
        except errors.BadRequestException:
            time.sleep(random.uniform(0.5, 1.5))
    return action()
