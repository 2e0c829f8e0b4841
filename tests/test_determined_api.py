"""Undocumented names of Determined: each still exists in the release that is installed, and one module touches them."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import logging
import os
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import determined as det
import pytest
import torch
import zmq
from determined import core, pytorch, tensorboard
from determined.common import api, storage
from determined.common.api import bindings, errors
from urllib3.util.retry import Retry

import ner_trial
from determined_ner import determined_api
from determined_ner.cluster import batch_inference, callbacks, reducers, searcher, workarounds
from determined_ner.cluster.workarounds import wait_for_master
from determined_ner.training.trial_state import read_trial_state
from tests.conftest import ROOT

API = ROOT / "determined_ner" / "determined_api.py"


@pytest.fixture
def context() -> Iterator[pytorch.PyTorchTrialContext]:
    with pytorch.init(
        hparams={"global_batch_size": 8},
        exp_conf={"data": {}},
        distributed=core.DummyDistributedContext(),
        aggregation_frequency=2,
        enable_tensorboard_logging=False,
    ) as made:
        yield made


@pytest.fixture
def slots() -> Iterator[tuple[core.DistributedContext, core.DistributedContext]]:
    """A chief and a worker, as two slots of one machine."""
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        ports = dict(zip(("pub_port", "pull_port"), (one.getsockname()[1], two.getsockname()[1]), strict=True))
    made: dict[int, core.DistributedContext] = {}

    def join(rank: int) -> None:
        made[rank] = core.DistributedContext(
            rank=rank, size=2, local_rank=rank, local_size=2, cross_rank=0, cross_size=1, chief_ip="127.0.0.1", **ports
        )

    threads = [threading.Thread(target=join, args=[rank]) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield made[0], made[1]
    for slot in made.values():
        slot.close()


# -- Each name exists ----------------------------------------------------------------------------------------------


def test_the_release_is_the_one_that_the_names_are_of() -> None:
    assert det.__version__ == "0.38.1"


def test_config() -> None:
    parameters = inspect.signature(det.TrialInfo.__init__).parameters
    assert "config" in parameters
    info: Any = SimpleNamespace(trial=det.TrialInfo(**{**dict.fromkeys(list(parameters)[1:]), "config": {"name": "x"}}))
    assert determined_api.experiment_config(info) == {"name": "x"}


def test_managed_training(context: pytorch.PyTorchTrialContext) -> None:
    assert "_managed_training" in vars(context)
    assert determined_api.is_managed(context) is True
    assert determined_api.is_managed(pytorch.CheckpointLoadContext()) is False


def test_trial_seed(context: pytorch.PyTorchTrialContext) -> None:
    assert "_trial_seed" in vars(context)
    assert determined_api.trial_seed(context) is None  # and the public name raises
    with pytest.raises(det.errors.InternalException):
        context.get_trial_seed()


def test_aggregation_frequency(context: pytorch.PyTorchTrialContext) -> None:
    assert "_aggregation_frequency" in vars(context)
    assert determined_api.accumulation_steps(context) == 2


def test_settings_that_go_into_checkpoints(context: pytorch.PyTorchTrialContext) -> None:
    assert {"_exp_conf", "_hparams"} <= vars(context).keys()
    context._exp_conf = {"data": {"train_file": "https://me:hunter2@host/a.conll?token=hunter2"}, "name": "x"}
    context._hparams = {"global_batch_size": 8, "use_auth_token": "hunter2"}
    determined_api.hide_secrets(context)
    assert context.get_experiment_config() == {"data": {"train_file": "https://host/a.conll?…"}, "name": "x"}
    assert context.get_hparams() == {"global_batch_size": 8, "use_auth_token": "…"}


def test_core(context: pytorch.PyTorchTrialContext) -> None:
    assert "_core" in vars(context)
    assert isinstance(determined_api.core_context(context), core.Context)


def test_session_and_trial_id_of_the_state_of_a_trial() -> None:
    asked: list[str] = []

    def get(path: str) -> Any:
        asked.append(path)
        return SimpleNamespace(json=lambda: {"trial": {"state": bindings.trialv1State.STOPPING_COMPLETED.value}})

    stand_in: Any = SimpleNamespace(_session=SimpleNamespace(get=get), _trial_id=7)
    assert determined_api.trial_state(stand_in) == "STATE_STOPPING_COMPLETED"
    assert asked == ["/api/v1/trials/7"]
    assert 'self._session.get(f"/api/v1/trials/{self._trial_id}")' in inspect.getsource(core.TrainContext)


def test_metrics_shipper_post_metrics_and_queue_of_reports_on_their_way() -> None:
    arrived: list[str] = []
    may_arrive = threading.Event()

    def post(path: str, **_: Any) -> Any:
        may_arrive.wait(10)
        arrived.append(path)
        return SimpleNamespace(status_code=200)

    session: Any = SimpleNamespace(_do_request=post)
    metrics = core._MetricsContext(session, 7, 1)
    stand_in: Any = SimpleNamespace(_metrics=metrics)
    sending = determined_api.Sending(stand_in)
    metrics.start()
    sending.wait()  # nothing is on its way
    metrics.report("validation", {"f1": 0.5}, 2)
    threading.Timer(0.3, may_arrive.set).start()
    sending.wait()
    assert arrived == ["/api/v1/trials/7/metrics"]

    session._do_request = None  # the thread fails, and the next report says so
    metrics.report("validation", {"f1": 0.5}, 4)
    sending.wait()
    with pytest.raises(TypeError):
        metrics.report("validation", {"f1": 0.5}, 6)


def test_should_exit_ends_a_trial_without_another_checkpoint() -> None:
    reasons: list[Any] = []
    stand_in: Any = SimpleNamespace(
        distributed=core.DummyDistributedContext(),
        _core=SimpleNamespace(train=SimpleNamespace(report_early_exit=reasons.append)),
    )
    with pytest.raises(pytorch._ShouldExit) as raised:
        determined_api.end_as_invalid(stand_in)
    assert reasons == [core.EarlyExitReason.INVALID_HP] and raised.value.skip_exit_checkpoint
    assert "if not e.skip_exit_checkpoint" in inspect.getsource(pytorch._PyTorchTrialController)


def test_the_loop_loads_a_checkpoint_by_these_names() -> None:
    source = inspect.getsource(pytorch._PyTorchTrialController)
    assert source.count("torch.load(") == 1 and source.count("pickle.load(") == 2
    assert source.count("pickle.dump(vars(self.state), f)") == 1
    assert pytorch._pytorch_trial.pickle is pickle


class Runs:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code ran')",)


def test_a_checkpoint_is_loaded_safely_whatever_torch_does_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"x": Runs()}, tmp_path / "state")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with determined_api.loading_plain_data(read_trial_state):
        assert pytorch._pytorch_trial.pickle.load is read_trial_state
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "state")
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1" and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    assert pytorch._pytorch_trial.pickle is pickle


def test_maybe_reset_tbd_writer_and_the_upload() -> None:
    calls: list[Any] = []
    train = SimpleNamespace(upload_tensorboard_files=lambda *arguments: calls.append(arguments))
    stand_in: Any = SimpleNamespace(
        _maybe_reset_tbd_writer=lambda: calls.append("reset"), _core=SimpleNamespace(train=train)
    )
    determined_api.upload_events(stand_in)
    (reset, (selects, mangles)) = calls
    assert reset == "reset" and selects(Path("events")) and mangles is tensorboard.util.get_rank_aware_path
    assert pytorch.PyTorchTrialContext._maybe_reset_tbd_writer
    assert list(inspect.signature(core.TrainContext.upload_tensorboard_files).parameters) == [
        "self",
        "selector",
        "mangler",
    ]


def test_write_user_code(monkeypatch: pytest.MonkeyPatch) -> None:
    default = det.util.write_user_code
    assert list(inspect.signature(default).parameters) == ["path", "on_cluster"]
    assert "util.write_user_code(path, " in inspect.getsource(pytorch._pytorch_trial)
    monkeypatch.setattr(det.util, "write_user_code", default)
    determined_api.write_code_by(lambda *_: None)
    assert det.util.write_user_code is not default


def test_chief_zmq_and_worker_zmq(slots: tuple[core.DistributedContext, core.DistributedContext]) -> None:
    for slot, kind in zip(slots, (zmq.PULL, zmq.SUB), strict=True):
        holder, name = determined_api.receiving_socket(slot)
        assert name in ("_pull_socket", "_sub_socket")
        assert getattr(holder, name).type == kind


def test_the_batch_size_message_is_dropped_and_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("determined")
    for name, value in {"disabled": False, "level": logging.WARNING, "propagate": False, "handlers": []}.items():
        monkeypatch.setattr(logger, name, value)  # whatever other tests have made of it
    logger.addHandler(caplog.handler)
    determined_api.drop_batch_size_message()
    try:
        logger.warning("`global_batch_size` changed from 7 to 6 to divide equally across 2 slots.")
        logger.warning("something else")
    finally:
        for added in list(logger.filters):
            logger.removeFilter(added)
    assert caplog.messages == ["something else"]
    assert "`global_batch_size` changed" in inspect.getsource(det.util)


# -- The retries of a connection that is open already --------------------------------------------------------------


class FailingOnce(BaseHTTPRequestHandler):
    """A master that answers 503 and from then on as it should."""

    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        data = json.dumps({}).encode()
        self.send_response(503 if len(self.asked) == 1 else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def failing_once() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (FailingOnce,), {"asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize("is_open", [True, False])
def test_an_open_connection_takes_other_retries(is_open: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``ner_trial:NERTrial`` finds it: Determined has connected before the class is built."""
    monkeypatch.delenv("DET_RETRY_CONFIG", raising=False)
    with failing_once() as (url, asked):
        session = api.Session(url, "user", "token", None, max_retries=Retry(total=20, allowed_methods=False))
        if is_open:
            session._persist_http_session()
        with pytest.raises(errors.APIException):
            session.post("/before")
        asked.clear()
        wait_for_master()
        stand_in: Any = SimpleNamespace(train=SimpleNamespace(_session=session))
        determined_api.use_retries_of_environment(stand_in)
        session.post("/after")
        assert asked == ["/after", "/after"]
        assert session._max_retries.is_retry("POST", 503)  # of connections to come
        assert (session._http_session is not None) is is_open
        session.close()


