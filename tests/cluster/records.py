"""What the stand-in master gives back to those who ask: metrics, checkpoints, metadata of a run, registered models."""

from __future__ import annotations

import itertools
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from determined.common.api import bindings

TIME = "2024-01-01T00:00:00Z"
Answer = tuple[int, dict[str, Any]]
Handler = Callable[[dict[str, Any]], Answer]
NAMED = "NAME"
"""In the place of a model's name in a path."""


@dataclass
class Version:
    """Of a model."""

    number: int
    checkpoint: dict[str, Any]
    """As the master tells of it."""
    notes: str = ""


@dataclass
class Registry:
    """The models of a cluster, which the masters of several trials may share."""

    models: dict[str, list[Version]] = field(default_factory=dict)


class Records:
    """What one trial has reported, read back."""

    def __init__(self, trial: int, experiment: int, master: Any, registry: Registry) -> None:
        self._trial, self._experiment, self._master = trial, experiment, master
        self.registry = registry
        self.metadata: dict[str, Any] = {}
        """Of the run."""

    def find(self, method: str, path: str, route: Callable[..., tuple[str, str]]) -> Any:
        """Names in the path, class of the body and handler; None: nothing is known of the path."""
        b, run = bindings, {"runId": self._trial}
        name, number, general = NAMED, 0, path
        if parts := re.fullmatch(r"(/api/v1/models/)([^/]+)(/versions)?(?:/(\d+))?", path):
            name, number = urllib.parse.unquote(parts[2]), int(parts[4] or 0)
            general = f"{parts[1]}{NAMED}{parts[3] or ''}{'/0' if parts[4] else ''}"
        model = {"modelName": NAMED}
        routes: dict[tuple[str, str], tuple[dict[str, Any], Any, Handler]] = {
            route(b.get_GetTrialCheckpoints, id=self._trial): ({}, None, self._list_checkpoints),
            ("GET", "/api/v1/trials/metrics/trial_metrics"): ({}, None, self._list_metrics),
            route(b.get_GetRunMetadata, **run): ({}, None, self._get_metadata),
            route(b.post_PostRunMetadata, **run): (run, b.v1PostRunMetadataRequest, self._set_metadata),
            route(b.post_PostModel): ({}, b.v1PostModelRequest, self._create),
            route(b.get_GetModel, **model): ({}, None, lambda _: self._get(name)),
            route(b.get_GetModelVersions, **model): ({}, None, lambda _: self._versions(name)),
            route(b.post_PostModelVersion, **model): (
                {"modelName": name},
                b.v1PostModelVersionRequest,
                lambda body: self._add(name, body),
            ),
            route(b.patch_PatchModelVersion, **model, modelVersionNum=0): (
                {},
                b.v1PatchModelVersion,
                lambda body: self._note(name, number, body),
            ),
        }
        return routes.get((method, general))

    # ----- the trial

    def checkpoints(self) -> list[dict[str, Any]]:
        """As the master tells of them: a checkpoint has the metrics of the validation after as many batches."""
        config = self._master.config
        validated = {report.steps: report.metrics for report in self._master.reports("validation")}
        found = []
        for reported in self._master.checkpoints:
            metrics = validated.get(reported["metadata"]["steps_completed"])
            training = bindings.v1CheckpointTrainingMetadata(
                trialId=self._trial,
                experimentId=self._experiment,
                experimentConfig=config,
                hparams={},
                validationMetrics=bindings.v1Metrics(avgMetrics=metrics or {}),
            )
            found.append({**reported, "training": training.to_json(True)})
        return found

    def _list_checkpoints(self, _: dict[str, Any]) -> Answer:
        found = self.checkpoints()
        return 200, {"checkpoints": found, "pagination": _page(len(found))}

    def _list_metrics(self, query: dict[str, Any]) -> Answer:
        assert query["trialIds"] == str(self._trial)
        group = query["group"]
        key = "validation_metrics" if group == "validation" else "avg_metrics"
        numbers = itertools.count(1)
        reports = [
            bindings.v1MetricsReport(
                archived=False,
                endTime=TIME,
                group=group,
                id=next(numbers),
                metrics={key: report.metrics},
                totalBatches=report.steps,
                trialId=self._trial,
                trialRunId=report.run,
            ).to_json(True)
            for report in self._master.reports(group)
        ]
        return 200, {"result": {"metrics": reports}}  # a stream of one line

    def _get_metadata(self, _: dict[str, Any]) -> Answer:
        return 200, {"metadata": self.metadata}

    def _set_metadata(self, body: dict[str, Any]) -> Answer:
        self.metadata = body["metadata"]  # in the place of all that was there
        return 200, {"metadata": self.metadata}

    # ----- the registry

    def _create(self, body: dict[str, Any]) -> Answer:
        if body["name"] in self.registry.models:
            return 409, {"error": {"code": 6, "error": "avoid names equal to other models (case-insensitive)"}}
        self.registry.models[body["name"]] = []
        return self._get(body["name"])

    def _get(self, name: str) -> Answer:
        if name not in self.registry.models:
            return 404, {}
        return 200, {"model": _model(name)}

    def _versions(self, name: str) -> Answer:
        versions = [_version(name, version) for version in self.registry.models[name]]
        return 200, {"model": _model(name), "modelVersions": versions, "pagination": _page(len(versions))}

    def _add(self, name: str, body: dict[str, Any]) -> Answer:
        (checkpoint,) = (found for found in self.checkpoints() if found["uuid"] == body["checkpointUuid"])
        versions = self.registry.models[name]
        versions.append(Version(len(versions) + 1, checkpoint))
        return 200, {"modelVersion": _version(name, versions[-1])}

    def _note(self, name: str, number: int, body: dict[str, Any]) -> Answer:
        version = self.registry.models[name][number - 1]
        version.notes = body["notes"]
        return 200, {"modelVersion": _version(name, version)}


def _page(count: int) -> dict[str, Any]:
    return bindings.v1Pagination(endIndex=count, limit=0, offset=0, startIndex=0, total=count).to_json(True)


def _model(name: str) -> dict[str, Any]:
    return bindings.v1Model(
        archived=False,
        creationTime=TIME,
        id=1,
        lastUpdatedTime=TIME,
        metadata={},
        name=name,
        numVersions=0,
        userId=1,
        username="determined",
        workspaceId=1,
    ).to_json(True)


def _version(name: str, version: Version) -> dict[str, Any]:
    return {
        "checkpoint": version.checkpoint,
        "creationTime": TIME,
        "id": version.number,
        "lastUpdatedTime": TIME,
        "model": _model(name),
        "version": version.number,
        "notes": version.notes,
    }
