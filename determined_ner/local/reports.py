"""Reports of a run without a cluster: to metrics.jsonl, as TensorBoard events, and to the terminal."""

from __future__ import annotations

import math
from typing import Any

from determined_ner.local.progress import Progress
from determined_ner.settings.loop import LoopSettings
from determined_ner.trackers.runs import Trackers
from determined_ner.training.run_folder import RunFolder


class RunReports:
    """What the first of a run's processes reports; the events have the names and places that Determined gives them."""

    def __init__(
        self, folder: RunFolder, loop: LoopSettings, progress: Progress, trackers: Trackers, events: bool = True
    ) -> None:
        """
        Args:
            trackers: what else is told.
            events: whether TensorBoard events are written.
        """
        self._folder, self._loop, self._progress = folder, loop, progress
        self._trackers, self._events = trackers, events
        self._writer: Any = None

    def training(self, metrics: dict[str, Any], batches: int, epochs: int, rates: list[float]) -> None:
        """Report on the training since the last report.

        Args:
            metrics: of the whole period.
            batches: micro-batches of each slot that are trained.
            epochs: whole epochs that are trained.
            rates: the learning rate of each micro-batch of the period.
        """
        for number, rate in enumerate(rates, batches - len(rates)):
            self._event("learning_rate", rate, number)
        for name, value in metrics.items():
            if name != "learning_rate":
                self._event(name, value, batches)
        report = {"batches": batches, "epochs": epochs, **metrics}
        self._folder.metrics.append({"kind": "training", **_as_json(report)})
        self._progress.show_training(report)
        self._trackers.report("training", metrics, batches)

    def validation(self, metrics: dict[str, Any], batches: int, epochs: int) -> bool:
        """Report on a validation; arguments as of `training`.

        Returns:
            whether it is the first, or better by the searcher's metric than all before.
        """
        for name, value in metrics.items():
            self._event(name if name.startswith("val") else f"val_{name}", value, batches)
        before = self._best()
        report = {"batches": batches, "epochs": epochs, **metrics}
        self._folder.metrics.append({"kind": "validation", **_as_json(report)})
        self._trackers.report("validation", metrics, batches)
        self._progress.show_validation(report, self._best() != before)
        now = metrics[self._loop.metric]
        return before is None or bool(now < before if self._loop.smaller_is_better else now > before)

    def last_validation(self) -> dict[str, Any] | None:
        """The report of the last validation; None: there was none."""
        reports = [line for line in self._folder.metrics.reports() if line["kind"] == "validation"]
        return max(reports, key=lambda line: line["batches"], default=None)

    def flush(self) -> None:
        """Have the events written that are held back."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _best(self) -> float | None:
        best = self._folder.rank(self._loop, self._folder.metrics.reports()).best
        return best[self._loop.metric] if best else None

    def _event(self, name: str, value: float, batches: int) -> None:
        if not self._events:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            self._writer = SummaryWriter(str(self._folder.path / "tensorboard"))
        self._writer.add_scalar(f"Determined/{name}", value, batches)


def _as_json(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as JSON takes them; what is no number (a diverged loss) is null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
