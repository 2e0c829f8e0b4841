"""Runs that report to MLflow and Weights & Biases, offline: what they are told, what never, and what a resume does."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from unittest import mock

import pytest

import ner_trial
from determined_ner.model.checkpoint import checkpoint_name
from tests.conftest import make_sentences, read_metrics
from tests.forked import together

SECRET = "s3cr3t-of-the-environment"
WORDS = {word for sentence in make_sentences(13, 100) for word, _ in sentence if len(word) > 3}
"""Of the validation data."""


@pytest.fixture(params=["mlflow", "wandb"])
def tracker(request, monkeypatch) -> str:
    name = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the package {name} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return str(name)


def train(config, folder: Path, *options: str) -> str:
    """In a copy of this process; returns what it said."""
    status, output = together(lambda: ner_trial.main([str(config), "--output-dir", str(folder), *options]), 1)
    assert status == 0, output
    return output


def contents(folder: Path, tracker: str) -> bytes:
    where = folder / {"mlflow": "mlruns", "wandb": "wandb"}[tracker]
    return b"\n".join(file.read_bytes() for file in where.rglob("*") if file.is_file() and not file.is_symlink())


def mlflow_runs(folder: Path):
    from mlflow import MlflowClient

    with mock.patch.dict(os.environ, {"MLFLOW_ALLOW_FILE_STORE": "true"}):
        client = MlflowClient(tracking_uri=(folder / "mlruns").absolute().as_uri())
        return client, client.search_runs([client.get_experiment_by_name("determined-ner").experiment_id])


def test_a_run_tells_its_tracker_settings_and_curves_and_nothing_of_the_machine(tmp_path, config_file, tracker):
    folder = tmp_path / "run"
    train(config_file, folder, "--config", f"data.report_to={tracker}")
    told = contents(folder, tracker)
    for text in (b"learning_rate", b"eval/f1" if tracker == "wandb" else b"f1"):
        assert text in told
    for text in (SECRET, str(tmp_path / "train.conll"), sys.executable, *WORDS):
        assert text.encode() not in told, text
    if len(socket.gethostname()) > 8:  # a short one may stand there by chance
        assert socket.gethostname().encode() not in told
    assert not (folder / "tensorboard").exists()


def test_mlflow_has_curves_scores_report_and_a_model_that_tags(tmp_path, config_file, tracker):
    if tracker != "mlflow":
        pytest.skip("read back by its client")
    from determined_ner import Tagger

    folder = tmp_path / "run"
    train(config_file, folder, "--config", "data.report_to=[mlflow, tensorboard]")
    client, (run,) = mlflow_runs(folder)
    assert run.info.status == "FINISHED" and run.data.params["hyperparameters.learning_rate"] == "0.001"
    curve = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "eval/f1")]
    assert curve == [(line["batches"], line["f1"]) for line in read_metrics(folder, "validation")]
    assert run.data.metrics["test/f1"] == json.loads((folder / "summary.json").read_text())["test"]["f1"]
    (model,) = (folder / "mlruns").rglob("artifacts/model")
    (page,) = (folder / "mlruns").rglob("artifacts/report/report.html")
    assert not any(word in page.read_text() for word in WORDS)
    assert len(Tagger.from_pretrained(model)(["Ada went to Oslo ."])) == 1
    assert (folder / "tensorboard").exists()


def test_a_resumed_run_goes_on_in_the_same_run_of_its_tracker(tmp_path, config_file, tracker):
    folder = tmp_path / "run"
    options = ["--config", f"data.report_to={tracker}", "--config", "checkpoint_policy=all"]
    train(config_file, folder, *options, "--config", "checkpoint_storage.save_trial_latest=9")
    key = (folder / "trackers.json").read_text()
    shutil.rmtree(folder / "checkpoints" / checkpoint_name(12))
    status, output = together(lambda: ner_trial.main(["--output-dir", str(folder), "--resume"]), 1)
    assert status == 0, output
    assert (folder / "trackers.json").read_text() == key
    if tracker == "mlflow":
        _, runs = mlflow_runs(folder)
        assert len(runs) == 1 and runs[0].info.status == "FINISHED"
    else:
        runs = [path.name for path in (folder / "wandb").glob("offline-run-*")]
        assert len(runs) >= 1 and all(name.endswith(json.loads(key)["key"]) for name in runs)


def test_of_two_processes_one_reports(tmp_path, config_file, tracker):
    if tracker != "mlflow":
        pytest.skip("counted in MLflow")
    folder = tmp_path / "run"
    arguments = [str(config_file), "--output-dir", str(folder), "--config", "data.report_to=mlflow"]
    status, output = together(lambda: ner_trial.main(arguments), 2)
    assert status == 0, output
    assert len(mlflow_runs(folder)[1]) == 1


def test_reporting_changes_no_weight(tmp_path, config_file, tracker):
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder, name in zip(folders, (tracker, "none"), strict=True):
        train(config_file, folder, "--config", f"data.report_to={name}")
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("value", ["neptune", "[none, mlflow]", "3"])
def test_other_trackers_are_refused_before_data_is_read(refuse, value):
    assert "data.report_to" in refuse(f"data.report_to={value}", "data.train_file=nowhere.conll")


def test_a_tracker_whose_package_is_missing_is_refused_before_data_is_read(refuse, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else find(name, *more))
    message = refuse("data.report_to=wandb")
    assert "pip install 'determined-ner[wandb]'" in message
