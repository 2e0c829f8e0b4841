"""What a task of a cluster needs beyond what Determined 0.38.1 does by itself.

Patience with its master, one message about a full disk, an end where a node has vanished, and the last of its
TensorBoard events. Each is a fault upstream, where nobody fixes it any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
from determined import core, pytorch
from zmq.utils.monitor import recv_monitor_message

from determined_ner import determined_api
from determined_ner.cluster.restore import check_restored
from determined_ner.errors import TemporaryError, why_unwritable

GRACE_MILLISECONDS = 10_000
"""Time in which what others have said arrives after a peer has gone; at a trial's end all go, in any order."""


def prepare_task(context: pytorch.PyTorchTrialContext) -> None:
    """All that has to be in place before a trial trains on a cluster; nothing of it matters off one."""
    wait_for_master()
    core_context = determined_api.core_context(context)
    determined_api.use_retries_of_environment(core_context)
    report_unwritable_checkpoints(core_context.checkpoint)
    notice_dead_slots(context.distributed)
    check_restored(context)


def wait_for_master() -> None:
    """Let reports wait for a master, or a proxy before it, that answers 500 to 504.

    Determined tries for some 25 minutes to reach a master, but ends the trial at its first such answer. The
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


def report_unwritable_checkpoints(checkpoints: core.CheckpointContext) -> None:
    """Have a checkpoint that cannot be written removed, and reported in one message.

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
        except Exception as error:
            reason = why_unwritable(error)
            if reason is None:
                raise
            if path is not None:
                shutil.rmtree(path, ignore_errors=True)
            where = "checkpoint_storage" if path is None else f"checkpoint_storage, here {path.parent}"
            raise TemporaryError(
                "",
                f"a checkpoint cannot be written ({where}): {reason}",
                "make room or rights there; the trial goes on from its last complete checkpoint",
            ) from error

    checkpoints.store_path = store_path


ARRIVALS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class AttentiveSocket:
    """A socket of ZeroMQ that does not wait for a peer that is gone.

    What Determined's slots send each other besides the gradients (is the trial to pause, is this checkpoint to be kept,
    what has each counted) comes through ZeroMQ, which would wait for a dead node until the master ends the task.
    """

    def __init__(self, socket: zmq.Socket[bytes], grace: int = GRACE_MILLISECONDS) -> None:
        """
        Args:
            socket: one that has heard all its peers.
            grace: milliseconds in which the others may still be heard after a peer has gone.
        """
        self._socket = socket
        self._grace = grace
        self._events = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | ARRIVALS)
        self._peers = 0  # more than there were when all had met; a stranger who fails to greet comes and goes

    def recv_pyobj(self) -> Any:
        """The next message.

        Raises:
            TemporaryError: a peer is gone (its kernel closed the connection, or it was silent for a minute and the
                chief waits), and nothing came from the others within the grace.
        """
        patience = None
        while not self._socket.poll(patience or 500):
            while self._events.poll(0):
                event = recv_monitor_message(self._events)["event"]
                self._peers += 1 if event & ARRIVALS else -1
            if self._peers >= 0:
                patience = None
            elif patience is None:
                patience = self._grace
            else:
                raise TemporaryError(
                    "",
                    "a slot of this trial is gone: its process, or its node, has died",
                    "its own log says why, and the trial goes on from its last checkpoint",
                )
        return self._socket.recv_pyobj()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._events.close()  # left open, it keeps the whole process from ending
        self._socket.close()


def notice_dead_slots(slots: core.DistributedContext) -> None:
    """Have no slot wait for the word of one that has died."""
    if slots.size < 2:
        return
    holder, name = determined_api.receiving_socket(slots)
    setattr(holder, name, AttentiveSocket(getattr(holder, name)))


class UploadLastEvents(pytorch.PyTorchCallback):
    """Uploads the TensorBoard events of a task's end.

    Determined uploads at most once a second and not at the end: the last validation would be missing wherever it and
    the checkpoint take less.
    """

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self._context = context

    def on_trial_shutdown(self) -> None:
        train = determined_api.core_context(self._context).train
        if self._context.distributed.rank > 0 or isinstance(train, core.DummyTrainContext):
            return
        time.sleep(1)
        determined_api.upload_events(self._context)
