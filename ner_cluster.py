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

import torch
from determined import core, pytorch, tensorboard

from ner_errors import UserError

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What making room or rights mends."""


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


class Meeting(pytorch.PyTorchCallback):
    """Has the slots meet after a validation, where a dead one is noticed.

    Determined gathers what each has counted through ZeroMQ, which would wait for a node that is gone until the master
    ends the task; torch's process group ends with an error.
    """

    def on_validation_epoch_end(self, outputs: list[Any]) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()


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
