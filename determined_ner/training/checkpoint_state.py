"""What a checkpoint of ours holds beyond what Determined's loop writes by itself; its loop and ours call the same."""

from __future__ import annotations

import errno
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from determined_ner.errors import UserError
from determined_ner.files.checksums import write_checksums
from determined_ner.model.checkpoint import STATE_FILE
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")

LABELS_KEY = "self_contained"
"""The callback whose state says what labels a checkpoint is of."""
STOPPING_KEY = "stopping"
"""In that state: what may end the run early, where that is asked for."""
ORDER_KEY = "group_by_length"
"""In that state: whether batches are of sentences of like length."""

THREADS_KEY = "threads"
"""In that state: on a CPU, the number of processes, and that of the threads of each, by which sums are rounded."""
TAUGHT_KEY = "taught_by"
"""In that state: fingerprints of a student's teachers, and of the text without labels."""
_TAUGHT_BY = {"teacher": "teacher", "unlabelled": "unlabelled text"}


def label_state(training: Training) -> dict[str, Any]:
    """What is saved under `LABELS_KEY`."""
    stopping = training.stopping.state()
    return {
        "labels": list(training.labels.names),
        ORDER_KEY: training.grouped,
        **({THREADS_KEY: [training.slots.size, torch.get_num_threads()]} if training.device.type == "cpu" else {}),
        **({TAUGHT_KEY: taught_by} if (taught_by := _taught_by(training)) else {}),
        **({STOPPING_KEY: stopping} if stopping else {}),
    }


def restore_run(checkpoint: dict[str, Any], training: Training) -> None:
    """Have a run know how long it has trained, and with what gains; it goes on from the checkpoint.

    A process of a CPU computes with as many threads as the run began with, if there are as many processes.

    Raises:
        UserError: it would go on with other batches, with another teacher, or with other text of its.
    """
    state = checkpoint["callbacks"][LABELS_KEY]
    unset = training.settings.hparams.group_by_length is None
    grouped = state.get(ORDER_KEY, True if unset else training.grouped)  # earlier releases grouped where it was unset
    if grouped != training.grouped:
        orders = {True: "batches of sentences of like length", False: "random batches"}
        raise UserError(
            "hyperparameters.group_by_length",
            f"the checkpoint is of a training on {orders[grouped]}, and here it would go on with {orders[not grouped]}",
            f"write group_by_length: {str(grouped).lower()}",
        )
    before, now = state.get(TAUGHT_KEY, {}), _taught_by(training)
    changed = [f"the {what}" for name, what in _TAUGHT_BY.items() if before.get(name) != now.get(name)]
    if changed:
        remedy = "bring the old back, or begin anew"
        raise UserError("", f"{', '.join(changed)} has changed since the checkpoint was made", remedy)
    training.stopping.load(state.get(STOPPING_KEY, {}))
    here = torch.get_num_threads()
    slots, threads = state.get(THREADS_KEY, (0, 0))
    if training.device.type == "cpu" and slots == training.slots.size and threads != here:
        torch.set_num_threads(threads)
        logger.info(f"threads: {threads} a process, with which the run began; {here} would round its sums otherwise")


def _taught_by(training: Training) -> dict[str, str]:
    return {name: value for name, value in training.data_fingerprints.items() if name in _TAUGHT_BY}


def saved_labels(checkpoint: dict[str, Any]) -> list[str]:
    """The labels that a checkpoint is of.

    Raises:
        UserError: it does not say.
    """
    saved: list[str] | None = checkpoint.get("callbacks", {}).get(LABELS_KEY, {}).get("labels")
    if saved is None:
        raise UserError(
            "the checkpoint to begin from", "does not say what its labels are: it is of other code", "name another"
        )
    return saved


def make_portable(checkpoint: dict[str, Any]) -> None:
    """Have a state read by torch's safe loader, and into any number of slots; it is about to be saved."""
    # The safe loader refuses NumPy's arrays from torch 2.6 on, and before 2.4 reads none at all. NumPy takes a list.
    name, keys, *rest = checkpoint["rng_state"]["np_rng_state"]
    checkpoint["rng_state"]["np_rng_state"] = (name, keys.tolist(), *rest)
    for weights in checkpoint["models_state_dict"]:
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")


def set_learning_rate(checkpoint: dict[str, Any], schedule: Any) -> None:
    """Have the next step take the rate of this training's schedule, which may be longer than the checkpoint's.

    Where the length is the same, so is the rate, to the bit.
    """
    (state,) = checkpoint["lr_schedulers_state_dict"]
    (optimizer,) = checkpoint["optimizers_state_dict"]
    factors = zip(state["base_lrs"], schedule.lr_lambdas, strict=True)
    state["_last_lr"] = rates = [base * factor(state["last_epoch"]) for base, factor in factors]
    for group, rate in zip(optimizer["param_groups"], rates, strict=True):
        group["lr"] = rate


def complete_checkpoint(folder: Path, training: Training) -> None:
    """Write what a reader needs beside a state that has been saved, and the checksums of all; the last to write there.

    Raises:
        OSError: the state was cut short.
    """
    state = folder / STATE_FILE
    if not zipfile.is_zipfile(state):  # on a full disk torch 2.3 leaves the end out, and says nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(state))
    training.write_description(folder)
    write_checksums(folder)
