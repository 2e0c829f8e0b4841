"""What a training left behind: a run's folder, a model directory, a checkpoint here or on a cluster; and its model."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined_ner.data.encode import encode_split
from determined_ner.data.sources import find_labelled
from determined_ner.data.split import Split
from determined_ner.data.text_store import StoredText, store_text
from determined_ner.errors import UserError, first_line, kind_of
from determined_ner.files.atomic import read_json
from determined_ner.files.metrics_log import is_number_or_null, is_report
from determined_ner.model.directory import SETTINGS_FILE, ModelDirectory
from determined_ner.model.torch_model import find_window, load_config
from determined_ner.settings.data import DataSettings
from determined_ner.settings.loop import parse_loop
from determined_ner.settings.parsing import Settings, parse_settings
from determined_ner.training.run_config import CONFIG_FILE, read_config_as_shown
from determined_ner.training.run_folder import FOLDS_FILE, SEARCH_FILE, SUMMARY_FILE, RunFolder

REMEDY = "give a run's folder (runs/NAME), its model/, a checkpoint's directory, or a checkpoint's UUID"


@dataclass(frozen=True)
class Trained:
    """A model and what was known in its training."""

    path: Path
    """As the user named it."""
    directory: ModelDirectory
    settings: Settings | None
    """Of the training; None: another trainer made it."""
    run: RunFolder | None
    """None: a model directory or a checkpoint stands by itself."""
    summary: dict[str, Any] | None
    """Of the run, where it ended: ``summary.json``."""

    @property
    def name(self) -> str:
        """Last part of the path that tells models apart."""
        path = self.path.resolve()
        return path.parent.name if path.name == "model" else path.name

    def fingerprint(self, split: str) -> str | None:
        """Of the data of the training, where it is known."""
        fingerprints = (self.directory.described or {}).get("data_fingerprints") or {}
        found: str | None = fingerprints.get(split)
        return found

    @property
    def max_seq_length(self) -> int:
        """Pieces of a window, special ones included: as in training, else what the model takes."""
        return find_window(self.directory)

    def intervals(self, split: str) -> dict[str, dict[str, float]]:
        """``value``, ``low`` and ``high`` of each score of the model on a split of its run, by name; where known."""
        split_intervals = (self.summary or {}).get("intervals", {}).get(split, {})
        found: dict[str, dict[str, float]] = split_intervals.get("scores", {})
        return found

    @contextlib.contextmanager
    def labelled_text(
        self, data: str | None, purpose: str, remedy: str = "name a labelled file with --data FILE"
    ) -> Iterator[tuple[StoredText, Split]]:
        """The labelled text that the model is looked at on, read as in training.

        Args:
            data: a labelled file; None: the validation data of the training.
            purpose: why it is needed, for the message where it is not at hand.
            remedy: what to do then.

        Yields:
            the text, which is gone afterwards, and its windows, which last.

        Raises:
            UserError: there is none, or something is wrong with it.
        """
        directory, settings = self.directory, self.settings
        if settings is None and data is None:
            raise UserError(directory.path, "does not say what text it was validated on", remedy)
        data_settings = settings.data if settings else DataSettings(train_file=data, validation_file=data)
        task = settings.hparams.finetuning_task if settings else "ner"
        try:
            source, data_settings = find_labelled(data_settings, task, data)
        except UserError as error:
            if data is not None:
                raise
            problem = f"{purpose} the run's validation data, which is not at hand ({error})"
            raise UserError("", problem, remedy) from error
        with tempfile.TemporaryDirectory() as cache:
            text = store_text(source, data_settings, Path(cache))
            labels, length = directory.named_labels(), self.max_seq_length
            yield text, encode_split(text, labels, data_settings, directory.tokenizer, length, Path(cache))


def find_trained(source: str, downloads: Path, trust_remote_code: bool = False) -> Trained:
    """Look at what the user names; weights are loaded when they are asked for.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        downloads: an empty directory, for a checkpoint that has to be fetched.
        trust_remote_code: run code that the model brings along.

    Raises:
        UserError: it is none of these, or damaged.
    """
    path = Path(source).expanduser()
    run, summary = None, None
    inside = path
    if not path.exists() and is_uuid(source):
        download_checkpoint(source, downloads)
        inside = downloads
    elif not path.is_dir():
        raise UserError(source, "is a file" if path.exists() else "no such directory", REMEDY)
    elif (path / FOLDS_FILE).is_file():
        raise UserError(source, "holds the runs of several folds", "name one of them, such as fold-1 in it")
    elif (path / SEARCH_FILE).is_file():
        raise UserError(source, "holds the trials of a search", "name one of them, such as trial-1 in it")
    elif (path / "checkpoints").is_dir() or (path / SUMMARY_FILE).is_file():
        run = RunFolder(path)
        summary = _read_summary(path / SUMMARY_FILE)
        inside = run.model if run.model.is_dir() else best_checkpoint(run)
    directory = ModelDirectory(inside, REMEDY, trust_remote_code)
    load_config(directory)  # a model that cannot be built is refused before any text is read
    return Trained(path, directory, _settings(directory), run, summary)


def _read_summary(file: Path) -> dict[str, Any] | None:
    """
    Raises:
        UserError: it is damaged.
    """
    summary = read_json(file, "the run")
    if summary is None:
        return None
    best, test = summary.get("best"), summary.get("test")
    numbers = all(map(is_number_or_null, test.values())) if isinstance(test, dict) else test is None
    known = (best is None or is_report(best)) and isinstance(summary.get("model_batches"), int)
    if not (numbers and known and _are_intervals(summary.get("intervals", {}))):
        raise UserError(file, "not readable (it is no summary of a run)", "copy the run again")
    return summary


def _are_intervals(value: Any) -> bool:
    """Whether it has an interval of each score, by split."""
    if not isinstance(value, dict) or not all(isinstance(split, dict) for split in value.values()):
        return False
    scores = [split.get("scores") for split in value.values()]
    each = [score for of_split in scores for score in (of_split.values() if isinstance(of_split, dict) else [None])]
    return all(
        isinstance(score, dict)
        and all(score.get(name) is not None and is_number_or_null(score[name]) for name in ("value", "low", "high"))
        for score in each
    )


def is_uuid(text: str) -> bool:
    """Whether it is written as Determined names its checkpoints."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def download_checkpoint(checkpoint: str, folder: Path) -> None:
    """Fetch a checkpoint from the cluster's storage, through its master or past it.

    Raises:
        UserError: it cannot be had.
    """
    if not os.environ.get("DET_MASTER"):
        raise UserError(
            checkpoint,
            "is a checkpoint's UUID, and DET_MASTER is not set",
            "export DET_MASTER=http://HOST:8080 (log in with det user login), or give the checkpoint's directory",
        )
    try:
        from determined_ner.determined_api import download_checkpoint as download
    except ModuleNotFoundError as error:
        raise UserError(
            checkpoint,
            f"is a cluster's checkpoint, and {error.name} is not installed",
            "pip install 'determined-ner[cluster]', or give the checkpoint's directory",
        ) from error
    try:
        download(checkpoint, folder)
    except Exception as error:  # of the SDK, of requests, of each kind of storage
        raise kind_of(error)(
            checkpoint,
            f"cannot be downloaded from {os.environ['DET_MASTER']}: {first_line(error)}",
            "check the UUID (det checkpoint list), DET_MASTER and your login, or give the checkpoint's directory",
        ) from error


def best_checkpoint(run: RunFolder) -> Path:
    """The best of a run's checkpoints, else the newest.

    Raises:
        UserError: there is none.
    """
    if not run.saved_steps():
        again = f"determined-ner train --output-dir {run.path} --resume"
        raise UserError(run.path, "a run without a checkpoint", f"go on with it: {again}")
    config = read_config_as_shown(run.path)
    if config is None:
        raise UserError(run.path, f"no run's folder, it has no {CONFIG_FILE}", REMEDY)
    loop = parse_loop(config, parse_settings(config.get("hyperparameters"), config.get("data")))
    return run.checkpoint(run.rank(loop, run.metrics.reports()).best_kept)


def _settings(directory: ModelDirectory) -> Settings | None:
    described = directory.described
    if described is None:
        return None
    try:
        return parse_settings(described["hyperparameters"], described["data"])
    except (LookupError, TypeError) as error:
        raise UserError(
            directory.path / SETTINGS_FILE, f"not readable ({first_line(error)})", "copy the model directory again"
        ) from None
