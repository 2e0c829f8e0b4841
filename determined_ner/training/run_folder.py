"""The folder of a run: what was written there, and where a stopped run goes on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from determined_ner.errors import UserError
from determined_ner.files.atomic import remove_directory
from determined_ner.files.metrics_log import METRICS_FILE, MetricsLog
from determined_ner.model.checkpoint import check_checkpoint, checkpoint_name
from determined_ner.settings.loop import LoopSettings
from determined_ner.training.run_config import CONFIG_FILE, SECRETS_FILE

logger = logging.getLogger("determined_ner")

SUMMARY_FILE = "summary.json"
"""What came out at the end."""

FOLDS_FILE = "folds.json"
"""In a folder that holds the runs of several folds: what they have in common."""

SEARCH_FILE = "search.json"
"""In a folder that holds the trials of a search: what was asked for."""

TRACKERS_FILE = "trackers.json"
"""By which key the run is known to its trackers."""

DIRECTORIES = (
    *("checkpoints", "model", "figures", "tensorboard", "cache", "cache/downloads", "report", "mlruns", "wandb"),
)
"""Those of a run's folder that a run itself writes to."""
RUN_NAMES = (
    *(CONFIG_FILE, SECRETS_FILE, METRICS_FILE, SUMMARY_FILE),
    *("checkpoints", "model", "figures", "tensorboard", "cache", "report"),
    *(TRACKERS_FILE, "mlruns", "wandb"),
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
        self.report = path / "report"
        """Directory of the report on the model."""

    def check_places(self) -> None:
        """Check that what a run fills, replaces and prunes lies in its own folder; nothing is changed.

        Raises:
            UserError: a link leads out of it, or something else stands where a run has a directory or a file.
        """
        for directory in map(self.path.joinpath, DIRECTORIES):
            if directory.is_symlink():
                remedy = "remove the link, and move what it leads to here if it is of the run"
                raise UserError(directory, f"is a link to {directory.readlink()}, where a run has a directory", remedy)
            if os.path.lexists(directory) and not directory.is_dir():
                raise UserError(directory, "is no directory, as a run has there", "remove it")
        if (self.path / SUMMARY_FILE).is_dir():
            raise UserError(self.path / SUMMARY_FILE, "is a directory, where a run has a file", "remove it")

    def begin(self, resume: bool) -> int | None:
        """Make ready to train.

        Reports that were made after the newest checkpoint are dropped; they will be made again. A run that was stopped
        before its first checkpoint begins anew.

        Returns:
            batches of the checkpoint to go on from; None: from the beginning. (Before the first batch there is a
            checkpoint too, where ``perform_initial_validation`` is asked for.)

        Raises:
            UserError: something in the folder is damaged; then nothing was changed.
        """
        self.checkpoints.mkdir(exist_ok=True)
        if not resume:
            return None
        steps = max(self.saved_steps(), default=None)
        if steps is not None:
            check_checkpoint(self.checkpoint(steps))
        self.metrics.rewrite(line for line in self.metrics.reports() if steps is not None and line["batches"] <= steps)
        if steps is None:
            logger.info(f"resuming {self.path}, which was stopped before its first checkpoint, from the beginning")
        else:
            logger.info(f"resuming {self.path} from batch {steps:,}")
        return steps

    def saved_steps(self) -> list[int]:
        """Batches at which there is a complete checkpoint, ascending."""
        names = (re.fullmatch(r"step-([0-9]{8,})", p.name) for p in self.checkpoints.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def checkpoint(self, batches: int) -> Path:
        """The directory of a checkpoint."""
        return self.checkpoints / checkpoint_name(batches)

    def rank(self, loop: LoopSettings, reports: Sequence[dict[str, Any]]) -> Ranking:
        """Its validations and checkpoints, by the searcher's metric.

        Args:
            reports: all of `metrics`.
        """
        scored, saved = best_first(loop, reports), self.saved_steps()
        by_score = [line["batches"] for line in scored if line["batches"] in saved]
        return Ranking(scored, saved, {*by_score[: loop.keep_best], *saved[-loop.keep_latest :]})

    def prune(self, ranking: Ranking) -> None:
        """Remove all checkpoints except the best and the newest."""
        for step in set(ranking.saved) - ranking.kept:
            remove_directory(self.checkpoint(step))


def best_first(loop: LoopSettings, reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The validations that have a number for the searcher's metric, best first; of equals the earliest."""
    sign = 1 if loop.smaller_is_better else -1
    scored = [line for line in reports if line["kind"] == "validation" and line.get(loop.metric) is not None]
    return sorted(scored, key=lambda line: (sign * line[loop.metric], line["batches"]))


@dataclass(frozen=True)
class Ranking:
    """What a run has by the searcher's metric: the one order by which the best is chosen, kept and shipped."""

    scored: list[dict[str, Any]]
    """The validations that have a number for it, best first; of equals the earliest."""
    saved: list[int]
    """Batches of the checkpoints, ascending."""
    kept: set[int]
    """Those of the checkpoints that pruning leaves: the best, as many as are kept for their score, and the newest."""

    @property
    def best(self) -> dict[str, Any] | None:
        """The best validation; None where none has a number."""
        return self.scored[0] if self.scored else None

    @property
    def best_kept(self) -> int:
        """Batches of the best checkpoint that pruning leaves; of the newest where none was validated."""
        return next((line["batches"] for line in self.scored if line["batches"] in self.kept), self.saved[-1])
