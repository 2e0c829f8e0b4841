"""A tracker that does not answer may answer later."""

from __future__ import annotations

import pytest

from determined_ner.errors import TemporaryError
from determined_ner.trackers.runs import _KINDS, Trackers


def test_an_entity_type_of_any_name_goes_to_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from determined_ner.trackers.mlflow_run import MlflowRun

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = MlflowRun("key", "title", tmp_path)
    run.metrics({"f1": 0.5, "f1_R&D": 0.25, "f1_PER|ORG (both)": 0.75, f"f1_{'x' * 300}": 1.0}, 7)
    kept = run._client.get_run(run._run).data.metrics
    assert kept == {"f1": 0.5, "f1_R_D": 0.25, "f1_PER_ORG _both_": 0.75, f"f1_{'x' * 247}": 1.0}


def test_a_tracker_that_does_not_answer_may_pass(tmp_path, monkeypatch):
    def refuse(*_):
        raise ConnectionError("refused")

    monkeypatch.setitem(_KINDS, "mlflow", refuse)
    with pytest.raises(TemporaryError):
        Trackers().begin(["mlflow"], "key", "title", tmp_path)
