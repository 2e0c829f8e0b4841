"""What a task of a cluster needs beyond Determined's own; in a whole task: ``test_faults.py``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import torch
import zmq
from determined.common import util

from determined_ner.cluster.workarounds import AttentiveSocket, report_unwritable_checkpoints, wait_for_master
from determined_ner.errors import TemporaryError


def test_what_an_experiment_says_of_patience_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DET_RETRY_CONFIG", raising=False)
    wait_for_master()
    retry = util.get_max_retries_config()
    assert all(retry.is_retry("POST", status) for status in (500, 502, 503, 504))
    assert not retry.is_retry("POST", 404)
    monkeypatch.setenv("DET_RETRY_CONFIG", json.dumps({"total": 1}))
    wait_for_master()
    assert util.get_max_retries_config().total == 1


# -- A full disk -----------------------------------------------------------------------------------------------


class FullDisk:
    """A file on a disk that is full after so many bytes, as torch writes to."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self._room = path.open("wb"), room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def checkpoints_in(folder: Path) -> Any:
    """In place of Determined's ``CheckpointContext``, with what is reported of those that cannot be written."""

    @contextlib.contextmanager
    def store_path(metadata: Any = None, *, shard: bool = False) -> Iterator[tuple[Path, str]]:
        path = folder / "half"
        path.mkdir()
        yield path, path.name

    checkpoints: Any = SimpleNamespace(store_path=store_path)
    report_unwritable_checkpoints(checkpoints)
    return checkpoints


def full(source: str, target: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)


def save_weights(path: Path) -> None:
    torch.save({"weights": torch.zeros(100_000)}, FullDisk(path / "state", 1000))


def copy_code(path: Path) -> None:
    (path / "code").mkdir()
    (path / "code" / "ner.py").write_text("", encoding="utf-8")
    shutil.copytree(path / "code", path / "copy", copy_function=full)


@pytest.mark.parametrize("write", [save_weights, copy_code])
def test_a_full_disk_is_reported_and_half_a_checkpoint_removed(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(TemporaryError) as raised, checkpoints_in(tmp_path).store_path() as (path, _):
        write(path)
    assert f"checkpoint_storage, here {tmp_path}" in raised.value.problem
    assert re.search("No space left|the disk is full", raised.value.problem)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("no route"), FileNotFoundError(2, "no"), RuntimeError("shapes differ")]
)
def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, checkpoints_in(tmp_path).store_path():
        raise error
    assert raised.value is error


# -- A slot that has died ----------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    """A chief's socket that is attentive, and one of a peer that it has heard."""
    with zmq.Context() as here, zmq.Context() as there:
        chief, peer = here.socket(zmq.PULL), there.socket(zmq.PUSH)
        port = chief.bind_to_random_port("tcp://127.0.0.1")
        peer.connect(f"tcp://127.0.0.1:{port}")
        peer.send_pyobj("hello")
        assert chief.recv_pyobj() == "hello"
        attentive = AttentiveSocket(chief, grace=300)
        yield attentive, peer, port
        attentive.close()
        peer.close(linger=0)


def later(seconds, done, *arguments):
    threading.Timer(seconds, done, arguments).start()


def test_who_has_said_all_may_go(heard):
    chief, peer, _ = heard
    peer.send_pyobj("all there is")
    peer.close()
    time.sleep(0.3)
    assert chief.recv_pyobj() == "all there is"


def test_a_dead_peer_is_not_waited_for(heard):
    chief, peer, _ = heard
    later(0.1, peer.close)
    with pytest.raises(TemporaryError, match="has died"):
        chief.recv_pyobj()


def test_a_stranger_who_comes_and_goes_is_nobodys_death(heard):
    chief, peer, port = heard
    for _ in range(3):
        socket.create_connection(("127.0.0.1", port)).close()
    later(1.5, peer.send_pyobj, "late")
    assert chief.recv_pyobj() == "late"
