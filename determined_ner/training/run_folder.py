"""The folder of a run: what was written there, and where a stopped run goes on."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from determined_ner.files.metrics_log import METRICS_FILE, MetricsLog

logger = logging.getLogger("determined_ner")

CONFIG_FILE, SUMMARY_FILE = "config.json", "summary.json"
"""The experiment config; and what came out at the end."""
SECRETS_FILE = ".secrets.json"
"""The experiment config as it was given, for ``--resume``; only where the other hides something of it."""

RUN_NAMES = (
    *(CONFIG_FILE, SECRETS_FILE, METRICS_FILE, SUMMARY_FILE),
    *("checkpoints", "model", "figures", "tensorboard", "cache", "report"),
)
"""All that is ever written to a run's folder. Each may be replaced or removed, so none may be there before the run."""
LOCK_FILE = ".lock"
"""Held by the process that trains; it is never written to."""


class RunFolder:
    """What a run has written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        """Directory of the checkpoints."""
        self.model = path / "model"
        """The best of them as a Hugging Face directory, once the run has ended."""
        self.metrics = MetricsLog(path / METRICS_FILE)
        """Every report."""

    def begin(self, resume: bool) -> int | None:
        """Make ready to train.

        Reports that were made after the newest checkpoint are dropped; they will be made again. A run that was stopped
        before its first checkpoint begins anew.

        Returns:
            batches of the checkpoint to go on from; None: from the beginning. (Before the first batch there is a
            checkpoint too, where ``perform_initial_validation`` is asked for.)
        """
        self.checkpoints.mkdir(exist_ok=True)
        if not resume:
            return None
        steps = max(self.saved_steps(), default=None)
        self.metrics.rewrite(line for line in self.metrics.reports() if steps is not None and line["batches"] <= steps)
        if steps is None:
            logger.info(f"resuming {self.path}, which was stopped before its first checkpoint, from the beginning")
        else:
            logger.info(f"resuming {self.path} from batch {steps:,}")
        return steps

    def saved_steps(self) -> list[int]:
        """Batches at which there is a complete checkpoint, ascending."""
        names = (re.fullmatch(r"step-(\d+)", p.name) for p in self.checkpoints.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def checkpoint(self, batches: int) -> Path:
        """The directory of a checkpoint."""
        return self.checkpoints / checkpoint_name(batches)

    def best(self, metric: str, smaller_is_better: bool) -> dict[str, Any] | None:
        """The best validation, the earliest of equals; None where none has a number."""
        sign = 1 if smaller_is_better else -1
        scored = [line for line in self.metrics.validations() if line.get(metric) is not None]
        return min(scored, key=lambda line: sign * line[metric], default=None)

    def best_saved(self, metric: str, smaller_is_better: bool) -> int:
        """Batches of the best checkpoint, the earliest of equals; of the newest where none was validated."""
        sign = 1 if smaller_is_better else -1
        steps = self.saved_steps()
        validations = self.metrics.validations()
        saved = [line for line in validations if line["batches"] in steps and line.get(metric) is not None]
        return int(min(saved, key=lambda line: sign * line[metric])["batches"]) if saved else steps[-1]


def checkpoint_name(batches: int) -> str:
    """What a checkpoint of a run is called."""
    return f"step-{batches:08d}"
