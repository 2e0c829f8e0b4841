"""Loading a checkpoint to go on from: what is in it is checked, nothing in it runs, what is wrong is one message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import pytorch

from determined_ner import determined_api
from determined_ner.errors import UserError
from determined_ner.model.checkpoint import STATE_FILE, TRIAL_STATE_FILE, check_checkpoint
from determined_ner.model.weights import unloadable
from determined_ner.training.trial_state import read_trial_state


def check_restored(context: pytorch.PyTorchTrialContext) -> None:
    """Have the loop load no checkpoint that is not as it was written."""
    checkpoints, slots = determined_api.core_context(context).checkpoint, context.distributed
    restore = checkpoints.restore_path

    @contextlib.contextmanager
    def restore_path(storage_id: str, *arguments: Any, **options: Any) -> Iterator[Path]:
        with restore(storage_id, *arguments, **options) as path:
            error = None
            try:
                if slots.local_rank == 0:  # one slot of each machine reads it all
                    check_checkpoint(path)
                if not (path / TRIAL_STATE_FILE).is_file():  # else the loop would look for one of earlier releases
                    raise UserError(path / TRIAL_STATE_FILE, "is missing", "copy the checkpoint again, or use another")
            except UserError as mistake:
                error = mistake
            for found in slots.allgather(error):
                if found is not None:
                    raise found
            with determined_api.loading_plain_data(read_trial_state):
                try:
                    yield path
                except (UserError, det.InvalidHP, torch.cuda.OutOfMemoryError):
                    raise
                except Exception as problem:  # of zip files, of pickles, of states that are not this training's
                    raise unloadable(path / STATE_FILE, problem) from problem

    checkpoints.restore_path = restore_path
