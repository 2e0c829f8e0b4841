"""A model directory as it may leave this machine: without what it says of where data and encoder lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.export.card import CARD_FILE
from determined_ner.files.atomic import read_json, write_json
from determined_ner.files.checksums import write_checksums
from determined_ner.model.directory import SETTINGS_FILE, THRESHOLDS_FILE
from determined_ner.trackers.runs import public_settings

_NAMES = ("_name_or_path", "name_or_path")
_BASE = "base_model_name_or_path"


def public_copy(model: Path, target: Path, card: str) -> None:
    """Copy a model directory without paths and secrets in its settings and configs.

    Args:
        card: takes the place of its own.

    Raises:
        UserError: a file of it is damaged.
    """
    shutil.copytree(model, target, ignore=shutil.ignore_patterns(CARD_FILE, THRESHOLDS_FILE))
    described = read_json(target / SETTINGS_FILE, "the model directory")
    if described is not None:
        shown: dict[str, Any] = {name: public_settings(described[name]) for name in ("hyperparameters", "data")}
        write_json(target / SETTINGS_FILE, {**described, **shown})
    for file in target.rglob("*config.json"):
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(file, "is no JSON", "copy the model again") from None
        kept = {name: value for name, value in config.items() if name not in _NAMES}
        kept |= public_settings({name: value for name, value in kept.items() if name == _BASE})  # of adapters
        if kept != config:
            write_json(file, kept)
    write_checksums(target)  # not of the card and the thresholds, which are there to be changed
    if (model / THRESHOLDS_FILE).is_file():
        shutil.copyfile(model / THRESHOLDS_FILE, target / THRESHOLDS_FILE)
    (target / CARD_FILE).write_text(card, encoding="utf-8")
