"""The arguments of every command that reads an experiment config."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``[CONFIG] [--config KEY=VALUE ...]``, as every command takes them."""
    parser.add_argument(
        "config_file",
        nargs="?",
        type=Path,
        metavar="CONFIG",
        help="experiment config (default: ner_config.yaml)",
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one setting, as det does: hyperparameters.learning_rate=3e-5, data.train_file=my.conll",
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of a training."""
    add_config_arguments(parser)
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="folder of this run (default: runs/NAME, numbered if it exists)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the newest checkpoint of the run folder, bit for bit, with its settings",
    )


def parse_train_arguments(argv: list[str] | None = None, prog: str = "ner_trial.py") -> argparse.Namespace:
    """The command line of a training."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Fine-tune a Hugging Face encoder for token classification: here, or, unchanged, as the entrypoint "
        "of a Determined experiment (where everything is taken from the cluster).",
    )
    add_train_arguments(parser)
    return parser.parse_args(argv)
