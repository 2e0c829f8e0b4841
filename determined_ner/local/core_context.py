"""What stands in for Determined's master without a cluster: reports and checkpoints go to the run's folder.

Determined's training controller takes its core context as an argument; here it gets one whose train and checkpoint
parts write files. All else (loop, periods, policies, resume) is Determined's.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from determined import core
from determined.common import storage

from determined_ner import determined_api
from determined_ner.errors import write_errors_explained
from determined_ner.files.atomic import replacing_directory, write_json
from determined_ner.local.progress import Progress
from determined_ner.model.checkpoint import checkpoint_name
from determined_ner.settings.loop import LoopSettings
from determined_ner.training.checkpoint_code import copy_code
from determined_ner.training.run_folder import RunFolder


@contextlib.contextmanager
def local_core_context(
    folder: RunFolder, loop: LoopSettings, distributed: core.DistributedContext, trial_file: Path
) -> Iterator[core.Context]:
    """A core context that writes to a run's folder.

    Args:
        trial_file: where the trial is defined; the package lies beside it.
    """

    def write_code(checkpoint: Path, on_cluster: bool) -> None:
        copy_code(trial_file, Path(checkpoint) / "code")

    context = core.Context(
        distributed=distributed,
        checkpoint=LocalCheckpointContext(distributed, folder, loop),
        preempt=core.DummyPreemptContext(distributed, core.PreemptMode.WorkersAskChief),
        train=LocalTrainContext(folder, loop),
        searcher=core.DummySearcherContext(distributed),
        profiler=core.DummyProfilerContext(),
    )
    # Determined copies the whole current directory into every checkpoint; ours are rebuilt from our code alone.
    with determined_api.code_written_by(write_code), context:
        yield context


class LocalTrainContext(determined_api.TrainContext):
    """Reports go to metrics.jsonl and to the terminal."""

    progress: Progress

    def __init__(self, folder: RunFolder, loop: LoopSettings) -> None:
        super().__init__(folder.path / "tensorboard")
        self._folder = folder
        self._loop = loop

    def set_status(self, status: str) -> None:
        self.progress.show_status(status)

    def report_training_metrics(self, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None) -> None:
        self._folder.metrics.append({"kind": "training", **_plain_numbers(metrics)})
        self.progress.show_training(metrics)

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        before = self.get_experiment_best_validation()
        self._folder.metrics.append({"kind": "validation", **_plain_numbers(metrics)})
        self.progress.show_validation(metrics, self.get_experiment_best_validation() != before)

    def get_experiment_best_validation(self) -> float | None:
        best = self._folder.rank(self._loop, self._folder.metrics.reports()).best
        return best[self._loop.metric] if best else None

    def last_validation(self) -> int | None:
        reports = self._folder.metrics.reports()
        return max((line["batches"] for line in reports if line["kind"] == "validation"), default=None)

    def report_progress(self, progress: float) -> None:
        pass  # the bar shows it

    def upload_tensorboard_files(self, *_: Any, **__: Any) -> None:
        pass  # they are where they belong


class LocalCheckpointContext(core.DummyCheckpointContext):
    """Checkpoints get their names when they are complete; of those, the best and the newest are kept."""

    def __init__(self, distributed: core.DistributedContext, folder: RunFolder, loop: LoopSettings) -> None:
        super().__init__(distributed, storage.SharedFSStorageManager(str(folder.checkpoints)))
        self._folder = folder
        self._loop = loop

    @contextlib.contextmanager
    def store_path(self, metadata: dict[str, Any] | None = None, *, shard: bool = False) -> Iterator[tuple[Path, str]]:
        assert metadata is not None and not shard
        name = checkpoint_name(metadata["steps_completed"])
        final = self._folder.checkpoints / name
        with write_errors_explained(final, "make room or rights, then go on with --resume"):
            with replacing_directory(final) as partial:
                write_json(partial / "metadata.json", metadata)
                yield partial, name
            self._folder.prune(self._folder.rank(self._loop, self._folder.metrics.reports()))


class LocalController(determined_api.Controller):
    """Determined's loop, with a progress bar."""

    def __init__(self, progress: Progress, **options: Any) -> None:
        super().__init__(**options)
        self._progress = progress

    def after_batch(self) -> None:
        self._progress.advance()


def _plain_numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as JSON takes them, counters first; what is no number (a diverged loss) is null."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
    plain = {name: value if math.isfinite(value) else None for name, value in plain.items()}
    return {**{name: plain.pop(name) for name in ("batches", "epochs") if name in plain}, **plain}
