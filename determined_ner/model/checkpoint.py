"""One of Determined's checkpoints, as a directory: its name, its files, and whether they are as they were written."""

from __future__ import annotations

from pathlib import Path

from determined_ner.errors import UserError
from determined_ner.files.atomic import read_json
from determined_ner.files.checksums import check_files

STATE_FILE, TRIAL_STATE_FILE = "state_dict.pth", "trial_state.pkl"
"""Weights, optimizer, schedule and random state; and how far the training was."""


def checkpoint_name(batches: int) -> str:
    """What a checkpoint of a run is called."""
    return f"step-{batches:08d}"


def check_checkpoint(checkpoint: Path) -> None:
    """Check that a checkpoint is as it was written, before anything of it is read.

    Raises:
        UserError: it is not; naming the file, and a checkpoint beside it that is.
    """
    error = _damage(checkpoint)
    if error is None:
        return
    others = sorted((path for path in checkpoint.parent.glob("step-*") if path != checkpoint), reverse=True)
    whole = next((path for path in others if _damage(path) is None), None)
    instead = (
        "; there is no other that is whole" if whole is None else f", or remove it and use {whole}, which is whole"
    )
    raise UserError(error.where, error.problem, f"copy the checkpoint again{instead}") from None


def _damage(checkpoint: Path) -> UserError | None:
    """What is wrong; None: nothing."""
    again = "copy the checkpoint again"
    try:
        if not checkpoint.is_dir():
            raise UserError(checkpoint, "is no directory", again)
        check_files(checkpoint, again)
        if not (checkpoint / STATE_FILE).is_file():
            raise UserError(checkpoint / STATE_FILE, "is missing", again)
        if checkpoint.name.startswith("step-"):
            steps = (read_json(checkpoint / "metadata.json", "the checkpoint") or {}).get("steps_completed")
            if not isinstance(steps, int) or checkpoint_name(steps) != checkpoint.name:
                raise UserError(checkpoint, f"its metadata.json is of batch {steps}, its name of another", again)
    except UserError as error:
        return error
    return None
