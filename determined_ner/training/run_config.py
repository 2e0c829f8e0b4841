"""The experiment config in a run's folder: as it may be shown, and its secrets in a file that its owner alone reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import read_json, replacing, write_json
from determined_ner.masks import without_secrets

CONFIG_FILE = "config.json"
"""The experiment config."""
SECRETS_FILE = ".secrets.json"
"""The experiment config as it was given, for ``--resume``; only where the other hides something of it."""
SECTIONS = (
    *("hyperparameters", "data", "searcher", "optimizations"),
    *("reproducibility", "checkpoint_storage", "profiling"),
)
"""Parts of the config that hold settings."""


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write the experiment config of a run.

    Raises:
        OSError: it cannot be written.
    """
    shown = without_secrets(config)
    if shown != config:
        with replacing(folder / SECRETS_FILE) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(config, file, indent=1)
    write_json(folder / CONFIG_FILE, shown)
    if shown == config:
        (folder / SECRETS_FILE).unlink(missing_ok=True)  # of the settings before these, which it would hide


def read_config_as_shown(folder: Path) -> dict[str, Any] | None:
    """Read the experiment config of a run, less its secrets; None: there is no run.

    Raises:
        UserError: the file is damaged.
    """
    return _read(folder / CONFIG_FILE)


def read_config_as_given(folder: Path) -> dict[str, Any] | None:
    """Read the experiment config of a run, secrets included; None: there is no run.

    Raises:
        UserError: a file is damaged.
    """
    shown = read_config_as_shown(folder)
    return shown and (_read(folder / SECRETS_FILE) or shown)


def _read(file: Path) -> dict[str, Any] | None:
    config = read_json(file, "the run")
    for name in SECTIONS if config else ():
        if not isinstance((config or {}).get(name), dict | None):
            raise UserError(file, f"not readable ({name} is no section)", "copy the run again")
    return config
