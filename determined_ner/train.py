"""The command ``determined-ner train``, which is ``python3 ner_trial.py``: here, or as a task of a cluster."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from determined_ner.errors import exit_status
from determined_ner.interrupts import importing, raise_at_interrupt, stop_signals_heard
from determined_ner.settings.arguments import parse_train_arguments

CLUSTER_INFO = Path("/run/determined/info/cluster.json")
"""What a task of a cluster knows of it; Determined's ``get_cluster_info`` looks for it, too."""


def main(argv: list[str] | None = None) -> int:
    """The command line of a training; see `train`."""
    return train(parse_train_arguments(argv))


def train(arguments: argparse.Namespace) -> int:
    """Train, here or on the cluster. Off a cluster nothing of Determined is imported.

    Args:
        arguments: of `add_train_arguments`.

    Returns:
        exit status: 0; 2 after a mistake of the user, with one message; 130 when interrupted, 143 when asked to stop.
    """
    again = "the same command with --resume goes on from the newest checkpoint, of which there is one an epoch, or as "
    again += "min_checkpoint_period says; before the first, from the beginning"
    return exit_status(lambda: _run(arguments), interrupted=again, unwritable="go on with --resume")


def _run(arguments: argparse.Namespace) -> None:
    raise_at_interrupt()
    on_cluster = CLUSTER_INFO.exists()
    if on_cluster and arguments.folds is None:
        with importing():
            from determined_ner.cluster.run import find_trial, run_on_cluster

            trial_class = import_module("ner_trial").NERTrial
        if (info := find_trial()) is not None:
            run_on_cluster(arguments, info, trial_class)
            return
    with stop_signals_heard():
        with importing():
            from determined_ner.local.folds import train_folds
            from determined_ner.local.run import run_locally
        if arguments.folds is None:
            run_locally(arguments)
        else:
            train_folds(arguments, arguments.folds, on_cluster)