def test_where_there_is_no_cluster_there_is_no_connection() -> None:
    stand_in: Any = SimpleNamespace(train=core.DummyTrainContext())
    determined_api.use_retries_of_environment(stand_in)
    assert "_session" not in vars(stand_in.train)


def test_session_of_a_train_context() -> None:
    assert list(inspect.signature(core.TrainContext.__init__).parameters)[1] == "session"
    assert "self._session = session" in inspect.getsource(core.TrainContext.__init__)


# -- No other module touches one -----------------------------------------------------------------------------------


def private_names(file: Path) -> set[str]:
    """Names with an underscore that a module reads, sets or overrides and does not define itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    }
    defined |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    defined |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    touched = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    touched |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "determined"
        for alias in node.names
    }
    return {name for name in touched - defined if name.startswith("_") and not name.endswith("__")}


def of_determined(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return any(name.split(".")[0] == "determined" for name in imported)


def test_only_one_module_touches_undocumented_names() -> None:
    files = [*(ROOT / "determined_ner").rglob("*.py"), ROOT / "ner_trial.py"]
    touched = {file.relative_to(ROOT): private_names(file) for file in files if of_determined(file) and file != API}
    assert len(touched) > 5
    assert {file: names for file, names in touched.items() if names} == {}


def test_no_class_of_another_module_overrides_an_undocumented_name() -> None:
    modules = [ner_trial, batch_inference, searcher, workarounds, callbacks, reducers]
    classes = [
        made
        for module in modules
        for made in vars(module).values()
        if inspect.isclass(made) and made.__module__ == module.__name__
    ]
    theirs = {
        made: {name for base in made.__mro__ if base.__module__.split(".")[0] == "determined" for name in vars(base)}
        for made in classes
    }
    assert sum(map(bool, theirs.values())) >= 7
    overridden = {made: {name for name in vars(made) if re.match("_[^_]", name)} & theirs[made] for made in classes}
    overridden = {made: names - {"_abc_impl"} for made, names in overridden.items()}  # Python's own
    assert {made: names for made, names in overridden.items() if names} == {}


def test_every_undocumented_name_is_tested_here() -> None:
    tree = ast.parse(API.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    names |= {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    }
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in names if name.startswith("_") and name not in here} == set()


def test_storage_manager_takes_more_files_into_a_checkpoint(tmp_path: Path) -> None:
    """Of a directory: the others' are of the same interface."""
    assert "self._storage_manager = storage_manager" in inspect.getsource(core.CheckpointContext.__init__)
    assert all(
        list(inspect.signature(manager.upload).parameters)[:3] == ["self", "src", "dst"]
        for manager in (storage.S3StorageManager, storage.GCSStorageManager, storage.AzureStorageManager)
    )
    (tmp_path / "uuid").mkdir(mode=0o755)
    (tmp_path / "uuid" / "weights").touch()
    (tmp_path / "added").mkdir(mode=0o755)
    (tmp_path / "added" / "card").write_text("new", encoding="utf-8")
    manager = storage.SharedFSStorageManager(str(tmp_path))
    stand_in: Any = SimpleNamespace(checkpoint=SimpleNamespace(_storage_manager=manager))
    for _ in range(2):
        determined_api.add_to_checkpoint(stand_in, tmp_path / "added", "uuid")
    assert sorted(path.name for path in (tmp_path / "uuid").iterdir()) == ["card", "weights"]
    assert (tmp_path / "uuid").stat().st_mode & 0o777 == 0o755
