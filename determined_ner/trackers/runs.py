"""The experiment trackers that a run reports to, each through its own library."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from determined_ner.errors import UserError, first_line, kind_of
from determined_ner.masks import masked, model_name, without_secrets
from determined_ner.settings.urls import FILES
from determined_ner.trackers.mlflow_run import MlflowRun
from determined_ner.trackers.wandb_run import WandbRun

logger = logging.getLogger("determined_ner")
PREFIXES = {"training": "train", "validation": "eval", "test": "test"}
"""What stands before a metric's name, as run_ner.py has it."""

_ENCODER = "pretrained_model_name_or_path"


class Tracker(Protocol):
    """One run of a tracker."""

    def settings(self, settings: dict[str, Any]) -> None:
        """Tell the settings of the run, by their dotted names."""

    def metrics(self, metrics: dict[str, float], batches: int) -> None:
        """Tell metrics after so many batches."""

    def files(self, folder: Path, name: str) -> None:
        """Keep all files of a folder."""

    def close(self, finished: bool) -> None:
        """End it; a run that was not finished may be gone on with."""


_KINDS: dict[str, Callable[[str, str, Path], Tracker]] = {"mlflow": MlflowRun, "wandb": WandbRun}


def check_trackers(names: Sequence[str]) -> None:
    """
    Raises:
        UserError: the library of one is not installed.
    """
    for name in names:
        if name in _KINDS and importlib.util.find_spec(name) is None:
            remedy = f"install it (pip install 'determined-ner[{name}]'), or leave {name} out"
            raise UserError("data.report_to", f"{name!r} needs the package {name}, which is not installed", remedy)


class Trackers:
    """All of a run; one that fails while the run goes on is warned of and left alone, since the run has its reports."""

    def __init__(self) -> None:
        self._open: dict[str, Tracker] = {}

    @property
    def silent(self) -> bool:
        """Whether nothing is reported to."""
        return not self._open

    def begin(self, names: Sequence[str], key: str, title: str, folder: Path) -> None:
        """Begin, or go on with the runs of this key; only one of a run's processes does.

        Args:
            names: of ``data.report_to``.
            key: tells this run from all others, and is the same when it is resumed.
            title: its name, for people.
            folder: where a tracker without a server keeps its files.

        Raises:
            UserError: a tracker does not answer.
        """
        for name in names:
            if name not in _KINDS:
                continue
            try:
                self._open[name] = _KINDS[name](key, title, folder)
            except Exception as error:
                self.close(False)
                problem = f"{name} cannot begin: {masked(first_line(error))}"
                raise kind_of(error)("data.report_to", problem, f"see to it, or leave {name} out") from error

    def settings(self, sections: dict[str, dict[str, Any]]) -> None:
        """Tell the settings of a run: no secrets, and no paths of this machine."""
        told = {
            f"{section}.{name}": value
            for section, values in sections.items()
            for name, value in public_settings(values).items()
            if value is not None
        }
        self._each(lambda tracker: tracker.settings(told))

    def report(self, kind: str, metrics: dict[str, Any], batches: int) -> None:
        """Tell a report; what is no finite number is left out."""
        prefix = PREFIXES[kind]
        numbers = {
            f"{prefix}/{name}": float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and math.isfinite(value) and name not in ("batches", "epochs")
        }
        self._each(lambda tracker: tracker.metrics(numbers, batches))

    def files(self, folder: Path, name: str) -> None:
        self._each(lambda tracker: tracker.files(folder, name))

    def close(self, finished: bool) -> None:
        self._each(lambda tracker: tracker.close(finished))
        self._open = {}

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                action(tracker)
            except Exception as error:
                del self._open[name]
                logger.warning(f"{name}: {masked(first_line(error))}; no more is reported to it")


def public_settings(values: dict[str, Any]) -> dict[str, Any]:
    """A section of the settings as it may leave this machine: paths by their last part, no secrets."""
    shown: dict[str, Any] = without_secrets(values)
    public, of_teacher = {}, shown.get("student_layers") is not None
    for name, value in shown.items():
        if name == "cache_dir":
            continue
        if name in FILES and isinstance(value, dict):
            value = {corpus: {**its, "file": _last(its["file"])} for corpus, its in value.items()}
        elif name == "teacher" and value is not None:
            value = [model_name(path) for path in ([value] if isinstance(value, str) else value)]
        elif isinstance(value, str) and (name in FILES or is_local(value) or (name == _ENCODER and of_teacher)):
            value = _last(value)
        public[name] = value
    return public


def is_local(value: str) -> bool:
    """Whether an encoder or data set is a directory, present or not, rather than NAME or NAMESPACE/NAME of the hub."""
    return value.startswith((".", "/", "~")) or value.count("/") > 1 or os.path.isdir(value)  # noqa: PTH112 - whatever the text


def _last(path: str) -> str:
    return Path(path).name
