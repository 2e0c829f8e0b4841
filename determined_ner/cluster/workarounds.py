"""What a task of a cluster needs beyond Determined's own: patience with its master, a word on a full disk, an end where
a node has vanished, and the last of its TensorBoard events.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
from determined import core, pytorch, tensorboard
from zmq.utils.monitor import recv_monitor_message

from determined_ner.errors import UserError

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What making room or rights mends."""

MANNERS = 10_000
"""Milliseconds in which what others have said arrives after a peer has gone; at a trial's end all go, in any order."""


def be_patient_with_master() -> None:
    """Let reports wait for a master, or a proxy before it, that answers 500 to 504.

    Determined 0.38.1 tries for some 25 minutes to reach a master, but ends the trial at its first such answer. The
    environment variable is its own; what an experiment sets in ``environment_variables`` is kept. A report that came
    through and was answered so is made twice, for the same step of the same task.
    """
    patience = {
        "total": 20,
        "backoff_factor": 0.5,  # waits 0, 1, 2, 4 … s, at most 120
        "allowed_methods": False,  # any
        "status_forcelist": [500, 502, 503, 504],
    }
    os.environ.setdefault("DET_RETRY_CONFIG", json.dumps(patience))


def write_or_tell(checkpoints: core.CheckpointContext) -> None:
    """Have a checkpoint that cannot be written removed, and told in one message.

    Determined leaves half of one behind (on ``directory`` and ``shared_fs`` storage, where it takes the room of the
    next) and a traceback; it reports none, so that a trial goes on from the last that is complete.
    """
    if isinstance(checkpoints, core.DummyCheckpointContext):
        return  # not on a cluster
    store = checkpoints.store_path

    @contextlib.contextmanager
    def store_path(metadata: dict[str, Any] | None = None, *, shard: bool = False) -> Iterator[tuple[Path, str]]:
        path: Path | None = None
        try:
            with store(metadata, shard=shard) as (path, storage_id):
                yield path, storage_id
        except (OSError, RuntimeError) as error:
            reason = why_unwritable(error)
            if reason is None:
                raise
            if path is not None:
                shutil.rmtree(path, ignore_errors=True)
            where = "checkpoint_storage" if path is None else f"checkpoint_storage, here {path.parent}"
            raise UserError(
                f"a checkpoint cannot be written ({where}): {reason}; make room or rights there; "
                f"the trial goes on from its last complete checkpoint"
            ) from error

    checkpoints.store_path = store_path


def why_unwritable(error: OSError | RuntimeError) -> str | None:
    """What keeps a file from being written, if it is that."""
    if isinstance(error, shutil.Error):  # of copytree: (source, destination, reason) of each file
        return str(error.args[0][0][2]) if isinstance(error.args[0], list) else str(error)
    if isinstance(error, OSError):
        return str(error) if error.errno in UNWRITABLE else None
    # torch's writer of archives says no more than where it got stuck.
    stuck = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
    return f"the disk is full, or lost ({str(error).strip()})" if stuck else None


COMINGS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class AttentiveSocket:
    """A socket of ZeroMQ that does not wait for a peer that is gone.

    What Determined's slots tell each other beside the gradients (is the trial to pause, is this checkpoint to be kept,
    what has each counted) comes through ZeroMQ, which would wait for a dead node until the master ends the task.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._news = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | COMINGS)
        self._peers = 0  # more than there were when all had met; a stranger who fails to greet comes and goes

    def recv_pyobj(self) -> Any:
        """The next message.

        Raises:
            UserError: a peer is gone (its kernel closed the connection, or it was silent for a minute and the chief
                waits), and nothing came from the others within ``MANNERS``.
        """
        patience = None
        while not self._socket.poll(patience or 500):
            while self._news.poll(0):
                event = recv_monitor_message(self._news)["event"]
                self._peers += 1 if event & COMINGS else -1
            if self._peers >= 0:
                patience = None
            elif patience is None:
                patience = MANNERS
            else:
                raise UserError(
                    "a slot of this trial is gone: its process, or its node, has died; its own log says why, and the "
                    "trial goes on from its last checkpoint"
                )
        return self._socket.recv_pyobj()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._news.close()  # left open, it keeps the whole process from ending
        self._socket.close()


def notice_the_dead(slots: core.DistributedContext) -> None:
    """Have no slot wait for the word of one that has died."""
    if slots.size < 2:
        return
    if slots.rank == 0:
        slots._chief_zmq._pull_socket = AttentiveSocket(slots._chief_zmq._pull_socket)
    else:
        slots._worker_zmq._sub_socket = AttentiveSocket(slots._worker_zmq._sub_socket)


class LastEvents(pytorch.PyTorchCallback):
    """Uploads the TensorBoard events of a task's end.

    Determined uploads at most once a second and not at the end: the last validation would be missing wherever it and
    the checkpoint take less.
    """

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self._context = context

    def on_trial_shutdown(self) -> None:
        train = self._context._core.train
        if self._context.distributed.rank > 0 or isinstance(train, core.DummyTrainContext):
            return
        time.sleep(1)
        self._context._maybe_reset_tbd_writer()
        train.upload_tensorboard_files(lambda _: True, tensorboard.util.get_rank_aware_path)
