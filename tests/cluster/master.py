"""A stand-in for Determined's master: all that one trial asks of it, recorded and answered.

Paths come from Determined's own bindings, answers are built from their classes and bodies are read with them, so that
this double follows the version that is installed. A request that it does not know, or whose body the bindings do not
know, is refused and kept in ``refused``.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from determined.common.api import bindings

from tests.cluster.nodes import MASTER_IP, MASTER_PORT, peer_ip
from tests.cluster.records import Answer, Handler, Records, Registry

TRIAL, EXPERIMENT, STORAGE = 7, 3, 5
TASK, TOKEN, USER_TOKEN = f"{TRIAL}.task", "token-of-the-task", "token-of-the-user"
TRIAL_SEED = 2024  # the master draws one for each trial
GRACE = 0.3
"""Seconds after which a task's training thread surely knows of its preemption."""


@dataclass(frozen=True)
class Request:
    """What a task asked; ``run`` counts the tasks of the trial from 1."""

    run: int
    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    time: float
    status: int
    answer: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """Metrics of one group after so many batches."""

    run: int
    steps: int
    metrics: dict[str, Any]


class Master:
    """One trial of one experiment, over as many tasks as preemptions and deaths make of it."""

    def __init__(self, config: dict[str, Any], archive: str, registry: Registry | None = None) -> None:
        """
        Args:
            config: the experiment config, completed with the master's defaults.
            archive: the context directory as base64 of a tgz.
            registry: of models; None: an empty one.
        """
        self.config = config
        self.records = Records(TRIAL, EXPERIMENT, self, registry or Registry())
        self.slots: int = config["resources"]["slots_per_trial"]
        self.requests: list[Request] = []
        self.run = 0
        self.delay = 0.0
        """Seconds before each answer."""
        self.failing: int | None = None
        """Status of each answer in place of a real one: something before the master is out of order, or the master."""
        self.failed = 0
        """Requests answered so."""
        self._archive = archive
        self._lock = threading.Lock()
        self._nodes = 1
        self._preempt_after: int | None = None
        self._preempt_at: int | None = None
        self._hold_at: int | None = None
        self._held, self._released = threading.Event(), threading.Event()
        self._preempting = threading.Event()
        self._told = threading.Event()
        self.searcher: Callable[[dict[str, Any]], bool] | None = None
        """Takes the metrics of each validation, and says whether the trial is to end."""
        self._stopped = False
        self._routes: dict[tuple[str, str], tuple[dict[str, Any], type | None, Handler]] = {}
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> Master:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def listen(self, listener: socket.socket) -> None:
        """Answer there too, from now on."""
        server = ThreadingHTTPServer(listener.getsockname(), _handler(self), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.daemon_threads = True
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()

    @property
    def ports(self) -> list[int]:
        return [server.server_address[1] for server in self._servers]

    # ----- what a test sets and reads

    def preempt_after(self, batches: int) -> None:
        """Preempt the next task once it has reported training metrics of so many batches."""
        self._preempt_after = batches

    def preempt_at(self, request: int) -> None:
        """Preempt the next task at the request of this number from the training thread; at 0 from its beginning."""
        self._preempt_at = request

    def hold_at(self, batches: int) -> None:
        """Let training wait for an answer as soon as it has reported metrics of so many batches."""
        self._hold_at = batches
        self._held, self._released = threading.Event(), threading.Event()

    def wait_until_held(self, timeout: float = 240) -> None:
        """Wait until training is held."""
        assert self._held.wait(timeout), "the task has not come so far"

    def go_on(self) -> None:
        self._released.set()

    def start_task(self, nodes: int = 1) -> list[dict[str, str]]:
        """Begin the trial, or its next task after a preemption or a death.

        Returns:
            for each of its containers, one a node, the variables of its environment.
        """
        self.run += 1
        self._nodes = nodes
        self._preempting, self._told = threading.Event(), threading.Event()
        if self._preempt_at == 0:
            self._preempt_at = None
            self._preempting.set()
        allocation = f"{TASK}.{self.run}"
        self._routes = self._make_routes(allocation)
        hparams = {name: hparam["val"] for name, hparam in self.config["hyperparameters"].items()}
        environment = {
            "DET_MASTER": f"http://{MASTER_IP}:{MASTER_PORT}",
            "DET_CLUSTER_ID": "cluster-1",
            "DET_SLOT_IDS": json.dumps(list(range(self.slots // nodes))),
            "DET_TASK_ID": TASK,
            "DET_ALLOCATION_ID": allocation,
            "DET_SESSION_TOKEN": TOKEN,
            "DET_TASK_TYPE": "TRIAL",
            "DET_TRIAL_ID": str(TRIAL),
            "DET_EXPERIMENT_ID": str(EXPERIMENT),
            "DET_TRIAL_SEED": str(TRIAL_SEED),
            "DET_HPARAMS": json.dumps(hparams),
            "DET_EXPERIMENT_CONFIG": json.dumps(self.config),
            "DET_STEPS_COMPLETED": "0",
            "DET_TRIAL_RUN_ID": str(self.run),
            "DET_RESOURCES_TYPE": "docker-container",
            "DET_USER": "determined",
            "DET_USER_TOKEN": USER_TOKEN,  # with which a task asks for what is not its own
        }
        if self.checkpoints:
            environment["DET_LATEST_CHECKPOINT"] = self.checkpoints[-1]["uuid"]
            environment["DET_STEPS_COMPLETED"] = str(self.checkpoints[-1]["metadata"]["steps_completed"])
        return [
            {
                **environment,
                "DET_AGENT_ID": f"agent-{i + 1}",
                "DET_CONTAINER_ID": f"container-{i + 1}",
                "DET_RESOURCES_ID": _resources(i),
            }
            for i in range(nodes)
        ]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Accepted bodies of a path's requests; of the path its end suffices."""
        return [r.body for r in list(self.requests) if r.path.endswith(path) and r.method == "POST" and r.status == 200]

    def reports(self, group: str) -> list[Report]:
        """Metrics of a group (training, validation), in the order in which they came."""
        return [
            Report(body["metrics"]["trialRunId"], body["metrics"]["stepsCompleted"], dict(values))
            for body in self.bodies(f"/trials/{TRIAL}/metrics")
            if body["group"] == group and (values := body["metrics"]["metrics"]["avgMetrics"]) is not None
        ]

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        return self.bodies("/api/v1/checkpoints")

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """Requests that a real master would not have taken either: method, path, reason."""
        return [(r.method, r.path, r.answer["error"]["error"]) for r in list(self.requests) if "error" in r.answer]

    # ----- answers

    def _make_routes(self, allocation: str) -> dict[tuple[str, str], tuple[dict[str, Any], type | None, Handler]]:
        b, trial = bindings, {"trialId": TRIAL}
        in_allocation = {"allocationId": allocation}
        return {
            _route(call, **ids): (ids, body, handler)
            for call, ids, body, handler in (
                (b.get_GetTaskContextDirectory, {"taskId": TASK}, None, self._context_directory),
                (b.post_PostAllocationAcceleratorData, in_allocation, b.v1PostAllocationAcceleratorDataRequest, _noted),
                *(
                    (
                        b.get_AllocationRendezvousInfo,
                        {**in_allocation, "resourcesId": _resources(i)},
                        None,
                        functools.partial(self._rendezvous, i),
                    )
                    for i in range(self._nodes)
                ),
                (b.post_RunPrepareForReporting, {}, b.v1RunPrepareForReportingRequest, self._start_run),
                (b.get_GetTrial, trial, None, self._trial),
                (b.get_AllocationPreemptionSignal, in_allocation, None, self._preemption),
                (
                    b.post_AckAllocationPreemptionSignal,
                    in_allocation,
                    b.v1AckAllocationPreemptionSignalRequest,
                    _noted,
                ),
                (b.post_PostTrialRunnerMetadata, trial, b.v1TrialRunnerMetadata, self._noted_unhurried),
                (b.post_ReportTrialProgress, trial, b.v1ReportTrialProgressRequest, self._noted_unhurried),
                (b.post_ReportTrialMetrics, {"metrics_trialId": TRIAL}, b.v1ReportTrialMetricsRequest, self._metrics),
                (b.get_GetBestSearcherValidationMetric, {"experimentId": EXPERIMENT}, None, self._best),
                (b.post_ReportCheckpoint, {}, b.v1Checkpoint, _noted),
                (b.post_ReportTrialSearcherEarlyExit, trial, b.v1TrialEarlyExit, _noted),
            )
        }

    def _context_directory(self, _: dict[str, Any]) -> Answer:
        return _answer(bindings.v1GetTaskContextDirectoryResponse(b64Tgz=self._archive))

    def _rendezvous(self, node: int, _: dict[str, Any]) -> Answer:
        addresses = [peer_ip(i) for i in range(self._nodes)] if self._nodes > 1 else ["127.0.0.1"]
        slots = [self.slots // self._nodes] * self._nodes
        here = bindings.v1RendezvousInfo(addresses=addresses, rank=node, slots=slots)
        return _answer(bindings.v1AllocationRendezvousInfoResponse(rendezvousInfo=here))

    def _start_run(self, body: dict[str, Any]) -> Answer:
        if body["runId"] != TRIAL:
            return _refusal(404, f"no run {body['runId']}")
        return _answer(bindings.v1RunPrepareForReportingResponse(storageId=STORAGE))

    def _trial(self, _: dict[str, Any]) -> Answer:
        trial = bindings.trialv1Trial(
            id=TRIAL,
            experimentId=EXPERIMENT,
            hparams=json.loads(json.dumps(self.config["hyperparameters"])),
            restarts=0,
            startTime="2024-01-01T00:00:00Z",
            state=bindings.trialv1State.STOPPING_COMPLETED if self._stopped else bindings.trialv1State.RUNNING,
            totalBatchesProcessed=max((r.steps for r in self.reports("training")), default=0),
        )
        if validations := self.reports("validation"):
            latest = validations[-1]
            trial.latestValidation = bindings.v1MetricsWorkload(
                metrics=bindings.v1Metrics(avgMetrics=latest.metrics), numInputs=0, totalBatches=latest.steps
            )
        return _answer(bindings.v1GetTrialResponse(trial=trial))

    def _preemption(self, query: dict[str, Any]) -> Answer:
        preempting = self._preempting.wait(float(query["timeout_seconds"]))
        return _answer(bindings.v1AllocationPreemptionSignalResponse(preempt=preempting))

    def _noted_unhurried(self, _: dict[str, Any]) -> Answer:
        # These come from the training thread. It goes on only once it knows of its preemption, or else a tiny
        # training would be over before.
        if self._preempt_at is not None:
            self._preempt_at -= 1
            if self._preempt_at <= 0:
                self._preempt_at = None
                self._preempting.set()
        reached = max((r.steps for r in self.reports("training") if r.run == self.run), default=0)
        if self._hold_at is not None and reached >= self._hold_at:
            self._hold_at = None
            self._held.set()
            self._released.wait()
        if self._preempting.is_set() and not self._told.is_set():
            self._told.wait(10)
            time.sleep(GRACE)
        return 200, {}

    def _metrics(self, body: dict[str, Any]) -> Answer:
        batches = body["metrics"]["stepsCompleted"]
        if body["group"] == "training" and self._preempt_after is not None and batches >= self._preempt_after:
            self._preempt_after = None
            self._preempting.set()
        if body["group"] == "validation" and self.searcher is not None:
            # All that happens: the state is another, and no signal comes.
            self._stopped = self.searcher(body["metrics"]["metrics"]["avgMetrics"]) or self._stopped
        return 200, {}

    def _best(self, _: dict[str, Any]) -> Answer:
        searcher = self.config["searcher"]
        values = [report.metrics[searcher["metric"]] for report in self.reports("validation")]
        if not values:
            return 404, {}
        best = min(values) if searcher["smaller_is_better"] else max(values)
        return _answer(bindings.v1GetBestSearcherValidationMetricResponse(metric=best))

    # ----- one request

    def take(self, method: str, target: str, token: str | None, raw: bytes) -> Callable[[Callable[..., None]], None]:
        """Work out an answer; the result sends it with the function that it is given, and records the request."""
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        run, began, body, routes = self.run, time.monotonic(), {}, self._routes
        time.sleep(self.delay)
        if (failing := self.failing) is not None:
            self.failed += 1
            return lambda send: send(failing, {})
        try:
            found = routes.get((method, url.path)) or self.records.find(method, url.path, _route)
            if found is None:
                raise LookupError("unknown path")
            in_path, body_class, handler = found
            if token not in (f"Bearer {TOKEN}", f"Bearer {USER_TOKEN}"):
                raise PermissionError(f"wrong token {token}")
            body = json.loads(raw or b"{}", parse_constant=_no_constant)
            if body_class is not None:
                _check_body(body_class, body, in_path)
            status, answer = handler(query if method == "GET" else body)
        except (LookupError, PermissionError, ValueError, TypeError) as error:
            status = {LookupError: 404, PermissionError: 401}.get(type(error), 400)
            status, answer = _refusal(status, f"{type(error).__name__}: {error}")

        def send(function: Callable[..., None]) -> None:
            with self._lock:
                self.requests.append(Request(run, method, url.path, query, body, began, status, answer))
            function(status, answer)
            if answer.get("preempt"):
                self._told.set()

        return send


def _resources(node: int) -> str:
    return f"resources-{node + 1}"


def _noted(_: dict[str, Any]) -> Answer:
    return 200, {}


def _answer(answer: bindings.Printable) -> Answer:
    return 200, answer.to_json(True)


def _refusal(status: int, reason: str) -> Answer:
    return status, {"error": {"code": status, "error": reason}}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON: the real master does not read it")


class _FoundError(Exception):
    pass


class _Probe:
    """In place of a session: finds out where a binding would have gone."""

    def _do_request(self, method: str, path: str, **_: Any) -> None:
        raise _FoundError(method, path)

    def to_json(self, _: bool) -> dict[str, Any]:
        return {}


def _route(call: Callable[..., Any], **ids: Any) -> tuple[str, str]:
    """Method and path of a binding."""
    if "body" in inspect.signature(call).parameters:
        ids["body"] = _Probe()
    try:
        call(_Probe(), **ids)
    except _FoundError as found:
        method, path = found.args
        return method, path
    raise AssertionError(f"{call.__name__} asks nothing")


def _check_body(body_class: Any, body: dict[str, Any], in_path: dict[str, Any]) -> None:
    """A body, with what the gateway adds to it from the path, has to survive the bindings' class whole.

    Raises:
        ValueError, LookupError, TypeError: it does not.
    """
    given = {re.sub("_(.)", lambda match: match[1].upper(), key): value for key, value in body.items()}
    given = {**{name: in_path[name] for name in inspect.signature(body_class).parameters if name in in_path}, **given}
    known = body_class.from_json(given).to_json(True)
    if known != given:
        raise ValueError(f"{body_class.__name__} reads {known} from {given}")


def _handler(master: Master) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or else each answer waits 40 ms

        def _take(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            try:
                raw = self.rfile.read(length)
            except ConnectionError:
                raw = b""
            if len(raw) < length:  # a node that was killed sent half of it: no request has come
                self.close_connection = True
                return
            token = self.headers.get("Grpc-Metadata-x-allocation-token") or self.headers.get("Authorization")
            master.take(self.command, self.path, token, raw)(self._send)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _take  # noqa: N815

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                self.close_connection = True  # the task has ended

        def log_message(self, *_: Any) -> None:
            pass

    return Requests
