"""What a task of a cluster needs beyond Determined's own; in a whole task: ``cluster/test_faults.py``."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import requests
import torch
import zmq

from determined_ner.cluster.workarounds import AttentiveSocket, wait_for_master, why_unwritable
from determined_ner.errors import UserError


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


def test_a_full_disk_is_found_in_what_torch_says_of_it(tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, OSError)) as caught:
        torch.save({"weights": torch.zeros(100_000)}, FullDisk(tmp_path / "state", 1000))
    assert why_unwritable(caught.value)
    assert why_unwritable(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"))
    assert why_unwritable(RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"))


def test_a_full_disk_is_found_in_what_copying_code_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "ner.py").write_text("", encoding="utf-8")

    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "code", tmp_path / "copy", copy_function=full)
    assert "No space left on device" in str(why_unwritable(caught.value))


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("no route"), FileNotFoundError(2, "no"), RuntimeError("shapes differ")]
)
def test_other_errors_are_not_taken_for_a_full_disk(error: OSError | RuntimeError) -> None:
    assert why_unwritable(error) is None


def test_what_an_experiment_says_of_patience_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from determined.common import util

    monkeypatch.delenv("DET_RETRY_CONFIG", raising=False)
    wait_for_master()
    retry = util.get_max_retries_config()
    assert all(retry.is_retry("POST", status) for status in (500, 502, 503, 504))
    assert not retry.is_retry("POST", 404)
    monkeypatch.setenv("DET_RETRY_CONFIG", json.dumps({"total": 1}))
    wait_for_master()
    assert util.get_max_retries_config().total == 1


@pytest.fixture
def heard(monkeypatch):
    """A chief's socket that is attentive, and one of a peer that it has heard."""
    monkeypatch.setattr("determined_ner.cluster.workarounds.GRACE_MILLISECONDS", 300)
    with zmq.Context() as here, zmq.Context() as there:
        chief, peer = here.socket(zmq.PULL), there.socket(zmq.PUSH)
        port = chief.bind_to_random_port("tcp://127.0.0.1")
        peer.connect(f"tcp://127.0.0.1:{port}")
        peer.send_pyobj("hello")
        assert chief.recv_pyobj() == "hello"
        attentive = AttentiveSocket(chief)
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
    with pytest.raises(UserError, match="has died"):
        chief.recv_pyobj()


def test_a_stranger_who_comes_and_goes_is_nobodys_death(heard):
    chief, peer, port = heard
    for _ in range(3):
        socket.create_connection(("127.0.0.1", port)).close()
    later(1.5, peer.send_pyobj, "late")
    assert chief.recv_pyobj() == "late"
