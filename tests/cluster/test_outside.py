"""What a trial of a cluster tells others than its master: the Hugging Face hub, and experiment trackers."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from determined_ner.cluster.tracking import check_places
from determined_ner.errors import UserError
from tests.cluster.trials import DISTRIBUTED, OUTSIDE, SCRIPT, STEPS, Cluster, Trial
from tests.conftest import ROOT, make_sentences, write_conll
from tests.hub.standin import TOKEN, words_in

WORDS = {word for sentence in make_sentences(13, 100) for word, _ in sentence if len(word) > 3}
"""Of the validation data."""
PUSH = {"push_to_hub": True, "hub_model_id": "tagger"}


def asked(environment: dict[str, str] | None = None, hub: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return [{"environment": environment or {}, "path": [], "hub": hub or {}}]


def told(trial: Trial) -> dict[str, Any]:
    return dict(json.loads((trial.folder / "witness" / "hub.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("slots", [1, 2])
def test_a_trial_uploads_its_best_model_as_a_local_run_does(cluster: Cluster, slots: int) -> None:
    file = cluster.inputs / "test-of-upload.conll"
    write_conll(file, make_sentences(7, 200))
    options: dict[str, Any] = {"data": {**PUSH, "test_file": str(file)}, "num_train_epochs": 1}
    launched = OUTSIDE if slots == 1 else DISTRIBUTED.replace("ner_trial", "outside")
    with cluster.trial(f"uploading-{slots}", entrypoint=launched, slots=slots, deaths=asked(), **options) as trial:
        task = trial.run_well()
    repository = told(trial)["ada/tagger"]
    uploaded = {"model.safetensors", "config.json", "tokenizer.json", "README.md", "calibration.json", "report.html"}
    assert repository["private"] and len(repository["commits"]) == 1 and uploaded <= set(repository["files"])
    assert "/ada/tagger" in task.log and TOKEN not in task.log
    received = (trial.folder / "witness" / "hub.bin").read_bytes()
    texts = [TOKEN, str(cluster.inputs), str(trial.folder), str(ROOT), "agent-1"]
    assert [text for text in texts if text.encode() in received] == [] == words_in(received, WORDS)
    assert TOKEN not in json.dumps(trial.master.config) + json.dumps(trial.master.records.metadata)


def test_a_repository_that_cannot_be_uploaded_to_ends_the_trial_before_data_is_read(cluster: Cluster) -> None:
    hub = {"ada/tagger": {"private": False}}
    data = {**PUSH, "train_file": "nowhere.conll"}
    with cluster.trial("refused-upload", entrypoint=OUTSIDE, deaths=asked(hub=hub), data=data) as trial:
        (task,) = trial.run_to_the_end()
    assert task.status != 0 and "error: data.hub_model_id: 'tagger': is public" in task.log
    assert "Traceback" not in task.log and told(trial)["ada/tagger"]["commits"] == []


@pytest.mark.parametrize(
    ("name", "environment", "message"),
    [
        ("mlflow", {}, "mlflow needs MLFLOW_TRACKING_URI on a cluster"),
        ("wandb", {"WANDB_MODE": "offline"}, "needs WANDB_DIR on a cluster"),
    ],
)
def test_a_tracker_whose_folder_ends_with_the_container_is_refused(monkeypatch, name, environment, message) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=message):
        check_places([name])


def test_a_tracker_whose_package_is_missing_ends_the_trial_at_once(cluster: Cluster) -> None:
    with cluster.trial("no-tracker", entrypoint=SCRIPT, data={"report_to": "wandb"}) as trial:
        (task,) = trial.run_to_the_end()
    if "which is not installed" not in task.log:
        pytest.skip("the package wandb is installed")
    assert "error: data.report_to: 'wandb' needs the package wandb" in task.log and "Traceback" not in task.log


def packages_of(tracker: str) -> Path:
    """The directory that a tracker is installed in; without it the test is skipped."""
    spec = importlib.util.find_spec(tracker)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {tracker} is not installed")
    return Path(spec.origin).resolve().parents[1]


def test_tasks_of_a_trial_report_to_one_run_of_a_tracker_as_they_do_to_the_master(cluster: Cluster) -> None:
    packages = packages_of("mlflow")
    from mlflow import MlflowClient

    options: dict[str, Any] = {"data": {"report_to": ["mlflow"]}, "entrypoint": OUTSIDE, "num_train_epochs": 2}
    with cluster.trial("tracked", deaths=asked(), **options) as trial:
        uri = (trial.folder / "mlruns").as_uri()
        trial.deaths[0] |= {
            "environment": {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"},
            "path": [str(packages)],
        }
        trial.visible.append(packages)
        trial.master.preempt_after(STEPS)
        trial.run_well()
        trial.run_well()
    with mock.patch.dict(os.environ, {"MLFLOW_ALLOW_FILE_STORE": "true"}):
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("determined-ner")
        (run,) = client.search_runs([experiment.experiment_id])
        curve = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "eval/f1")}
        losses = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "train/loss")}
    assert run.info.status == "FINISHED" and run.info.run_name.startswith("test, trial ")
    assert run.data.params["hyperparameters.learning_rate"] == "0.01"
    assert curve == {report.steps: report.metrics["f1"] for report in trial.master.reports("validation")}
    assert losses == {report.steps: report.metrics["loss"] for report in trial.master.reports("training")}
    artifacts = trial.folder / "mlruns"
    assert list(artifacts.rglob("artifacts/model/model.safetensors"))
    (page,) = artifacts.rglob("artifacts/report/report.html")
    assert not words_in(page.read_bytes(), WORDS)


def test_tasks_of_a_trial_are_one_run_of_weights_and_biases(cluster: Cluster) -> None:
    packages = packages_of("wandb")
    options: dict[str, Any] = {"data": {"report_to": ["wandb"]}, "entrypoint": OUTSIDE, "num_train_epochs": 2}
    with cluster.trial("tracked-by-wandb", deaths=asked(), **options) as trial:
        environment = {"WANDB_MODE": "offline", "WANDB_DIR": str(trial.folder)}
        trial.deaths[0] |= {"environment": environment, "path": [str(packages)]}
        trial.visible.append(packages)
        trial.master.preempt_after(STEPS)
        trial.run_well()
        trial.run_well()
    runs = list((trial.folder / "wandb").glob("offline-run-*"))
    assert runs and len({run.name.rpartition("-")[2] for run in runs}) == 1
    told = b"".join(file.read_bytes() for run in runs for file in run.rglob("*.wandb"))
    assert b"eval/f1" in told
    texts = [str(cluster.inputs), str(trial.folder / "home"), "agent-1"]
    assert [text for text in texts if text.encode() in told] == [] == words_in(told, WORDS)
