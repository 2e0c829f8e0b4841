"""What a run without a cluster leaves in its folder: the best checkpoint as a model, a summary, curves, a report."""

from __future__ import annotations

import contextlib
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

from determined_ner.errors import write_errors_explained
from determined_ner.export.card import CARD_FILE
from determined_ner.files.atomic import replacing_directory, write_json
from determined_ner.files.checksums import write_checksums
from determined_ner.finish.calibration import calibrate
from determined_ner.finish.documents import Documents
from determined_ner.finish.run_end import Chosen, warn_of_choice, write_model
from determined_ner.finish.splits import find_intervals, read_splits
from determined_ner.report.command import PAGE, check_free
from determined_ner.report.curves import plot_curves
from determined_ner.training.run_folder import SUMMARY_FILE, RunFolder
from determined_ner.training.setup import Training

logger = logging.getLogger("determined_ner")
REMEDY = "make room or rights, then go on with --resume"


class FolderEnd:
    """Keeps the results of a run in its folder."""

    def __init__(self, folder: RunFolder, training: Training, seconds: float) -> None:
        """
        Args:
            seconds: that the training took.
        """
        self._folder, self._training, self._seconds = folder, training, seconds

    def choose(self) -> Chosen:
        folder, loop = self._folder, self._training.loop
        reports = folder.metrics.reports()
        ranking = folder.rank(loop, reports)
        folder.prune(ranking)  # a run that was killed before it could, resumed, ends as one that was not
        chosen = Chosen(ranking.best_kept, folder.checkpoint(ranking.best_kept).name, ranking.best, reports)
        warn_of_choice(chosen, loop, "model/")
        return chosen

    def checkpoint(self, chosen: Chosen) -> contextlib.AbstractContextManager[Path]:
        return contextlib.nullcontext(self._folder.checkpoints / chosen.name)

    def keep(self, chosen: Chosen, test: dict[str, float] | None) -> None:
        folder, training = self._folder, self._training
        if training.settings.data.registry_model:
            logger.warning("data.registry_model: has no meaning here: it is a cluster that has a registry of models")
        splits = read_splits(training)
        calibrated = calibrate(splits)
        summary = _summary(training, chosen, test, self._seconds)
        summary["intervals"] = find_intervals(splits)
        summary["calibration"] = calibrated.as_json()
        documents = Documents(training, folder.path, chosen, summary)
        with write_errors_explained(folder.model, REMEDY), replacing_directory(folder.model) as partial:
            write_model(training, calibrated, partial)
            write_checksums(partial)  # not of the card, which is there to be edited
            (partial / CARD_FILE).write_text(documents.card(partial), encoding="utf-8")
        write_json(folder.path / SUMMARY_FILE, summary)
        figures = plot_curves(chosen.reports, folder.path / "figures")
        _log_results(folder, summary, figures, self._write_report(documents))

    def _write_report(self, documents: Documents) -> Path | None:
        """
        Returns:
            path of the page; None: memory was short.
        """
        folder = self._folder
        page = documents.report(folder.model, examples=True, command=f"determined-ner report {folder.path}")
        if page is None:
            return None
        with (
            write_errors_explained(folder.report, REMEDY),
            replacing_directory(folder.report, lambda: check_report(folder)) as partial,
        ):
            (partial / PAGE).write_text(page, encoding="utf-8")
        return folder.report / PAGE


def check_report(folder: RunFolder) -> None:
    """Check that nothing else lies where a run's report goes.

    Raises:
        UserError: it does.
    """
    check_free(folder.report, folder.report, "move it elsewhere, then go on with --resume")


def _summary(training: Training, chosen: Chosen, test: dict[str, float] | None, seconds: float) -> dict[str, Any]:
    validations = [report for report in chosen.reports if report["kind"] == "validation"]
    described = training.describe()
    return {
        "metric": training.loop.metric,
        "best": chosen.best,
        "last": validations[-1] if validations else None,
        "test": test,
        "samples_per_second": _samples_per_second(chosen.reports),
        "seconds": round(seconds, 2),
        "model": "model",
        "checkpoint": f"checkpoints/{chosen.name}",
        "model_batches": chosen.batches,
        "labels": described["labels"],
        "scheme": described["scheme"],
        "slots": training.slots.size,
        "seed": training.seed,
        "settings": {"hyperparameters": described["hyperparameters"], "data": described["data"]},
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }


def _samples_per_second(lines: list[dict[str, Any]]) -> float | None:
    """Of the whole training, validation and checkpoints left out: the reports' mean, weighted by their batches."""
    batches, seconds, before = 0, 0.0, 0
    for line in lines:
        if line["kind"] == "training":
            if speed := line.get("samples_per_second"):  # else a backend compiled all the while
                batches += line["batches"] - before
                seconds += (line["batches"] - before) / speed
            before = line["batches"]
    return round(batches / seconds, 2) if seconds else None


def _log_results(folder: RunFolder, summary: dict[str, Any], figures: list[Path], report: Path | None) -> None:
    rows = [(split, summary[split]) for split in ("best", "test") if summary[split]]
    names = [n for n in rows[0][1] if n not in ("kind", "batches", "epochs", "loss")] if rows else []
    names = [n for n in names if all(scores.get(n) is not None for _, scores in rows)]
    lines = ["", f"{'':<20}" + "".join(f"{'validation' if split == 'best' else split:>12}" for split, _ in rows)]
    lines += [f"{name:<20}" + "".join(f"{scores[name]:>12.4f}" for _, scores in rows) for name in names]
    speed = summary["samples_per_second"]
    lines += [
        "",
        f"{summary['seconds']:.0f} s" + (f", {speed} samples/s in training" if speed else ""),
        f"model    {folder.model}",
        f"scores   {folder.path / SUMMARY_FILE}, {folder.metrics.path.name}",
        f"curves   {', '.join(str(figure) for figure in figures)}",
    ]
    lines += [f"report   {report}"] if report else []
    for line in lines:
        logger.info(line)
