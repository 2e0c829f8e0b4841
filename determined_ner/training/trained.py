"""What a training left behind: a run's folder, a model directory, a checkpoint here or on a cluster; and its model."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import determined_ner.model.build as ner_model
from determined_ner.data.encode import SETTINGS_FILE, Labels
from determined_ner.errors import UserError, first_line, read_json
from determined_ner.settings.experiment import make_plan
from determined_ner.training.run_folder import RunFolder, checkpoint_name
from determined_ner.settings.hyperparameters import Settings, parse_settings
from determined_ner.model.directory import load_token_classifier
from determined_ner.data.tokenizer import WordTokenizer, load_tokenizer
from determined_ner.tags.entities import Scheme

STATE_FILE = "state_dict.pth"
_WHAT = "give a run's folder (runs/NAME), its model/, a checkpoint's directory, or a checkpoint's UUID"


@dataclass(frozen=True)
class Trained:
    """A trained model with what was known in training."""

    model: Any
    """On the CPU, float32, evaluation mode."""
    tokenizer: WordTokenizer
    labels: Labels
    settings: Settings
    max_seq_length: int
    described: dict[str, Any]
    """As written beside the weights: ``ner_settings.json``."""
    summary: dict[str, Any] | None
    """Of the run, where it ended: ``summary.json``."""


def load_trained(source: str, downloads: Path) -> Trained:
    """Load what the user names.

    Args:
        source: a run's folder, a model directory, a checkpoint's directory or UUID.
        downloads: an empty directory, for a checkpoint that has to be fetched.

    Raises:
        UserError: it is none of these, or damaged.
    """
    path = Path(source).expanduser()
    summary = None
    if not path.exists() and is_uuid(source):
        _download(source, downloads)
        path = downloads
    elif not path.is_dir():
        raise UserError(f"{source}: {'is a file' if path.exists() else 'no such directory'}; {_WHAT}")
    elif (path / "checkpoints").is_dir():
        summary = read_json(path / "summary.json")
        path = path / "model" if (path / "model").is_dir() else _best_checkpoint(path)
    return _load(path, summary)


def is_uuid(text: str) -> bool:
    """Whether it is written as Determined names its checkpoints."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _download(checkpoint: str, folder: Path) -> None:
    """Fetch a checkpoint from the cluster's storage, through its master or past it."""
    if not os.environ.get("DET_MASTER"):
        raise UserError(
            f"{checkpoint}: is a checkpoint's UUID, and DET_MASTER is not set; export DET_MASTER=http://HOST:8080 "
            f"(log in with det user login), or give the checkpoint's directory"
        )
    from determined.experimental import client

    try:
        client.get_checkpoint(checkpoint).download(path=str(folder))
    except Exception as error:  # of the SDK, of requests, of each kind of storage
        raise UserError(
            f"{checkpoint}: cannot be downloaded from {os.environ['DET_MASTER']}: {first_line(error)}; check the UUID "
            f"(det checkpoint list), DET_MASTER and your login, or give the checkpoint's directory"
        ) from error


def _best_checkpoint(run: Path) -> Path:
    """Of a run that was stopped before it wrote its model: the best of its checkpoints, else the newest."""
    folder = RunFolder(run)
    if not folder.saved_steps():
        raise UserError(f"{run}: a run without a checkpoint; go on with it: ner_trial.py --output-dir {run} --resume")
    config = read_json(run / "config.json")
    if config is None:
        raise UserError(f"{run}: no run's folder, it has no config.json; {_WHAT}")
    plan = make_plan(config, parse_settings(config.get("hyperparameters"), config.get("data")))
    return folder.checkpoints / checkpoint_name(folder.best_saved(plan.metric, plan.smaller_is_better))


def _load(path: Path, summary: dict[str, Any] | None) -> Trained:
    described = read_json(path / SETTINGS_FILE)
    if described is None:
        raise UserError(f"{path}: holds no model of this trial, it has no {SETTINGS_FILE}; {_WHAT}")
    try:
        settings = parse_settings(described["hyperparameters"], described["data"])
        labels = Labels(tuple(map(str, described["labels"])), Scheme(described["scheme"]))
        max_seq_length = int(described["max_seq_length"])
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path / SETTINGS_FILE}: not readable ({first_line(error)}): copy it again") from None
    here = settings.hparams.model_copy(
        update={"pretrained_model_name_or_path": str(path), "config_name": None, "tokenizer_name": None}
    )
    here = here.model_copy(update={"revision": "main", "cache_dir": None})
    with _plainly(path):
        config = ner_model.load_config(here)
        tokenizer = load_tokenizer(here)
    _check_task(path, config, labels)
    if (path / STATE_FILE).is_file():
        model = ner_model.build_model(config, here, labels.names, seed=None)
        load_weights(model, path)
    else:
        model = load_token_classifier(path, config, _WHAT)
    return Trained(model.float().eval(), tokenizer, labels, settings, max_seq_length, described, summary)


@contextlib.contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Messages of loading name a hyperparameter; here it is the directory that is wrong."""
    try:
        yield
    except UserError as error:
        what = str(error).rsplit("; ", 1)[0].rsplit(f"{str(path)!r}: ", 1)[-1]
        raise UserError(f"{path}: {what}; copy it again") from error


def _check_task(path: Path, config: Any, labels: Labels) -> None:
    """(A checkpoint's config still names the class that the encoder came from; there the weights tell.)"""
    architectures = config.architectures or []
    if (
        architectures
        and not (path / STATE_FILE).is_file()
        and not any("TokenClassification" in name for name in architectures)
    ):
        raise UserError(f"{path}: holds a {architectures[0]}, which is no token classifier; {_WHAT}")
    named = tuple(str(name) for _, name in sorted((config.id2label or {}).items()))
    if named != labels.names:
        raise UserError(
            f"{path}: its config.json has the labels {' '.join(named)}, its {SETTINGS_FILE} {' '.join(labels.names)}: "
            f"the files are of two models; copy a whole directory"
        )


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint's weights, whatever backend or number of slots they were written by.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    file = checkpoint / STATE_FILE
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        weights = state["models_state_dict"][0]
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(weights, "module.")
        model.load_state_dict(weights)
    except Exception as error:  # of zip files, of pickles, of tensors that do not fit
        raise UserError(
            f"{file}: is damaged, or of another model: {first_line(error)}; copy the checkpoint again"
        ) from error
