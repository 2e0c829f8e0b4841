"""A training as its experiment trackers are told of it."""

from __future__ import annotations

import logging
from pathlib import Path

from determined_ner.trackers.runs import Trackers
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")


def trackers_of(training: Training) -> list[str]:
    """The trackers that the settings name, less TensorBoard, which is not told but written."""
    return [name for name in training.settings.data.report_to if name != "tensorboard"]


def begin_trackers(trackers: Trackers, training: Training, key: str, title: str, folder: Path) -> None:
    """Begin what the settings name, and tell it of them; arguments as of `Trackers.begin`.

    Raises:
        UserError: a tracker does not answer.
    """
    names = trackers_of(training)
    trackers.begin(names, key, title, folder)
    described = training.describe()
    sections = {name: described[name] for name in ("hyperparameters", "data")}
    trackers.settings({**sections, "run": {"seed": training.seed}})
    logger.info(f"trackers: {', '.join(names)}, as {title}")
