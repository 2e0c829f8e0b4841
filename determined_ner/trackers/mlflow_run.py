"""A run in MLflow, by its client, which tells neither user, host nor command line as ``mlflow.start_run`` does."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

KEY_TAG = "determined_ner.run"
"""By which a resumed run is found again."""
_NOT_IN_NAMES = re.compile(r"[^\w/.\- :]")
"""Characters that MLflow takes in no name of a metric; entity types may have any."""
_LONGEST_NAME = 250
_LONGEST = 6000
"""Characters that MLflow takes of a value."""


class MlflowRun:
    """Goes to ``MLFLOW_TRACKING_URI``, or to a folder ``mlruns`` of the run; to ``MLFLOW_EXPERIMENT_NAME`` there."""

    def __init__(self, key: str, title: str, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder needs no database, nor a server
            uri = (folder / "mlruns").absolute().as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "determined-ner")
        known = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        found = self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        self._resumed = bool(found)
        if found:
            self._run: str = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(experiment, run_name=title, tags={KEY_TAG: key}).info.run_id

    def settings(self, settings: dict[str, Any]) -> None:
        if not self._resumed:  # a parameter is written once
            texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
            params = [self._param(name, text[:_LONGEST]) for name, text in texts.items()]
            for begin in range(0, len(params), 100):
                self._client.log_batch(self._run, params=params[begin : begin + 100])

    def metrics(self, metrics: dict[str, float], batches: int) -> None:
        now = int(time.time() * 1000)
        named = {_NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME]: value for name, value in metrics.items()}
        self._client.log_batch(self._run, metrics=[self._metric(n, v, now, batches) for n, v in named.items()])

    def files(self, folder: Path, name: str) -> None:
        self._client.log_artifacts(self._run, str(folder), name)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")
