"""A stand-in of the master for ``det``: takes experiments as a real one would, and remembers them."""

from __future__ import annotations

import base64
import importlib.util
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import determined
from determined.common import util
from determined.common.api import bindings

from tests.cluster.experiments import stored_checkpoint
from tests.cluster.master import USER_TOKEN, _answer, _handler, _refusal, _route
from tests.conftest import ROOT

NAME, PASSWORD = "jane", "Rather-1-long"
EXPERIMENT, UUID = 3, "0b0b8f5c-6b2f-4a59-8c0e-5c8a1f0f8f11"
CHECKER = ROOT.parent / "shared" / "determined" / "check_expconf.py"


@dataclass(frozen=True)
class Created:
    """An experiment as ``det`` sent it."""

    config: dict[str, Any]
    files: dict[str, bytes]
    """By path; directories are left out."""


class CliMaster:
    """Answers what a user asks; whatever else is asked is refused and kept in ``refused``."""

    def __init__(self, storage: Path, files: list[str]) -> None:
        """
        Args:
            storage: where the one checkpoint that there is lies.
            files: of it.
        """
        self.created: list[Created] = []
        self.continued: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._storage = storage
        self._checkpoint = {
            "uuid": UUID,
            "state": "STATE_COMPLETED",
            "metadata": {"steps_completed": 12},
            "resources": dict.fromkeys(files, "1"),
        }
        listener = socket.create_server(("127.0.0.1", 0))
        self._server = ThreadingHTTPServer(listener.getsockname(), _handler(self), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        b = bindings
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]] = {
            ("GET", "/info"): lambda _: (200, {"version": determined.__version__, "cluster_id": "cluster-1"}),
            _route(b.post_Login): self._login,
            _route(b.post_CreateExperiment): self._create,
            _route(b.post_ContinueExperiment): self._continue,
            _route(b.get_GetExperimentCheckpoints, id=EXPERIMENT): self._list,
            _route(b.get_GetCheckpoint, checkpointUuid=UUID): lambda _: (200, self._stored()),
            ("GET", "/api/v1/me"): lambda _: (200, {"user": {"username": NAME, "admin": False, "active": True}}),
        }

    def __enter__(self) -> CliMaster:
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, method: str, target: str, _: str | None, raw: bytes) -> Callable[[Callable[..., None]], None]:
        path = urllib.parse.urlsplit(target).path
        handler = self._routes.get((method, path))
        if handler is None:
            self.refused.append(f"{method} {path}")
            return lambda send: send(*_refusal(404, f"{method} {path}: unknown path"))
        answer = handler(json.loads(raw or b"{}"))
        return lambda send: send(*answer)

    def _login(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        from determined.common.api import salt_and_hash

        if (body["username"], body["password"]) != (NAME, salt_and_hash(PASSWORD)):
            self.refused.append(f"login of {body['username']}")
            return _refusal(401, "invalid credentials")
        user = bindings.v1User(active=True, admin=False, username=NAME)
        return _answer(bindings.v1LoginResponse(token=USER_TOKEN, user=user))

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        request = bindings.v1CreateExperimentRequest.from_json(body)
        assert request.modelDefinition is not None and request.config is not None
        config = util.yaml_safe_load(request.config)
        if faults := list(_faults(config)):
            self.refused.append(f"{config.get('name')}: {faults}")
            return _refusal(400, str(faults))
        files = {file.path: base64.b64decode(file.content) for file in request.modelDefinition if chr(file.type) != "5"}
        self.created.append(Created(config, files))
        return _answer(bindings.v1CreateExperimentResponse(config=config, experiment=_experiment(config)))

    def _continue(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        request = bindings.v1ContinueExperimentRequest.from_json(body)
        if request.id != EXPERIMENT:
            return _refusal(404, f"no experiment {request.id}")
        self.continued.append(util.yaml_safe_load(request.overrideConfig))
        return _answer(bindings.v1ContinueExperimentResponse(experiment=_experiment({})))

    def _stored(self) -> dict[str, Any]:
        storage = {"type": "directory", "container_path": str(self._storage)}
        config = {"searcher": {"metric": "f1"}, "checkpoint_storage": storage}
        return stored_checkpoint(self._checkpoint, config)

    def _list(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        checkpoint = bindings.v1Checkpoint.from_json(self._stored()["checkpoint"])
        page = bindings.v1Pagination(total=1)
        return _answer(bindings.v1GetExperimentCheckpointsResponse(checkpoints=[checkpoint], pagination=page))


def _faults(config: dict[str, Any]) -> Any:
    """What Determined's schemas say against a config; nothing where they are absent."""
    if not CHECKER.is_file():
        return []
    spec = importlib.util.spec_from_file_location("check_expconf", CHECKER)
    assert spec is not None and spec.loader is not None
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    return checker.faults(config)


def _experiment(config: dict[str, Any]) -> bindings.v1Experiment:
    return bindings.v1Experiment(
        id=EXPERIMENT,
        archived=False,
        config=config,
        jobId="job",
        name=str(config.get("name")),
        numTrials=1,
        originalConfig="",
        projectId=1,
        projectOwnerId=1,
        searcherType="single",
        startTime="2024-01-01T00:00:00Z",
        state=bindings.experimentv1State.ACTIVE,
        username=NAME,
    )
