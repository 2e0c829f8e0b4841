"""The code that a checkpoint is rebuilt by, as far as it is ours."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_code(trial_file: Path, target: Path) -> None:
    """Copy what a checkpoint is rebuilt from: the trial and the package. (``ner_utils.py`` is for users alone.)"""
    target.mkdir()
    shutil.copyfile(trial_file, target / trial_file.name)
    package = trial_file.with_name("determined_ner")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(package, target / package.name, ignore=ignored, copy_function=shutil.copyfile)
