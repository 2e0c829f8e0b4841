"""Command lines: their parser, and the arguments of every command that reads an experiment config."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from determined_ner.masks import masked
from determined_ner.settings.urls import is_remote


class CommandParser(argparse.ArgumentParser):
    """Says what an unknown option may mean, and shows no secrets."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._explained(unknown))
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {self.prog}: {masked(message)}\n")  # a line that a log policy of a cluster sees

    def _explained(self, unknown: Sequence[str]) -> str:
        options = [option for action in self._actions for option in action.option_strings]
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if not names:
            return f"unrecognized arguments: {' '.join(unknown)}"
        if "--config" in options:
            from determined_ner.settings.explaining import what_option_is_meant  # takes a good part of a second

            return "\n".join(f"{name} is no option: {what_option_is_meant(name, options)}" for name in names)
        close = difflib.get_close_matches(names[0].replace("_", "-"), options, n=1)
        meant = f"did you mean {close[0]}?" if close else "see --help"
        return f"unrecognized arguments: {' '.join(names)}; {meant}"


def local_path(text: str) -> Path:
    """The type of an argument that names something on this machine.

    Raises:
        argparse.ArgumentTypeError: it is a URL.
    """
    return Path(local_name(text))


def local_name(text: str) -> str:
    """As `local_path`, where the text may be another name, too.

    Raises:
        argparse.ArgumentTypeError: it is a URL.
    """
    if is_remote(text):
        problem = f"{masked(text)!r} is a URL, and only data.train_file and the like of a config may be one"
        raise argparse.ArgumentTypeError(f"{problem}: download it first, as by curl -O, and name the file")
    return text


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``[CONFIG] [--config KEY=VALUE ...]``, as every command takes them."""
    parser.add_argument(
        "config_file",
        nargs="?",
        type=local_path,
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
        "--output-dir",
        type=local_path,
        metavar="DIR",
        help="folder of this run (default: runs/NAME, numbered if it exists)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the newest checkpoint of the run folder, bit for bit, with its settings",
    )
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K times, each time without one of K parts of the training documents, and score that part",
    )


def parse_train_arguments(argv: list[str] | None = None, prog: str = "ner_trial.py") -> argparse.Namespace:
    """The command line of a training."""
    parser = CommandParser(
        prog=prog,
        description="Fine-tune a Hugging Face encoder for token classification: here, or, unchanged, as the entrypoint "
        "of a Determined experiment (where everything is taken from the cluster).",
    )
    add_train_arguments(parser)
    return parser.parse_args(argv)
