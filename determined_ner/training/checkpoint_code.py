"""The code that a checkpoint is rebuilt by."""

from __future__ import annotations

import shutil
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TRIAL = PACKAGE.with_name("ner_trial.py")


def copy_code(target: Path) -> None:
    """Copy what a checkpoint is rebuilt from: the trial and the package. (``ner_utils.py`` is for users alone.)"""
    target.mkdir()
    shutil.copyfile(TRIAL, target / TRIAL.name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PACKAGE, target / PACKAGE.name, ignore=ignored, copy_function=shutil.copyfile)
