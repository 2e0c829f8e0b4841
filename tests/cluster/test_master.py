"""The stand-in of the master refuses what a real one would."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from determined.common.api import bindings

from tests.cluster import chain
from tests.cluster.master import TOKEN, TRIAL, Master

CONFIG = {"name": "test", "hyperparameters": {"x": 1}, "searcher": {"name": "single", "metric": "f1"}}


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with Master(chain.complete(CONFIG, tmp_path), archive="") as played:
        played.start_task()
        played.listen(socket.create_server(("127.0.0.1", 0)))
        yield played


def ask(master: Master, path: str, body: dict[str, Any] | None = None, token: str = TOKEN) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{master.ports[0]}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Grpc-Metadata-x-allocation-token": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def metrics(group: str, steps: int, **values: float) -> dict[str, Any]:
    inner = {"metrics": {"avgMetrics": values}, "trialId": TRIAL, "trialRunId": 1, "stepsCompleted": steps}
    return {"group": group, "metrics": inner}


def test_it_refuses_what_it_does_not_know(master: Master) -> None:
    assert ask(master, f"/api/v1/trials/{TRIAL}/progress", {"progress": 0.5, "is_raw": True}) == (200, {})
    assert ask(master, f"/api/v1/trials/{TRIAL + 1}/progress", {"progress": 0.5})[0] == 404
    assert ask(master, f"/api/v1/trials/{TRIAL}/progress", {"progress": 0.5, "of": 1})[0] == 400
    assert ask(master, f"/api/v1/trials/{TRIAL}/progress", {})[0] == 400
    assert ask(master, f"/api/v1/trials/{TRIAL}/progress", {"progress": float("nan")})[0] == 400
    assert ask(master, f"/api/v1/trials/{TRIAL}/early_exit", {"reason": "TIRED"})[0] == 400
    assert ask(master, f"/api/v1/trials/{TRIAL}", token="another")[0] == 401
    assert len(master.requests) == 7
    assert len(master.refused) == 6


def test_half_a_request_of_a_node_that_was_killed_is_none(master: Master) -> None:
    with socket.create_connection(("127.0.0.1", master.ports[0]), 10) as killed:
        killed.sendall(f"POST /api/v1/trials/{TRIAL}/progress HTTP/1.1\r\nContent-Length: 40\r\n\r\n{{".encode())
        killed.shutdown(socket.SHUT_WR)
        assert killed.recv(1) == b""
    assert not master.requests


def test_it_remembers_validations(master: Master) -> None:
    best = "/api/v1/experiments/3/searcher/best_searcher_validation_metric"
    assert ask(master, best) == (404, {})
    for steps, value in ((2, 0.5), (4, 0.25), (6, 0.75)):
        assert ask(master, f"/api/v1/trials/{TRIAL}/metrics", metrics("validation", steps, f1=value)) == (200, {})
    assert ask(master, best) == (200, {"metric": 0.25})  # smaller is better, unless the config says otherwise
    trial = bindings.v1GetTrialResponse.from_json(ask(master, f"/api/v1/trials/{TRIAL}")[1]).trial
    assert trial.latestValidation is not None
    assert trial.latestValidation.totalBatches == 6
    assert master.refused == []
